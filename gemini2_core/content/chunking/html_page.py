"""An HTML page as it is told by a parser's events, put together to a document."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urljoin

from gemini2_core.content.chunking.document import (
    JSON,
    Document,
    DocumentBuilder,
    ElementKind,
    KeepWith,
)
from gemini2_core.content.chunking.policy import MediaPolicy
from gemini2_core.content.chunking.writing import (
    code_span,
    fenced,
    plain_inline,
    table_parts,
)
from gemini2_core.content.media import Media

__all__ = ["Page"]

_BLANKS = re.compile(r"[ \t\r\n\f]+")
_LANGUAGE = re.compile(r"(?:^|\s)(?:language|lang|highlight-source)-([\w+#.-]+)")
_CAPTION_CLASS = re.compile(
    r"(?:^|[\s_-])(?:fig|figure|wp|image|img)?[_-]?caption(?:$|[\s_-])", re.IGNORECASE
)
_CANDIDATE = re.compile(r"[\s,]*([^\s,]\S*[^\s,]|[^\s,])(?:\s+([\d.]+)[wx])?\s*(?:,|$)")

_SKIPPED = frozenset(
    "applet button canvas datalist frameset input map menu nav noframes noscript progress "
    "script select style svg template textarea".split()
)
_SKIPPED_ROLES = frozenset({"menu", "menubar", "navigation", "search"})
_BLOCKS = frozenset(
    "address article aside blockquote body center dd details dialog dir div dl dt fieldset "
    "footer form header hgroup html legend main p section summary".split()
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_CODE = frozenset({"code", "kbd", "samp", "tt"})
_MAX_COLUMNS = 200
#: Cells that a table is filled up with; with more it is no table for a reader.
_MAX_FILLED = 20_000
_MAX_ROWS_SPANNED = 1000
_MAX_SRCSET = 10_000


@dataclass(frozen=True, slots=True)
class _Code:
    """Code in a line of text."""

    text: str


#: A text of its own, with blanks as in the page; code; a medium; None is a line break.
_Inline = str | _Code | Media | None


@dataclass(slots=True)
class _Block:
    """What becomes an element."""

    kind: ElementKind
    parts: list[str | Media]
    level: int = 0
    heading: str | None = None
    keep_with: KeepWith = "none"
    table_header: int = 0
    behind: str = "\n\n"

    @property
    def plain(self) -> bool:
        """True if a table cell can hold it."""
        return self.kind in (ElementKind.PARAGRAPH, ElementKind.MEDIA, ElementKind.CAPTION)


@dataclass(slots=True)
class _Table:
    """A table that is being read: rows of cells, a cell being the blocks in it."""

    caption: list[_Block] = field(default_factory=list)
    rows: list[list[list[_Block]]] = field(default_factory=list)
    loose: list[_Block] = field(default_factory=list)
    spanned: dict[int, int] = field(default_factory=dict)
    head_rows: int = 0
    in_head: bool = False
    all_th: bool = True
    presentation: bool = False


@dataclass(slots=True)
class _Player:
    """An ``<audio>`` or ``<video>`` with the sources that it offers: target and type."""

    alt: str
    sources: list[tuple[str, str]]


class Page:
    """What the parser tells its events to."""

    def __init__(self, policy: MediaPolicy) -> None:
        self.policy = policy
        self.line = 1
        self.started = False
        self.base = ""
        self.title = ""
        self.in_title = False
        self._skip = 0  # elements that are open, from one on that is left out
        self._note = False  # in the title of something left out
        self._frames: list[str] = []  # what the end of each open element does
        self.sinks: list[list[_Block]] = [[]]
        self.inline: list[_Inline] = []
        self.level = 0
        self.caption = 0
        self.lists: list[int] = []  # number of the next item; -1 for bullets
        self.marker = ""
        self.pre = 0
        self.language = ""
        self.code = 0  # 1 + where code begins in the inline text; 0 outside
        self._codes = 0
        self.tables: list[_Table] = []
        self._player: _Player | None = None
        self.picture: list[tuple[str, str]] = []

    # ------------------------------------------------------------ the parser's events

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """An element begins."""
        self.started = True
        if self._skip:
            self._skip += 1
            self._note = tag in ("title", "desc")
            if self._player and tag == "source" and (target := attributes.get("src", "").strip()):
                self._player.sources.append((target, attributes.get("type", "")))
            return
        if tag in _SKIPPED or attributes.get("role", "").lower() in _SKIPPED_ROLES:
            self._skip = 1
            return
        action = ""
        if tag in _HEADINGS:
            action = self.open("heading")
            self.level = _HEADINGS[tag]
        elif tag in _BLOCKS:
            caption = tag in ("div", "p") and _CAPTION_CLASS.search(attributes.get("class", ""))
            action = self.open("caption" if caption else "block")
        elif tag in _STARTS:
            action = _STARTS[tag](self, attributes)
        elif tag in _CODE and not self.pre:
            self.code = self.code or len(self.inline) + 1
            self._codes += 1
            action = "code"
        if not self._skip:
            self._frames.append(action)

    def end(self, tag: str) -> None:  # noqa: ARG002 - the parser balances them
        """An element ends."""
        if self._skip:
            self._skip -= 1
            self._note = False
            if not self._skip and self._player:
                self._end_player(self._player)
        elif self._frames and (action := self._frames.pop()):
            _ENDS[action](self)

    def data(self, data: str) -> None:
        """Text, with entities undone."""
        if self.in_title:
            self.title += data[: 1000 - len(self.title)]
        elif not self._skip or self._note:
            self.inline.append(data)

    def comment(self, data: str) -> None:
        """A comment, which says nothing."""

    def close(self) -> None:
        """The page ends."""

    def document(self, title: str | None, metadata: Mapping[str, JSON] | None) -> Document:
        """What was read; ``title`` and ``metadata`` as in ``Document``."""
        while self._skip or self._frames:  # left open where the page was cut off
            self.end("")
        self.flush()
        (blocks,) = self.sinks
        builder = DocumentBuilder(
            source=self.policy.source,
            title=title or " ".join(self.title.split()) or None,
            metadata=metadata,
            media_root=self.policy.link_root,
        )
        for block in blocks:
            builder.add(
                block.kind,
                *block.parts,
                level=block.level,
                heading=block.heading,
                keep_with=block.keep_with,
                table_header=block.table_header,
                behind=block.behind,
            )
        return builder.build()

    # ------------------------------------------------------------ blocks

    def open(self, action: str) -> str:
        """Begin a block; what ends it."""
        self.flush()
        if action == "caption":
            self.caption += 1
        return action

    def add(self, *blocks: _Block) -> None:
        """Add blocks to what is being read: the page, a figure, a cell."""
        sink = self.sinks[-1]
        for block in blocks:
            if sink and block.kind is not ElementKind.LIST_ITEM:
                sink[-1].behind = "\n\n"
            sink.append(block)

    def skip(self, player: _Player | None = None) -> str:
        """Leave out what is in this element."""
        self._skip, self._player = 1, player
        return ""

    def _end_player(self, player: _Player) -> None:
        self._player = None
        taken = [source for source in player.sources if self.taken(source[1])]
        for target, mime_type in taken[:1] or player.sources[:1]:
            self.media(target, player.alt, mime_type)

    def flush(self) -> None:
        """Make a block of the inline text so far."""
        inline, self.inline = self.inline, []
        self.code = min(self.code, 1)
        if self.pre:
            self._flush_code(inline)
            return
        if all(isinstance(part, str) and not part.strip() for part in inline):
            return
        media = [part for part in inline if isinstance(part, Media)]
        parts = _written(inline)
        if media and not any(isinstance(part, str) and part.strip() for part in parts):
            # Pictures side by side are elements of their own: six go into one content.
            self.add(*(_Block(ElementKind.MEDIA, [one]) for one in media))
            return
        if not parts:
            return
        if self.level:
            heading = " ".join("".join(p for p in parts if isinstance(p, str)).split())
            text = ["#" * self.level + " ", *_on_one_line(parts)]
            self.add(_Block(ElementKind.HEADING, text, self.level, heading[:1000]))
        elif self.caption:
            before = self.sinks[-1][-1:]
            after = bool(before) and before[0].kind is ElementKind.MEDIA
            keep: KeepWith = "previous" if after else "none"
            self.add(_Block(ElementKind.CAPTION, parts, keep_with=keep))
        elif self.lists:
            # Never four spaces: a chunk that began there would begin with code.
            indent = "  " if len(self.lists) > 1 or not self.marker else ""
            marker, self.marker = self.marker, ""
            self.add(_Block(ElementKind.LIST_ITEM, [f"{indent}{marker}", *parts], behind="\n"))
        else:
            self.add(_Block(ElementKind.PARAGRAPH, parts))

    def _flush_code(self, inline: Sequence[_Inline]) -> None:
        texts = ["\n" if part is None else part for part in inline if isinstance(part, str | None)]
        code = "".join(texts)
        if code.strip():
            self.add(_Block(ElementKind.CODE, [fenced(code, self.language)]))
        for part in inline:
            if isinstance(part, Media):
                self.add(_Block(ElementKind.MEDIA, [part]))

    def end_code(self) -> None:
        """Code in a line ends; code within it was only more of it."""
        self._codes -= 1
        if self._codes:
            return
        begin, self.code = self.code - 1, 0
        inside = [part for part in self.inline[begin:] if isinstance(part, str)]
        if "".join(inside).strip() and len(inside) == len(self.inline) - begin:
            self.inline[begin:] = [_Code("".join(inside))]

    # ------------------------------------------------------------ media

    def media(self, target: str, alt: str, mime_type: str) -> None:
        """Add a medium where the text is now."""
        target = target.strip()
        if self.base and target[:5].lower() != "data:":
            target = urljoin(self.base, target)
        alt = " ".join(alt.split())
        media = self.policy.link(target, alt=alt, mime_type=mime_type or None, line=self.line)
        self.inline.append(self.policy.instead(alt) if media is None else media)

    def taken(self, mime_type: str) -> bool:
        """Whether a declared type is one that is read."""
        types = self.policy.mime_types
        kind = mime_type.partition(";")[0].strip().lower()
        return types is None or not kind or kind in types


def _written(inline: Sequence[_Inline]) -> list[str | Media]:
    """Inline text as Markdown: blanks collapsed as a browser does, media in their places."""
    beside = any(isinstance(part, Media) for part in inline)
    parts: list[str | Media] = []
    pieces: list[str] = []
    raw: list[str] = []

    def take_raw() -> None:
        plain = _BLANKS.sub(" ", "".join(raw))
        raw.clear()
        written = plain_inline(plain, beside_media=beside)
        if written.startswith("~~~"):  # a fence, if it begins a line
            written = f"\\{written}"
        begun = pieces[-1][-1:] if pieces else ""
        if plain[:1] == " " and begun not in (" ", "\n"):
            pieces.append(" ")
        if written:
            pieces.append(f"{written} " if plain[-1] == " " else written)

    for part in inline:
        if isinstance(part, str):
            raw.append(part)
            continue
        take_raw()
        if part is None:
            if pieces:
                pieces[-1] = pieces[-1].rstrip(" ")
                pieces.append("\n")
        elif isinstance(part, _Code):
            pieces.append(code_span(part.text))
        else:
            parts += ["".join(pieces), part]
            pieces.clear()
    take_raw()
    parts.append("".join(pieces))
    return _stripped([part for part in parts if part != ""])


def _stripped(parts: list[str | Media]) -> list[str | Media]:
    """Without blanks at both ends."""
    if parts and isinstance(parts[0], str):
        parts[0] = parts[0].lstrip()
    if parts and isinstance(parts[-1], str):
        parts[-1] = parts[-1].rstrip()
    return [part for part in parts if part != ""]


def _on_one_line(parts: list[str | Media]) -> list[str | Media]:
    return [part.replace("\n", " ") if isinstance(part, str) else part for part in parts]


# ---------------------------------------------------------------- elements by name


def _start_title(page: Page, _: Mapping[str, str]) -> str:
    page.in_title = not page.title
    return "title"


def _start_base(page: Page, attributes: Mapping[str, str]) -> str:
    page.base = page.base or attributes.get("href", "").strip()
    return ""


def _start_pre(page: Page, attributes: Mapping[str, str]) -> str:
    page.flush()
    page.pre += 1
    found = _LANGUAGE.search(attributes.get("class", ""))
    page.language = found[1] if found else ""
    return "pre"


def _start_ul(page: Page, _: Mapping[str, str]) -> str:
    page.flush()
    page.lists.append(-1)
    return "list"


def _start_ol(page: Page, attributes: Mapping[str, str]) -> str:
    page.flush()
    page.lists.append(_number(attributes.get("start", ""), 1, 999_999_999))
    return "list"


def _start_li(page: Page, _: Mapping[str, str]) -> str:
    page.flush()
    if not page.lists:
        page.lists.append(-1)  # an item without its list
        page.marker = "- "
        return "lone_item"
    number = page.lists[-1]
    page.marker = "- " if number < 0 else f"{number}. "
    page.lists[-1] += number >= 0
    return "item"


def _start_br(page: Page, _: Mapping[str, str]) -> str:
    page.inline.append(None)
    return ""


def _start_hr(page: Page, _: Mapping[str, str]) -> str:
    page.flush()
    page.add(_Block(ElementKind.RULE, ["---"]))
    return ""


def _start_figure(page: Page, _: Mapping[str, str]) -> str:
    page.flush()
    page.sinks.append([])
    return "figure"


def _start_figcaption(page: Page, _: Mapping[str, str]) -> str:
    return page.open("caption")


def _start_table(page: Page, attributes: Mapping[str, str]) -> str:
    page.flush()
    role = attributes.get("role", "").lower()
    table = _Table(presentation=role in ("presentation", "none"))
    page.tables.append(table)
    page.sinks.append(table.loose)
    return "table"


def _start_thead(page: Page, _: Mapping[str, str]) -> str:
    if page.tables:
        page.tables[-1].in_head = True
    return "thead"


def _start_tr(page: Page, _: Mapping[str, str]) -> str:
    if not page.tables:
        return page.open("block")
    page.flush()
    table = page.tables[-1]
    table.rows.append([])
    table.all_th = True
    return "row"


def _start_td(page: Page, attributes: Mapping[str, str]) -> str:
    return _cell(page, attributes, head=False)


def _start_th(page: Page, attributes: Mapping[str, str]) -> str:
    return _cell(page, attributes, head=True)


def _cell(page: Page, attributes: Mapping[str, str], *, head: bool) -> str:
    if not page.tables:
        return page.open("block")
    page.flush()
    table = page.tables[-1]
    if not table.rows:
        table.rows.append([])
    row = table.rows[-1]
    while table.spanned.get(len(row), 0):  # a cell from above reaches down to here
        table.spanned[len(row)] -= 1
        row.append([])
    table.all_th = table.all_th and head
    if len(row) > _MAX_COLUMNS:
        attributes = {}
    columns = _number(attributes.get("colspan", ""), 1, _MAX_COLUMNS)
    rows = _number(attributes.get("rowspan", ""), 1, _MAX_ROWS_SPANNED)
    if rows > 1:
        table.spanned.update(dict.fromkeys(range(len(row), len(row) + columns), rows - 1))
    sink: list[_Block] = []
    row.append(sink)
    row.extend([] for _ in range(columns - 1))
    page.sinks.append(sink)
    return "cell"


def _start_caption(page: Page, _: Mapping[str, str]) -> str:
    if not page.tables:
        return page.open("caption")
    page.flush()
    page.sinks.append(page.tables[-1].caption)
    return "table_caption"


def _start_img(page: Page, attributes: Mapping[str, str]) -> str:
    if attributes.get("width") in ("0", "1") and attributes.get("height") in ("0", "1"):
        return ""
    target = attributes.get("src", "").strip()
    lazy = attributes.get("data-src", "").strip()
    if lazy and (not target or target[:5].lower() == "data:"):
        target = lazy
    target = target or _largest(attributes.get("srcset") or attributes.get("data-srcset") or "")
    mime_type = ""
    if not target:
        offered = (source for source in page.picture if page.taken(source[1]))
        target, mime_type = next(offered, ("", ""))
    if target:
        page.media(target, attributes.get("alt", ""), mime_type)
    return ""


def _largest(srcset: str) -> str:
    """The largest picture of a ``srcset``."""
    best, size = "", -1.0
    for match in _CANDIDATE.finditer(srcset[:_MAX_SRCSET]):
        found = float(match[2] or 1)
        if found > size:
            best, size = match[1], found
    return best


def _start_player(page: Page, attributes: Mapping[str, str]) -> str:
    # What stands between the tags is for browsers that can't play.
    alt = attributes.get("aria-label") or attributes.get("title") or ""
    target = attributes.get("src", "").strip()
    return page.skip(_Player(alt, [(target, "")] if target else []))


def _start_picture(page: Page, _: Mapping[str, str]) -> str:
    page.picture = []
    return "picture"


def _start_source(page: Page, attributes: Mapping[str, str]) -> str:
    target = _largest(attributes.get("srcset") or attributes.get("data-srcset") or "")
    if target:
        page.picture.append((target, attributes.get("type", "")))
    return ""


def _start_embed(page: Page, attributes: Mapping[str, str]) -> str:
    target = (attributes.get("data") or attributes.get("src") or "").strip()
    kind = attributes.get("type", "").lower()
    path = target.partition("#")[0].partition("?")[0].lower()
    if target and (
        kind.startswith(("image/", "audio/", "video/"))
        or kind == "application/pdf"
        or path.endswith(".pdf")
    ):
        page.media(target, attributes.get("title", ""), kind)
        return page.skip()
    return ""


def _start_math(page: Page, attributes: Mapping[str, str]) -> str:
    alternative = attributes.get("alttext", "")
    if not alternative:
        return ""
    page.inline.append(f"${' '.join(alternative.split())}$")
    return page.skip()


def _end_block(page: Page) -> None:
    page.flush()


def _end_heading(page: Page) -> None:
    page.flush()
    page.level = 0


def _end_caption(page: Page) -> None:
    page.flush()
    page.caption -= 1


def _end_title(page: Page) -> None:
    page.in_title = False


def _end_pre(page: Page) -> None:
    page.flush()
    page.pre -= 1


def _end_list(page: Page) -> None:
    page.flush()
    if page.lists:
        page.lists.pop()
    page.marker = ""
    sink = page.sinks[-1]
    if not page.lists and sink and sink[-1].kind is ElementKind.LIST_ITEM:
        sink[-1].behind = "\n\n"


def _end_item(page: Page) -> None:
    page.flush()
    page.marker = ""


def _end_figure(page: Page) -> None:
    """Tie the picture and its caption together; with more in it, all of that."""
    page.flush()
    blocks = page.sinks.pop()
    for number, block in enumerate(blocks):
        last = number == len(blocks) - 1
        if block.kind is ElementKind.CAPTION:
            block.keep_with = "previous" if number else ("none" if last else "next")
        elif block.kind is ElementKind.MEDIA and not last:
            block.keep_with = "next"
    page.add(*blocks)


def _end_thead(page: Page) -> None:
    if page.tables:
        page.tables[-1].in_head = False


def _end_row(page: Page) -> None:
    page.flush()
    if not page.tables:
        return
    table = page.tables[-1]
    first = table.head_rows == len(table.rows) - 1
    if table.rows and table.rows[-1] and first and (table.in_head or table.all_th):
        table.head_rows += 1


def _end_cell(page: Page) -> None:
    page.flush()
    page.sinks.pop()


def _end_table_caption(page: Page) -> None:
    page.flush()
    page.sinks.pop()


def _end_table(page: Page) -> None:
    page.flush()
    page.sinks.pop()
    table = page.tables.pop()
    rows = [row for row in table.rows if any(row)]
    blocks = [block for row in rows for cell in row for block in cell]
    for block in table.caption:
        block.kind = ElementKind.CAPTION if block.plain else block.kind
        block.keep_with = "next" if rows else "none"
    page.add(*table.caption, *table.loose)
    if not rows:
        return
    columns = max(map(len, rows))
    filled = columns * len(rows) - sum(map(bool, (cell for row in rows for cell in row)))
    if (
        columns == 1
        or table.presentation
        or filled > max(_MAX_FILLED, 10 * len(blocks))
        or not all(block.plain for block in blocks)
    ):
        page.add(*blocks)
        return
    header = rows[0] if table.head_rows else []
    below = rows[1:] if table.head_rows else rows
    parts, length = table_parts(
        [_cell_parts(cell) for cell in header] or [""] * columns,
        [[_cell_parts(cell) for cell in row] for row in below],
    )
    page.add(_Block(ElementKind.TABLE, parts, table_header=length))


def _cell_parts(cell: Sequence[_Block]) -> list[str | Media] | str:
    """What stands in a cell, on one line."""
    parts: list[str | Media] = []
    for block in cell:
        parts += [" "] if parts else []
        parts += _on_one_line(block.parts)
    if any(isinstance(part, Media) for part in parts):
        return parts
    return "".join(part for part in parts if isinstance(part, str))


def _end_picture(page: Page) -> None:
    page.picture = []


def _number(text: str, default: int, most: int) -> int:
    text = text.strip()
    return min(max(int(text), 1), most) if text.isdecimal() and len(text) < 10 else default


_STARTS = {
    "audio": _start_player,
    "base": _start_base,
    "br": _start_br,
    "caption": _start_caption,
    "embed": _start_embed,
    "figcaption": _start_figcaption,
    "figure": _start_figure,
    "hr": _start_hr,
    "iframe": _start_embed,
    "img": _start_img,
    "li": _start_li,
    "math": _start_math,
    "object": _start_embed,
    "ol": _start_ol,
    "picture": _start_picture,
    "pre": _start_pre,
    "source": _start_source,
    "table": _start_table,
    "td": _start_td,
    "th": _start_th,
    "thead": _start_thead,
    "title": _start_title,
    "tr": _start_tr,
    "ul": _start_ul,
    "video": _start_player,
}
_ENDS = {
    "block": _end_block,
    "caption": _end_caption,
    "cell": _end_cell,
    "code": Page.end_code,
    "figure": _end_figure,
    "heading": _end_heading,
    "item": _end_item,
    "list": _end_list,
    "lone_item": _end_list,
    "picture": _end_picture,
    "pre": _end_pre,
    "row": _end_row,
    "table": _end_table,
    "table_caption": _end_table_caption,
    "thead": _end_thead,
    "title": _end_title,
}
