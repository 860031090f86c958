"""Media links in Markdown, ``![alt](target "title")``: where they stand, how one is written."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from html.entities import html5

from markdown_it import MarkdownIt
from markdown_it.common.utils import normalizeReference

__all__ = [
    "InlineText",
    "MediaLink",
    "find_media_links",
    "line_borders",
    "references_of",
    "render_link",
    "skip_angle",
    "tick_runs",
]

_MAX_LABEL = 999

_LINE_END = re.compile(r"\r\n|\r|\n")
# Each choice begins with a literal (not `+), so that re looks for their first letters alone.
_SPECIAL = re.compile(r"\\|``*|<|!\[|\[|\]")
_TICKS = re.compile(r"`+")
_BLANK = re.compile(r"[ \t\n]*+")
_ANGLE = re.compile(r"<([^<>\n\\]*+(?:\\.[^<>\n\\]*+)*+)>")
_PLAIN = r"[^\x00-\x20\x7f()\\]++|\\(?:[^ \n]|$|(?=[ \n]))"
_NESTED = _PLAIN
for _ in range(8):  # CommonMark asks for 3 levels of parentheses at least
    _NESTED = rf"{_PLAIN}|\((?:{_NESTED})*+\)"
_BARE = re.compile(rf"(?:{_NESTED})*+")
_TITLE = re.compile(
    r"\"([^\"\\]*+(?:\\.[^\"\\]*+)*+)\""
    r"|'([^'\\]*+(?:\\.[^'\\]*+)*+)'"
    r"|\(([^()\\]*+(?:\\.[^()\\]*+)*+)\)",
    re.DOTALL,
)
_LABEL = re.compile(r"\[((?:[^\[\]\\]|\\.){0,999})\]", re.DOTALL)
_ESCAPE = re.compile(
    r"\\([!-/:-@\[-`{-~])|&(?:#[xX]([0-9a-fA-F]{1,6})|#([0-9]{1,7})|([A-Za-z][A-Za-z0-9]{1,31}));"
)
_AUTOLINK = re.compile(
    r"<(?:[A-Za-z][A-Za-z0-9+.-]{1,31}:[^<>\x00-\x20]*+|[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]++@[A-Za-z0-9.-]++)>"
)
_TAG = re.compile(
    r"<(?:[A-Za-z][A-Za-z0-9-]*+"
    r"(?:\s++[A-Za-z_:][A-Za-z0-9_.:-]*+(?:\s*+=\s*+(?:[^\s\"'=<>`]++|'[^']*+'|\"[^\"]*+\"))?)*+"
    r"\s*+/?|/[A-Za-z][A-Za-z0-9-]*+\s*+)>"
)
_DECLARATION = re.compile(r"<![A-Za-z][^>]*+>")
_SPANS = (("<!--", "-->"), ("<?", "?>"), ("<![CDATA[", "]]>"))

_BARE_SAFE = re.compile(r"[^\x00-\x20\x7f()<>\\&\"'`\[\]]+")
_ALT_ESCAPED = re.compile(r"[\\\[\]`<&]")
_TARGET_ESCAPED = re.compile(r"[\\<>&]")
_TITLE_ESCAPED = re.compile(r"[\\\"&]")


@dataclass(frozen=True, slots=True)
class MediaLink:
    """One media link of a text: ``text[start:end]``, with escapes and entities undone.

    Attributes:
        start: Position of the ``!``, in characters.
        end: Position after the link.
        alt: What stands in the brackets, ``""`` if nothing; emphasis in it is left as written.
        target: The destination as written, percent-encoding kept.
        title: The title, ``""`` if there is none.
    """

    start: int
    end: int
    alt: str
    target: str
    title: str


def find_media_links(text: str) -> list[MediaLink]:
    """The media links of a Markdown text in order, by the rules of CommonMark.

    Inline (``![alt](target "title")``, ``![alt](<target>)``) and by reference
    (``![alt][name]``, ``![name][]``, ``![name]``), in paragraphs, headings, lists and quotes; not
    in code, HTML blocks, HTML tags or comments. An image in another image's alt text is part of
    that text. Time and memory grow linearly with the text, whatever is in it.
    """
    if "![" not in text or "]" not in text:
        return []
    # Blocks by markdown-it; its inline tokens carry no positions, so what's in a line is ours.
    environment: dict[str, object] = {}
    tokens = _blocks().parse(text, environment)
    references = references_of(environment)
    starts, ends = line_borders(text)
    links: list[MediaLink] = []
    for token in tokens:
        if token.type != "inline" or token.map is None or "![" not in token.content:
            continue
        inline = InlineText(text, token.content, token.map[0], starts, ends)
        links.extend(inline.links(references))
    return links


def render_link(alt: str, target: str, title: str = "") -> str:
    """Write a media link on one line; ``find_media_links`` reads the same three texts back."""
    parts = ["![", _escaped(_ALT_ESCAPED, alt), "]("]
    if _BARE_SAFE.fullmatch(target):
        parts.append(target)
    else:
        parts += ["<", _escaped(_TARGET_ESCAPED, target), ">"]
    if title:
        parts += [' "', _escaped(_TITLE_ESCAPED, title), '"']
    return "".join([*parts, ")"])


class _Blocks(MarkdownIt):
    """markdown-it up to the blocks, with link targets left as they are written."""

    def normalizeLink(self, url: str) -> str:  # noqa: N802 - markdown-it's name
        return url

    def validateLink(self, url: str) -> bool:  # noqa: N802, ARG002 - markdown-it's name
        return True


@lru_cache(maxsize=1)
def _blocks() -> MarkdownIt:
    parser = _Blocks("commonmark")
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser


def references_of(environment: Mapping[str, object]) -> dict[str, tuple[str, str]]:
    """Target and title of each reference definition by its normalized name."""
    found = environment.get("references")
    if not isinstance(found, dict):
        return {}
    return {name: (one["href"], one.get("title") or "") for name, one in found.items()}


def line_borders(text: str) -> tuple[array[int], array[int]]:
    """Where the lines of ``text`` start and end (line break left out)."""
    starts, ends = array("q", [0]), array("q")
    for match in _LINE_END.finditer(text):
        ends.append(match.start())
        starts.append(match.end())
    ends.append(len(text))
    return starts, ends


class InlineText:
    """The inline content of one block, and where each of its lines stands in the text.

    Args:
        text: The whole text.
        content: The block's content as markdown-it gives it, block syntax left out.
        first: The block's first line, from 0.
        starts: Where each line of ``text`` starts (``line_borders``).
        ends: Where each line ends.
    """

    def __init__(
        self, text: str, content: str, first: int, starts: array[int], ends: array[int]
    ) -> None:
        self._at = array("q")  # position in the block's content of each of its lines …
        self._from = array("q")  # … and in the text
        lines = []
        position = 0
        for number, line in enumerate(content.split("\n"), start=first):
            bare = line.lstrip(" \t")
            start, end = starts[number], ends[number]
            # Block syntax stands before a line's content (and a heading's closing # behind it);
            # markdown-it put U+FFFD for NUL.
            offset = text[start:end].replace("\0", "\ufffd").rfind(bare)
            if offset < 0:  # can't be, as a line's content is a part of the line
                bare, offset = "", 0
            self._at.append(position)
            self._from.append(start + offset)
            lines.append(text[start + offset : start + offset + len(bare)])
            position += len(bare) + 1
        self.text = "\n".join(lines)

    def position(self, index: int) -> int:
        """Where a character of the inline text stands in the whole text."""
        line = bisect_right(self._at, index) - 1
        return self._from[line] + index - self._at[line]

    def links(self, references: Mapping[str, tuple[str, str]]) -> list[MediaLink]:
        """The media links in it, where they stand in the whole text."""
        return [
            MediaLink(self.position(start), self.position(end - 1) + 1, alt, target, title)
            for start, end, alt, target, title in _scan(self.text, references)
        ]


_Found = tuple[int, int, str, str, str]


def _scan(text: str, references: Mapping[str, tuple[str, str]]) -> list[_Found]:
    """The images of an inline text: CommonMark's bracket stack, in one pass.

    Every position is looked at a bounded number of times: an opener is pushed and popped once,
    what closes a code span or a comment is looked up, a destination nests 8 parentheses at most.
    """
    # Alternative texts are cut out in the end: those of nested images would add up.
    found: list[tuple[int, int, int, int, str, str]] = []
    openers = array("q")  # twice the position, + 1 for an image
    inactive = 0  # link openers below this depth already have a link in them
    ticks: dict[int, array[int]] | None = None
    unclosed: set[str] = set()  # what closes comments and the like, if none is left
    last = text.rfind("]")
    position = 0
    while match := _SPECIAL.search(text, position):
        at = match.start()
        if at > last:
            break
        position = match.end()
        sign = text[at]
        if sign == "\\":
            position += 1
        elif sign == "`":
            if ticks is None:
                ticks = tick_runs(text)
            length = position - at
            closing = ticks.get(length, array("q"))
            index = bisect_right(closing, at)
            if index < len(closing):
                position = closing[index] + length
        elif sign == "<":
            position = skip_angle(text, at, unclosed)
        elif sign != "]":
            openers.append(2 * at + (sign == "!"))
        elif openers:
            opener = openers.pop()
            start, image = opener >> 1, bool(opener & 1)
            active = image or len(openers) >= inactive
            inactive = min(inactive, len(openers))
            if not active:
                continue
            label_start = start + 1 + image
            named = _target(text, label_start, at, references)
            if named is None:
                continue
            position, target, title = named
            if not image:
                inactive = len(openers)
                continue
            while found and found[-1][0] > start:
                found.pop()
            found.append((start, position, label_start, at, target, title))
    return [
        (start, end, _unescape(text[first:last]), target, title)
        for start, end, first, last, target, title in found
    ]


def _target(
    text: str, start: int, closing: int, references: Mapping[str, tuple[str, str]]
) -> tuple[int, str, str] | None:
    """End, target and title of the link whose label is ``text[start:closing]``, if it is one."""
    following = text[closing + 1 : closing + 2]
    if following == "(" and (inline := _inline_target(text, closing + 2)):
        return inline
    if not references:
        return None
    end = closing + 1
    if following == "[" and (label := _LABEL.match(text, closing + 1)):
        end = label.end()
        if label[1]:
            return _referenced(label[1], end, references)
    if closing - start > _MAX_LABEL or not _LABEL.fullmatch(text, start - 1, closing + 1):
        return None
    return _referenced(text[start:closing], end, references)


def _referenced(
    label: str, end: int, references: Mapping[str, tuple[str, str]]
) -> tuple[int, str, str] | None:
    reference = references.get(normalizeReference(label.replace("\0", "\ufffd")))
    return reference and (end, *reference)


def _inline_target(text: str, start: int) -> tuple[int, str, str] | None:
    """Read ``target "title")``, from behind the opening parenthesis."""
    position = _end(_BLANK, text, start)
    if text.startswith("<", position):
        angle = _ANGLE.match(text, position)
        if not angle:
            return None
        target, position = angle[1], angle.end()
    else:
        end = _end(_BARE, text, position)
        target, position = text[position:end], end
    title = ""
    behind = _end(_BLANK, text, position)
    if behind > position and (match := _TITLE.match(text, behind)):
        title = match[match.lastindex or 0]
        behind = _end(_BLANK, text, match.end())
    if not text.startswith(")", behind):
        return None
    return behind + 1, _unescape(target), _unescape(title)


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    """Where a pattern that may match nothing ends."""
    match = pattern.match(text, position)
    return match.end() if match else position


def skip_angle(text: str, at: int, unclosed: set[str]) -> int:
    """Where the HTML or autolink that starts at ``<`` ends, or one further if it is neither."""
    for empty in ("<!-->", "<!--->"):
        if text.startswith(empty, at):
            return at + len(empty)
    for opening, closing in _SPANS:
        if text.startswith(opening, at) and closing not in unclosed:
            end = text.find(closing, at + len(opening))
            if end >= 0:
                return end + len(closing)
            unclosed.add(closing)
    match = _TAG.match(text, at) or _AUTOLINK.match(text, at)
    if not match and ">" not in unclosed and text.startswith("<!", at):
        match = _DECLARATION.match(text, at)
        if not match and text.find(">", at) < 0:
            unclosed.add(">")
    return match.end() if match else at + 1


def tick_runs(text: str) -> dict[int, array[int]]:
    """Where the runs of backticks of each length start."""
    runs: dict[int, array[int]] = {}
    for match in _TICKS.finditer(text):
        runs.setdefault(match.end() - match.start(), array("q")).append(match.start())
    return runs


def _unescape(text: str) -> str:
    if "\\" not in text and "&" not in text:
        return text
    return _ESCAPE.sub(_character, text)


def _character(match: re.Match[str]) -> str:
    if match[1]:
        return match[1]
    if match[4]:
        return html5.get(match[4] + ";", match[0])
    code = int(match[2], 16) if match[2] else int(match[3])
    if code == 0 or code > 0x10FFFF or 0xD800 <= code < 0xE000:
        return "\ufffd"
    return chr(code)


def _escaped(characters: re.Pattern[str], text: str) -> str:
    text = characters.sub(r"\\\g<0>", text)
    return text.replace("\n", "&#10;").replace("\r", "&#13;")
