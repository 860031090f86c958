"""Vectors from a caller, as float32 rows of the collection's space."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gemini2_core.embedding import EmbeddingResult
from gemini2_core.errors import IndexMismatchError, InvalidInputError
from gemini2_core.index.operations import Numbers
from gemini2_core.model import EmbeddingSpace

__all__ = ["VectorsLike", "one_row", "read_rows"]

VectorsLike: TypeAlias = EmbeddingResult | npt.ArrayLike


def read_rows(vectors: VectorsLike, *, space: EmbeddingSpace, largest: int, name: str) -> Numbers:
    """Vectors as float32 (n, d), d at least ``largest``, for the collection ``name``.

    Raises:
        IndexMismatchError: A result of another space, or shorter rows.
        InvalidInputError: Not rows of finite numbers.
    """
    if isinstance(vectors, EmbeddingResult):
        if vectors.space != space:
            raise IndexMismatchError(
                f"vectors of {vectors.space} for collection {name!r}, which holds "
                f"{space}: they can't be compared"
            )
        vectors = vectors.vectors
    rows = _numbers(vectors)
    if rows.ndim == 1 and rows.size == 0:
        rows = rows.reshape(0, largest)
    if rows.ndim != 2:
        raise InvalidInputError(f"vectors must have shape (n, d), not {rows.shape}")
    if rows.shape[1] < largest:
        raise IndexMismatchError(
            f"vectors of {rows.shape[1]} numbers for tier {largest} of collection "
            f"{name!r}: embed with dimensions={largest}"
        )
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        bad = int(np.flatnonzero(~finite)[0])
        raise InvalidInputError("the vector has numbers that aren't finite").at(bad)
    return rows


def one_row(vector: VectorsLike, *, space: EmbeddingSpace, largest: int, name: str) -> Numbers:
    """A query's vector of shape (d,) or (1, d) as a float32 row; the errors of ``read_rows``."""
    if not isinstance(vector, EmbeddingResult):
        vector = np.atleast_2d(_numbers(vector))
    rows = read_rows(vector, space=space, largest=largest, name=name)
    if len(rows) != 1:
        raise InvalidInputError(f"search takes one vector, not {len(rows)}")
    row: Numbers = rows[0]
    return row


def _numbers(given: npt.ArrayLike) -> Numbers:
    try:
        numbers: Numbers = np.asarray(given, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"vectors aren't rows of numbers of one length: {error}") from error
    return numbers
