"""One door to all readers: what a thing is decides who reads it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

from gemini2_core.content.chunking.document import JSON, Document
from gemini2_core.content.chunking.media_dir import MediaDir
from gemini2_core.content.chunking.policy import OnMissing
from gemini2_core.content.content import ContentLike
from gemini2_core.content.media import Media
from gemini2_core.content.media_types import HEAD_BYTES, normalize_mime_type, read_head, sniff
from gemini2_core.errors import InvalidInputError
from gemini2_core.model import DEFAULT_MODEL, Backend

if TYPE_CHECKING:
    from gemini2_core.content.chunking.pdf_reader import PdfMode

__all__ = ["read"]

_HTML_SUFFIXES = frozenset({".htm", ".html", ".xhtml"})
_HTML_TYPES = frozenset({"application/xhtml+xml", "text/html"})
_TEXT_SUFFIXES = _HTML_SUFFIXES | {
    ".json",
    ".jsonl",
    ".markdown",
    ".md",
    ".mdx",
    ".ndjson",
    ".rst",
    ".text",
    ".txt",
}
_HTML = re.compile(
    r"\ufeff?\s*(?:<\?xml[^>]{0,200}>\s*)?(?:<!--.{0,2000}?-->\s*){0,3}<(?:!doctype\s+html|html)[\s>]",
    re.IGNORECASE | re.DOTALL,
)
_SVG = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml|<!DOCTYPE\s+svg|<svg)", re.IGNORECASE)
_TAG = re.compile(r"<[A-Za-z!/]")


class _Links(TypedDict):
    """What every reader is told about media."""

    media_root: str | os.PathLike[str] | None
    media_dir: MediaDir | None
    on_missing: OnMissing
    mime_types: Collection[str] | None
    title: str | None
    metadata: Mapping[str, JSON] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Media:
    """How sound and film are cut."""

    window: float | None
    overlap: float
    model: str
    backend: Backend


def read(
    value: ContentLike,
    *,
    source: str | None = None,
    title: str | None = None,
    metadata: Mapping[str, JSON] | None = None,
    mime_type: str | None = None,
    media_root: str | os.PathLike[str] | None = None,
    base: str | os.PathLike[str] | None = None,
    media_dir: MediaDir | str | os.PathLike[str] | None = None,
    on_missing: OnMissing = "error",
    allow_remote: bool = False,
    mime_types: Collection[str] | None = None,
    pdf_mode: PdfMode = "auto",
    num_workers: int | None = None,
    window: float | None = None,
    window_overlap: float = 0.0,
    model: str = DEFAULT_MODEL,
    backend: Backend = Backend.GEMINI_API,
) -> Iterator[Document]:
    """Read anything that can be chunked.

    A ``Path`` or bytes are what their first bytes say: PDF, picture, sound, film, HTML, JSON of
    docling or unstructured, and any other text is Markdown. A str is never a path: it is
    Markdown, or HTML or such JSON if it begins as these do. A mapping or object of docling, and a
    list of unstructured's elements, are known by their shape; everything else that
    ``Content.of`` takes is content blocks.

    Args:
        value: What to read.
        source: Its name, for ids and errors; None takes the path, from ``media_root`` if it is in
            there, or the file name that is told inside.
        title: Title; None takes what the reader finds.
        metadata: What goes with every chunk.
        mime_type: What it is said to be. ``"text/html"`` makes HTML of a str; what a text is
            said to come from (``"application/pdf"``) doesn't matter.
        media_root: The only folder that links are read from; None refuses local links.
        base: Folder that relative links start from; None takes a file's own folder if it is in
            ``media_root``, and ``media_root`` otherwise.
        media_dir: Where embedded media are written, in ``media_root``.
        on_missing: What becomes of media that are missing or can't be read.
        allow_remote: Whether ``https:`` media are taken.
        mime_types: The media types that are taken (``readable_types``); None takes all.
        pdf_mode: How PDFs are read, as ``read_pdf``.
        num_workers: Processes that read PDFs.
        window: Seconds of the windows that sound and film are cut into, as ``read_media``.
        window_overlap: Seconds that they overlap.
        model: The model whose limits decide what is cut.
        backend: The service whose limits decide.

    Raises:
        InvalidInputError: It can't be read, or a medium is missing.
        ConfigurationError: Folders that don't fit each other, or embedded media and no
            ``media_dir``.
        MissingExtraError: Its reader needs an extra that isn't installed.
    """
    links = _Links(
        media_root=media_root,
        media_dir=MediaDir.of(media_dir),
        on_missing=on_missing,
        mime_types=mime_types,
        title=title,
        metadata=metadata,
    )
    media = _Media(window=window, overlap=window_overlap, model=model, backend=backend)
    reading = _Reading(links, base, allow_remote, pdf_mode, num_workers, media)
    return reading.read(value, source, mime_type)


class _Reading:
    """The options of one reading."""

    def __init__(
        self,
        links: _Links,
        base: str | os.PathLike[str] | None,
        allow_remote: bool,
        pdf_mode: PdfMode,
        num_workers: int | None,
        media: _Media,
    ) -> None:
        self._links = links
        self._base = base
        self._remote = allow_remote
        self._pdf_mode = pdf_mode
        self._num_workers = num_workers
        self._media = media

    def read(
        self, value: ContentLike, source: str | None, mime_type: str | None
    ) -> Iterator[Document]:
        if isinstance(value, str):
            return self._text(value, source, mime_type)
        if isinstance(value, os.PathLike):
            return self._file(Path(cast("os.PathLike[str]", value)), source, mime_type)
        if isinstance(value, bytes | bytearray | memoryview):
            return self._bytes(bytes(value), source, mime_type)
        if (
            isinstance(value, tuple)
            and len(value) == 2
            and isinstance(value[0], bytes | bytearray | memoryview)
            and isinstance(value[1], str)
        ):
            return self._bytes(bytes(value[0]), source, value[1])
        if isinstance(value, Media):
            return self._medium(value, source)
        export = getattr(value, "export_to_dict", None)  # a DoclingDocument itself
        return self._structure(export() if callable(export) else value, source)

    def _file(self, path: Path, source: str | None, mime_type: str | None) -> Iterator[Document]:
        source = source or self._name(path)
        if self._base is None:
            self._base = self._folder(path)
        suffix = path.suffix.lower()
        if suffix in _TEXT_SUFFIXES and path.is_file() and path.stat().st_size == 0:
            return self._text("", source, mime_type)
        head = read_head(path, source)
        kind = _kind(head, suffix)
        if kind == "application/pdf":
            return self._pdf(path, source)
        if kind.startswith("text/"):
            declared = mime_type or ("text/html" if suffix in _HTML_SUFFIXES else None)
            return self._encoded(path.read_bytes(), source, declared)
        return self._recording(path, source)

    def _bytes(self, data: bytes, source: str | None, mime_type: str | None) -> Iterator[Document]:
        declared = normalize_mime_type(mime_type) if mime_type else ""
        text = declared.startswith("text/") or declared in _HTML_TYPES
        kind = "text/plain" if text or not data else _kind(data[:HEAD_BYTES], "")
        if kind == "application/pdf":
            return self._pdf(data, source)
        if kind.startswith("text/"):
            return self._encoded(data, source, mime_type)
        return (
            self._blocks((data, mime_type), source) if mime_type else self._recording(data, source)
        )

    def _encoded(
        self, data: bytes, source: str | None, mime_type: str | None
    ) -> Iterator[Document]:
        """A text in bytes; HTML tells its own encoding."""
        if _is_html_type(mime_type) or _HTML.match(data[:4096].decode("latin-1")):
            return self._html(data, source)
        utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        try:
            text = data.decode("utf-16" if utf16 else "utf-8-sig")
        except UnicodeDecodeError as error:
            raise InvalidInputError(
                f"{source or 'the text'} isn't UTF-8: byte {error.start} is no character; decode "
                "it and pass the str"
            ) from None
        return self._text(text, source, mime_type)

    def _text(self, text: str, source: str | None, mime_type: str | None) -> Iterator[Document]:
        # What a loader has made of a page is text, though it says that it comes from HTML.
        if _HTML.match(text) or (_is_html_type(mime_type) and _TAG.search(text)):
            return self._html(text, source)
        structure = _structured(text)
        if structure is not None:
            return self._structure(structure, source)
        from gemini2_core.content.chunking.markdown_reader import read_markdown

        return read_markdown(
            text,
            source=source or "the text",
            base=self._base,
            allow_remote=self._remote,
            **self._links,
        )

    def _structure(self, value: object, source: str | None) -> Iterator[Document]:
        from gemini2_core.content.chunking.docling_reader import is_docling, read_docling
        from gemini2_core.content.chunking.unstructured_reader import (
            is_unstructured,
            read_unstructured,
        )

        if is_docling(value):
            return read_docling(
                cast("Mapping[str, object]", value),
                source=source,
                base=self._base,
                allow_remote=self._remote,
                **self._links,
            )
        if is_unstructured(value):
            return read_unstructured(
                cast("list[object]", value),
                source=source,
                base=self._base,
                allow_remote=self._remote,
                **self._links,
            )
        return self._blocks(value, source)

    def _html(self, html: str | bytes, source: str | None) -> Iterator[Document]:
        from gemini2_core.content.chunking.html_reader import read_html

        return read_html(
            html,
            source=source or "the page",
            base=self._base,
            allow_remote=self._remote,
            **self._links,
        )

    def _pdf(self, pdf: Path | bytes, source: str | None) -> Iterator[Document]:
        from gemini2_core.content.chunking.pdf_reader import read_pdf

        return read_pdf(
            pdf, mode=self._pdf_mode, num_workers=self._num_workers, source=source, **self._links
        )

    def _recording(self, medium: Path | bytes, source: str | None) -> Iterator[Document]:
        from gemini2_core.content.chunking.media_reader import read_media

        return read_media(
            medium,
            window=self._media.window,
            overlap=self._media.overlap,
            model=self._media.model,
            backend=self._media.backend,
            source=source,
            **self._links,
        )

    def _medium(self, media: Media, source: str | None) -> Iterator[Document]:
        whole = media.fragment is None and media.digest is None
        if whole and media.mime_type == "application/pdf" and not isinstance(media.source, str):
            return self._pdf(media.source, source or media.alt or None)
        return self._blocks(media, source)

    def _blocks(self, value: object, source: str | None) -> Iterator[Document]:
        from gemini2_core.content.chunking.blocks_reader import read_blocks

        return read_blocks(
            value,
            source=source or "",
            base=self._base,
            allow_remote=self._remote,
            window=self._media.window,
            window_overlap=self._media.overlap,
            model=self._media.model,
            backend=self._media.backend,
            **self._links,
        )

    def _name(self, path: Path) -> str:
        """A file's name from ``media_root``, so that ids are the same on every machine."""
        folder = self._folder(path)
        if folder is None or self._links["media_root"] is None:
            return str(path)
        root = os.path.realpath(self._links["media_root"])
        return (folder.relative_to(root) / path.name).as_posix()

    def _folder(self, path: Path) -> Path | None:
        """The folder of a file in ``media_root``."""
        if self._links["media_root"] is None:
            return None
        folder = Path(os.path.realpath(path.parent))
        inside = folder.is_relative_to(os.path.realpath(self._links["media_root"]))
        return folder if inside else None


def _kind(head: bytes, suffix: str) -> str:
    """The type of what begins with ``head``; "" if it can't be told."""
    kind = sniff(head) or ""
    if kind == "image/svg+xml" and suffix != ".svg":
        # A page or a README may have a drawing in it; <svg> at the beginning is one.
        drawing = _SVG.match(head) and not _HTML.match(head.decode("latin-1"))
        kind = kind if drawing and suffix not in _TEXT_SUFFIXES else "text/plain"
    return "text/plain" if not kind and suffix in _TEXT_SUFFIXES else kind


def _is_html_type(mime_type: str | None) -> bool:
    return mime_type is not None and mime_type.partition(";")[0].strip().lower() in _HTML_TYPES


def _structured(text: str) -> object:
    """What docling's or unstructured's JSON holds; None for any other text."""
    head = text[:4096].lstrip("\ufeff \t\r\n")
    docling = head.startswith("{") and '"self_ref"' in text and '"body"' in text
    if not docling and not (head.startswith(("[", "{")) and '"element_id"' in text):
        return None
    from gemini2_core.content.chunking.docling_reader import is_docling
    from gemini2_core.content.chunking.unstructured_reader import is_unstructured

    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError):
        try:  # an element a line, as elements_to_ndjson writes them
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
        except (ValueError, RecursionError):
            return None
    return found if is_docling(found) or is_unstructured(found) else None
