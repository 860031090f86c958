"""Points, layouts and passes in the words of the embedded engine, and its answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gemini2_core.index.edge_booleans import with_booleans, without_booleans
from gemini2_core.index.edge_filters import edge_filter
from gemini2_core.index.filters import JsonFilter
from gemini2_core.index.operations import Layout, Numbers, Pass, Point, Query, Scroll, Sparse
from gemini2_core.index.points import read_vectors

if TYPE_CHECKING:
    import qdrant_edge

__all__ = [
    "engine_filter",
    "engine_id",
    "engine_layout",
    "engine_point",
    "engine_query",
    "engine_scroll",
    "read_point",
]

# Comparing with this much one by one takes a few milliseconds; a graph is worth it beyond.
_FULL_SCAN_KB = 10_000


def engine_layout(layout: Layout) -> qdrant_edge.EdgeConfig:
    """How a collection is laid out: graph and int8 on the smallest tier, the rest on the disk."""
    import qdrant_edge as edge

    names = list(layout.vectors)
    words = edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)
    return edge.EdgeConfig(
        vectors={
            name: _tier(size, layout, first=name == names[0])
            for name, size in layout.vectors.items()
        },
        sparse_vectors={layout.sparse: words} if layout.sparse else None,
        payload_memory=edge.Memory.Cold,
    )


def _tier(size: int, layout: Layout, *, first: bool) -> qdrant_edge.EdgeVectorParams:
    import qdrant_edge as edge

    if not first:
        # Only re-scored: no graph, and the disk is where it lives.
        graph = edge.HnswIndexConfig(0, layout.ef_construct, _FULL_SCAN_KB)
        return edge.EdgeVectorParams(
            size, edge.Distance.Cosine, memory=edge.Memory.Cold, hnsw_config=graph
        )
    return edge.EdgeVectorParams(
        size,
        edge.Distance.Cosine,
        memory=edge.Memory.Cold,
        hnsw_config=edge.HnswIndexConfig(layout.m, layout.ef_construct, _FULL_SCAN_KB),
        quantization_config=edge.ScalarQuantizationConfig(
            edge.ScalarType.Int8, quantile=0.99, memory=edge.Memory.Pinned
        ),
    )


def engine_point(one: Point) -> qdrant_edge.Point:
    """A point, its booleans in words beside it."""
    import qdrant_edge as edge

    vectors = {name: _vector(vector) for name, vector in one.vectors.items()}
    return edge.Point(one.id, vectors, with_booleans(one.payload))


def read_point(one: Any) -> Point:
    """A point that the engine gave."""
    payload = without_booleans(one.payload or {})
    return Point(engine_id(one.id), read_vectors(one.vector or {}), payload)


def engine_id(given: Any) -> Any:
    """An id that the engine gave: an integer, a string, or None."""
    return given if given is None or isinstance(given, int) else str(given)


def engine_filter(given: JsonFilter | None) -> qdrant_edge.Filter | None:
    """A filter, or none."""
    return None if given is None else edge_filter(given)


def engine_scroll(scroll: Scroll) -> qdrant_edge.ScrollRequest:
    """One page, as it is asked for."""
    import qdrant_edge as edge

    where = engine_filter(scroll.filter)
    return edge.ScrollRequest(scroll.offset, scroll.limit, where, True, list(scroll.vectors))


def engine_query(query: Query) -> qdrant_edge.QueryRequest:
    """All passes of a search, as they are asked for."""
    import qdrant_edge as edge

    last = query.last
    return edge.QueryRequest(
        limit=last.limit,
        query=_asked(last),
        prefetches=[_prefetch(one) for one in last.before],
        with_vector=list(query.vectors),
        with_payload=True,
        filter=engine_filter(last.filter),
        params=_params(last),
    )


def _vector(vector: Numbers | Sparse) -> Any:
    import qdrant_edge as edge

    if isinstance(vector, Sparse):
        return edge.SparseVector(vector.indices, vector.values)
    # A third of the time that a list or the array itself takes to be read.
    return memoryview(np.ascontiguousarray(vector))  # type: ignore[arg-type]  # it has a buffer


def _asked(one: Pass) -> Any:
    import qdrant_edge as edge

    if one.query is None:
        return edge.Fusion.Rrf(2)  # the k of Qdrant's own fusion
    return edge.Query.Nearest(_vector(one.query), using=one.using)


def _prefetch(one: Pass) -> qdrant_edge.Prefetch:
    import qdrant_edge as edge

    return edge.Prefetch(
        limit=one.limit,
        query=_asked(one),
        prefetches=[_prefetch(before) for before in one.before],
        params=_params(one),
        filter=engine_filter(one.filter),
    )


def _params(one: Pass) -> qdrant_edge.SearchParams | None:
    import qdrant_edge as edge

    if one.exact:
        ignored = edge.QuantizationSearchParams(ignore=True)
        return edge.SearchParams(exact=True, quantization=ignored)
    if one.ef is None and one.rescore is None:
        return None
    rescored = edge.QuantizationSearchParams(rescore=one.rescore)
    return edge.SearchParams(hnsw_ef=one.ef, quantization=rescored)
