"""From a PDF to documents: its pages as they are, or their text with the pictures in place."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeAlias

from gemini2_core.content.chunking.document import (
    JSON,
    Document,
    DocumentBuilder,
    ElementKind,
)
from gemini2_core.content.chunking.media_dir import MediaDir
from gemini2_core.content.chunking.pdf_extract import (
    MAX_PIXELS,
    ExtractError,
    PdfFigure,
    PdfPage,
)
from gemini2_core.content.chunking.pdf_layout import PdfBlock, body_size, page_blocks
from gemini2_core.content.chunking.pdf_workers import PdfText, open_pdf
from gemini2_core.content.chunking.policy import MediaPolicy, OnMissing, refer
from gemini2_core.content.chunking.writing import plain_inline, plain_markdown
from gemini2_core.content.fragments import Fragment
from gemini2_core.content.media import Media
from gemini2_core.errors import (
    ConfigurationError,
    InvalidInputError,
    MissingExtraError,
)

__all__ = ["PdfMode", "read_pdf"]

#: How a PDF is read.
PdfMode: TypeAlias = Literal["pages", "text+figures", "auto"]

#: Pages of one Document.
_GROUP = 16
#: Most pages of a PDF; a longer one is made to harm, or should be split.
_MAX_PAGES = 50_000
#: Missing pages in a row after which the others are taken to be missing too.
_MAX_MISSING = 100
#: Pages whose running text is looked at first.
_LOOKED_AT = 8
#: Letters and digits below which a page with something else on it has no text layer.
_THIN = 50
#: Share of a page that a picture covers where the page is a scan.
_SCANNED = 0.75
#: Share of a text layer's characters that can't be read in one that is of no use.
_GARBLED = 0.2
#: Share of a page's height at top and bottom where running heads stand.
_MARGIN = 0.12


def read_pdf(
    pdf: str | os.PathLike[str] | bytes,
    *,
    mode: PdfMode = "auto",
    num_workers: int | None = None,
    min_figure: float = 20.0,
    source: str | None = None,
    media_root: str | os.PathLike[str] | None = None,
    media_dir: MediaDir | str | os.PathLike[str] | None = None,
    on_missing: OnMissing = "error",
    mime_types: Collection[str] | None = None,
    title: str | None = None,
    metadata: Mapping[str, JSON] | None = None,
) -> Iterator[Document]:
    """Read a PDF, 16 pages at a time, so that memory doesn't grow with its length.

    ``"pages"``: each page is a reference (``manual.pdf#page=3``) that the model reads itself.
    ``"text+figures"``: the text layer, with headings by bookmarks or size of letters, and the
    embedded pictures where they stand, tied to their captions ("Figure 3: …"). Drawings made of
    lines aren't pictures: read such pages as pages. ``"auto"`` decides page by page: a page
    without a text layer, with a garbled one, or scanned (one picture covers it) is a reference,
    any other is text and figures; an empty page is left out.

    A picture that stood at the same place in the top or bottom margin of an earlier page is a
    running head, and is left out from the second time on. Pictures partly made of transparency
    or turned come as PNG, upright JPEGs as they are embedded.

    Args:
        pdf: A path, or the bytes.
        mode: As above.
        num_workers: Processes that read the text. None is one, or up to four for a long PDF;
            0 reads in this process, without their bounds on time (30 s a page) and memory (1.5 GB).
        min_figure: Points; a picture with a shorter side is a bullet or a line, and left out.
        source: Name for ids and errors; None is the path.
        media_root: The folder that chunks' links are relative to.
        media_dir: Where embedded pictures are written, and a PDF that comes as bytes.
        on_missing: What becomes of pages and pictures that are damaged.
        mime_types: Types that are taken.
        title: Title of the document; None is the one in the PDF.
        metadata: What goes with every chunk.

    Raises:
        InvalidInputError: Damaged, or locked by a password; with ``on_missing="error"`` also a
            damaged page or picture. The message names the page.
        MediaNotFoundError: The file isn't there.
        ConfigurationError: An unknown mode, or pictures and no ``media_dir``.
        MissingExtraError: pypdfium2 or Pillow isn't installed (mode ``"pages"`` needs neither).
    """
    if mode not in ("pages", "text+figures", "auto"):
        raise ConfigurationError(f"mode is 'pages', 'text+figures' or 'auto', not {mode!r}")
    if num_workers is not None and num_workers < 0:
        raise ConfigurationError(f"num_workers={num_workers} is below 0")
    path = None if isinstance(pdf, bytes) else Path(pdf)
    policy = MediaPolicy(
        source=source if source is not None else str(path or ""),
        media_root=media_root,
        media_dir=media_dir,
        on_missing=on_missing,
        mime_types=mime_types,
    )
    reading = _Reading(pdf if isinstance(pdf, bytes) else Path(pdf), policy, title, metadata)
    if mode == "pages":
        yield from reading.pages()
    else:
        yield from reading.text(mode, num_workers, min_figure)


class _Reading:
    """One PDF that is being read."""

    def __init__(
        self,
        source: Path | bytes,
        policy: MediaPolicy,
        title: str | None,
        metadata: Mapping[str, JSON] | None,
    ) -> None:
        self._source = source
        self._policy = policy
        self._title = title
        self._metadata = metadata
        self._whole: Media | None = None
        self._offset = 0
        self._headings: list[tuple[int, str]] = []
        self._heads: set[tuple[object, ...]] = set()

    def pages(self) -> Iterator[Document]:
        """Every page as a reference."""
        whole = self._medium()
        if whole is None:
            return
        try:
            count = whole.measure().pages or 0
        except InvalidInputError as error:
            self._problem(error.message)
            return
        if self._too_long(count):
            return
        for first in range(1, count + 1, _GROUP):
            builder = self._builder()
            for number in range(first, min(first + _GROUP, count + 1)):
                self._add_page(builder, number)
            yield self._built(builder)

    def text(self, mode: PdfMode, num_workers: int | None, min_figure: float) -> Iterator[Document]:
        """Text and pictures, or a page's reference where that is better."""
        for package in ("pypdfium2", "PIL"):
            if find_spec(package) is None:
                raise MissingExtraError(
                    f"reading the text of a PDF (mode {mode!r})",
                    extra="documents",
                    package="pillow" if package == "PIL" else package,
                )
        if isinstance(self._source, Path):
            self._medium()  # that it is a PDF and may be read
        try:
            opened = open_pdf(self._source, num_workers=num_workers)
        except ExtractError as error:
            self._problem(str(error))
            return
        try:
            if self._too_long(opened.pages):
                return
            if self._title is None:
                self._title = opened.title.strip() or None
            yield from self._groups(opened, mode, min_figure)
        finally:
            opened.close()

    def _groups(self, opened: PdfText, mode: PdfMode, min_figure: float) -> Iterator[Document]:
        outline: dict[int, list[tuple[int, str]]] = {}
        for level, text, target in opened.outline:
            outline.setdefault(target, []).append((level, text))
        body = 0.0
        group: list[PdfPage] = []
        missing = 0
        numbers = range(1, opened.pages + 1)
        for number, found in enumerate(opened.read(numbers, smallest=min_figure), start=1):
            if isinstance(found, ExtractError):
                self._problem(str(found), number)
                missing += 1
            else:
                group.append(found)
                missing = 0
            last = number == opened.pages or missing == _MAX_MISSING
            if len(group) < _GROUP and not last:
                continue
            body = body or body_size(group[:_LOOKED_AT])
            builder = self._builder()
            for one in group:
                self._add(builder, one, mode, body, outline.get(one.number, []))
            group = []
            if builder.length:
                yield self._built(builder)
            if last:
                return

    def _add(
        self,
        builder: DocumentBuilder,
        page: PdfPage,
        mode: PdfMode,
        body: float,
        outline: list[tuple[int, str]],
    ) -> None:
        if mode == "auto" and _better_as_page(page):
            self._add_page(builder, page.number)
            return
        for block in page_blocks(page, body=body, outline=outline):
            if block.figure is None:
                self._add_text(builder, block, page.number)
            elif not self._running_head(page, block.figure):
                self._add_figure(builder, block, block.figure, page.number)

    def _add_text(self, builder: DocumentBuilder, block: PdfBlock, page: int) -> None:
        heading = None
        if block.kind is ElementKind.HEADING:
            heading = block.text[:1000]
            text = f"{'#' * block.level} {plain_inline(block.text)}"
            self._headings = [one for one in self._headings if one[0] < block.level]
            self._headings.append((block.level, heading))
        else:
            text = plain_markdown(block.text)
        builder.add(
            block.kind,
            text,
            level=block.level,
            heading=heading,
            page=page,
            bbox=block.box,
            keep_with=block.keep_with,
        )

    def _add_figure(
        self, builder: DocumentBuilder, block: PdfBlock, figure: PdfFigure, page: int
    ) -> None:
        media: Media | None = None
        if figure.error:
            self._problem(figure.error, page)
        else:
            try:
                found = Media.from_bytes(figure.data).measure()
                if (found.width or 0) * (found.height or 0) > MAX_PIXELS:
                    raise InvalidInputError(
                        f"a picture of {found.width} x {found.height} pixels is too large"
                    )
            except InvalidInputError as error:
                self._problem(error.message, page)
            else:
                try:
                    media = self._policy.embedded(figure.data, figure.mime_type, alt=block.label)
                except InvalidInputError as error:
                    error.message += f" (page {page})"
                    raise
        if media is not None:
            builder.add(
                ElementKind.MEDIA, media, page=page, bbox=block.box, keep_with=block.keep_with
            )

    def _add_page(self, builder: DocumentBuilder, number: int) -> None:
        whole = self._medium()
        if whole is not None:
            media = replace(whole, fragment=Fragment("page", number))
            builder.add(ElementKind.MEDIA, media, page=number)

    def _running_head(self, page: PdfPage, figure: PdfFigure) -> bool:
        _, top, _, bottom = figure.box
        margin = _MARGIN * page.height
        if bottom > margin and top < page.height - margin:
            return False
        key = (figure.box, len(figure.data), hash(figure.data))
        if key in self._heads:
            return True
        self._heads.add(key)
        return False

    def _medium(self) -> Media | None:
        """The PDF itself."""
        if self._whole is None:
            if isinstance(self._source, bytes):
                self._whole = self._policy.embedded(self._source, "application/pdf")
            else:
                self._whole = refer(self._source, "application/pdf")
        return self._whole

    def _too_long(self, pages: int) -> bool:
        if pages > _MAX_PAGES:
            self._problem(f"it says that it has {pages:,} pages, {_MAX_PAGES:,} are read at most")
        return pages > _MAX_PAGES

    def _problem(self, message: str, page: int | None = None) -> None:
        if self._policy.on_missing == "error":
            where = self._policy.source or "the PDF"
            where = where if page is None else f"{where}, page {page}"
            raise InvalidInputError(f"{where}: {message}")

    def _builder(self) -> DocumentBuilder:
        return DocumentBuilder(
            source=self._policy.source,
            title=self._title,
            metadata=self._metadata,
            media_root=self._policy.link_root,
            offset=self._offset,
            open_headings=self._headings,
        )

    def _built(self, builder: DocumentBuilder) -> Document:
        self._offset += builder.length
        return builder.build()


def _better_as_page(page: PdfPage) -> bool:
    """Whether the model reads more from the page than its text layer tells."""
    if not page.painted:
        return False
    text = "".join(line.text for line in page.lines)
    if sum(map(str.isalnum, text)) < _THIN:
        return True
    garbled = sum(char == "\ufffd" or "\ue000" <= char <= "\uf8ff" for char in text)
    if garbled > _GARBLED * len(text):
        return True
    whole = page.width * page.height
    return any(
        (right - left) * (bottom - top) >= _SCANNED * whole
        for left, top, right, bottom in (figure.box for figure in page.figures)
    )
