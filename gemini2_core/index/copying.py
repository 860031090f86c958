"""Copying a collection: from the embedded engine to a server, when one machine is too small."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np

from gemini2_core.errors import IndexMismatchError
from gemini2_core.index.collection import MatryoshkaCollection
from gemini2_core.index.operations import Numbers
from gemini2_core.index.results import Record

__all__ = ["copy_collection"]

_PAGE = 512


def copy_collection(
    source: MatryoshkaCollection,
    target: MatryoshkaCollection,
    *,
    texts_for: Callable[[Record], str] | None = None,
    resume: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> int:
    """Copy every point with its id, payload and largest vector; nothing is embedded anew.

    The target's tiers are cut from that vector, so it may have others than the source, as long
    as none is larger. Points that are there already are replaced: interrupted, the same call
    goes on without doubling any.

    Args:
        source: Where the points are; opened if it isn't.
        target: Where they go; made if it isn't there.
        texts_for: The words of a record, for a hybrid target.
        resume: Leave out points that are in the target already with the same payload.
        on_progress: Called with points dealt with and points in all.

    Returns:
        How many points were copied; with ``resume``, without those left out.

    Raises:
        IndexMismatchError: Another space, a larger tier, or a hybrid target without
            ``texts_for``.
        IndexUnavailableError: Either side failed; what was acknowledged stays.
    """
    source.open()
    target.open()
    if source.space != target.space:
        raise IndexMismatchError(
            f"{source.name!r} holds vectors of {source.space}, {target.name!r} of {target.space}"
        )
    if target.dimensions > source.tiers[-1]:
        raise IndexMismatchError(
            f"{target.name!r} has a tier of {target.dimensions} numbers, and the largest of "
            f"{source.name!r} is {source.tiers[-1]}: make the target with tiers={source.tiers}"
        )
    if target.hybrid and texts_for is None:
        raise IndexMismatchError(
            f"{target.name!r} is hybrid: give texts_for, which returns the words of a record"
        )
    total, seen, copied = source.count(), 0, 0
    resume = resume and target.count() > 0
    with target.bulk():
        for page in _pages(source):
            records = _missing(page, target) if resume else page
            if records:
                target.add(
                    [record.id for record in records],
                    np.stack([_vector(record, source) for record in records]),
                    [record.payload for record in records],
                    texts=[texts_for(record) for record in records] if texts_for else None,
                )
            seen, copied = seen + len(page), copied + len(records)
            if on_progress:
                on_progress(seen, total)
    return copied


def _pages(source: MatryoshkaCollection) -> Iterator[list[Record]]:
    records = source.scroll(with_vectors=True, page=_PAGE)
    while page := list(islice(records, _PAGE)):
        yield page


def _missing(page: list[Record], target: MatryoshkaCollection) -> list[Record]:
    there = {record.id: record.payload for record in target.get(record.id for record in page)}
    return [record for record in page if there.get(record.id) != record.payload]


def _vector(record: Record, source: MatryoshkaCollection) -> Numbers:
    if record.vector is None:
        raise IndexMismatchError(
            f"point {record.id!r} of {source.name!r} has no vector of {source.dimensions} "
            "numbers: somebody else wrote it. Delete it, or add it anew"
        )
    return record.vector
