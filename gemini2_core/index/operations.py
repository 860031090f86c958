"""What a collection asks of the engine under it: one small value each, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from gemini2_core.errors import IndexUnavailableError
from gemini2_core.index.filters import JsonFilter
from gemini2_core.index.ids import Payload, PointId

__all__ = [
    "AddVector",
    "Aliases",
    "Collections",
    "Count",
    "Create",
    "Delete",
    "Describe",
    "Description",
    "Drop",
    "DropAlias",
    "FieldType",
    "Flush",
    "IndexField",
    "Layout",
    "Numbers",
    "Operation",
    "Optimize",
    "Pass",
    "Point",
    "PointAlias",
    "Query",
    "Retrieve",
    "Scored",
    "Scroll",
    "SetVectors",
    "Sparse",
    "Together",
    "Tune",
    "Upsert",
    "WriteMark",
]

_T = TypeVar("_T")
Numbers = npt.NDArray[np.float32]
FieldType = Literal["keyword", "integer", "float", "bool", "datetime", "uuid", "text", "geo"]


@dataclass(frozen=True, slots=True)
class Sparse:
    """A sparse vector: indices (unsigned 32 bit) and their values."""

    indices: list[int]
    values: list[float]


@dataclass(frozen=True, slots=True)
class Point:
    """One stored point: vectors by name (only those asked for, when it comes back)."""

    id: PointId
    vectors: Mapping[str, Numbers | Sparse]
    payload: Payload


@dataclass(frozen=True, slots=True)
class Scored:
    """A point and its score in the last pass."""

    point: Point
    score: float


@dataclass(frozen=True, slots=True)
class Layout:
    """How a new collection is laid out.

    Attributes:
        vectors: Size by vector name, the smallest first: it alone gets a graph and int8.
        sparse: Name of the sparse BM25 vector, or None.
        m: Edges a node of the graph.
        ef_construct: Candidates looked at when a node is put into the graph.
        shard_number: Shards on a server, None for its default.
        replication_factor: Copies of each shard on a cluster, None for its default.
    """

    vectors: Mapping[str, int]
    sparse: str | None = None
    m: int = 16
    ef_construct: int = 128
    shard_number: int | None = None
    replication_factor: int | None = None


@dataclass(frozen=True, slots=True)
class Description:
    """What is there.

    Attributes:
        vectors: Dense vectors by name, as (size, distance).
        sparse: Names of the sparse vectors.
        mark: The collection's metadata.
        fields: Payload fields that have an index.
        points: How many points.
        indexed: How many vectors are in a graph.
    """

    vectors: Mapping[str, tuple[int, str]]
    sparse: frozenset[str]
    mark: Mapping[str, object] | None
    fields: frozenset[str]
    points: int
    indexed: int


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass of a search.

    Attributes:
        query: A vector, a sparse one, or None to fuse what came ``before`` by rank (RRF).
        using: Name of the vector that is compared.
        limit: How many points it hands on.
        before: The passes whose results it looks at; none means the whole collection.
        filter: Which points count; for a pass with none before it.
        ef: Candidates of the graph search, None for the engine's default.
        exact: Compare with every point instead of walking the graph.
        rescore: Whether int8 scores are made good with the full numbers, None for the
            engine's default; needless where a later pass does it at a larger tier.
    """

    query: Numbers | Sparse | None
    using: str | None
    limit: int
    before: tuple[Pass, ...] = ()
    filter: JsonFilter | None = None
    ef: int | None = None
    exact: bool = False
    rescore: bool | None = None


class Operation(Generic[_T]):
    """One thing asked of an engine; ``_T`` is what it answers."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Describe(Operation[Description | None]):
    """What is there under the collection's name; None for nothing."""


@dataclass(frozen=True, slots=True)
class Create(Operation[bool]):
    """Make the collection with its mark, whole or not at all; False if it is there already."""

    layout: Layout
    mark: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class WriteMark(Operation[None]):
    """Replace the mark."""

    mark: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class IndexField(Operation[None]):
    """Index a payload field; nothing happens if it is."""

    field: str
    kind: FieldType


@dataclass(frozen=True, slots=True)
class Upsert(Operation[None]):
    """Store points, replacing those with the same ids; durable when it returns."""

    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class AddVector(Operation[None]):
    """Give the collection one more dense vector; nothing happens if it has it."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Tune(Operation[None]):
    """Give the smallest tier the graph and int8, and take them from the others."""

    layout: Layout


@dataclass(frozen=True, slots=True)
class SetVectors(Operation[None]):
    """Write one named vector of points that are there."""

    name: str
    ids: Sequence[PointId]
    vectors: Numbers


@dataclass(frozen=True, slots=True)
class Retrieve(Operation[list[Point]]):
    """Points by id, in any order; ids that aren't there are left out."""

    ids: Sequence[PointId]
    vectors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Delete(Operation[None]):
    """Delete points by id, or all that a filter matches."""

    ids: Sequence[PointId] | None = None
    filter: JsonFilter | None = None


@dataclass(frozen=True, slots=True)
class Count(Operation[int]):
    """How many points a filter matches; all of them without one."""

    filter: JsonFilter | None = None


@dataclass(frozen=True, slots=True)
class Scroll(Operation[tuple[list[Point], PointId | None]]):
    """One page of points in the order of their ids, and where the next page begins."""

    limit: int
    offset: PointId | None = None
    filter: JsonFilter | None = None
    vectors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Query(Operation[list[Scored]]):
    """All passes of one search in one call, best first."""

    last: Pass
    vectors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Optimize(Operation[None]):
    """Flush to the disk, and build the graph over what isn't in it yet.

    For an engine that doesn't do so by itself; ``only_if_due`` leaves a few points out of it.
    """

    only_if_due: bool = False


@dataclass(frozen=True, slots=True)
class Flush(Operation[None]):
    """Flush to the disk, and leave the graph as it is."""


@dataclass(frozen=True, slots=True)
class Drop(Operation[None]):
    """Delete the collection."""


@dataclass(frozen=True, slots=True)
class Collections(Operation[list[str]]):
    """Names of the collections that live at the address, in order."""


@dataclass(frozen=True, slots=True)
class Aliases(Operation[dict[str, str]]):
    """Every alias at the address, and the collection it names."""


@dataclass(frozen=True, slots=True)
class PointAlias(Operation[None]):
    """Make an alias name a collection, whatever it named before; all at once."""

    alias: str
    collection: str


@dataclass(frozen=True, slots=True)
class DropAlias(Operation[None]):
    """Take an alias away; nothing happens if it isn't there."""

    alias: str


@dataclass(frozen=True, slots=True)
class Together(Operation[list[IndexUnavailableError | None]]):
    """Writes that may run side by side; how each ended, when all have."""

    writes: Sequence[Operation[None]]
