"""Reads content blocks and lists of parts: texts as Markdown, media between them, in order."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from gemini2_core.content.chunking.document import (
    JSON,
    Document,
    DocumentBuilder,
    Element,
    ElementKind,
    Placed,
)
from gemini2_core.content.chunking.markdown_reader import read_markdown
from gemini2_core.content.chunking.media_dir import MediaDir
from gemini2_core.content.chunking.media_reader import read_media
from gemini2_core.content.chunking.policy import MediaPolicy, OnMissing
from gemini2_core.content.chunking.writing import Place, Writer, plain_markdown
from gemini2_core.content.content import Content, ContentLike
from gemini2_core.content.markdown import find_media_links
from gemini2_core.content.media import Media
from gemini2_core.errors import ConfigurationError, InvalidInputError
from gemini2_core.model import DEFAULT_MODEL, Backend, Modality

__all__ = ["read_blocks"]

_MEDIA_BLOCKS = frozenset(
    {"audio", "document", "file", "image", "image_url", "input_audio", "media", "video"}
)

_Part = str | Media


def read_blocks(
    value: ContentLike,
    *,
    source: str = "",
    title: str | None = None,
    metadata: Mapping[str, JSON] | None = None,
    markdown: bool = True,
    media_root: str | os.PathLike[str] | None = None,
    base: str | os.PathLike[str] | None = None,
    media_dir: MediaDir | str | os.PathLike[str] | None = None,
    on_missing: OnMissing = "error",
    allow_remote: bool = False,
    mime_types: Collection[str] | None = None,
    window: float | None = None,
    window_overlap: float = 0.0,
    model: str = DEFAULT_MODEL,
    backend: Backend = Backend.GEMINI_API,
) -> Iterator[Document]:
    """Read what ``Content.of`` takes, as one document.

    Texts are read as Markdown, each for itself, so that headings, tables and the media linked in
    them are seen; a text that leaves code or HTML open, in which the media behind it would be
    lost, is taken as plain text. A medium between two texts stands on a line of its own. Sound,
    film and PDFs that are longer than the model takes become references to their parts.

    Held bytes are written to ``media_dir``. So are files that no link can name because they lie
    outside ``media_root``; without a ``media_dir`` they keep their absolute path, which an
    embedder reads only if its own ``media_root`` holds it.

    Args:
        value: Blocks of LangChain, LlamaIndex or google-genai, Media, Path, ``(bytes,
            mime_type)``, Content or str; one, or a list of them.
        source: Name for ids and errors.
        title: Title of the document; None takes that of a Content.
        metadata: What goes with every chunk.
        markdown: Whether texts are Markdown; False takes them as plain text.
        media_root: As ``MediaPolicy``, like the rest.
        base: Folder that relative links in texts start from.
        media_dir: Where held bytes are written.
        on_missing: What becomes of media that are missing or can't be read.
        allow_remote: Whether ``https:`` media are taken.
        mime_types: The types that are taken.
        window: Seconds of the parts of sound and film, as ``read_media``.
        window_overlap: Seconds that they overlap.
        model: The model whose limits hold.
        backend: The service whose limits hold.

    Raises:
        InvalidInputError: Something that is no content, or a medium that is missing
            (``on_missing="error"``); names its position.
        ConfigurationError: Held bytes and no ``media_dir``.
    """
    policy = MediaPolicy(
        source=source or "the blocks",
        media_root=media_root,
        base=base,
        media_dir=media_dir,
        on_missing=on_missing,
        allow_remote=allow_remote,
        mime_types=mime_types,
    )
    if title is None and isinstance(value, Content):
        title = value.title
    parts: list[str | Element] = []
    for part in _parts(value, policy):
        if isinstance(part, str):
            parts.append(part)
        else:
            parts += _cut(part, policy, window, window_overlap, model, backend)

    def put(as_markdown: bool) -> Document:
        builder = DocumentBuilder(
            source=source, title=title, metadata=metadata, media_root=policy.link_root
        )
        writer = Writer(builder)
        for part in parts:
            if isinstance(part, Element):
                place = Place(part.page, part.bbox, part.seconds)
                writer.add(ElementKind.MEDIA, part.media, place)
            elif as_markdown:
                for document in read_markdown(
                    part,
                    source=policy.source,
                    media_root=media_root,
                    base=base,
                    media_dir=policy.media_dir,
                    on_missing=on_missing,
                    allow_remote=allow_remote,
                    mime_types=mime_types,
                ):
                    writer.copy(document)
            else:
                writer.add(ElementKind.PARAGRAPH, [plain_markdown(part)], Place())
        writer.finish()
        return builder.build()

    document = put(markdown)
    if markdown and not _reads_back(document):
        document = put(False)
    yield document


def _cut(
    media: Media,
    policy: MediaPolicy,
    window: float | None,
    overlap: float,
    model: str,
    backend: Backend,
) -> Iterator[Element]:
    """A medium as an element, or several if it is longer than the model takes."""
    path = media.source
    if not isinstance(path, Path) or media.fragment or media.modality is Modality.IMAGE:
        yield _element(media, None, None)
        return
    for document in read_media(
        path,
        window=window,
        overlap=overlap,
        source=policy.source,
        media_root=policy.media_root,
        media_dir=policy.media_dir,
        on_missing=policy.on_missing,
        mime_types=policy.mime_types,
        model=model,
        backend=backend,
    ):
        for element in document.elements:
            for part in element.media:
                named = replace(
                    part,
                    mime_type=media.mime_type,
                    alt=media.alt,
                    digest=media.digest or part.digest,
                )
                yield _element(named, element.page, element.seconds)


def _element(media: Media, page: int | None, seconds: tuple[float, float] | None) -> Element:
    return Element(
        kind=ElementKind.MEDIA,
        start=0,
        end=0,
        links=(Placed(0, 0, media),),
        page=page,
        seconds=seconds,
    )


def _reads_back(document: Document) -> bool:
    """True if the embedder finds the media that were put in, and no others."""
    found = [(link.start, link.end) for link in find_media_links(document.text)]
    return found == [(link.start, link.end) for link in document.links]


def _parts(value: ContentLike, policy: MediaPolicy) -> Iterator[_Part]:
    """Texts and media, each medium where a link can name it."""
    many = isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)
    if many and not _is_typed_bytes(value):
        for position, one in enumerate(cast("Sequence[object]", value)):
            try:
                yield from _parts(one, policy)
            except (InvalidInputError, ConfigurationError) as error:
                error.message = f"part {position}: {error.message}"
                raise
        return
    try:
        content = Content.of(value, allow_remote=policy.allow_remote)
    except InvalidInputError:
        # A medium may be missing; what is no medium at all is a mistake.
        if policy.on_missing == "error" or not _holds_medium(value):
            raise
        return
    for part in content.parts:
        if isinstance(part, str):
            yield part
        else:
            media = _placed(part, policy)
            yield policy.instead(part.alt) if media is None else media


def _placed(media: Media, policy: MediaPolicy) -> Media | None:
    """A medium as a link can name it; None if it is missing."""
    if isinstance(media.source, str):
        target = f"{media.source}#{media.fragment}" if media.fragment else media.source
        return policy.link(
            target, alt=media.alt, title=media.digest or "", mime_type=media.mime_type or None
        )
    if isinstance(media.source, Path) and not _must_move(media.source, policy):
        return policy.given(media)
    try:
        whole = Media(media.source, media.mime_type).read()
    except InvalidInputError:
        if policy.on_missing == "error":
            raise
        return None
    kept = policy.embedded(whole, media.mime_type, alt=media.alt)
    if kept is None:
        return None
    return Media(kept.source, kept.mime_type, media.fragment, kept.alt, media.digest or kept.digest)


def _must_move(path: Path, policy: MediaPolicy) -> bool:
    """True for a file that no link can name, if there is a folder to move it to."""
    if policy.media_dir is None:
        return False
    root = policy.link_root
    return root is None or not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def _holds_medium(value: object) -> bool:
    """True for what names or holds a medium, readable or not."""
    if isinstance(value, os.PathLike | bytes | bytearray | memoryview) or _is_typed_bytes(value):
        return True
    if isinstance(value, Mapping):
        return value.get("type") in _MEDIA_BLOCKS or "inline_data" in value or "file_data" in value
    return getattr(value, "block_type", None) in _MEDIA_BLOCKS or hasattr(value, "inline_data")


def _is_typed_bytes(value: object) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and isinstance(value[0], bytes | bytearray | memoryview)
        and isinstance(value[1], str)
    )
