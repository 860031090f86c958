"""Markdown in: its blocks as elements, its media as references, every character accounted for."""

from __future__ import annotations

import os
import re
from array import array
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt

from gemini2_core.content.chunking.document import (
    JSON,
    Document,
    Element,
    ElementKind,
    KeepWith,
    Placed,
    link_target,
    plain_heading,
)
from gemini2_core.content.chunking.markdown_html import HtmlPart, has_media, html_parts
from gemini2_core.content.chunking.media_dir import MediaDir
from gemini2_core.content.chunking.policy import MediaPolicy, OnMissing
from gemini2_core.content.markdown import (
    InlineText,
    line_borders,
    references_of,
    render_link,
    skip_angle,
    tick_runs,
)
from gemini2_core.content.media import Media
from gemini2_core.errors import InvalidInputError

if TYPE_CHECKING:
    from markdown_it.token import Token

__all__ = ["read_markdown"]

#: Longer texts are read in pieces of about this many characters, so that memory stays flat.
_PIECE_CHARACTERS = 100_000
_LONGEST_PIECE = 10 * _PIECE_CHARACTERS

_FRONT_MATTER = re.compile(
    r"(?:\ufeff)?---[ \t]*\r?\n(?:[^\r\n]*\r?\n){0,200}?(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)"
)
# Before a heading; or after a blank line, before a line that can't go on with a list or with HTML.
_CUT = re.compile(r"^(?:#{1,6}[ \t]| {0,3}(`{3,}|~{3,})|(?<=\n\n)[^\s<>*+#`~0-9-])", re.MULTILINE)
#: HTML that goes on over blank lines.
_RAW_HTML = (("<!--", "-->"), ("<pre", "</pre"), ("<script", "</script"), ("<style", "</style"))
_DEFINITION = re.compile(r"^ {0,3}\[[^\]\n]+\]:", re.MULTILINE)
_SIGN = re.compile(r"[\\`<]")
_OPENING = re.compile(r"<(img|embed|object|picture|video|audio)\b", re.IGNORECASE)
_CAPTION = re.compile(
    r"[*_\s]{0,4}(?:Fig(?:ure)?|Abb(?:ildung)?|Table|Tab|Photo|Plate|Video|Film|Audio|Diagram|"
    r"Chart|Listing|Scheme|Map)\b\.?\s{0,3}[0-9IVXA-Z][\w.-]{0,9}",
    re.IGNORECASE,
)
_EMPHASIS = re.compile(r"(\*{1,3}|_{1,3})(?![\s*_])[^\n]{1,1000}?\1\s*")
_PARAGRAPHS = ("paragraph_open", "blockquote_open")
_LISTS = ("bullet_list_open", "ordered_list_open")


def read_markdown(
    text: str,
    *,
    source: str,
    media_root: str | os.PathLike[str] | None = None,
    base: str | os.PathLike[str] | None = None,
    media_dir: MediaDir | str | os.PathLike[str] | None = None,
    on_missing: OnMissing = "error",
    allow_remote: bool = False,
    mime_types: Collection[str] | None = None,
    title: str | None = None,
    metadata: Mapping[str, JSON] | None = None,
) -> Iterator[Document]:
    """Read a Markdown text: CommonMark with GFM's tables.

    A document's text is the source's, but for media that chunks could not carry as they are:
    images by reference, ``data:`` URIs, and HTML (``<img>``, ``<picture>``, ``<figure>``,
    ``<video>``, ``<audio>``) become inline links, a block of HTML with media in it the Markdown
    of its text and media; a medium that is missing becomes its alternative text, or nothing.

    Args:
        text: The text.
        source: Its name, for errors and ids.
        media_root: The only folder that links are read from.
        base: Folder that relative links start from, in ``media_root``; None is ``media_root``.
        media_dir: Where data URIs are written.
        on_missing: What becomes of a medium that is missing or can't be read.
        allow_remote: Whether ``https:`` media are taken.
        mime_types: Types that are taken (``readable_types``); None takes all.
        title: Title of the document.
        metadata: What goes with every chunk.

    Yields:
        One document; several for a text of more than 100,000 characters.

    Raises:
        InvalidInputError: A medium is missing (with ``on_missing="error"``; names the line), or
            the text has a lone surrogate.
        ConfigurationError: A data URI without a ``media_dir``, or folders that don't fit.
    """
    policy = MediaPolicy(
        source=source,
        media_root=media_root,
        base=base,
        media_dir=media_dir,
        on_missing=on_missing,
        allow_remote=allow_remote,
        mime_types=mime_types,
    )
    _check_text(text, source)
    parser = _parser()
    environment: dict[str, object] = {}
    pieces = list(_pieces(text))
    if len(pieces) > 1 and _DEFINITION.search(text):
        for start, end in pieces:  # what an image by reference means may be told anywhere
            parser.parse(text[start:end], environment)
    offset, line = 0, 0
    headings: list[tuple[int, str]] = []
    for start, end in pieces:
        piece = text[start:end]
        reading = _Reading(piece, environment, policy, line)
        final, elements = reading.read(front_matter=start == 0)
        yield Document(
            text=final,
            elements=elements,
            source=source,
            title=title,
            metadata=MappingProxyType(dict(metadata or {})),
            media_root=policy.link_root,
            offset=offset,
            open_headings=tuple(headings),
            parsed=True,
        )
        for element in elements:
            if element.level:
                headings = [h for h in headings if h[0] < element.level]
                headings.append((element.level, element.heading))
        offset += len(final)
        line += piece.count("\n")


def _check_text(text: str, source: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"{source} has a lone surrogate at character {error.start}, which is no Unicode text: "
            "read it with the right encoding"
        ) from None


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    """markdown-it up to the blocks, with link targets left as they are written."""

    class Blocks(MarkdownIt):
        def normalizeLink(self, url: str) -> str:  # noqa: N802 - markdown-it's name
            return url

        def validateLink(self, url: str) -> bool:  # noqa: N802, ARG002 - markdown-it's name
            return True

    parser = Blocks("commonmark").enable("table")
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """Borders of pieces that can be read apart: between blocks, outside code, lists and HTML."""
    if not text:
        return
    start, fence = 0, ""
    if len(text) > _PIECE_CHARACTERS:
        for match in _CUT.finditer(text):
            at = match.start()
            if match[1]:
                if not fence:
                    fence = match[1]
                elif match[1][0] == fence[0] and len(match[1]) >= len(fence):
                    fence = ""
            elif not fence and at - start >= _PIECE_CHARACTERS:
                if at - start < _LONGEST_PIECE and _in_html(text, start, at):
                    continue
                yield start, at
                start = at
    yield start, len(text)


def _in_html(text: str, start: int, end: int) -> bool:
    return any(
        text.rfind(opening, start, end) > text.rfind(closing, start, end)
        for opening, closing in _RAW_HTML
    )


@dataclass(frozen=True, slots=True)
class _Edit:
    """What stands in the place of ``text[start:end]``."""

    start: int
    end: int
    parts: tuple[str | Media, ...]


class _Reading:
    """The reading of one piece of a text."""

    def __init__(
        self, text: str, environment: dict[str, object], policy: MediaPolicy, line: int
    ) -> None:
        self._text = text
        self._environment = environment
        self._policy = policy
        self._line = line

    def read(self, *, front_matter: bool) -> tuple[str, tuple[Element, ...]]:
        """The final text and its elements."""
        text = self._text
        front = 0
        if front_matter and (match := _FRONT_MATTER.match(text)):
            front = match.end()
        tokens = _parser().parse(_blanked(text, front), self._environment)
        starts, ends = line_borders(text)
        placed, edits = self._media(tokens, starts, ends)
        if edits:
            text, placed = _edited(text, placed, edits, self._policy)
            front = min(front, len(text))
            tokens = _parser().parse(_blanked(text, front), self._environment)
            starts, ends = line_borders(text)
        return text, _elements(text, tokens, starts, placed, front)

    def _media(
        self, tokens: Sequence[Token], starts: array[int], ends: array[int]
    ) -> tuple[list[Placed], list[_Edit]]:
        """The media that stay as they are written, and what must be written otherwise."""
        text = self._text
        references = references_of(self._environment)
        placed: list[Placed] = []
        edits: list[_Edit] = []
        in_table = False
        for token in tokens:
            if token.type in ("table_open", "table_close"):
                in_table = token.type == "table_open"
            if token.map is None:
                continue
            if token.type == "html_block":
                edits += self._html_block(token, starts)
                continue
            if token.type == "tr_open":  # a row's links at once: its cells don't say where they are
                content = text[starts[token.map[0]] : ends[token.map[0]]].lstrip()
            elif token.type == "inline" and not in_table:
                content = token.content
            else:
                continue
            html = "<" in content and _OPENING.search(content) is not None
            if "![" not in content and not html:
                continue
            inline = InlineText(text, content, token.map[0], starts, ends)
            if html:
                for first, last in _html_spans(inline.text):
                    start, end = inline.position(first), inline.position(last - 1) + 1
                    line = bisect_right(starts, start) - 1
                    if found := self._html(inline.text[first:last], line):
                        edits.append(_Edit(start, end, found))
            for link in inline.links(references):
                line = bisect_right(starts, link.start) - 1
                media = self._policy.link(
                    link.target, alt=link.alt, title=link.title, line=self._line + line + 1
                )
                parts = () if media is None else self._policy.parts(media, self._line + line + 1)
                if media is None or not parts:
                    instead = self._policy.instead(link.alt).replace("![", r"!\[")
                    edits.append(_Edit(link.start, link.end, (instead,)))
                elif len(parts) > 1:
                    spaced = [piece for part in parts for piece in (" ", part)]
                    edits.append(_Edit(link.start, link.end, tuple(spaced[1:])))
                elif text[link.end - 1] != ")" or link.target[:5].lower() == "data:":
                    edits.append(_Edit(link.start, link.end, (media,)))
                else:
                    placed.append(Placed(link.start, link.end, media))
        edits.sort(key=lambda edit: edit.start)
        return placed, edits

    def _html_block(self, token: Token, starts: array[int]) -> Iterator[_Edit]:
        """A block of HTML as Markdown, if media are in it."""
        assert token.map is not None
        text = self._text
        start, end = _span(token.map, starts, text)
        if token.level:  # in a list or a quote, whose signs stand in front
            start = text.find("<", start, end)
            end = start + len(text[start:end].rstrip())
        html = text[start:end]
        if start < 0 or not has_media(html):
            return
        parts = self._html(html, token.map[0])
        if not parts:
            return
        if token.level:
            yield _Edit(start, end, tuple(_one_line(part) for part in parts))
            return
        if start and not text.endswith(("\n\n", "\n\r\n"), 0, start):
            parts = ("\n", *parts)
        yield _Edit(start, end, (*parts, "\n\n" if html.endswith("\n") else ""))

    def _html(self, html: str, line: int) -> tuple[str | Media, ...]:
        """HTML as parts; nothing if no tag in it names a medium (they stand in a comment)."""
        found = html_parts(html)
        if all(isinstance(part, str) for part in found):
            return ()
        parts = [one for part in found for one in self._shown(part, line)]
        return tuple(part for part in parts if part) or ("",)

    def _shown(self, part: HtmlPart, line: int) -> list[str | Media]:
        """A text, or a medium: itself, its parts, or what stands instead of it."""
        if isinstance(part, str):
            return [part]
        place = self._line + line + part.line + 1
        media = self._policy.link(part.target, alt=part.alt, mime_type=part.mime_type, line=place)
        parts = () if media is None else self._policy.parts(media, place)
        if not parts:
            return [self._policy.instead(part.alt).replace("![", r"!\[")]
        return [piece for one in parts for piece in (" ", one)][1:]


def _one_line(part: str | Media) -> str | Media:
    return " ".join(part.split("\n")) if isinstance(part, str) else part


def _blanked(text: str, front: int) -> str:
    """The text with its front matter as blank lines, which is no Markdown."""
    return re.sub(r"[^\r\n]", " ", text[:front]) + text[front:] if front else text


def _span(lines: Sequence[int], starts: array[int], text: str) -> tuple[int, int]:
    end = starts[lines[1]] if lines[1] < len(starts) else len(text)
    return starts[lines[0]], end


def _html_spans(text: str) -> Iterator[tuple[int, int]]:
    """Where the tags of media stand in an inline text, a player with all that is in it."""
    ticks: dict[int, array[int]] | None = None
    unclosed: set[str] = set()
    position = 0
    while match := _SIGN.search(text, position):
        at = match.start()
        if match[0] == "\\":
            position = at + 2
        elif match[0] == "`":
            if ticks is None:
                ticks = tick_runs(text)
            run = at
            while text.startswith("`", run):
                run += 1
            same = ticks.get(run - at, array("q"))
            index = bisect_right(same, at)
            position = same[index] + run - at if index < len(same) else run
        else:
            position = skip_angle(text, at, unclosed)
            opening = _OPENING.match(text, at)
            if not opening or position == at + 1:
                continue
            name = opening[1].lower()
            if name in ("picture", "video", "audio", "object") and name not in unclosed:
                closing = text.find(f"</{name}", position)
                closed = text.find(">", closing) if closing >= 0 else -1
                if closed >= 0:
                    position = closed + 1
                else:
                    unclosed.add(name)
            yield at, position


def _edited(
    text: str, placed: Sequence[Placed], edits: Sequence[_Edit], policy: MediaPolicy
) -> tuple[str, list[Placed]]:
    """The text with its edits made, and where all media stand in it."""
    pieces: list[str] = []
    result: list[Placed] = []
    position = length = 0
    kept = iter(placed)
    waiting = next(kept, None)
    for edit in (*edits, _Edit(len(text), len(text), ())):
        if edit.start < position:  # an image in the alternative text of another
            continue
        while waiting is not None and waiting.start < edit.start:
            shift = length - position
            result.append(Placed(waiting.start + shift, waiting.end + shift, waiting.media))
            waiting = next(kept, None)
        while waiting is not None and waiting.start < edit.end:
            waiting = next(kept, None)
        pieces.append(text[position : edit.start])
        length += edit.start - position
        for part in edit.parts:
            if isinstance(part, str):
                piece = part
            else:
                target = link_target(part, policy.link_root)
                piece = render_link(part.alt, target, part.digest or "")
                result.append(Placed(length, length + len(piece), part))
            pieces.append(piece)
            length += len(piece)
        position = edit.end
    return "".join(pieces), result


@dataclass(slots=True)
class _Start:
    """Where an element starts, and what is known of it."""

    kind: ElementKind
    start: int
    level: int = 0
    heading: str = ""
    header: int = 0
    end: int = 0  # of what belongs to it for sure; the rest is blank, or definitions


def _elements(
    text: str, tokens: Sequence[Token], starts: array[int], placed: Sequence[Placed], front: int
) -> tuple[Element, ...]:
    if not text:
        return ()
    found = list(_with_rest(text, list(_starts(text, tokens, starts)), front))
    elements: list[Element] = []
    index = 0
    for number, one in enumerate(found):
        end = found[number + 1].start if number + 1 < len(found) else len(text)
        links: list[Placed] = []
        while index < len(placed) and placed[index].start < end:
            links.append(placed[index])
            index += 1
        kind, keep_with = _refined(text, one, end, links, elements)
        if one.start < front:
            keep_with = "next"
        elements.append(
            Element(
                kind=kind,
                start=one.start,
                end=end,
                links=tuple(links),
                level=one.level,
                heading=one.heading,
                keep_with=keep_with,
                table_header=one.header,
            )
        )
    return tuple(elements)


def _starts(text: str, tokens: Sequence[Token], starts: array[int]) -> Iterator[_Start]:
    """The blocks of the text, lists item by item."""
    items = False
    for index, token in enumerate(tokens):
        if token.map is None or token.level > 1:
            continue
        if token.level == 1:
            if not (items and token.type == "list_item_open"):
                continue
            kind = ElementKind.LIST_ITEM
        elif token.type in _LISTS:
            items = True
            continue
        else:
            items = False
            kind = _KINDS.get(token.type, ElementKind.OTHER)
        start, end = _span(token.map, starts, text)
        one = _Start(kind, start, end=end)
        if kind is ElementKind.HEADING:
            one.level = int(token.tag[1])
            one.heading = _heading_text(tokens[index + 1].content)
        elif kind is ElementKind.TABLE:
            line = token.map[0] + 2
            one.header = (starts[line] if line < len(starts) else len(text)) - start
        yield one


_KINDS = {
    "blockquote_open": ElementKind.PARAGRAPH,
    "code_block": ElementKind.CODE,
    "fence": ElementKind.CODE,
    "heading_open": ElementKind.HEADING,
    "hr": ElementKind.RULE,
    "paragraph_open": ElementKind.PARAGRAPH,
    "table_open": ElementKind.TABLE,
}


def _with_rest(text: str, found: list[_Start], front: int) -> Iterator[_Start]:
    """The blocks, and what is none: front matter, definitions of references."""
    first = found[0].start if found else len(text)
    if text[:first].strip() or not found:
        yield _Start(ElementKind.OTHER, 0, end=front)
    elif found:
        found[0].start = 0
        found[0].header += first if found[0].header else 0
    for number, one in enumerate(found):
        yield one
        following = found[number + 1].start if number + 1 < len(found) else len(text)
        if one.end < following and text[one.end : following].strip():
            yield _Start(ElementKind.OTHER, one.end, end=following)


def _heading_text(content: str) -> str:
    return plain_heading(_IMAGE.sub(r"\1", content))


_IMAGE = re.compile(r"!\[([^\[\]]{0,1000})\](?:\([^()]{0,4000}\)|\[[^\[\]]{0,1000}\])?")


def _refined(
    text: str, one: _Start, end: int, links: Sequence[Placed], before: Sequence[Element]
) -> tuple[ElementKind, KeepWith]:
    """A paragraph may be media alone, or the caption of some."""
    if one.kind is not ElementKind.PARAGRAPH:
        return one.kind, "none"
    previous = before[-1] if before else None
    after_media = previous is not None and previous.kind in (ElementKind.MEDIA, ElementKind.TABLE)
    if links:
        position, rest = one.start, []
        for link in links:
            rest.append(text[position : link.start])
            position = link.end
        rest.append(text[position:end])
        alone = not "".join(rest).strip(" \t\r\n>*_|")
        return (ElementKind.MEDIA, "none") if alone else (one.kind, "none")
    paragraph = text[one.start : min(end, one.start + 1100)].strip()
    if len(paragraph) <= 1000:
        if after_media and (_CAPTION.match(paragraph) or _EMPHASIS.fullmatch(paragraph)):
            return ElementKind.CAPTION, "previous"
        if _CAPTION.match(paragraph) and len(paragraph) <= 300 and not _sentence_like(paragraph):
            return ElementKind.CAPTION, "next"
    return one.kind, "none"


def _sentence_like(paragraph: str) -> bool:
    """True for "Figure 3 shows the pump.": a sentence about a figure is no caption."""
    match = _CAPTION.match(paragraph)
    following = paragraph[match.end() :].lstrip("*_ ") if match else paragraph
    return following[:1].islower()
