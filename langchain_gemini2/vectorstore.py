"""``MatryoshkaVectorStore``: documents and media in one index, searched small, re-scored large."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
import orjson
from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore, VectorStoreRetriever
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from gemini2_core.content import Content, ContentLike
from gemini2_core.embedding import Aggregate, EmbeddingResult, Gemini2Embedder
from gemini2_core.errors import (
    ConfigurationError,
    Gemini2Error,
    IndexMismatchError,
    InvalidInputError,
)
from gemini2_core.index import (
    FilterLike,
    MatryoshkaCollection,
    PointId,
    Record,
    Results,
    Shortlist,
    VectorsLike,
    read_filter,
)
from gemini2_core.index.ids import point_id
from gemini2_core.index.modalities import MODALITIES_KEY, modalities_of
from gemini2_core.model import EmbeddingSpace, Side
from langchain_gemini2.embeddings import Gemini2Embeddings
from langchain_gemini2.inputs import Embeddable, contents_of

if TYPE_CHECKING:
    from qdrant_client import AsyncQdrantClient, QdrantClient

    from gemini2_core.index.operations import FieldType

__all__ = ["CollectionOptions", "MatryoshkaRetriever", "MatryoshkaVectorStore", "SearchOptions"]

#: Where a payload holds a document; langchain-qdrant's keys, so its collections can be adopted.
_TEXT = "page_content"
_METADATA = "metadata"

_DEFAULT_K = 4


class CollectionOptions(TypedDict, total=False):
    """Arguments of ``MatryoshkaCollection``, which explains each.

    ``payload_indexes`` names fields of the metadata here, as filters do.
    """

    tiers: Sequence[int] | None
    location: str | None
    path: str | Path | None
    url: str | None
    api_key: str | None
    prefer_grpc: bool
    client: QdrantClient | None
    async_client: AsyncQdrantClient | None
    payload_indexes: Mapping[str, FieldType] | None
    hybrid: bool
    adopt: bool
    shard_number: int | None
    replication_factor: int | None
    timeout: float
    retry_seconds: float
    parallel: int


class SearchOptions(TypedDict, total=False):
    """What every search takes.

    Attributes:
        filter: Which documents count, from the first pass on: a dict over their metadata
            (``{"source": "a.md", "page": {"gte": 3}}``, a list is any of it), or a
            ``qdrant_client.models.Filter``, whose keys are payload paths (``metadata.source``).
        shortlist: How many documents the largest tier re-scores, 50 if not said.
        exact: One pass over everything at the largest tier, to compare with.
        ef: Candidates of the graph search.
        hybrid: BM25 of a text query beside the dense passes; if not said, where the collection
            has it, but not where scores are asked to be relevances.
    """

    filter: FilterLike | None
    shortlist: Shortlist
    exact: bool
    ef: int | None
    hybrid: bool | None


class MatryoshkaVectorStore(VectorStore):
    """A LangChain vector store over a ``MatryoshkaCollection``.

    Every document is embedded once, at the largest tier, whatever ``dimensions`` the embeddings
    have; a search runs over everything at the smallest tier and re-scores a short list at the
    largest, in one call to Qdrant. Wherever a search takes a query, that is a text or any content:
    a picture, a sound, content blocks, a ``Document``.

    Example:
        >>> from langchain_gemini2 import Gemini2Embeddings, MatryoshkaVectorStore
        >>> embeddings = Gemini2Embeddings(media_root="manual/")  # doctest: +SKIP
        >>> store = MatryoshkaVectorStore(embeddings, path="index/")  # doctest: +SKIP
        >>> store.add_documents(chunks)  # doctest: +SKIP
        >>> store.similarity_search(Path("photo.jpg"), filter={"source": "28.md"})  # doctest: +SKIP

    Args:
        embedding: ``Gemini2Embeddings``; or any other, which then must give vectors of the
            largest tier's size, and knows only text.
        collection_name: The collection's name.
        collection: A collection to use instead of opening one; it isn't closed here.
        space: The space of another embedding's vectors, for a new collection
            (``"gemini-embedding-2/RETRIEVAL"``, of a ``CacheBackedEmbeddings``, say).
        options: Where the collection is and what it is made like; nothing is ``:memory:``.

    Raises:
        ConfigurationError: Arguments that don't go together.
        MissingExtraError: The engine's package isn't installed.
    """

    def __init__(
        self,
        embedding: Embeddings,
        collection_name: str = "gemini2",
        *,
        collection: MatryoshkaCollection | None = None,
        space: EmbeddingSpace | str | None = None,
        **options: Unpack[CollectionOptions],
    ) -> None:
        self._embeddings = embedding
        self._embedder: Gemini2Embedder | None = None
        self._owner = collection is None
        if collection is not None:
            if options or space is not None:
                given = ", ".join(f"{name}=" for name in (*options, *(["space"] * bool(space))))
                raise ConfigurationError(f"collection= is open already: {given} has no effect")
            self._collection = collection
            return
        if isinstance(embedding, Gemini2Embeddings):
            space = embedding.space if space is None else space
        fields = options.get("payload_indexes") or {}
        options["payload_indexes"] = {
            MODALITIES_KEY: "keyword",
            **{_path(name): kind for name, kind in fields.items()},
        }
        self._collection = MatryoshkaCollection(collection_name, space=space, **options)

    @property
    def embeddings(self) -> Embeddings:
        """The embeddings it was made with."""
        return self._embeddings

    @property
    def collection(self) -> MatryoshkaCollection:
        """The collection underneath: tiers, counts, scrolling, ``add_tier``, ``drop``."""
        return self._collection

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._collection!r})"

    # ---- adding

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[Any, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        titles: Sequence[str | None] | None = None,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Embed texts once each, at the largest tier, and store them. Stored when it returns.

        Args:
            texts: Texts; Markdown with media, if the embeddings have a ``media_root``.
            metadatas: One a text, JSON values.
            ids: One a text; UUIDs or any other strings. A document whose id is there already is
                replaced; without an id it gets a new UUID.
            titles: One a text, told to the model with it.
            batch_size: Most texts embedded and stored at a time; None for all.
            kwargs: Nothing more.

        Returns:
            The ids.

        Raises:
            InvalidInputError: A text, id or metadata that can't be stored; ``.index`` says which.
            ServiceError: The embedding service or the database kept failing.
            IndexMismatchError: The collection holds other vectors.
        """
        _nothing(kwargs)
        return self._add(_batch(list(texts), metadatas, ids, titles), "joint", batch_size)

    async def aadd_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[Any, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        titles: Sequence[str | None] | None = None,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """``add_texts``, awaited."""
        _nothing(kwargs)
        return await self._aadd(_batch(list(texts), metadatas, ids, titles), "joint", batch_size)

    def add_contents(
        self,
        contents: Sequence[Embeddable],
        metadatas: list[dict[Any, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        titles: Sequence[str | None] | None = None,
        texts: Sequence[str] | None = None,
        aggregate: Aggregate = "joint",
        batch_size: int | None = None,
    ) -> list[str]:
        """Embed interleaved contents, one vector each, and store them.

        Args:
            contents: What ``Gemini2Embeddings.embed_contents`` takes. A ``Document`` brings its
                metadata, id and ``metadata["title"]``.
            metadatas: One a content.
            ids: One a content; as for ``add_texts``.
            titles: One a content.
            texts: The ``page_content`` of each, for what is found. Without it that is the content
                as Markdown: links to files, relative to ``media_root``; bytes as ``data:`` URIs,
                which make payloads as large as they are.
            aggregate: ``"joint"`` fuses the parts of a content, ``"mean"`` averages them.
            batch_size: Most contents embedded and stored at a time; None for all.

        Returns:
            The ids.

        Raises:
            MediaAccessError: A file isn't under ``media_root``: give ``texts``.
            InvalidInputError: A content can't be embedded; ``.index`` says which.
        """
        batch = self._contents_batch(contents, metadatas, ids, titles, texts)
        return self._add(batch, aggregate, batch_size)

    async def aadd_contents(
        self,
        contents: Sequence[Embeddable],
        metadatas: list[dict[Any, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        titles: Sequence[str | None] | None = None,
        texts: Sequence[str] | None = None,
        aggregate: Aggregate = "joint",
        batch_size: int | None = None,
    ) -> list[str]:
        """``add_contents``, awaited."""
        batch = await asyncio.to_thread(
            self._contents_batch, contents, metadatas, ids, titles, texts
        )
        return await self._aadd(batch, aggregate, batch_size)

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[Any, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> Self:
        """A store with these texts in it; ``kwargs`` are arguments of the class."""
        store = cls(embedding, **kwargs)
        try:
            store.add_texts(texts, metadatas, ids=ids)
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    async def afrom_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[Any, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> Self:
        """``from_texts``, awaited."""
        store = cls(embedding, **kwargs)
        try:
            await store.aadd_texts(texts, metadatas, ids=ids)
        except BaseException:
            await store.aclose()
            raise
        return store

    # ---- by id

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Documents by id, in the order of the ids; those that aren't there are left out."""
        return [_document(record) for record in self._collection.get(ids)]

    async def aget_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """``get_by_ids``, awaited."""
        return [_document(record) for record in await self._collection.aget(ids)]

    def delete(
        self,
        ids: list[str] | None = None,
        *,
        filter: FilterLike | None = None,  # noqa: A002  # LangChain's word
        **kwargs: Any,
    ) -> bool:
        """Delete documents by id, or all that a filter matches.

        Ids that aren't there are no error. ``collection.drop()`` deletes everything.

        Raises:
            ConfigurationError: Neither ids nor a filter, or both.
        """
        _nothing(kwargs)
        self._collection.delete(ids, filter=_filter(filter))
        return True

    async def adelete(
        self,
        ids: list[str] | None = None,
        *,
        filter: FilterLike | None = None,  # noqa: A002  # LangChain's word
        **kwargs: Any,
    ) -> bool:
        """``delete``, awaited."""
        _nothing(kwargs)
        await self._collection.adelete(ids, filter=_filter(filter))
        return True

    # ---- searching

    def hits(
        self, query: Embeddable, k: int = _DEFAULT_K, **options: Unpack[SearchOptions]
    ) -> Results:
        """The nearest documents with the scores of both passes; in a notebook it shows itself.

        Args:
            query: A text, or content: a ``Path``, content blocks, a ``Document``, a list of parts.
            k: How many.
            options: See ``SearchOptions``.

        Raises:
            InvalidInputError: A query that can't be embedded, a filter that can't be read.
            ServiceError: The embedding service or the database kept failing.
        """
        found = self._search(self._query(query), k, query, first_scores=True, **options)
        return self._shown(found)

    async def ahits(
        self, query: Embeddable, k: int = _DEFAULT_K, **options: Unpack[SearchOptions]
    ) -> Results:
        """``hits``, awaited."""
        vector = await self._aquery(query)
        return self._shown(await self._asearch(vector, k, query, first_scores=True, **options))

    def similarity_search(
        self, query: Embeddable, k: int = _DEFAULT_K, **kwargs: Any
    ) -> list[Document]:
        """The ``k`` nearest documents to a text or a content; ``kwargs``: ``SearchOptions``."""
        return _documents(self._search(self._query(query), k, query, **kwargs))

    async def asimilarity_search(
        self, query: Embeddable, k: int = _DEFAULT_K, **kwargs: Any
    ) -> list[Document]:
        """``similarity_search``, awaited."""
        return _documents(await self._asearch(await self._aquery(query), k, query, **kwargs))

    def similarity_search_with_score(
        self, query: Embeddable, k: int = _DEFAULT_K, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """As ``similarity_search``, each with its cosine at the largest tier, from -1 to 1.

        In a hybrid search the score is that of the fused ranks.
        """
        return _scored(self._search(self._query(query), k, query, **kwargs))

    async def asimilarity_search_with_score(
        self, query: Embeddable, k: int = _DEFAULT_K, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """``similarity_search_with_score``, awaited."""
        return _scored(await self._asearch(await self._aquery(query), k, query, **kwargs))

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = _DEFAULT_K, **kwargs: Any
    ) -> list[Document]:
        """The ``k`` nearest documents to a vector of at least the largest tier's size."""
        return _documents(self._search(embedding, k, **kwargs))

    async def asimilarity_search_by_vector(
        self, embedding: list[float], k: int = _DEFAULT_K, **kwargs: Any
    ) -> list[Document]:
        """``similarity_search_by_vector``, awaited."""
        return _documents(await self._asearch(embedding, k, **kwargs))

    def similarity_search_with_score_by_vector(
        self, embedding: list[float], k: int = _DEFAULT_K, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """As ``similarity_search_by_vector``, each with its cosine at the largest tier."""
        return _scored(self._search(embedding, k, **kwargs))

    async def asimilarity_search_with_score_by_vector(
        self, embedding: list[float], k: int = _DEFAULT_K, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """``similarity_search_with_score_by_vector``, awaited."""
        return _scored(await self._asearch(embedding, k, **kwargs))

    def similarity_search_by_content(
        self,
        content: Embeddable,
        k: int = _DEFAULT_K,
        *,
        aggregate: Aggregate = "joint",
        **kwargs: Any,
    ) -> list[Document]:
        """The ``k`` nearest documents to a picture, a sound, or text and media together.

        Args:
            content: What ``Gemini2Embeddings.embed_query_content`` takes.
            k: How many.
            aggregate: ``"joint"`` fuses the parts of the query, ``"mean"`` averages them.
            kwargs: See ``SearchOptions``.
        """
        vector = self._query(content, aggregate)
        return _documents(self._search(vector, k, content, **kwargs))

    async def asimilarity_search_by_content(
        self,
        content: Embeddable,
        k: int = _DEFAULT_K,
        *,
        aggregate: Aggregate = "joint",
        **kwargs: Any,
    ) -> list[Document]:
        """``similarity_search_by_content``, awaited."""
        vector = await self._aquery(content, aggregate)
        return _documents(await self._asearch(vector, k, content, **kwargs))

    def max_marginal_relevance_search(
        self,
        query: Embeddable,
        k: int = _DEFAULT_K,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **kwargs: Any,
    ) -> list[Document]:
        """Of the ``fetch_k`` nearest documents, ``k`` that are near and unlike each other.

        Args:
            query: A text or a content.
            k: How many.
            fetch_k: How many to choose from.
            lambda_mult: 1 for the nearest alone, 0 for the most various.
            kwargs: See ``SearchOptions``.
        """
        vector = self._query(query)
        found = self._search(vector, max(fetch_k, k), query, with_vectors=True, **kwargs)
        return _various(vector, found, k, lambda_mult)

    async def amax_marginal_relevance_search(
        self,
        query: Embeddable,
        k: int = _DEFAULT_K,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **kwargs: Any,
    ) -> list[Document]:
        """``max_marginal_relevance_search``, awaited."""
        vector = await self._aquery(query)
        found = await self._asearch(vector, max(fetch_k, k), query, with_vectors=True, **kwargs)
        return _various(vector, found, k, lambda_mult)

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = _DEFAULT_K,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **kwargs: Any,
    ) -> list[Document]:
        """As ``max_marginal_relevance_search``, for a vector of at least the largest tier."""
        found = self._search(embedding, max(fetch_k, k), with_vectors=True, **kwargs)
        return _various(embedding, found, k, lambda_mult)

    async def amax_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = _DEFAULT_K,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **kwargs: Any,
    ) -> list[Document]:
        """``max_marginal_relevance_search_by_vector``, awaited."""
        found = await self._asearch(embedding, max(fetch_k, k), with_vectors=True, **kwargs)
        return _various(embedding, found, k, lambda_mult)

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return _relevance

    def _similarity_search_with_relevance_scores(
        self, query: Embeddable, k: int = _DEFAULT_K, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        kwargs = {"hybrid": False, **kwargs}  # ranks are no relevances
        found = self.similarity_search_with_score(query, k, **kwargs)
        return [(document, _relevance(score)) for document, score in found]

    async def _asimilarity_search_with_relevance_scores(
        self, query: Embeddable, k: int = _DEFAULT_K, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        kwargs = {"hybrid": False, **kwargs}
        found = await self.asimilarity_search_with_score(query, k, **kwargs)
        return [(document, _relevance(score)) for document, score in found]

    def as_retriever(self, **kwargs: Any) -> MatryoshkaRetriever:
        """A retriever; ``search_kwargs`` take ``k`` and ``SearchOptions``.

        Args:
            kwargs: ``search_type`` (``"similarity"``, ``"mmr"``,
                ``"similarity_score_threshold"``), ``search_kwargs``, ``k``, ``tags``.
        """
        tags = kwargs.pop("tags", None) or self._get_retriever_tags()
        return MatryoshkaRetriever(vectorstore=self, tags=tags, **kwargs)

    # ---- its end

    def close(self) -> None:
        """Let go of files and connections; embeddings and a collection of yours stay open."""
        if self._owner:
            self._collection.close()

    async def aclose(self) -> None:
        """``close``, awaited."""
        if self._owner:
            await self._collection.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    # ---- what the methods are made of

    def _contents_batch(
        self,
        contents: Sequence[Embeddable],
        metadatas: list[dict[Any, Any]] | None,
        ids: Sequence[str | None] | None,
        titles: Sequence[str | None] | None,
        texts: Sequence[str] | None,
    ) -> _Batch:
        plain, titles = contents_of(contents, titles)
        documents = [one if isinstance(one, Document) else None for one in contents]
        if metadatas is None:
            metadatas = [{} if one is None else one.metadata for one in documents]
        if ids is None:
            ids = [None if one is None else one.id for one in documents]
        if texts is None:
            texts = [self._markdown(one, at) for at, one in enumerate(plain)]
        return _batch(texts, metadatas, ids, titles, plain)

    def _markdown(self, content: ContentLike, at: int) -> str:
        """A content as the text of its document."""
        if isinstance(content, str):
            return content
        root, remote = None, False
        if isinstance(self._embeddings, Gemini2Embeddings):
            root, remote = self._embeddings.media_root, self._embeddings.allow_remote
        root = None if root is None else Path(root).expanduser()
        try:
            read = Content.of(content, media_root=root, allow_remote=remote)
            return read.to_markdown(media_root=root)
        except Gemini2Error as error:
            raise error.at(at) from error.__cause__

    def _add(self, batch: _Batch, aggregate: Aggregate, size: int | None) -> list[str]:
        # Opened before anything is embedded, so that a wrong collection costs nothing.
        hybrid = self._collection.open().hybrid
        for part in batch.parts(size):
            vectors = self._rows(part, aggregate)
            words = part.texts if hybrid else None
            self._collection.add(part.ids, vectors, part.payloads, texts=words)
        return batch.ids

    async def _aadd(self, batch: _Batch, aggregate: Aggregate, size: int | None) -> list[str]:
        hybrid = (await self._collection.aopen()).hybrid
        for part in batch.parts(size):
            vectors = await self._arows(part, aggregate)
            words = part.texts if hybrid else None
            await self._collection.aadd(part.ids, vectors, part.payloads, texts=words)
        return batch.ids

    def _rows(self, part: _Batch, aggregate: Aggregate) -> VectorsLike:
        embedder = self._sized()
        if embedder is None:
            return self._embeddings.embed_documents(part.only_texts())
        return embedder.embed_contents(part.contents, titles=part.titles, aggregate=aggregate)

    async def _arows(self, part: _Batch, aggregate: Aggregate) -> VectorsLike:
        embedder = self._sized()
        if embedder is None:
            return await self._embeddings.aembed_documents(part.only_texts())
        return await embedder.aembed_contents(
            part.contents, titles=part.titles, aggregate=aggregate
        )

    def _query(self, query: Embeddable, aggregate: Aggregate = "joint") -> VectorsLike:
        self._collection.open()
        embedder = self._sized()
        if embedder is None:
            return self._embeddings.embed_query(_only_text(query))
        plain, titles = contents_of([query], None)
        side: Side = "query"
        return embedder.embed_contents(plain, side=side, titles=titles, aggregate=aggregate)

    async def _aquery(self, query: Embeddable, aggregate: Aggregate = "joint") -> VectorsLike:
        await self._collection.aopen()
        embedder = self._sized()
        if embedder is None:
            return await self._embeddings.aembed_query(_only_text(query))
        # Only a Blob is read here; texts needn't wait for a thread.
        inline = isinstance(query, str)
        plain, titles = (
            contents_of([query], None)
            if inline
            else await asyncio.to_thread(contents_of, [query], None)
        )
        side: Side = "query"
        return await embedder.aembed_contents(plain, side=side, titles=titles, aggregate=aggregate)

    def _sized(self) -> Gemini2Embedder | None:
        """The embedder at the largest tier, for an open collection; None for other embeddings."""
        embeddings = self._embeddings
        if not isinstance(embeddings, Gemini2Embeddings):
            return None
        size, held = self._collection.dimensions, self._collection.space
        if held != embeddings.space:
            raise IndexMismatchError(
                f"collection {self._collection.name!r} holds vectors of {held}, and the embeddings "
                f"are of {embeddings.space}: they can't be compared"
            )
        if self._embedder is None or self._embedder.dimensions != size:
            self._embedder = embeddings.embedder.variant(
                dimensions=size,
                task_type=embeddings.task_type,
                batch_size=embeddings.batch_size,
            )
        return self._embedder

    def _search(
        self,
        vector: VectorsLike,
        k: int,
        query: Embeddable | None = None,
        *,
        with_vectors: bool = False,
        first_scores: bool = False,
        hybrid: bool | None = None,
        **options: Any,
    ) -> Results:
        text = self._words(query, hybrid, self._collection.open())
        options["filter"] = _filter(options.get("filter"))
        return self._collection.search(
            vector, k, text=text, with_vectors=with_vectors, first_scores=first_scores, **options
        )

    async def _asearch(
        self,
        vector: VectorsLike,
        k: int,
        query: Embeddable | None = None,
        *,
        with_vectors: bool = False,
        first_scores: bool = False,
        hybrid: bool | None = None,
        **options: Any,
    ) -> Results:
        text = self._words(query, hybrid, await self._collection.aopen())
        options["filter"] = _filter(options.get("filter"))
        return await self._collection.asearch(
            vector, k, text=text, with_vectors=with_vectors, first_scores=first_scores, **options
        )

    @staticmethod
    def _words(
        query: Embeddable | None, hybrid: bool | None, opened: MatryoshkaCollection
    ) -> str | None:
        """The words for BM25, if it is wanted; a collection without it then says so."""
        wanted = opened.hybrid if hybrid is None else hybrid
        return query if wanted and isinstance(query, str) else None

    def _shown(self, found: Results) -> Results:
        if isinstance(self._embeddings, Gemini2Embeddings):
            found.media_root = self._embeddings.media_root
        return found


class MatryoshkaRetriever(VectorStoreRetriever):
    """The retriever of a ``MatryoshkaVectorStore``; ``invoke`` takes a text or any content."""

    k: int | None = None
    """How many documents; None leaves it to ``search_kwargs``."""

    def _get_relevant_documents(
        self, query: Embeddable, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        found: list[Document] = super()._get_relevant_documents(
            query,  # type: ignore[arg-type]  # LangChain's retrievers know only text
            run_manager=run_manager,
            **self._with_k(kwargs),
        )
        return found

    async def _aget_relevant_documents(
        self, query: Embeddable, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        found: list[Document] = await super()._aget_relevant_documents(
            query,  # type: ignore[arg-type]  # LangChain's retrievers know only text
            run_manager=run_manager,
            **self._with_k(kwargs),
        )
        return found

    def _with_k(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        return kwargs if self.k is None else {"k": self.k, **kwargs}


@dataclass(frozen=True, slots=True)
class _Batch:
    """Documents on their way in, checked as far as can be before anything is paid for."""

    ids: list[str]
    texts: list[str]
    payloads: list[dict[str, object]]
    contents: Sequence[ContentLike]
    titles: Sequence[str | None] | None

    def parts(self, size: int | None) -> Iterator[_Batch]:
        """The batch in pieces of ``size``."""
        if size is not None and size < 1:
            raise ConfigurationError(f"batch_size={size} must be at least 1")
        size = size or max(len(self.ids), 1)
        for start in range(0, len(self.ids), size):
            piece = slice(start, start + size)
            yield _Batch(
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
        return [_only_text(content) for content in self.contents]


def _batch(
    texts: Sequence[str],
    metadatas: Sequence[Mapping[Any, Any]] | None,
    ids: Sequence[str | None] | None,
    titles: Sequence[str | None] | None,
    contents: Sequence[ContentLike] | None = None,
) -> _Batch:
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
            point_id(own[at])
            payload: dict[str, object] = {_TEXT: text, _METADATA: dict(metadata or {})}
            payload[MODALITIES_KEY] = modalities_of(text, metadata or {})
            orjson.dumps(payload, option=orjson.OPT_SERIALIZE_NUMPY)
        except TypeError as error:
            raise InvalidInputError(f"the metadata isn't JSON: {error}").at(at) from error
        except Gemini2Error as error:
            raise error.at(at) from None
        payloads.append(payload)
    return _Batch(own, list(texts), payloads, contents, titles)


def _nothing(kwargs: Mapping[str, object]) -> None:
    """LangChain's signatures take any argument; one that has no effect is a mistake."""
    if kwargs:
        raise TypeError(f"there is no argument {', '.join(map(repr, kwargs))}")


def _only_text(content: Embeddable) -> str:
    if not isinstance(content, str):
        raise ConfigurationError(
            f"{type(content).__name__} as content needs Gemini2Embeddings: others know only text"
        )
    return content


def _path(field: str) -> str:
    return field if field.startswith(f"{_METADATA}.") else f"{_METADATA}.{field}"


def _filter(given: FilterLike | None) -> FilterLike | None:
    return read_filter(given, prefix=_METADATA)


def _document(record: Record) -> Document:
    text, metadata = record.payload.get(_TEXT), record.payload.get(_METADATA)
    return Document(
        text if isinstance(text, str) else "",
        id=_id(record.id),
        metadata=dict(metadata) if isinstance(metadata, Mapping) else {},
    )


def _id(own: PointId) -> str:
    return str(own)


def _documents(found: Results) -> list[Document]:
    return [_document(hit) for hit in found]


def _scored(found: Results) -> list[tuple[Document, float]]:
    return [(_document(hit), hit.score) for hit in found]


def _various(query: VectorsLike, found: Results, k: int, lambda_mult: float) -> list[Document]:
    rows = [(hit, hit.vector) for hit in found if hit.vector is not None]
    if not rows:
        return []
    numbers = query.vectors if isinstance(query, EmbeddingResult) else query
    size = len(rows[0][1])
    vector: npt.NDArray[np.float32] = np.asarray(numbers, dtype=np.float32).reshape(-1)[:size]
    chosen = maximal_marginal_relevance(
        vector, [row.tolist() for _, row in rows], lambda_mult=lambda_mult, k=k
    )
    return [_document(rows[at][0]) for at in chosen]


def _relevance(score: float) -> float:
    """A cosine as LangChain's relevance: 0 for the opposite, 1 for the same."""
    return min(max((score + 1.0) / 2.0, 0.0), 1.0)
