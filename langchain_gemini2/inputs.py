"""What LangChain calls content, as what the core can embed: messages, documents, blobs, URIs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote, urlsplit

from gemini2_core.content import Content, ContentLike, Media
from gemini2_core.errors import Gemini2Error, InvalidInputError
from gemini2_core.model import Modality

if TYPE_CHECKING:
    from langchain_core.documents import Document
    from langchain_core.documents.base import Blob
    from langchain_core.messages import BaseMessage

__all__ = ["Embeddable", "contents_of", "media_of"]

#: What ``embed_contents`` takes: anything ``Content.of`` takes, and LangChain's own classes.
Embeddable: TypeAlias = "ContentLike | BaseMessage | Document | Blob"

_METHODS = {
    Modality.IMAGE: "embed_image",
    Modality.AUDIO: "embed_audio",
    Modality.VIDEO: "embed_video",
    Modality.DOCUMENT: "embed_pdf",
}


def contents_of(
    values: Sequence[Embeddable], titles: Sequence[str | None] | None
) -> tuple[list[ContentLike], Sequence[str | None] | None]:
    """Contents and their titles; a ``Document`` brings ``metadata["title"]`` if none is given.

    A message is its content blocks, in LangChain's standard form whatever the provider's.
    """
    from langchain_core.documents import Document
    from langchain_core.documents.base import Blob
    from langchain_core.messages import BaseMessage

    if isinstance(values, (str, bytes, os.PathLike, BaseMessage, Document, Blob)):
        raise InvalidInputError(
            f"a list of contents is wanted, not one {type(values).__name__}: put it in [ ]"
        )
    contents: list[ContentLike] = []
    found: list[str | None] = []
    for index, value in enumerate(values):
        title = None
        if isinstance(value, BaseMessage):
            contents.append(value.content_blocks)
        elif isinstance(value, Document):
            contents.append(value.page_content)
            title = value.metadata.get("title")
        elif isinstance(value, Blob):
            try:
                contents.append(_blob(value))
            except Gemini2Error as error:
                raise error.at(index) from error.__cause__
        else:
            contents.append(value)
        found.append(title if isinstance(title, str) else None)
    if titles is None and any(found):
        titles = found
    return contents, titles


def media_of(
    uris: Iterable[str | os.PathLike[str] | bytes | Media],
    modality: Modality,
    *,
    allow_remote: bool,
) -> list[Content]:
    """Media of one modality, each a content of its own.

    Args:
        uris: Each a local path (the caller's own: it may lie anywhere, and may end in ``#page=3``
            or ``#t=10,30``), a ``file:``, ``data:``, ``gs:`` or ``https:`` URI, a file of the
            Files API (``files/…``), bytes, or a ``Media``.
        modality: What they must be.
        allow_remote: Whether ``https:`` URIs may be fetched.

    Raises:
        InvalidInputError: Not there, unreadable, or of another modality; it names the position.
    """
    if isinstance(uris, (str, bytes, os.PathLike, Media)):
        raise InvalidInputError(
            f"a list of paths or URIs is wanted, not one {type(uris).__name__}: put it in [ ]"
        )
    contents: list[Content] = []
    for index, uri in enumerate(uris):
        try:
            media = _media(uri, allow_remote)
            # What an https: URI is may only be known when it has been fetched.
            told = media.mime_type or media.by_service
            if told and media.modality is not modality:
                raise InvalidInputError(
                    f"{media.name} is {media.mime_type}: use {_METHODS[media.modality]}"
                )
            contents.append(Content.of(media, allow_remote=allow_remote))
        except Gemini2Error as error:
            raise error.at(index) from error.__cause__
    return contents


def _media(uri: str | os.PathLike[str] | bytes | Media, allow_remote: bool) -> Media:
    if isinstance(uri, Media):
        return uri
    if isinstance(uri, bytes):
        return Media.from_bytes(uri)
    if isinstance(uri, os.PathLike):
        return Media.from_path(uri)
    if not isinstance(uri, str):
        raise InvalidInputError(f"a path or URI is wanted, not {type(uri).__name__}")
    if uri[:5].lower() == "file:":
        parts = urlsplit(uri)
        uri = unquote(parts.path) + (f"#{parts.fragment}" if parts.fragment else "")
    elif _is_reference(uri):
        return Media.from_uri(uri, allow_remote=allow_remote)
    path, mark, fragment = uri.rpartition("#")
    if mark and "=" in fragment and not Path(uri).exists():
        return Media.from_path(path, fragment=fragment)
    return Media.from_path(uri)


def _is_reference(uri: str) -> bool:
    """True for what is no local path; ``files/pump.png`` is one, ``files/abc123`` isn't."""
    if uri[:5].lower() == "data:" or "://" in uri:
        return True
    name = uri.removeprefix("files/")
    return name != uri and name.replace("-", "").replace("_", "").isalnum()


def _blob(blob: Blob) -> ContentLike:
    if blob.data is None:
        if blob.path is None:
            raise InvalidInputError("a Blob without data and path")
        return Media.from_path(blob.path, blob.mimetype)
    if isinstance(blob.data, str):
        return blob.data
    return Media.from_bytes(blob.data, blob.mimetype)
