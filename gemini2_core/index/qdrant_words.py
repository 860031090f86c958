"""What each operation is in the words of Qdrant's client, and what the client answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import orjson

from gemini2_core.errors import InvalidInputError
from gemini2_core.index import operations as op
from gemini2_core.index.filters import JsonFilter
from gemini2_core.index.operations import (
    Description,
    Layout,
    Numbers,
    Operation,
    Pass,
    Point,
    Scored,
    Sparse,
)
from gemini2_core.index.points import read_vectors

if TYPE_CHECKING:
    from types import ModuleType

    from qdrant_client import models

__all__ = ["Call", "ClientWords"]

_T = TypeVar("_T")
_Read = Callable[[Any], _T]

Call: TypeAlias = "tuple[str, dict[str, object], Callable[[Any], _T]]"
"""A method of the client, its arguments, and how its answer is read."""


class ClientWords:
    """Operations on one collection as calls of ``qdrant_client``.

    Args:
        name: The collection.
        models: ``qdrant_client.models``.
        remote: Whether there is a server, or Python's own brute force.
    """

    def __init__(self, name: str, models: ModuleType, *, remote: bool) -> None:
        self._name = name
        self._models = models
        self._remote = remote

    def call(self, operation: Operation[_T]) -> Call[_T] | None:
        """Method, arguments and reader; None for what Qdrant does by itself."""
        return cast("Call[_T] | None", self._worded(operation))

    def _worded(self, operation: Operation[Any]) -> Call[Any] | None:
        models = self._models
        at: dict[str, object] = {"collection_name": self._name}
        match operation:
            case op.Describe():
                return "get_collection", at, _description
            case op.Create(layout, mark):
                return "create_collection", at | self._created(layout, mark), _true
            case op.WriteMark(mark):
                return "update_collection", at | {"metadata": dict(mark)}, _nothing
            case op.IndexField(field, kind):
                if not self._remote:
                    return None
                arguments = {"field_name": field, "field_schema": kind, "wait": True}
                return "create_payload_index", at | arguments, _nothing
            case op.Upsert(points):
                told = [
                    models.PointStruct(
                        id=p.id, vector=self._vectors(p.vectors), payload=dict(p.payload)
                    )
                    for p in points
                ]
                return "upsert", at | {"points": told, "wait": True}, _nothing
            case op.AddVector(name, size):
                config = models.DenseVectorNameConfig(
                    dense=models.DenseVectorConfig(size=size, distance=models.Distance.COSINE)
                )
                arguments = {"vector_name": name, "vector_name_config": config}
                return "create_vector_name", at | arguments, _nothing
            case op.SetVectors(name, ids, vectors):
                told = [
                    models.PointVectors(id=own, vector={name: self._vector(row)})
                    for own, row in zip(ids, vectors, strict=True)
                ]
                return "update_vectors", at | {"points": told, "wait": True}, _nothing
            case op.Retrieve(ids, vectors=names):
                arguments = {"ids": list(ids), "with_vectors": list(names) or False}
                return "retrieve", at | arguments | {"with_payload": True}, _points
            case op.Delete(ids, filter=where):
                selector = (
                    models.PointIdsList(points=list(ids))
                    if ids is not None
                    else models.FilterSelector(filter=self._filter(where) or models.Filter())
                )
                return "delete", at | {"points_selector": selector, "wait": True}, _nothing
            case op.Count(filter=where):
                arguments = {"count_filter": self._filter(where), "exact": True}
                return "count", at | arguments, _count
            case op.Scroll(limit, offset, filter=where, vectors=names):
                arguments = {
                    "scroll_filter": self._filter(where),
                    "limit": limit,
                    "offset": offset,
                    "with_payload": True,
                    "with_vectors": list(names) or False,
                }
                return "scroll", at | arguments, _page
            case op.Query(last, vectors=names):
                arguments = {
                    "prefetch": [self._prefetch(one) for one in last.before] or None,
                    "query": self._query(last),
                    "using": last.using,
                    "query_filter": self._filter(last.filter),
                    "search_params": self._params(last),
                    "limit": last.limit,
                    "with_payload": True,
                    "with_vectors": list(names) or False,
                }
                return "query_points", at | arguments, _scored
            case op.Drop():
                return "delete_collection", at, _nothing
            case op.Tune(layout):
                return "update_collection", at | {"vectors_config": self._tuned(layout)}, _nothing
            case op.Collections():
                return "get_collections", {}, _names
            case op.Aliases():
                return "get_aliases", {}, _aliases
            case op.PointAlias(alias, collection):
                created = models.CreateAlias(alias_name=alias, collection_name=collection)
                create = models.CreateAliasOperation(create_alias=created)
                changes = [self._dropped(alias), create]
                return "update_collection_aliases", _changes(changes), _nothing
            case op.DropAlias(alias):
                return "update_collection_aliases", _changes([self._dropped(alias)]), _nothing
            case op.Optimize() | op.Flush():
                return None  # done without being asked
        raise AssertionError(f"unknown operation {operation!r}")

    def _dropped(self, alias: str) -> object:
        models = self._models
        return models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))

    def _created(self, layout: Layout, mark: Mapping[str, object]) -> dict[str, object]:
        models = self._models
        first = next(iter(layout.vectors))
        vectors = {
            name: models.VectorParams(
                size=size,
                distance=models.Distance.COSINE,
                on_disk=True,
                hnsw_config=self._graph(layout, name == first),
                quantization_config=self._int8() if name == first else None,
            )
            for name, size in layout.vectors.items()
        }
        created: dict[str, object] = {
            "vectors_config": vectors,
            "metadata": dict(mark),
            "on_disk_payload": True,
        }
        if layout.sparse:
            created["sparse_vectors_config"] = {
                layout.sparse: models.SparseVectorParams(modifier=models.Modifier.IDF)
            }
        if layout.shard_number is not None:
            created["shard_number"] = layout.shard_number
        if layout.replication_factor is not None:
            created["replication_factor"] = layout.replication_factor
        return created

    def _tuned(self, layout: Layout) -> dict[str, object]:
        models = self._models
        first = next(iter(layout.vectors))
        return {
            name: models.VectorParamsDiff(
                on_disk=True,
                hnsw_config=self._graph(layout, name == first),
                quantization_config=self._int8() if name == first else models.Disabled.DISABLED,
            )
            for name in layout.vectors
        }

    def _graph(self, layout: Layout, first: bool) -> object:
        # Later tiers are only re-scored: no graph, and the disk is where they live.
        if not first:
            return self._models.HnswConfigDiff(m=0)
        return self._models.HnswConfigDiff(m=layout.m, ef_construct=layout.ef_construct)

    def _int8(self) -> object:
        scalar = self._models.ScalarQuantizationConfig(
            type=self._models.ScalarType.INT8, quantile=0.99, always_ram=True
        )
        return self._models.ScalarQuantization(scalar=scalar)

    def _vectors(self, vectors: Mapping[str, Numbers | Sparse]) -> dict[str, object]:
        return {name: self._vector(vector) for name, vector in vectors.items()}

    def _vector(self, vector: Numbers | Sparse) -> object:
        if isinstance(vector, Sparse):
            return self._models.SparseVector(indices=vector.indices, values=vector.values)
        return _decimals(vector) if self._remote else vector.tolist()

    def _filter(self, given: JsonFilter | None) -> models.Filter | None:
        if given is None:
            return None
        try:
            return cast("models.Filter", self._models.Filter.model_validate(given))
        except ValueError as error:  # pydantic's names every kind of condition that it isn't
            raise InvalidInputError(f"Qdrant has no such filter: {given!r}") from error

    def _query(self, one: Pass) -> object:
        if one.query is None:
            return self._models.FusionQuery(fusion=self._models.Fusion.RRF)
        return self._vector(one.query)

    def _prefetch(self, one: Pass) -> models.Prefetch:
        return cast(
            "models.Prefetch",
            self._models.Prefetch(
                prefetch=[self._prefetch(before) for before in one.before] or None,
                query=self._query(one),
                using=one.using,
                filter=self._filter(one.filter),
                params=self._params(one),
                limit=one.limit,
            ),
        )

    def _params(self, one: Pass) -> object:
        if not self._remote:
            return None  # always exact, and it warns of being told so
        params, quantization = self._models.SearchParams, self._models.QuantizationSearchParams
        if one.exact:
            return params(exact=True, quantization=quantization(ignore=True))
        if one.ef is None and one.rescore is None:
            return None
        rescored = None if one.rescore is None else quantization(rescore=one.rescore)
        return params(hnsw_ef=one.ef, quantization=rescored)


def _decimals(vector: Numbers) -> list[float]:
    """The numbers with as few digits as tell a float32: little more than half the bytes sent."""
    numbers: list[float] = orjson.loads(orjson.dumps(vector, option=orjson.OPT_SERIALIZE_NUMPY))
    return numbers


def _nothing(_answer: object) -> None:
    return None


def _true(_answer: object) -> bool:
    return True


def _changes(operations: Sequence[object]) -> dict[str, object]:
    return {"change_aliases_operations": operations}


def _names(answer: Any) -> list[str]:
    return sorted(one.name for one in answer.collections)


def _aliases(answer: Any) -> dict[str, str]:
    told = {one.alias_name: one.collection_name for one in answer.aliases}
    return dict(sorted(told.items()))


def _count(answer: Any) -> int:
    return int(answer.count)


def _description(answer: Any) -> Description:
    params = answer.config.params
    vectors = params.vectors if isinstance(params.vectors, dict) else {"": params.vectors}
    return Description(
        vectors={
            name: (int(one.size), str(getattr(one.distance, "value", one.distance)))
            for name, one in vectors.items()
            if one is not None
        },
        sparse=frozenset(params.sparse_vectors or ()),
        mark=answer.config.metadata,
        fields=frozenset(answer.payload_schema or ()),
        points=int(answer.points_count or 0),
        indexed=int(answer.indexed_vectors_count or 0),
    )


def _point(one: Any) -> Point:
    given = one.vector if isinstance(one.vector, dict) else {}
    return Point(one.id, read_vectors(given), dict(one.payload or {}))


def _points(answer: Sequence[Any]) -> list[Point]:
    return [_point(one) for one in answer]


def _page(answer: Any) -> tuple[list[Point], int | str | None]:
    points, after = answer
    return _points(points), after


def _scored(answer: Any) -> list[Scored]:
    return [Scored(_point(one), float(one.score)) for one in answer.points]
