"""``MatryoshkaRetriever``: nodes found with a question in words, a picture, or both."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding
from llama_index.core.indices.vector_store.base import VectorStoreIndex
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.vector_stores.types import (
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)

from gemini2_core.errors import ConfigurationError, InvalidInputError
from gemini2_core.index import FilterLike, Shortlist, read_filter
from llama_index_gemini2.embedding import Gemini2Embedding
from llama_index_gemini2.queries import WORDS_ALONE, read_mode
from llama_index_gemini2.vectorstore import MatryoshkaVectorStore, check_space

__all__ = ["MatryoshkaRetriever"]

_DEFAULT_TOP_K = 4


class MatryoshkaRetriever(BaseRetriever):
    """Retrieves nodes of all modalities from a ``MatryoshkaVectorStore``.

    Unlike the framework's own, it embeds a query's ``image_path`` together with its words. A
    query whose ``embedding`` is set (``Gemini2Embedding.get_query_bundle`` of any content) is
    searched with that.

    Example:
        >>> retriever = MatryoshkaRetriever(index, shortlist=100)  # doctest: +SKIP
        >>> question = QueryBundle("Which part is this?", image_path="part.jpg")  # doctest: +SKIP
        >>> retriever.retrieve(question)  # doctest: +SKIP

    Args:
        source: A ``VectorStoreIndex`` over a ``MatryoshkaVectorStore``, or the store.
        embed_model: The model for the queries; None takes the index's, or the store's.
        similarity_top_k: How many nodes.
        shortlist: How many nodes the largest tier re-scores; None for 50.
        vector_store_query_mode: ``"hybrid"`` searches the question's words too, ``"sparse"`` and
            ``"text_search"`` them alone; for a store made with ``hybrid=True``. ``"mmr"`` prefers
            nodes unlike each other.
        mmr_threshold: 1 for the nearest alone, 0 for the most various; None for 0.5.
        filters: LlamaIndex's filters.
        filter: A dict over the metadata, or a Qdrant filter; both hold if both are given.
        doc_ids: Only nodes of these documents.
        node_ids: Only these nodes.
        **more: Arguments of ``BaseRetriever``: ``callback_manager``, ``object_map``, ``verbose``.

    Raises:
        ConfigurationError: Another kind of vector store, or no embedding model.
    """

    def __init__(
        self,
        source: VectorStoreIndex | MatryoshkaVectorStore,
        *,
        embed_model: BaseEmbedding | None = None,
        similarity_top_k: int = _DEFAULT_TOP_K,
        shortlist: Shortlist | None = None,
        vector_store_query_mode: VectorStoreQueryMode | str = VectorStoreQueryMode.DEFAULT,
        mmr_threshold: float | None = None,
        filters: MetadataFilters | None = None,
        filter: FilterLike | None = None,  # noqa: A002  # Qdrant's word
        doc_ids: Sequence[str] | None = None,
        node_ids: Sequence[str] | None = None,
        **more: Any,
    ) -> None:
        model: BaseEmbedding | None
        if isinstance(source, VectorStoreIndex):
            store = source.vector_store
            model = embed_model or source._embed_model
            more.setdefault("object_map", source._object_map)
        else:
            store, model = source, embed_model or source.embed_model
        if not isinstance(store, MatryoshkaVectorStore):
            raise ConfigurationError(
                f"the index is over a {type(store).__name__}, not a MatryoshkaVectorStore"
            )
        if model is None:
            raise ConfigurationError("the store was made without an embedding model: embed_model=")
        self._store = store
        self._embed_model: BaseEmbedding = model
        self._top_k = similarity_top_k
        self._mode = read_mode(vector_store_query_mode)
        self._filters = filters
        self._doc_ids = None if doc_ids is None else list(doc_ids)
        told = {
            "shortlist": shortlist,
            "filter": filter,
            "node_ids": node_ids,
            "mmr_threshold": mmr_threshold,
        }
        self._options: dict[str, Any] = {
            name: value for name, value in told.items() if value is not None
        }
        super().__init__(**more)

    @property
    def embed_model(self) -> BaseEmbedding:
        """The model for the queries."""
        return self._embed_model

    @property
    def similarity_top_k(self) -> int:
        """How many nodes."""
        return self._top_k

    def narrowed(self, similarity_top_k: int, filter: FilterLike | None) -> Self:  # noqa: A002
        """This retriever for another number of nodes, and a filter that holds beside its own."""
        other = copy.copy(self)
        other._top_k = similarity_top_k
        both = (read_filter(self._options.get("filter")), read_filter(filter))
        found = [one for one in both if one is not None]
        other._options = {**self._options, "filter": {"must": found}} if found else self._options
        return other

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        model, vector = self._embed_model, query_bundle.embedding
        if vector is None and self._mode not in WORDS_ALONE:
            if isinstance(model, Gemini2Embedding):
                check_space(model, self._store.collection)
            if self._has_picture(query_bundle):
                assert isinstance(model, Gemini2Embedding)
                vector = model.get_query_bundle(query_bundle).embedding
            else:
                vector = model.get_agg_embedding_from_queries(query_bundle.embedding_strs)
        return _scored(self._store.query(self._query(query_bundle, vector), **self._options))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        model, vector = self._embed_model, query_bundle.embedding
        if vector is None and self._mode not in WORDS_ALONE:
            if isinstance(model, Gemini2Embedding):
                await self._store.collection.aopen()
                check_space(model, self._store.collection)
            if self._has_picture(query_bundle):
                assert isinstance(model, Gemini2Embedding)
                vector = (await model.aget_query_bundle(query_bundle)).embedding
            else:
                vector = await model.aget_agg_embedding_from_queries(query_bundle.embedding_strs)
        found = await self._store.aquery(self._query(query_bundle, vector), **self._options)
        return _scored(found)

    def _has_picture(self, query: QueryBundle) -> bool:
        """Whether the query needs a model that fuses words and pictures.

        Raises:
            ConfigurationError: It does, and the model is another.
            InvalidInputError: It has neither words nor a picture.
        """
        if query.image_path is None:
            if not query.embedding_strs:
                raise InvalidInputError("the query has no words, no picture and no embedding")
            return False
        if not isinstance(self._embed_model, Gemini2Embedding):
            raise ConfigurationError(
                f"a query with a picture needs Gemini2Embedding, not "
                f"{type(self._embed_model).__name__}"
            )
        return True

    def _query(self, query: QueryBundle, vector: Embedding | None) -> VectorStoreQuery:
        return VectorStoreQuery(
            query_embedding=vector,
            similarity_top_k=self._top_k,
            query_str=query.query_str,
            mode=self._mode,
            filters=self._filters,
            doc_ids=self._doc_ids,
        )


def _scored(found: VectorStoreQueryResult) -> list[NodeWithScore]:
    pairs = zip(found.nodes or (), found.similarities or (), strict=True)
    return [NodeWithScore(node=node, score=score) for node, score in pairs]
