"""The form that every reader produces: Markdown text, its elements in reading order, its media."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias

from gemini2_core.content.markdown import render_link
from gemini2_core.content.media import Media, is_files_api
from gemini2_core.content.paths import link_to
from gemini2_core.errors import MediaAccessError

__all__ = [
    "JSON",
    "BBox",
    "Document",
    "DocumentBuilder",
    "Element",
    "ElementKind",
    "KeepWith",
    "Placed",
    "link_target",
    "plain_heading",
]

JSON: TypeAlias = "str | int | float | bool | Sequence[JSON] | Mapping[str, JSON] | None"
#: Left, top, right, bottom in points; the origin is the page's top left corner.
BBox: TypeAlias = tuple[float, float, float, float]
#: What an element must not be parted from.
KeepWith: TypeAlias = Literal["none", "next", "previous"]

_FILES_HOST = "https://generativelanguage.googleapis.com/v1beta/"
_HEADING_SIGNS = re.compile(r"^[ \t]*#{1,6}[ \t]+|[ \t]+#+[ \t]*$")
_PLAIN_PATH = re.compile(r"(?:(?!\.\./)[A-Za-z0-9_.-]+/)*[A-Za-z0-9_-][A-Za-z0-9_.-]*")
_MARKS = re.compile(r"(`+|\*\*?|__|~~)(.+?)\1")


class ElementKind(StrEnum):
    """What an element of a document is."""

    HEADING = "heading"
    PARAGRAPH = "paragraph"
    LIST_ITEM = "list_item"
    TABLE = "table"
    CODE = "code"
    MEDIA = "media"
    CAPTION = "caption"
    FORMULA = "formula"
    RULE = "rule"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Placed:
    """A medium and where its link stands.

    Attributes:
        start: Position of the link in ``Document.text``, in characters.
        end: Position after it.
        media: The medium; its ``alt`` is the link's.
    """

    start: int
    end: int
    media: Media


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """A piece of a document that reads as one: a paragraph, a list item, a table, a picture.

    Attributes:
        kind: What it is.
        start: Where it begins in ``Document.text``, in characters.
        end: Where the next one begins; the blank lines behind an element belong to it.
        links: The media whose links stand inside, in order.
        level: Level of a heading, from 1; 0 for anything else.
        heading: Plain text of a heading; "" for anything else.
        page: Page that it stands on, from 1.
        bbox: Where on the page.
        seconds: Start and end in the recording that it comes from.
        keep_with: A caption, its picture and the sentence that leads to it aren't parted: the
            caption under a picture keeps with ``"previous"``, one over it with ``"next"``.
        table_header: Characters, from ``start``, of the table's header (the head row and the row
            of dashes), repeated where a table must be split.
    """

    kind: ElementKind
    start: int
    end: int
    links: tuple[Placed, ...] = ()
    level: int = 0
    heading: str = ""
    page: int | None = None
    bbox: BBox | None = None
    seconds: tuple[float, float] | None = None
    keep_with: KeepWith = "none"
    table_header: int = 0

    @property
    def media(self) -> tuple[Media, ...]:
        """Its media, in order."""
        return tuple(link.media for link in self.links)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One text with its media, or a piece of one that is too long to be held whole.

    Attributes:
        text: Markdown, media as links.
        elements: In reading order and without gaps: each starts where the one before it ends, the
            first at 0, the last ends at ``len(text)``. None are in an empty text.
        source: Where it comes from: a path or a name. Part of the ids of its chunks.
        title: Title of the whole, the root of its heading trail; None if it has none.
        metadata: What goes with every chunk.
        media_root: The folder that chunks write their links relative to, and that the embedder is
            given; None writes absolute paths.
        offset: Where ``text`` begins in the source's whole text, in characters.
        open_headings: Level and text of the headings that ``text`` begins under.
        parsed: True if the elements are the blocks of ``text`` as Markdown reads them, and the
            links all that it has.
    """

    text: str
    elements: tuple[Element, ...]
    source: str
    title: str | None = None
    metadata: Mapping[str, JSON] = field(default_factory=lambda: MappingProxyType({}))
    media_root: Path | None = None
    offset: int = 0
    open_headings: tuple[tuple[int, str], ...] = ()
    parsed: bool = False

    def __post_init__(self) -> None:
        position = 0
        for element in self.elements:
            if element.start != position or element.end < element.start:
                raise ValueError(f"{element.kind} at {element.start} should start at {position}")
            position = element.end
        if position != len(self.text):
            raise ValueError(f"the elements end at {position}, the text at {len(self.text)}")

    @property
    def links(self) -> tuple[Placed, ...]:
        """All media and where they stand, in order."""
        return tuple(link for element in self.elements for link in element.links)

    @property
    def media(self) -> tuple[Media, ...]:
        """All media, in order."""
        return tuple(link.media for link in self.links)


class DocumentBuilder:
    """Puts a document together, element by element, and keeps account of where everything is.

    Args:
        source: As ``Document.source``.
        title: As ``Document.title``.
        metadata: As ``Document.metadata``.
        media_root: As ``Document.media_root``; the links are written relative to it.
        offset: As ``Document.offset``.
        open_headings: As ``Document.open_headings``.
    """

    def __init__(
        self,
        *,
        source: str,
        title: str | None = None,
        metadata: Mapping[str, JSON] | None = None,
        media_root: Path | None = None,
        offset: int = 0,
        open_headings: Sequence[tuple[int, str]] = (),
    ) -> None:
        self._source = source
        self._title = title
        self._metadata = dict(metadata or {})
        self._media_root = media_root
        self._offset = offset
        self._open_headings = tuple(open_headings)
        self._pieces: list[str] = []
        self._elements: list[Element] = []
        self._length = 0

    def add(
        self,
        kind: ElementKind,
        *parts: str | Media,
        level: int = 0,
        heading: str | None = None,
        page: int | None = None,
        bbox: BBox | None = None,
        seconds: tuple[float, float] | None = None,
        keep_with: KeepWith = "none",
        table_header: int = 0,
        behind: str = "\n\n",
    ) -> None:
        r"""Add an element.

        Args:
            kind: What it is.
            parts: Its Markdown without media links, and its media, in order. A text for a
                heading comes with its ``#``.
            level: Level of a heading; 0 takes it from the number of ``#``.
            heading: Plain text of a heading; None takes it from its Markdown.
            page: As in ``Element``, like the next four.
            bbox: Where on the page.
            seconds: When in the recording.
            keep_with: What it mustn't be parted from.
            table_header: Characters of the header of a table.
            behind: What separates it from what follows: ``"\n"`` between the items of a list.
        """
        start = self._length
        links: list[Placed] = []
        texts: list[str] = []
        for part in parts:
            text = part if isinstance(part, str) else self._link(part)
            if not isinstance(part, str):
                links.append(Placed(self._length, self._length + len(text), part))
            texts.append(text)
            self._length += len(text)
        if not any(texts):
            return
        self._pieces += [*texts, behind]
        self._length += len(behind)
        if kind is ElementKind.HEADING:
            text = "".join(texts).strip()
            level = level or min(6, len(text) - len(text.lstrip("#"))) or 1
            heading = plain_heading(text) if heading is None else heading
        self._elements.append(
            Element(
                kind=kind,
                start=start,
                end=self._length,
                links=tuple(links),
                level=level,
                heading=heading or "",
                page=page,
                bbox=bbox,
                seconds=seconds,
                keep_with=keep_with,
                table_header=table_header,
            )
        )

    @property
    def length(self) -> int:
        """Characters so far."""
        return self._length

    def build(self) -> Document:
        """The document as it is now."""
        return Document(
            text="".join(self._pieces),
            elements=tuple(self._elements),
            source=self._source,
            title=self._title,
            metadata=MappingProxyType(self._metadata),
            media_root=self._media_root,
            offset=self._offset,
            open_headings=self._open_headings,
        )

    def _link(self, media: Media) -> str:
        return render_link(media.alt, link_target(media, self._media_root), media.digest or "")


def link_target(media: Media, media_root: Path | None) -> str:
    """What a link to ``media`` has in its parentheses, fragment included.

    A file under ``media_root`` is named relative to it, any other by its absolute path, which an
    embedder reads if its own ``media_root`` holds it.
    """
    if isinstance(media.source, Path):
        target = _path_target(media.source, media_root)
    elif isinstance(media.source, str):
        whole = "://" in media.source or not is_files_api(media.source)
        target = media.source if whole else _FILES_HOST + media.source
    else:
        target = f"data:{media.mime_type};base64,{base64.b64encode(media.source).decode()}"
    return f"{target}#{media.fragment}" if media.fragment else target


def plain_heading(markdown: str) -> str:
    """A heading's text on one line, without its signs, emphasis and code marks."""
    text = " ".join(_HEADING_SIGNS.sub("", markdown).split())[:1000]
    return _MARKS.sub(r"\2", text)


def _path_target(path: Path, media_root: Path | None) -> str:
    if media_root is not None:
        name, root = str(path), _real_root(media_root)
        # Readers name files by their real paths, which needn't be looked up again and again.
        if name.startswith(root) and _PLAIN_PATH.fullmatch(name, len(root)):
            return name[len(root) :]
        try:
            return link_to(path, media_root)
        except MediaAccessError:
            pass
    absolute = path.absolute()
    # From "/" the link is the absolute path without its first slash.
    return f"/{link_to(absolute, Path(absolute.anchor))}"


@lru_cache(maxsize=64)
def _real_root(media_root: Path) -> str:
    return os.path.join(os.path.realpath(media_root), "")  # noqa: PTH118 - ends with a slash
