"""One more tier for a living collection: announced, filled page by page, then searched."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from gemini2_core.errors import ConfigurationError, IndexMismatchError, InvalidInputError
from gemini2_core.index.mark import Mark, check_tiers
from gemini2_core.index.opening import Opening
from gemini2_core.index.operations import (
    AddVector,
    Describe,
    Numbers,
    Optimize,
    Scroll,
    SetVectors,
    Tune,
)
from gemini2_core.index.passes import without_vector
from gemini2_core.index.points import to_record
from gemini2_core.index.results import Record
from gemini2_core.index.rows import VectorsLike, read_rows
from gemini2_core.index.steps import Steps, ask
from gemini2_core.model import truncate

__all__ = ["VectorsFor", "add_tier"]

VectorsFor = Callable[[Sequence[Record]], VectorsLike]

_PAGE = 256


def add_tier(opening: Opening, size: int, vectors_for: VectorsFor | None) -> Steps[None]:
    """Give every point one more tier; interrupted, the same steps go on."""
    mark = yield from opening.opened()
    check_tiers([size])
    if size in mark.sizes:
        return
    if size > mark.sizes[-1] and vectors_for is None:
        raise ConfigurationError(
            f"tier {size} is larger than what is stored ({mark.sizes[-1]}): give vectors_for, "
            "which returns the vectors of a page of records"
        )
    yield from _see_vector(opening, mark.with_tier(size), size)
    # From here on new points carry the tier; those without it are found below.
    adding = yield from opening.changed(lambda there: there.with_tier(size))
    if min(adding.tiers) != size:
        yield from ask(Tune(opening.layout(adding)))
    yield from _filled(opening, adding, size, mark.largest, vectors_for or _stored)
    if min(adding.tiers) == size:
        # Only now: until it is searched, the old smallest tier needs its graph.
        yield from ask(Tune(opening.layout(adding)))
        yield from ask(Optimize())
    yield from opening.changed(lambda there: there.tier_filled(size))


def _see_vector(opening: Opening, adding: Mark, size: int) -> Steps[None]:
    """See that the collection has the vector, empty as it may be."""
    name = adding.tiers[size]
    found = yield from ask(Describe())
    there = found.vectors.get(name) if found else None
    if there is None:
        yield from ask(AddVector(name, size))
    elif there[0] != size:
        raise IndexMismatchError(
            f"{opening.place} has a vector {name!r} of another size already: {there[0]}"
        )


def _filled(
    opening: Opening, adding: Mark, size: int, source: str, vectors_for: VectorsFor
) -> Steps[None]:
    name = adding.tiers[size]
    while True:
        # From the start each time: what has been filled doesn't match any more.
        points, _ = yield from ask(Scroll(_PAGE, None, without_vector(name), (source,)))
        if not points:
            return
        given = vectors_for([to_record(point, source) for point in points])
        rows = read_rows(given, space=adding.space, largest=size, name=opening.name)
        if len(rows) != len(points):
            raise InvalidInputError(
                f"vectors_for returned {len(rows)} vectors for {len(points)} records"
            )
        cut = np.ascontiguousarray(truncate(rows, size))
        yield from ask(SetVectors(name, [point.id for point in points], cut))


def _stored(records: Sequence[Record]) -> Numbers:
    for record in records:
        if record.vector is None:
            raise IndexMismatchError(
                f"point {record.id!r} has no vector at the largest tier to cut one from: "
                "delete it, or add it anew"
            )
    rows: Numbers = np.stack([record.vector for record in records if record.vector is not None])
    return rows
