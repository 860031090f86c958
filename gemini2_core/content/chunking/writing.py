"""Plain text, code, lists and tables as Markdown in which no media link is lost."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gemini2_core.content.chunking.document import (
    BBox,
    Document,
    DocumentBuilder,
    ElementKind,
    KeepWith,
)
from gemini2_core.content.media import Media
from gemini2_core.errors import InvalidInputError

__all__ = [
    "Place",
    "Writer",
    "code_span",
    "fenced",
    "formula",
    "json_text",
    "plain_inline",
    "plain_markdown",
    "table_parts",
]

_LINE_END = re.compile(r"\r\n?|[\u0085\u2028\u2029\v\f]")
_EDGES = re.compile(r"^[ \t]+|[ \t]+$", re.MULTILINE)
_OPENING = re.compile(r"(\\*)!\[")
_BLOCK = re.compile(r"^(?=<[A-Za-z/!?]|```|~~~)", re.MULTILINE)
_MARKS = re.compile(r"[\\`<\[\]]")
_LANGUAGE = re.compile(r"[A-Za-z0-9_+#.-]{1,40}")

_MAX_DEPTH = 9

_Part = str | Media


@dataclass(frozen=True, slots=True)
class Place:
    """Where an element comes from, as in ``Element``."""

    page: int | None = None
    bbox: BBox | None = None
    seconds: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class _Held:
    """An element that waits for what follows it."""

    kind: ElementKind
    parts: Sequence[_Part]
    place: Place
    level: int
    heading: str | None
    keep_with: KeepWith
    table_header: int
    depth: int


class Writer:
    """Hands elements on to a ``DocumentBuilder``, lists with the blank lines that they need.

    An item at a depth that the list hasn't reached would be code by its indentation; it is moved
    to the depth that is there.
    """

    def __init__(self, builder: DocumentBuilder) -> None:
        self._builder = builder
        self._held: _Held | None = None

    def add(
        self,
        kind: ElementKind,
        parts: Sequence[_Part],
        place: Place,
        *,
        level: int = 0,
        heading: str | None = None,
        keep_with: KeepWith = "none",
        table_header: int = 0,
        depth: int = 0,
    ) -> None:
        """Add an element, as ``DocumentBuilder.add``; blank ones are left out.

        Args:
            kind: What it is.
            parts: Markdown and media, in order.
            place: Where it comes from.
            level: Level of a heading.
            heading: Plain text of a heading.
            keep_with: What it mustn't be parted from.
            table_header: Characters of the header of a table.
            depth: Depth of a list item, from 1.
        """
        if not any(part for part in parts if not isinstance(part, str) or part.strip()):
            return
        if kind is ElementKind.LIST_ITEM:
            above = self._held.depth if self._held is not None else 0
            depth = max(1, min(depth, above + 1, _MAX_DEPTH))
            parts = ["    " * (depth - 1), *parts]
        self._flush("\n" if kind is ElementKind.LIST_ITEM else "\n\n")
        self._held = _Held(kind, parts, place, level, heading, keep_with, table_header, depth)

    def copy(self, document: Document, place: Place | None = None) -> None:
        """Add the elements of a document as they are.

        Args:
            document: What another reader read.
            place: Where all of them come from; None keeps what they say.
        """
        self.finish()
        last = len(document.elements) - 1
        for number, element in enumerate(document.elements):
            parts: list[_Part] = []
            position = element.start
            for link in element.links:
                parts += [document.text[position : link.start], link.media]
                position = link.end
            rest = document.text[position : element.end]
            written = rest.rstrip()
            at = place or Place(element.page, element.bbox, element.seconds)
            self._builder.add(
                element.kind,
                *parts,
                written,
                level=element.level,
                heading=element.heading if element.level else None,
                page=at.page,
                bbox=at.bbox,
                seconds=at.seconds,
                keep_with=element.keep_with,
                table_header=element.table_header,
                behind="\n\n" if number == last else rest[len(written) :],
            )

    def finish(self) -> None:
        """Hand on the last element."""
        self._flush("\n\n")

    def _flush(self, behind: str) -> None:
        held, self._held = self._held, None
        if held is None:
            return
        self._builder.add(
            held.kind,
            *held.parts,
            level=held.level,
            heading=held.heading,
            page=held.place.page,
            bbox=held.place.bbox,
            seconds=held.place.seconds,
            keep_with=held.keep_with,
            table_header=held.table_header,
            behind=behind if held.depth else "\n\n",
        )


def json_text(value: object) -> str:
    """A text out of JSON; "" for anything that is none.

    Raises:
        InvalidInputError: A lone surrogate, which JSON can hold and a text can't.
    """
    if not isinstance(value, str):
        return ""
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InvalidInputError(
                f"a text has a lone surrogate, {value[error.start]!r} at character {error.start}, "
                "which is no Unicode text"
            ) from None
    return value


def plain_markdown(text: str) -> str:
    r"""Write plain text as Markdown paragraphs.

    What would swallow or imitate a media link is escaped: ``![``, HTML and fences at the start
    of a line; lines lose their indentation, which could make them code. Everything else stays as
    it is, as it is the words that are embedded.
    """
    text = _EDGES.sub("", _LINE_END.sub("\n", text)).strip()
    return _BLOCK.sub("\\\\", _OPENING.sub(_escaped, text))


def plain_inline(text: str, *, beside_media: bool = False) -> str:
    """Write plain text on one line.

    Args:
        text: The text.
        beside_media: Whether media stand in the same paragraph or table: an open backtick would
            make code of them, so all such signs are escaped.
    """
    text = " ".join(text.split())
    if beside_media:
        return _MARKS.sub(r"\\\g<0>", text)
    return _BLOCK.sub("\\\\", _OPENING.sub(_escaped, text))


def fenced(code: str, language: str = "") -> str:
    """Write a block of code, with a fence longer than any in it."""
    code = _LINE_END.sub("\n", code).strip("\n")
    fence = "`" * max(3, _longest_ticks(code) + 1)
    name = language if _LANGUAGE.fullmatch(language) else ""
    return f"{fence}{name}\n{code}\n{fence}"


def code_span(code: str) -> str:
    """Write code that stands in a line."""
    code = " ".join(code.split())
    ticks = "`" * (_longest_ticks(code) + 1)
    pad = " " if code.startswith("`") or code.endswith("`") else ""
    return f"{ticks}{pad}{code}{pad}{ticks}" if code else ""


def formula(latex: str) -> str:
    """Write a formula as a block of its own."""
    return f"$$\n{plain_markdown(latex)}\n$$"


def table_parts(
    header: Sequence[str | Sequence[_Part]], rows: Sequence[Sequence[str | Sequence[_Part]]]
) -> tuple[list[_Part], int]:
    """Write a GFM table.

    Args:
        header: A cell for each column: plain text, or Markdown and media in order.
        rows: The rows below it; cells that are missing are empty.

    Returns:
        What ``DocumentBuilder.add`` takes, and the characters of its header (``table_header``).
    """
    columns = max([len(header), *map(len, rows)])
    beside = any(
        isinstance(part, Media)
        for row in (header, *rows)
        for cell in row
        if not isinstance(cell, str)
        for part in cell
    )
    head = _row(header, columns, beside)
    dashes = "|" + " --- |" * columns
    parts = [*head, f"\n{dashes}"]
    # A header with a medium in it has no length yet, and is not repeated: its picture would be.
    length = sum(map(len, map(str, parts))) if all(isinstance(p, str) for p in parts) else 0
    for row in rows:
        parts += ["\n", *_row(row, columns, beside)]
    return _merged(parts), length


def _row(cells: Sequence[str | Sequence[_Part]], columns: int, beside: bool) -> list[_Part]:
    parts: list[_Part] = ["|"]
    for cell in [*cells, *[""] * (columns - len(cells))]:
        parts.append(" ")
        if isinstance(cell, str):
            parts.append(plain_inline(cell, beside_media=beside).replace("|", "\\|"))
        else:
            parts += [one.replace("|", "\\|") if isinstance(one, str) else one for one in cell]
        parts.append(" |")
    return parts


def _merged(parts: Sequence[_Part]) -> list[_Part]:
    """The same with neighbouring texts as one."""
    merged: list[_Part] = []
    texts: list[str] = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
        else:
            merged += ["".join(texts), part]
            texts = []
    return [*merged, "".join(texts)]


def _longest_ticks(text: str) -> int:
    return max(map(len, re.findall(r"`+", text)), default=0)


def _escaped(match: re.Match[str]) -> str:
    return "\\" * (2 * len(match[1]) + 1) + "!["
