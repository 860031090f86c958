"""A real collection in an evaluation: its vectors, and what its engine's searches find."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from statistics import median

import numpy as np

from gemini2_core.errors import ConfigurationError, IndexMismatchError
from gemini2_core.index.collection import MatryoshkaCollection
from gemini2_core.index.evaluation.candidate import Candidate
from gemini2_core.index.evaluation.metrics import DEPTH, trec_order
from gemini2_core.index.results import Record, Results
from gemini2_core.model import Vectors

__all__ = ["check_collection", "engine_rankings", "stored_vectors"]


def check_collection(collection: MatryoshkaCollection, one: Candidate) -> None:
    """See that an embedder's queries may be asked of a collection.

    Raises:
        IndexMismatchError: Vectors of another space.
        ConfigurationError: The embedder's vectors, or a size to measure, don't fit it.
    """
    if one.space is not None and one.space != collection.space:
        raise IndexMismatchError(
            f"collection {collection.name!r} holds vectors of {collection.space}, the queries "
            f"would be of {one.space}: they can't be compared"
        )
    if not one.tiers[-1] <= collection.dimensions <= one.dimensions:
        raise ConfigurationError(
            f"collection {collection.name!r} holds {collection.dimensions} numbers a point; the "
            f"embedder gives {one.dimensions}, and sizes up to {one.tiers[-1]} are to be measured: "
            f"embed with dimensions={collection.dimensions}"
        )


def stored_vectors(
    collection: MatryoshkaCollection, at_once: int
) -> Iterator[tuple[list[str], Vectors]]:
    """Ids and largest vectors of all points, some at a time."""
    some: list[Record] = []
    for record in collection.scroll(with_vectors=True):
        some.append(record)
        if len(some) == at_once:
            yield _rows(some)
            some = []
    if some:
        yield _rows(some)


def _rows(records: Sequence[Record]) -> tuple[list[str], Vectors]:
    vectors = [record.vector for record in records if record.vector is not None]
    return [str(record.id) for record in records], np.stack(vectors)


def engine_rankings(
    collection: MatryoshkaCollection, queries: Vectors, shortlists: Sequence[int]
) -> Iterator[tuple[str, int | None, list[list[str]], float]]:
    """What the engine finds, graph and int8 included.

    Gives, for each short list (one search without, if there is but one tier): what it is called,
    its length, ids for each query with the best first, and the median milliseconds of a search.
    """
    tiers = " → ".join(map(str, collection.tiers))
    lengths: Sequence[int | None] = shortlists if len(collection.tiers) > 1 else [None]
    for shortlist in lengths:
        ranked, times = [], []
        for query in queries:
            begun = time.perf_counter()
            found = (
                collection.search(query, DEPTH)
                if shortlist is None
                else collection.search(query, min(DEPTH, shortlist), shortlist=shortlist)
            )
            times.append(1000 * (time.perf_counter() - begun))
            ranked.append(_ids(found))
        name = f"engine, {tiers}"
        if shortlist is not None:
            name += f", short list {shortlist}"
        yield name, shortlist, ranked, median(times)


def _ids(hits: Results) -> list[str]:
    return trec_order({str(hit.id): round(hit.score, 6) for hit in hits})
