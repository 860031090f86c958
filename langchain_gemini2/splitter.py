"""``MultimodalSplitter``: documents into interleaved chunks that keep every picture."""

from __future__ import annotations

import importlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from langchain_core.documents import BaseDocumentTransformer, Document

from gemini2_core.content import ContentLike
from gemini2_core.content.chunking import ChunkSettings, Granularity, OnMissing
from gemini2_core.content.chunking.flat import flat_metadata
from gemini2_core.content.chunking.pdf_reader import PdfMode
from gemini2_core.content.chunking.stream import Chunking
from gemini2_core.errors import Gemini2Error, InvalidInputError
from gemini2_core.model import DEFAULT_MODEL, Backend

__all__ = ["MultimodalSplitter", "document_key"]

_NAMESPACE = uuid.UUID("6d1f5e0e-6c0b-5d0e-8f53-3b1f2c1c7a40")

#: What unstructured's loader packs pictures into; nothing for a store to keep.
_PACKED = ("orig_elements", "image_base64")
#: What readers call what has no name.
_UNNAMED = ("", "the text", "the page", "the blocks")
_T = TypeVar("_T")


class MultimodalSplitter(BaseDocumentTransformer):
    """Cuts documents into chunks whose text carries its media along.

    Takes the place of a ``TextSplitter``. A chunk's ``page_content`` is Markdown with its media as
    links, so that any vector store, docstore or cache carries it; ``Gemini2Embeddings`` with the
    same ``media_root`` embeds text and media together, and ``content_blocks`` shows both to a
    chat model.

    A chunk's ``id`` is a UUID made of its source, its place and what is in it, media included:
    the same again for the same, another for a changed picture. Its metadata are those of its
    document and, none of them nested, what every store takes:

    - ``source``, ``title`` and ``headings`` (``"Fuel system > Pump > Removal"``);
    - ``start`` and ``end``, characters in the source's text; ``chunk_index``;
    - ``page``, ``bbox`` (JSON), ``seconds_start`` and ``seconds_end``, where known;
    - ``media``, JSON of a list, one for each medium: its reference, type, digest and measure;
    - ``chunk_id`` and, for parts, ``parent_id``.

    Args:
        media_root: The folder that links are read from, the embedder's own. None refuses local
            links.
        media_dir: The folder in it where embedded pictures and ``data:`` URIs are written.
        max_tokens: Most tokens of a chunk's text, its prompt counted, up to the model's 8,192;
            media count against the model's own limits.
        overlap_sentences: Sentences that a chunk repeats of the one before it.
        granularity: A vector for each ``"chunk"``, for each ``"part"`` of it (text or medium), or
            ``"both"``, the parts with the ``parent_id`` of their chunk.
        headings_in_text: Let a chunk's text begin with the headings it stands under, as most
            stores embed nothing else; not needed where ``metadata["title"]`` is embedded too.
        on_missing: A medium that is missing or unreadable: ``"error"`` (names source and line),
            ``"alt"`` for its alternative text, ``"skip"``.
        allow_remote: Take media at ``https:`` addresses; they are fetched when embedded.
        pdf_mode: ``"pages"`` refers to each page for the model's own reading; ``"text+figures"``
            takes text and pictures out; ``"auto"`` takes pages where there is little text.
        model: The model whose limits count.
        backend: The service whose limits count.
        window: Seconds of the windows that sound and film are cut into (film on its key frames).
            None leaves whole what the model takes at once, and cuts the rest into windows of 60 s
            of sound and 32 s of film.
        window_overlap: Seconds that such windows overlap.
        num_workers: Processes that read PDFs.
        show_progress: Show a progress bar (tqdm).

    Raises:
        ConfigurationError: An argument that can't work.

    Example:
        >>> from langchain_gemini2 import MultimodalSplitter
        >>> splitter = MultimodalSplitter(media_root="manual/")  # doctest: +SKIP
        >>> chunks = splitter.split_documents(loader.load())  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        media_root: str | os.PathLike[str] | None = None,
        media_dir: str | os.PathLike[str] | None = None,
        max_tokens: int = 2048,
        overlap_sentences: int = 0,
        granularity: Granularity = "chunk",
        headings_in_text: bool = True,
        on_missing: OnMissing = "error",
        allow_remote: bool = False,
        pdf_mode: PdfMode = "auto",
        model: str = DEFAULT_MODEL,
        backend: Backend = Backend.GEMINI_API,
        window: float | None = None,
        window_overlap: float = 0.0,
        num_workers: int | None = None,
        show_progress: bool = False,
    ) -> None:
        self._chunking = Chunking(
            settings=ChunkSettings(
                max_tokens=max_tokens,
                overlap_sentences=overlap_sentences,
                granularity=granularity,
                heading_line=headings_in_text,
                model=model,
                backend=backend,
            ),
            media_root=media_root,
            media_dir=media_dir,
            on_missing=on_missing,
            allow_remote=allow_remote,
            pdf_mode=pdf_mode,
            window=window,
            window_overlap=window_overlap,
            num_workers=num_workers,
        )
        self._show_progress = show_progress
        _be_a_text_splitter()

    # Documents

    def split_documents(self, documents: Iterable[Document]) -> list[Document]:
        """Cut documents, all at once.

        Args:
            documents: Each Markdown, or HTML if its metadata say so (``mime_type``), or a chunk
                of unstructured's loader, whose pictures come back. Its ``metadata["source"]`` is
                its name, and where its relative links start from if that is a file in
                ``media_root``.

        Raises:
            InvalidInputError: A medium is missing (with ``on_missing="error"``; names the source
                and the line), or a document can't be read; ``.index`` says which.
        """
        return list(self.lazy_split(documents))

    def lazy_split(self, documents: Iterable[Document]) -> Iterator[Document]:
        """``split_documents``, one chunk after the other, in flat memory."""
        for index, document in enumerate(self._watched(documents)):
            chunks = self._split(_content(document), document.metadata, document.id)
            yield from self._numbered(chunks, index)

    def transform_documents(
        self,
        documents: Sequence[Document],
        **kwargs: Any,  # noqa: ARG002 - LangChain's signature
    ) -> Sequence[Document]:
        """``split_documents``, by the name that LangChain's pipelines call."""
        return self.split_documents(documents)

    # Whatever can be read

    def create_documents(
        self,
        texts: Iterable[ContentLike],
        metadatas: Sequence[Mapping[Any, Any]] | None = None,
    ) -> list[Document]:
        """Cut texts, or anything else that can be read.

        Args:
            texts: Each Markdown; the ``Path`` of a file (Markdown, HTML, PDF, a picture, a sound,
                a film, a ``DoclingDocument`` or unstructured's elements as JSON); a list of
                content blocks or of texts and media.
            metadatas: One for each.

        Raises:
            InvalidInputError: As ``split_documents``; or not one of ``metadatas`` for each.
        """
        values = list(texts)
        if metadatas is not None and len(metadatas) != len(values):
            raise InvalidInputError(f"{len(values)} texts, but {len(metadatas)} metadatas")
        documents: list[Document] = []
        for index, value in enumerate(self._watched(values)):
            metadata = metadatas[index] if metadatas else {}
            documents += self._numbered(self._split(value, metadata, None), index)
        return documents

    def split_text(self, text: str) -> list[str]:
        """Cut a Markdown text; the chunks as texts, without their metadata."""
        return [document.page_content for document in self._split(text, {}, None)]

    def read(
        self,
        value: ContentLike,
        metadata: Mapping[Any, Any] | None = None,
        *,
        mime_type: str | None = None,
    ) -> Iterator[Document]:
        """Cut anything that ``create_documents`` takes, one chunk after the other.

        Args:
            value: What to read.
            metadata: What goes with every chunk; its ``source`` names it, its ``title`` is told.
            mime_type: What the value is said to be (``"text/html"``).
        """
        return self._split(value, metadata or {}, None, mime_type)

    # How

    def _split(
        self,
        value: ContentLike,
        metadata: Mapping[Any, Any],
        identifier: str | None,
        mime_type: str | None = None,
    ) -> Iterator[Document]:
        source = metadata.get("source")
        title = metadata.get("title")
        chunks = self._chunking.chunks(
            value,
            source=source if isinstance(source, str) and source else identifier,
            title=title if isinstance(title, str) else None,
            mime_type=mime_type or _mime_type(value, metadata),
        )
        theirs = {name: value for name, value in metadata.items() if name not in _PACKED}
        for chunk in chunks:
            own = {**flat_metadata(chunk.metadata()), "chunk_id": chunk.id}
            if "source" in theirs or chunk.source in _UNNAMED:
                del own["source"]
            yield Document(id=chunk.id, page_content=chunk.text, metadata={**theirs, **own})

    def _watched(self, values: Iterable[_T]) -> Iterable[_T]:
        if not self._show_progress:
            return values
        from tqdm.auto import tqdm

        return tqdm(values, unit="document", desc="splitting")

    @staticmethod
    def _numbered(chunks: Iterator[Document], index: int) -> Iterator[Document]:
        try:
            yield from chunks
        except Gemini2Error as error:
            raise error.at(index) from error.__cause__


def _content(document: Document) -> ContentLike:
    """A document's text, or unstructured's element that its loader made it of."""
    metadata = document.metadata
    if not any(name in metadata for name in _PACKED):
        return document.page_content
    kind = metadata.get("category") or "CompositeElement"
    return [{"type": kind, "text": document.page_content, "metadata": metadata}]


def _mime_type(text: ContentLike, metadata: Mapping[Any, Any]) -> str | None:
    """Whether a text is a page; loaders declare that of text taken out of pages too."""
    if not isinstance(text, str) or not text.lstrip().startswith("<"):
        return None
    declared = (str(metadata.get(n, "")) for n in ("mime_type", "mimetype", "content_type"))
    return "text/html" if any("html" in name for name in declared) else None


def _be_a_text_splitter() -> None:
    """Pass for a ``TextSplitter`` where LangChain asks for one (``ParentDocumentRetriever``)."""
    try:
        splitters = importlib.import_module("langchain_text_splitters")
    except ModuleNotFoundError:
        return  # an optional package of LangChain's
    splitters.TextSplitter.register(MultimodalSplitter)


def document_key(document: Document) -> str:
    """The key of a chunk for ``index(…, key_encoder=document_key)``.

    A UUID over all that a document is: text, media (their digests are in the text) and metadata.
    LangChain's own SHA-256 keys are refused by Qdrant, which takes nothing but UUIDs.
    """
    metadata = json.dumps(document.metadata, sort_keys=True, ensure_ascii=False, default=str)
    return str(uuid.uuid5(_NAMESPACE, f"{document.page_content}\0{metadata}"))
