"""The searches of a Matryoshka store: by text, content or vector, with scores, or for variety."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypedDict, Unpack

from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStore

from gemini2_core.embedding import Aggregate
from gemini2_core.index import FilterLike, MatryoshkaCollection, Results, Shortlist, VectorsLike
from langchain_gemini2.embeddings import Gemini2Embeddings
from langchain_gemini2.inputs import Embeddable
from langchain_gemini2.largest import LargestTier
from langchain_gemini2.records import (
    metadata_filter,
    relevance,
    to_documents,
    to_scored,
    various,
)

__all__ = ["MatryoshkaSearches", "SearchOptions"]

_DEFAULT_K = 4


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
        score_threshold: Leaves out what scores less.
    """

    filter: FilterLike | None
    shortlist: Shortlist
    exact: bool
    ef: int | None
    hybrid: bool | None
    score_threshold: float | None


class MatryoshkaSearches(VectorStore):
    """What a ``MatryoshkaVectorStore`` finds; the store itself says where things are.

    Wherever a search takes a query, that is a text or any content: a picture, a sound, content
    blocks, a ``Document``.
    """

    _collection: MatryoshkaCollection
    _largest: LargestTier

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
        found = self._search(self._vector(query, options), k, query, first_scores=True, **options)
        return self._shown(found)

    async def ahits(
        self, query: Embeddable, k: int = _DEFAULT_K, **options: Unpack[SearchOptions]
    ) -> Results:
        """``hits``, awaited."""
        vector = await self._avector(query, options)
        return self._shown(await self._asearch(vector, k, query, first_scores=True, **options))

    def similarity_search(
        self, query: Embeddable, k: int = _DEFAULT_K, **kwargs: Any
    ) -> list[Document]:
        """The ``k`` nearest documents to a text or a content; ``kwargs``: ``SearchOptions``."""
        return to_documents(self._search(self._vector(query, kwargs), k, query, **kwargs))

    async def asimilarity_search(
        self, query: Embeddable, k: int = _DEFAULT_K, **kwargs: Any
    ) -> list[Document]:
        """``similarity_search``, awaited."""
        return to_documents(
            await self._asearch(await self._avector(query, kwargs), k, query, **kwargs)
        )

    def similarity_search_with_score(
        self, query: Embeddable, k: int = _DEFAULT_K, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """As ``similarity_search``, each with its cosine at the largest tier, from -1 to 1.

        In a hybrid search the score is that of the fused ranks.
        """
        return to_scored(self._search(self._vector(query, kwargs), k, query, **kwargs))

    async def asimilarity_search_with_score(
        self, query: Embeddable, k: int = _DEFAULT_K, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """``similarity_search_with_score``, awaited."""
        return to_scored(
            await self._asearch(await self._avector(query, kwargs), k, query, **kwargs)
        )

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = _DEFAULT_K, **kwargs: Any
    ) -> list[Document]:
        """The ``k`` nearest documents to a vector of at least the largest tier's size."""
        return to_documents(self._search(embedding, k, **kwargs))

    async def asimilarity_search_by_vector(
        self, embedding: list[float], k: int = _DEFAULT_K, **kwargs: Any
    ) -> list[Document]:
        """``similarity_search_by_vector``, awaited."""
        return to_documents(await self._asearch(embedding, k, **kwargs))

    def similarity_search_with_score_by_vector(
        self, embedding: list[float], k: int = _DEFAULT_K, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """As ``similarity_search_by_vector``, each with its cosine at the largest tier."""
        return to_scored(self._search(embedding, k, **kwargs))

    async def asimilarity_search_with_score_by_vector(
        self, embedding: list[float], k: int = _DEFAULT_K, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """``similarity_search_with_score_by_vector``, awaited."""
        return to_scored(await self._asearch(embedding, k, **kwargs))

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
        vector = self._vector(content, kwargs, aggregate)
        return to_documents(self._search(vector, k, content, **kwargs))

    async def asimilarity_search_by_content(
        self,
        content: Embeddable,
        k: int = _DEFAULT_K,
        *,
        aggregate: Aggregate = "joint",
        **kwargs: Any,
    ) -> list[Document]:
        """``similarity_search_by_content``, awaited."""
        vector = await self._avector(content, kwargs, aggregate)
        return to_documents(await self._asearch(vector, k, content, **kwargs))

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
        vector = self._vector(query, kwargs)
        found = self._search(vector, max(fetch_k, k), query, with_vectors=True, **kwargs)
        return various(vector, found, k, lambda_mult)

    async def amax_marginal_relevance_search(
        self,
        query: Embeddable,
        k: int = _DEFAULT_K,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **kwargs: Any,
    ) -> list[Document]:
        """``max_marginal_relevance_search``, awaited."""
        vector = await self._avector(query, kwargs)
        found = await self._asearch(vector, max(fetch_k, k), query, with_vectors=True, **kwargs)
        return various(vector, found, k, lambda_mult)

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
        return various(embedding, found, k, lambda_mult)

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
        return various(embedding, found, k, lambda_mult)

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return relevance

    def _similarity_search_with_relevance_scores(
        self, query: Embeddable, k: int = _DEFAULT_K, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        kwargs = {"hybrid": False, **kwargs}  # ranks are no relevances
        found = self.similarity_search_with_score(query, k, **kwargs)
        return [(document, relevance(score)) for document, score in found]

    async def _asimilarity_search_with_relevance_scores(
        self, query: Embeddable, k: int = _DEFAULT_K, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        kwargs = {"hybrid": False, **kwargs}
        found = await self.asimilarity_search_with_score(query, k, **kwargs)
        return [(document, relevance(score)) for document, score in found]

    def _vector(
        self, query: Embeddable, options: Mapping[str, Any], aggregate: Aggregate = "joint"
    ) -> VectorsLike:
        _check_options(options)
        return self._largest.query(query, aggregate)

    async def _avector(
        self, query: Embeddable, options: Mapping[str, Any], aggregate: Aggregate = "joint"
    ) -> VectorsLike:
        _check_options(options)
        return await self._largest.aquery(query, aggregate)

    def _search(
        self,
        vector: VectorsLike,
        k: int,
        query: Embeddable | None = None,
        *,
        with_vectors: bool = False,
        first_scores: bool = False,
        hybrid: bool | None = None,
        score_threshold: float | None = None,
        **options: Any,
    ) -> Results:
        _check_options(options)
        text = self._words(query, hybrid, self._collection.open())
        options["filter"] = metadata_filter(options.get("filter"))
        found = self._collection.search(
            vector, k, text=text, with_vectors=with_vectors, first_scores=first_scores, **options
        )
        return _above(found, score_threshold)

    async def _asearch(
        self,
        vector: VectorsLike,
        k: int,
        query: Embeddable | None = None,
        *,
        with_vectors: bool = False,
        first_scores: bool = False,
        hybrid: bool | None = None,
        score_threshold: float | None = None,
        **options: Any,
    ) -> Results:
        _check_options(options)
        text = self._words(query, hybrid, await self._collection.aopen())
        options["filter"] = metadata_filter(options.get("filter"))
        found = await self._collection.asearch(
            vector, k, text=text, with_vectors=with_vectors, first_scores=first_scores, **options
        )
        return _above(found, score_threshold)

    @staticmethod
    def _words(
        query: Embeddable | None, hybrid: bool | None, opened: MatryoshkaCollection
    ) -> str | None:
        """The words for BM25, if it is wanted; a collection without it then says so."""
        wanted = opened.hybrid if hybrid is None else hybrid
        return query if wanted and isinstance(query, str) else None

    def _shown(self, found: Results) -> Results:
        if isinstance(self.embeddings, Gemini2Embeddings):
            found.media_root = self.embeddings.media_root
        return found


def _check_options(options: Mapping[str, Any]) -> None:
    """See that a search can be, before its query is embedded.

    Raises:
        TypeError: An argument that there isn't.
        InvalidInputError: A filter that can't be read.
    """
    if unknown := options.keys() - SearchOptions.__annotations__.keys():
        raise TypeError(
            f"a search has no argument {', '.join(sorted(unknown))}; "
            f"there are {', '.join(SearchOptions.__annotations__)}"
        )
    metadata_filter(options.get("filter"))


def _above(found: Results, threshold: float | None) -> Results:
    if threshold is None:
        return found
    return Results(hit for hit in found if hit.score >= threshold)
