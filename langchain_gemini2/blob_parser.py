"""``MultimodalBlobParser``: files and bytes of LangChain's loaders into interleaved chunks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from langchain_core.document_loaders import BaseBlobParser
from langchain_core.documents import Document
from langchain_core.documents.base import Blob

from gemini2_core.content import ContentLike
from gemini2_core.errors import InvalidInputError
from langchain_gemini2.splitter import MultimodalSplitter

__all__ = ["MultimodalBlobParser"]

_UTF8 = ("utf-8", "utf8", "utf_8")


class MultimodalBlobParser(BaseBlobParser):
    """Reads blobs of any kind: Markdown, HTML, PDF, pictures, sounds, films.

    What a blob is, its bytes tell; the type it declares counts for text.

    Args:
        splitter: How blobs are cut, and the folder that their links are read from; None is a
            ``MultimodalSplitter()``.

    Example:
        >>> from langchain_community.document_loaders.generic import GenericLoader  # doctest: +SKIP
        >>> parser = MultimodalBlobParser(MultimodalSplitter(media_root="manual/"))
        >>> loader = GenericLoader(blob_loader, parser)  # doctest: +SKIP
    """

    def __init__(self, splitter: MultimodalSplitter | None = None) -> None:
        self._splitter = splitter or MultimodalSplitter()

    def lazy_parse(self, blob: Blob) -> Iterator[Document]:
        """Cut a blob into chunks, one after the other.

        A chunk's metadata are those of the blob, its ``source`` and those of
        ``MultimodalSplitter``.

        Args:
            blob: A file, bytes or a text.

        Raises:
            InvalidInputError: It can't be read, or a medium that it links to is missing.
        """
        source = {} if blob.source is None else {"source": blob.source}
        declared = blob.mimetype or ""
        yield from self._splitter.read(
            _value(blob),
            {**source, **blob.metadata},
            mime_type=declared if declared.startswith("text/") else None,
        )


def _value(blob: Blob) -> ContentLike:
    text = (blob.mimetype or "").startswith("text/")
    if blob.data is None:
        if blob.path is None:
            raise InvalidInputError("a Blob without data and path")
        other = text and blob.encoding.lower() not in _UTF8
        return blob.as_string() if other else Path(blob.path)
    if isinstance(blob.data, bytes) and text:
        try:
            return blob.as_string()
        except UnicodeDecodeError:
            raise InvalidInputError(
                f"{blob.source or 'a Blob'} is no {blob.encoding}: give its encoding"
            ) from None
    if isinstance(blob.data, bytes) and blob.mimetype:
        return blob.data, blob.mimetype
    return blob.data
