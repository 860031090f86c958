"""``MatryoshkaVectorStore``: LlamaIndex's nodes in one index, searched small, re-scored large."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict
from pydantic import PrivateAttr

from gemini2_core.errors import ConfigurationError, IndexMismatchError, InvalidInputError
from gemini2_core.index import (
    FilterLike,
    MatryoshkaCollection,
    Payload,
    Record,
    Results,
    Shortlist,
    read_filter,
)
from gemini2_core.index.ids import point_id
from gemini2_core.index.modalities import MODALITIES_KEY
from gemini2_core.model import DEFAULT_MODEL, MODELS, EmbeddingSpace
from llama_index_gemini2.embedding import Gemini2Embedding
from llama_index_gemini2.nodes import node_modalities

if TYPE_CHECKING:
    from qdrant_client import AsyncQdrantClient, QdrantClient

    from gemini2_core.index.operations import FieldType

__all__ = ["CollectionOptions", "MatryoshkaVectorStore", "SearchOptions", "check_space"]

#: Where ``node_to_metadata_dict`` puts the id of the document that a node was cut from.
_REF_DOC = "doc_id"

_LARGEST = MODELS[DEFAULT_MODEL].full_dimensions


class CollectionOptions(TypedDict, total=False):
    """Arguments of ``MatryoshkaCollection``, which explains each.

    ``payload_indexes`` names fields of the nodes' metadata.
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
    adopt: bool
    shard_number: int | None
    replication_factor: int | None
    timeout: float
    retry_seconds: float
    parallel: int


class SearchOptions(TypedDict, total=False):
    """What a query takes beside LlamaIndex's own, as ``vector_store_kwargs`` of a retriever.

    Attributes:
        shortlist: How many nodes the largest tier re-scores, 50 if not said.
        filter: Which nodes count, beside the ``MetadataFilters``: a dict over their metadata
            (``{"page": {"gte": 3}}``, a list is any of it), or a ``qdrant_client.models.Filter``.
        node_ids: Only these nodes count.
        exact: One pass over everything at the largest tier, to compare with.
        ef: Candidates of the graph search.
    """

    shortlist: Shortlist
    filter: FilterLike | None
    node_ids: Sequence[str] | None
    exact: bool
    ef: int | None


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
        embed_model: The model whose vectors it holds; its space and size are checked before
            anything is embedded.
        collection_name: The collection's name.
        collection: A collection to use instead of opening one; it isn't closed here.
        space: The space of the vectors of another model; ``"gemini-embedding-2/RETRIEVAL"``, say.
        options: Where the collection is and what it is made like; nothing is ``:memory:``.

    Raises:
        ConfigurationError: Arguments that don't go together.
        IndexMismatchError: The model's vectors are of another space, or smaller than the largest
            tier.
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
            _REF_DOC: "keyword",
            MODALITIES_KEY: "keyword",
            **(options.get("payload_indexes") or {}),
        }
        self._collection = MatryoshkaCollection(collection_name, space=space, **options)
        if embed_model is not None and not tiers and embed_model.dimensions < _LARGEST:
            # Only the collection knows whether that is enough, and afterwards is too late.
            try:
                _check_size(embed_model, self._collection.dimensions, collection_name)
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
            IndexMismatchError: Vectors smaller than the largest tier.
            IndexUnavailableError: The engine failed; ``stored`` tells what it had acknowledged.
        """
        ids, vectors, payloads = _points(nodes)
        if ids:
            self._collection.add(ids, vectors, payloads)
        return ids

    async def async_add(self, nodes: Sequence[BaseNode], **_: Any) -> list[str]:
        """``add``, awaited."""
        ids, vectors, payloads = _points(nodes)
        if ids:
            await self._collection.aadd(ids, vectors, payloads)
        return ids

    def delete(self, ref_doc_id: str, **_: Any) -> None:
        """Delete all nodes of a document."""
        self._collection.delete(filter=_is(_REF_DOC, ref_doc_id))

    async def adelete(self, ref_doc_id: str, **_: Any) -> None:
        """``delete``, awaited."""
        await self._collection.adelete(filter=_is(_REF_DOC, ref_doc_id))

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
        ids, where = _which(node_ids, filters)
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
        ids, where = _which(node_ids, filters)
        if where is not None:
            await self._collection.adelete(filter=where)
        elif ids is not None:
            await self._collection.adelete(ids)
        else:
            raise ConfigurationError("delete_nodes takes node_ids or filters; see clear()")

    def clear(self) -> None:
        """Delete every node; the collection stays, empty."""
        self._collection.delete(filter=_ANY_NODE)

    async def aclear(self) -> None:
        """``clear``, awaited."""
        await self._collection.adelete(filter=_ANY_NODE)

    # ---- reading

    def get_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
    ) -> list[BaseNode]:
        """Nodes by id (in their order), by filters, by both, or all; without embeddings."""
        ids, where = _which(node_ids, filters)
        if ids is not None and where is None:
            return [_node(record) for record in self._collection.get(ids)]
        return [_node(record) for record in self._collection.scroll(where)]

    async def aget_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
    ) -> list[BaseNode]:
        """``get_nodes``, awaited."""
        ids, where = _which(node_ids, filters)
        if ids is not None and where is None:
            return [_node(record) for record in await self._collection.aget(ids)]
        return [_node(record) async for record in self._collection.ascroll(where)]

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """The nodes nearest to a vector, best first; ``kwargs`` are ``SearchOptions``.

        ``VectorStoreIndex.as_retriever`` puts the ids of its image nodes, and of no others, into
        ``query.node_ids``. Heeding that would hide every text, so it isn't: the option
        ``node_ids`` narrows a search.

        Raises:
            ConfigurationError: A mode other than ``DEFAULT``, or an unknown option.
            InvalidInputError: A query without a vector, or a filter that can't be read.
            IndexMismatchError: A vector smaller than the largest tier.
        """
        vector, where, more = _search(query, kwargs)
        return _result(
            self._collection.search(vector, query.similarity_top_k, filter=where, **more)
        )

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """``query``, awaited."""
        vector, where, more = _search(query, kwargs)
        return _result(
            await self._collection.asearch(vector, query.similarity_top_k, filter=where, **more)
        )


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


def _check_size(model: Gemini2Embedding, largest: int, name: str) -> None:
    if model.dimensions < largest:
        raise IndexMismatchError(
            f"the embedding model makes {model.dimensions} numbers, and the largest tier of "
            f"collection {name!r} has {largest}: every tier is cut from one vector, so make the "
            f"model with dimensions={largest} (or the store with tiers=(…, {model.dimensions}))"
        )


def _points(
    nodes: Sequence[BaseNode],
) -> tuple[list[str], npt.NDArray[np.float32], list[Payload]]:
    rows: list[list[float]] = []
    for index, node in enumerate(nodes):
        if node.embedding is None:
            raise InvalidInputError(
                f"node {node.node_id} has no embedding: call the embedding model with the nodes, "
                "or put it last in the pipeline"
            ).at(index)
        if rows and len(node.embedding) != len(rows[0]):
            raise InvalidInputError(
                f"node {node.node_id} has {len(node.embedding)} numbers, others {len(rows[0])}"
            ).at(index)
        rows.append(node.embedding)
    # Without its vector, which would be told in the node's JSON as it is dumped.
    bare = (node.model_copy(update={"embedding": None}) for node in nodes)
    payloads: list[Payload] = [
        {**node_to_metadata_dict(node), MODALITIES_KEY: node_modalities(node)} for node in bare
    ]
    return [node.node_id for node in nodes], np.asarray(rows, dtype=np.float32), payloads


def _node(record: Record) -> BaseNode:
    try:
        return metadata_dict_to_node(record.payload)
    except ValueError as error:
        raise IndexMismatchError(
            f"point {record.id!r} isn't a node of LlamaIndex: another framework wrote it"
        ) from error


def _result(hits: Results) -> VectorStoreQueryResult:
    nodes = [_node(hit) for hit in hits]
    return VectorStoreQueryResult(
        nodes=nodes,
        similarities=[hit.score for hit in hits],
        ids=[node.node_id for node in nodes],
    )


def _search(
    query: VectorStoreQuery, given: Mapping[str, Any]
) -> tuple[list[float], FilterLike | None, dict[str, Any]]:
    """A query's vector, everything that filters it, and what else the collection is told."""
    if query.mode is not VectorStoreQueryMode.DEFAULT:
        raise ConfigurationError(
            f"query mode {query.mode.value!r} isn't there: a Matryoshka index has 'default' alone"
        )
    if unknown := given.keys() - SearchOptions.__annotations__.keys():
        raise ConfigurationError(
            f"a query has no option {', '.join(sorted(unknown))}; "
            f"there are {', '.join(SearchOptions.__annotations__)}"
        )
    if query.query_embedding is None:
        raise InvalidInputError("a query needs its embedding")
    more = dict(given)
    conditions = [read_filter(more.pop("filter", None)), _filters(query.filters)]
    if query.doc_ids is not None:
        conditions.append(read_filter({_REF_DOC: query.doc_ids}))
    if (node_ids := more.pop("node_ids", None)) is not None:
        conditions.append(_has_id(node_ids))
    return query.query_embedding, _all_of(conditions), more


# ---- filters

_ANY_NODE: FilterLike = {"must_not": [{"is_empty": {"key": _REF_DOC}}]}

_OPERATORS: Mapping[FilterOperator, str] = {
    FilterOperator.EQ: "eq",
    FilterOperator.NE: "ne",
    FilterOperator.GT: "gt",
    FilterOperator.GTE: "gte",
    FilterOperator.LT: "lt",
    FilterOperator.LTE: "lte",
    FilterOperator.IN: "in",
    FilterOperator.NIN: "nin",
    FilterOperator.ANY: "in",  # Qdrant compares each member of an array
    FilterOperator.CONTAINS: "eq",
    FilterOperator.TEXT_MATCH: "text",
}


def _is(key: str, value: object) -> FilterLike:
    return {"must": [{"key": key, "match": {"value": value}}]}


def _has_id(ids: Iterable[str]) -> dict[str, object]:
    return {"must": [{"has_id": [point_id(one) for one in ids]}]}


def _all_of(conditions: Iterable[dict[str, object] | None]) -> dict[str, object] | None:
    found = [one for one in conditions if one is not None]
    return {"must": found} if len(found) > 1 else found[0] if found else None


def _which(
    node_ids: list[str] | None, filters: MetadataFilters | None
) -> tuple[list[str] | None, dict[str, object] | None]:
    """Ids alone, or one filter that says it all."""
    where = _filters(filters)
    if node_ids is None or where is None:
        return node_ids, where
    return node_ids, _all_of([_has_id(node_ids), where])


def _filters(given: MetadataFilters | None) -> dict[str, object] | None:
    """LlamaIndex's filters in Qdrant's JSON form; None if nothing is filtered.

    Raises:
        InvalidInputError: An operator that Qdrant doesn't have, or a value it can't compare.
    """
    if given is None:
        return None
    read = (
        _filters(one) if isinstance(one, MetadataFilters) else _filter(one) for one in given.filters
    )
    some = [one for one in read if one is not None]
    if not some:
        return None
    match given.condition:
        case FilterCondition.OR:
            return {"should": some}
        case FilterCondition.NOT:
            return {"must_not": some}
    return {"must": some}


def _filter(given: MetadataFilter) -> dict[str, object] | None:
    key, value, operator = given.key, given.value, given.operator
    if operator is FilterOperator.IS_EMPTY:
        return read_filter({key: None})
    if operator is FilterOperator.ALL:
        if not isinstance(value, list):
            raise InvalidInputError(f"field {key!r} of the filter: a list is wanted, not {value!r}")
        return _all_of(read_filter({key: {"eq": one}}) for one in value)
    if operator not in _OPERATORS:
        raise InvalidInputError(f"field {key!r} of the filter: there is no {operator.value!r}")
    return read_filter({key: {_OPERATORS[operator]: value}})
