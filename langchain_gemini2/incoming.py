"""Documents on their way in: checked, as far as can be, before anything is paid for."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from gemini2_core.content import Content, ContentLike
from gemini2_core.errors import (
    ConfigurationError,
    Gemini2Error,
    IndexUnavailableError,
    InvalidInputError,
)
from gemini2_core.index.ids import point_id
from gemini2_core.index.modalities import MODALITIES_KEY, modalities_of
from langchain_gemini2.embeddings import Gemini2Embeddings
from langchain_gemini2.inputs import Embeddable, contents_of
from langchain_gemini2.records import METADATA, TEXT

__all__ = ["Incoming", "incoming_contents", "incoming_texts", "only_text", "told_of_all"]


@dataclass(frozen=True, slots=True)
class Incoming:
    """Documents that are to be embedded and stored.

    Attributes:
        ids: Of the points.
        texts: What is found again as ``page_content``.
        payloads: What is stored.
        contents: What is embedded.
        titles: What each is called, for the model.
    """

    ids: list[str]
    texts: list[str]
    payloads: list[dict[str, object]]
    contents: Sequence[ContentLike]
    titles: Sequence[str | None] | None

    def parts(self, size: int | None) -> Iterator[Incoming]:
        """The batch in pieces of ``size``."""
        if size is not None and size < 1:
            raise ConfigurationError(f"batch_size={size} must be at least 1")
        size = size or max(len(self.ids), 1)
        for start in range(0, len(self.ids), size):
            piece = slice(start, start + size)
            yield Incoming(
                self.ids[piece],
                self.texts[piece],
                self.payloads[piece],
                self.contents[piece],
                None if self.titles is None else self.titles[piece],
            )

    def only_texts(self) -> list[str]:
        """The contents, for embeddings that know nothing else."""
        if self.titles is not None and any(self.titles):
            raise ConfigurationError("titles need Gemini2Embeddings")
        return [only_text(content) for content in self.contents]


def incoming_texts(
    texts: Sequence[str],
    metadatas: Sequence[Mapping[Any, Any]] | None,
    ids: Sequence[str | None] | None,
    titles: Sequence[str | None] | None,
    contents: Sequence[ContentLike] | None = None,
) -> Incoming:
    """Texts, and the contents that are embedded in their place if there are any.

    Raises:
        InvalidInputError: Lengths that differ, an id or metadata that can't be stored.
    """
    contents = texts if contents is None else contents
    for what, given in (
        ("metadatas", metadatas),
        ("ids", ids),
        ("titles", titles),
        ("texts", texts),
    ):
        if given is not None and len(given) != len(contents):
            raise InvalidInputError(f"{len(contents)} documents with {len(given)} {what}")
    own = [one or str(uuid.uuid4()) for one in ids or [None] * len(contents)]
    payloads: list[dict[str, object]] = []
    for at, (text, metadata) in enumerate(
        zip(texts, metadatas or [{}] * len(contents), strict=True)
    ):
        try:
            _check_text(text)
            point_id(own[at])
            payload: dict[str, object] = {TEXT: text, METADATA: dict(metadata or {})}
            payload[MODALITIES_KEY] = modalities_of(text, metadata or {})
            orjson.dumps(payload, option=orjson.OPT_SERIALIZE_NUMPY)
        except TypeError as error:
            raise InvalidInputError(f"the metadata isn't JSON: {error}").at(at) from error
        except Gemini2Error as error:
            raise error.at(at) from None
        payloads.append(payload)
    return Incoming(own, list(texts), payloads, contents, titles)


def incoming_contents(
    contents: Sequence[Embeddable],
    metadatas: Sequence[Mapping[Any, Any]] | None,
    ids: Sequence[str | None] | None,
    titles: Sequence[str | None] | None,
    texts: Sequence[str] | None,
    *,
    embeddings: Embeddings,
) -> Incoming:
    """Contents, with what their documents bring along; see ``add_contents`` of the store."""
    plain, titles = contents_of(contents, titles)
    documents = [one if isinstance(one, Document) else None for one in contents]
    if metadatas is None:
        metadatas = [{} if one is None else one.metadata for one in documents]
    if ids is None:
        ids = [None if one is None else one.id for one in documents]
    if texts is None:
        texts = [_markdown(one, at, embeddings) for at, one in enumerate(plain)]
    return incoming_texts(texts, metadatas, ids, titles, plain)


def _markdown(content: ContentLike, at: int, embeddings: Embeddings) -> str:
    """A content as the text of its document."""
    if isinstance(content, str):
        return content
    root, remote = None, False
    if isinstance(embeddings, Gemini2Embeddings):
        root, remote = embeddings.media_root, embeddings.allow_remote
    root = None if root is None else Path(root).expanduser()
    try:
        read = Content.of(content, media_root=root, allow_remote=remote)
        return read.to_markdown(media_root=root)
    except Gemini2Error as error:
        raise error.at(at) from error.__cause__


def _check_text(text: object) -> None:
    if not isinstance(text, str):
        raise InvalidInputError(f"a text is wanted, not {text!r}")


def told_of_all(error: Gemini2Error, before: Sequence[str]) -> Gemini2Error:
    """An error in a later piece as one of the whole batch, ``before`` of which is stored."""
    if not before:
        return error
    if (index := error.index) is not None:
        error.index = index + len(before)
        error.message = error.message.replace(f"input {index}: ", f"input {error.index}: ", 1)
    if error.partial is not None:
        error.partial = replace(error.partial, indices=error.partial.indices + len(before))
    if isinstance(error, IndexUnavailableError):
        error.stored = (*before, *error.stored)
        error.message += f" ({len(before):,} documents before these are stored)"
    return error


def only_text(content: Embeddable) -> str:
    """A content that is a text.

    Raises:
        ConfigurationError: It is something else.
    """
    if not isinstance(content, str):
        raise ConfigurationError(
            f"{type(content).__name__} as content needs Gemini2Embeddings: others know only text"
        )
    return content
