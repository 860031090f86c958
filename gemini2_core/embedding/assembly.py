"""From the rows of what was sent to the rows of what was asked for: sizes, averages, gaps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gemini2_core.model import ModelSpec, Vectors, average, normalize, truncate

__all__ = ["combine_rows", "fit_rows"]

_Flags = npt.NDArray[np.bool_]


def fit_rows(rows: Vectors, dimensions: int, spec: ModelSpec) -> Vectors:
    """The rows of (n, d) at the size asked for, unit length; as they came, if they are that."""
    if rows.shape[1] != dimensions:
        return truncate(rows, dimensions)
    return rows if spec.unit_vectors else normalize(rows)


def combine_rows(
    rows: Vectors, done: _Flags, pieces: Sequence[Sequence[tuple[int, float]]]
) -> tuple[Vectors, _Flags]:
    """One row an input from the items it is made of.

    Args:
        rows: Rows of the items, (items, d).
        done: Which of them have come, (items,).
        pieces: For each input, the places of its items and their weights; none is a row of zeros.

    Returns:
        The rows of the inputs all of whose items have come, and which inputs these are.
    """
    if all(len(some) == 1 for some in pieces):
        places = np.fromiter((some[0][0] for some in pieces), np.int64, len(pieces))
        whole = done[places]
        # Mostly every input is an item of its own and all have come: then nothing is copied.
        if len(places) == len(rows) and whole.all() and (places == np.arange(len(rows))).all():
            return rows, whole
        return rows[places[whole]], whole
    whole = np.array([all(done[place] for place, _ in some) for some in pieces], np.bool_)
    vectors = np.zeros((int(whole.sum()), rows.shape[1]), np.float32)
    kept = (some for some, is_whole in zip(pieces, whole, strict=True) if is_whole)
    for vector, some in zip(vectors, kept, strict=True):
        if len(some) == 1:
            vector[:] = rows[some[0][0]]
        elif some:
            vector[:] = average(rows[[p for p, _ in some]], [weight for _, weight in some])[0]
    return vectors, whole
