"""Copying a collection: from the embedded engine to a server, when one machine is too small."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gemini2_core.errors import IndexMismatchError
from gemini2_core.index.collection import MatryoshkaCollection
from gemini2_core.index.results import Record

__all__ = ["copy_collection"]

_PAGE = 512


def copy_collection(
    source: MatryoshkaCollection,
    target: MatryoshkaCollection,
    *,
    texts_for: Callable[[Record], str] | None = None,
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
        on_progress: Called with points copied and points in all.

    Returns:
        How many points were copied.

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
    total, done = source.count(), 0
    waiting: list[Record] = []

    def write() -> None:
        nonlocal done
        target.add(
            [record.id for record in waiting],
            np.stack([record.vector for record in waiting if record.vector is not None]),
            [record.payload for record in waiting],
            texts=[texts_for(record) for record in waiting] if texts_for else None,
        )
        done += len(waiting)
        waiting.clear()
        if on_progress:
            on_progress(done, total)

    for record in source.scroll(with_vectors=True, page=_PAGE):
        waiting.append(record)
        if len(waiting) == _PAGE:
            write()
    if waiting:
        write()
    return done
