"""Writing points: every tier cut from one vector, a few batches at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from gemini2_core.embedding import EmbeddingResult
from gemini2_core.errors import (
    ConfigurationError,
    Gemini2Error,
    IndexUnavailableError,
    InvalidInputError,
)
from gemini2_core.index.filters import FilterLike, read_filter
from gemini2_core.index.ids import Payload, PointId, point_id
from gemini2_core.index.mark import Mark
from gemini2_core.index.opening import Opening
from gemini2_core.index.operations import (
    Delete,
    Flush,
    Numbers,
    Optimize,
    Point,
    Sparse,
    Together,
    Upsert,
)
from gemini2_core.index.points import read_payload
from gemini2_core.index.rows import VectorsLike, read_rows
from gemini2_core.index.sparse import document_terms
from gemini2_core.index.steps import Steps, ask
from gemini2_core.model import truncate

__all__ = ["add_points", "delete_points"]


def add_points(
    opening: Opening,
    ids: Iterable[PointId],
    vectors: VectorsLike,
    payloads: Iterable[Mapping[str, object]] | None,
    texts: Iterable[str] | None,
) -> Steps[list[PointId]]:
    """Store points, looked at as a whole before the first is sent.

    An error carries what was embedded for it, which is paid for, in ``partial``.
    """
    try:
        return (yield from _added(opening, ids, vectors, payloads, texts))
    except Gemini2Error as error:
        if error.partial is None and isinstance(vectors, EmbeddingResult):
            error.partial = vectors
        raise


def _added(
    opening: Opening,
    ids: Iterable[PointId],
    vectors: VectorsLike,
    payloads: Iterable[Mapping[str, object]] | None,
    texts: Iterable[str] | None,
) -> Steps[list[PointId]]:
    mark = yield from opening.opened_now()
    own = list(ids)
    rows = read_rows(vectors, space=mark.space, largest=max(mark.tiers), name=opening.name)
    told = [{}] * len(own) if payloads is None else list(payloads)
    words = None if texts is None else list(texts)
    for what, given in (("vectors", rows), ("payloads", told), ("texts", words)):
        if given is not None and len(given) != len(own):
            raise InvalidInputError(f"{len(own)} ids with {len(given)} {what}")
    if words is not None and mark.sparse is None:
        raise ConfigurationError("texts= is for a collection made with hybrid=True")
    read = _payloads(own, told)
    # Two writes of one id side by side could end in either order.
    order = list({point_id(one): at for at, one in enumerate(own)}.values())
    size = opening.backend.batch_size
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    stored: list[PointId] = []
    # A few batches at a time: the tiers of all of them at once could be gigabytes.
    step = max(1, opening.backend.side_by_side)
    for start in range(0, len(batches), step):
        some = batches[start : start + step]
        writes = [_upsert(mark, own, rows, read, words, batch) for batch in some]
        outcomes = yield from ask(Together(writes))
        stored += [
            own[at]
            for batch, failure in zip(some, outcomes, strict=True)
            if failure is None
            for at in batch
        ]
        for failure in outcomes:
            if failure is not None:
                raise _interrupted(failure, stored, len(order))
    opening.points += len(order)
    yield from ask(Flush() if opening.bulks else Optimize(only_if_due=True))
    return own


def delete_points(
    opening: Opening, ids: Iterable[PointId] | None, where: FilterLike | None
) -> Steps[None]:
    """Delete by ids or by a filter."""
    if (ids is None) == (where is None):
        raise ConfigurationError("delete takes ids or filter=, one of them")
    if ids is not None:
        gone = [point_id(one) for one in ids]
        yield from opening.opened()
        if gone:
            yield from ask(Delete(ids=gone))
        return
    read = read_filter(where)
    if read is None:
        raise ConfigurationError("delete with an empty filter would delete everything: drop()")
    yield from opening.opened()
    yield from ask(Delete(filter=read))


def _payloads(ids: Sequence[PointId], given: Sequence[Mapping[str, object]]) -> list[Payload]:
    read: list[Payload] = []
    for at, (own, payload) in enumerate(zip(ids, given, strict=True)):
        try:
            read.append(read_payload(own, payload))
        except Gemini2Error as error:
            raise error.at(at) from error.__cause__
    return read


def _upsert(
    mark: Mark,
    ids: Sequence[PointId],
    rows: Numbers,
    payloads: Sequence[Payload],
    words: Sequence[str] | None,
    batch: Sequence[int],
) -> Upsert:
    cut = {
        name: np.ascontiguousarray(truncate(rows[batch], tier)) for tier, name in mark.tiers.items()
    }
    return Upsert(
        [
            Point(
                point_id(ids[at]),
                {
                    **{name: tier[row] for name, tier in cut.items()},
                    **_terms(mark, words[at] if words else None),
                },
                payloads[at],
            )
            for row, at in enumerate(batch)
        ]
    )


def _terms(mark: Mark, text: str | None) -> dict[str, Sparse]:
    if mark.sparse is None or text is None:
        return {}
    terms = document_terms(text)
    return {mark.sparse: terms} if terms.indices else {}


def _interrupted(
    error: IndexUnavailableError, stored: Sequence[PointId], total: int
) -> IndexUnavailableError:
    error.stored = tuple(stored)
    error.message += (
        f" ({len(stored):,} of {total:,} points are stored; "
        "add all of them again, that is harmless)"
    )
    return error
