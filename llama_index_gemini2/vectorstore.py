"""``MatryoshkaVectorStore``: LlamaIndex's nodes in one index, searched small, re-scored large."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from llama_index.core.base.embeddings.base import Embedding
from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryResult,
)
from pydantic import PrivateAttr

from gemini2_core.errors import ConfigurationError, IndexMismatchError
from gemini2_core.index import (
    CollectionOptions,
    MatryoshkaCollection,
)
from gemini2_core.index.modalities import MODALITIES_KEY
from gemini2_core.model import EmbeddingSpace
from llama_index_gemini2.embedding import Gemini2Embedding
from llama_index_gemini2.filters import (
    ANY_NODE,
    REF_DOC,
    field_is,
    which_nodes,
)
from llama_index_gemini2.points import to_node, to_points, to_result, to_words
from llama_index_gemini2.queries import chosen, to_search
from llama_index_gemini2.space_marks import space_of

__all__ = ["MatryoshkaVectorStore", "check_space"]


class MatryoshkaVectorStore(BasePydanticVectorStore):
    """A LlamaIndex vector store over a ``MatryoshkaCollection``.

    A search runs over everything at the smallest tier and re-scores a short list at the largest,
    in one call to Qdrant. Every tier is cut from the one vector of a node, so the embedding model
    has to be made with the largest tier's size: ``Gemini2Embedding(dimensions=3072)``.

    Example:
        >>> model = Gemini2Embedding(dimensions=3072)  # doctest: +SKIP
        >>> store = MatryoshkaVectorStore(model, path="index/")  # doctest: +SKIP
        >>> context = StorageContext.from_defaults(vector_store=store)  # doctest: +SKIP
        >>> VectorStoreIndex(nodes, storage_context=context, embed_model=model)  # doctest: +SKIP

    Args:
        embed_model: The model whose vectors it holds. With it the collection is opened here, so
            that a server that isn't there, another space or a model of too small a size is told
            before anything is embedded; without it, with the first call.
        collection_name: The collection's name.
        collection: A collection to use instead of opening one; it isn't closed here.
        space: The space of the vectors of another model; ``"gemini-embedding-2/RETRIEVAL"``, say.
        options: Where the collection is and what it is made like; nothing is ``:memory:``.

    Raises:
        ConfigurationError: Arguments that don't go together.
        IndexMismatchError: The model's vectors are of another space, or smaller than the largest
            tier.
        IndexUnavailableError: The server doesn't answer.
        IndexLockedError: The folder is open elsewhere.
        MissingExtraError: The engine's package isn't installed.
    """

    stores_text: bool = True

    _collection: MatryoshkaCollection = PrivateAttr()
    _model: Gemini2Embedding | None = PrivateAttr(default=None)
    _owner: bool = PrivateAttr(default=True)

    def __init__(
        self,
        embed_model: Gemini2Embedding | None = None,
        collection_name: str = "gemini2",
        *,
        collection: MatryoshkaCollection | None = None,
        space: EmbeddingSpace | str | None = None,
        **options: Unpack[CollectionOptions],
    ) -> None:
        super().__init__(stores_text=True)
        model: object = embed_model
        if model is not None and not isinstance(model, Gemini2Embedding):
            raise ConfigurationError(
                f"embed_model is a Gemini2Embedding, not {type(model).__name__}: a name is "
                "collection_name=, and another model isn't given but told by space="
            )
        self._model = embed_model
        if collection is not None:
            if options or space is not None:
                given = ", ".join(f"{name}=" for name in (*options, *(["space"] * bool(space))))
                raise ConfigurationError(f"collection= is open already: {given} has no effect")
            self._collection, self._owner = collection, False
            if embed_model is not None:
                check_space(embed_model, collection)
                _check_size(embed_model, collection.dimensions, collection.name)
            return
        tiers = options.get("tiers")
        if embed_model is not None:
            space = embed_model.space if space is None else space
            if tiers:
                _check_size(embed_model, max(tiers), collection_name)
        # Deleting a document, and replacing one, looks for its nodes; agents ask for pictures.
        options["payload_indexes"] = {
            REF_DOC: "keyword",
            MODALITIES_KEY: "keyword",
            **(options.get("payload_indexes") or {}),
        }
        self._collection = MatryoshkaCollection(collection_name, space=space, **options)
        if embed_model is not None:
            # The framework embeds first and stores then: afterwards is too late.
            try:
                _check_size(embed_model, self._collection.open().dimensions, collection_name)
            except BaseException:
                self._collection.close()
                raise

    @classmethod
    def class_name(cls) -> str:
        """Name in serialized form."""
        return "MatryoshkaVectorStore"

    @property
    def client(self) -> MatryoshkaCollection:
        """The collection, under the framework's name."""
        return self._collection

    @property
    def collection(self) -> MatryoshkaCollection:
        """The collection underneath: tiers, counts, scrolling, ``add_tier``, ``drop``."""
        return self._collection

    @property
    def collection_name(self) -> str:
        """The collection's name."""
        return self._collection.name

    @property
    def embed_model(self) -> Gemini2Embedding | None:
        """The model it was made with."""
        return self._model

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._collection!r})"

    def close(self) -> None:
        """Let go of files and connections; a collection that was handed in stays open."""
        if self._owner:
            self._collection.close()

    async def aclose(self) -> None:
        """``close``, awaited."""
        if self._owner:
            await self._collection.aclose()

    # ---- writing

    def add(self, nodes: Sequence[BaseNode], **_: Any) -> list[str]:
        """Store nodes with their embeddings; one whose id is there already is replaced.

        Returns:
            The nodes' ids. They are stored when it returns.

        Raises:
            InvalidInputError: A node without an embedding; ``.index`` says which.
            IndexMismatchError: Vectors smaller than the largest tier, or of another space, as far
                as they tell it: those of a ``Gemini2Embedding`` do. Nothing is stored then.
            IndexUnavailableError: The engine failed; ``stored`` tells what it had acknowledged.
        """
        ids, vectors, payloads = to_points(nodes)
        if ids:
            collection = self._collection.open()
            _check_nodes(nodes, collection)
            words = to_words(nodes) if collection.hybrid else None
            self._collection.add(ids, vectors, payloads, texts=words)
        return ids

    async def async_add(self, nodes: Sequence[BaseNode], **_: Any) -> list[str]:
        """``add``, awaited."""
        ids, vectors, payloads = to_points(nodes)
        if ids:
            collection = await self._collection.aopen()
            _check_nodes(nodes, collection)
            words = to_words(nodes) if collection.hybrid else None
            await self._collection.aadd(ids, vectors, payloads, texts=words)
        return ids

    def delete(self, ref_doc_id: str, **_: Any) -> None:
        """Delete all nodes of a document."""
        self._collection.delete(filter=field_is(REF_DOC, ref_doc_id))

    async def adelete(self, ref_doc_id: str, **_: Any) -> None:
        """``delete``, awaited."""
        await self._collection.adelete(filter=field_is(REF_DOC, ref_doc_id))

    def delete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **_: Any,
    ) -> None:
        """Delete nodes by id, by filters, or those of the ids that the filters match.

        Raises:
            ConfigurationError: Neither ids nor filters: ``clear`` deletes everything.
        """
        ids, where = which_nodes(node_ids, filters)
        if where is not None:
            self._collection.delete(filter=where)
        elif ids is not None:
            self._collection.delete(ids)
        else:
            raise ConfigurationError("delete_nodes takes node_ids or filters; see clear()")

    async def adelete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **_: Any,
    ) -> None:
        """``delete_nodes``, awaited."""
        ids, where = which_nodes(node_ids, filters)
        if where is not None:
            await self._collection.adelete(filter=where)
        elif ids is not None:
            await self._collection.adelete(ids)
        else:
            raise ConfigurationError("delete_nodes takes node_ids or filters; see clear()")

    def clear(self) -> None:
        """Delete every node; the collection stays, empty."""
        self._collection.delete(filter=ANY_NODE)

    async def aclear(self) -> None:
        """``clear``, awaited."""
        await self._collection.adelete(filter=ANY_NODE)

    # ---- reading

    def get_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
    ) -> list[BaseNode]:
        """Nodes by id (in their order), by filters, by both, or all; without embeddings."""
        ids, where = which_nodes(node_ids, filters)
        if ids is not None and where is None:
            return [to_node(record) for record in self._collection.get(ids)]
        return [to_node(record) for record in self._collection.scroll(where)]

    async def aget_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
    ) -> list[BaseNode]:
        """``get_nodes``, awaited."""
        ids, where = which_nodes(node_ids, filters)
        if ids is not None and where is None:
            return [to_node(record) for record in await self._collection.aget(ids)]
        return [to_node(record) async for record in self._collection.ascroll(where)]

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """The nodes nearest to a vector, best first; ``kwargs`` are ``SearchOptions``.

        Mode ``hybrid`` searches the words of ``query_str`` too (BM25), fused by rank with the
        vector's passes in the same call; ``sparse`` and ``text_search`` are both BM25 alone. All
        three need a store made with ``hybrid=True``; the scores are those of the ranks, or BM25's.
        ``mmr`` chooses, of ``fetch_k`` nearest nodes, those that are near and unlike each other.

        ``VectorStoreIndex.as_retriever`` puts the ids of its image nodes, and of no others, into
        ``query.node_ids``. Heeding that would hide every text, so it isn't: the option
        ``node_ids`` narrows a search.

        Raises:
            ConfigurationError: A mode or an option that isn't there; words for a store without
                BM25.
            InvalidInputError: A query without what its mode needs, a filter that can't be read.
            IndexMismatchError: A vector smaller than the largest tier, or of another space, as far
                as it tells it: that of a ``Gemini2Embedding`` does.
        """
        search = to_search(query, kwargs)
        _check_vector(search["vector"], "the query's embedding", self._collection.open())
        found = self._collection.search(**search)
        return to_result(chosen(found, query, kwargs))

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """``query``, awaited."""
        search = to_search(query, kwargs)
        _check_vector(search["vector"], "the query's embedding", await self._collection.aopen())
        found = await self._collection.asearch(**search)
        return to_result(chosen(found, query, kwargs))


def check_space(model: Gemini2Embedding, collection: MatryoshkaCollection) -> None:
    """See that a model's vectors can be compared with a collection's; opens it if need be.

    Raises:
        IndexMismatchError: They live in different spaces.
    """
    if model.space != collection.space:
        raise IndexMismatchError(
            f"collection {collection.name!r} holds vectors of {collection.space}, and the "
            f"embedding model makes {model.space}: they can't be compared"
        )


def _check_nodes(nodes: Sequence[BaseNode], collection: MatryoshkaCollection) -> None:
    for index, node in enumerate(nodes):
        try:
            _check_vector(node.embedding, f"the embedding of node {node.node_id}", collection)
        except IndexMismatchError as error:
            raise error.at(index) from None


def _check_vector(vector: Embedding | None, whose: str, collection: MatryoshkaCollection) -> None:
    """See that a vector, as far as it tells its space, can be compared with a collection's.

    An index embeds with its own model, whatever model the store was made with.

    Raises:
        IndexMismatchError: It lives in another space.
    """
    told = None if vector is None else space_of(vector)
    if told not in {None, collection.space}:
        raise IndexMismatchError(
            f"collection {collection.name!r} holds vectors of {collection.space}, and {whose} is "
            f"of {told}: they can't be compared. Give the index the embed_model that the "
            "collection was made with, or embed everything anew into another one"
        )


def _check_size(model: Gemini2Embedding, largest: int, name: str) -> None:
    if model.dimensions < largest:
        raise IndexMismatchError(
            f"the embedding model makes {model.dimensions} numbers, and the largest tier of "
            f"collection {name!r} has {largest}: every tier is cut from one vector, so make the "
            f"model with dimensions={largest} (or the store with tiers=(…, {model.dimensions}))"
        )
