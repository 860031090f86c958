"""Embeddings that tell the space they live in, by bits that no float32 has."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from llama_index.core.base.embeddings.base import Embedding

from gemini2_core.model import MODELS, EmbeddingSpace, TaskType

__all__ = ["marked", "space_of"]

# LlamaIndex hands over bare lists of floats, and copies a list that a node is given: nothing can be
# tied to one. But a Python float has 29 bits more than the float32 that the service sends. The
# first numbers of an embedding hold the name of its space in these; copies, pickles and JSON keep
# them, and as float32 the embedding is what it was, to the bit.
_NUMBERS = 4
_DOUBLES, _INTEGERS = struct.Struct(f"<{_NUMBERS}d"), struct.Struct(f"<{_NUMBERS}Q")
#: One bit less than there are, so that rounding to float32 goes back down.
_MARK = 2**28 - 1
_BEYOND_FLOAT32 = 2**29 - 1


def marked(vectors: npt.ArrayLike, space: EmbeddingSpace) -> list[Embedding]:
    """Rows of shape (n, d) as lists of Python floats that ``space_of`` knows.

    A row with a zero among its first numbers, such as a row of zeros, stays unmarked.
    """
    rows = np.asarray(vectors, dtype=np.float32)
    lists: list[Embedding] = rows.tolist()
    if rows.shape[1] < _NUMBERS:
        return lists
    heads = rows[:, :_NUMBERS].astype(np.float64).view(np.uint64)
    told = (heads | np.array(_bits(space), dtype=np.uint64)).view(np.float64).tolist()
    for row, head in zip(lists, told, strict=True):
        if all(row[:_NUMBERS]):
            row[:_NUMBERS] = head
    return lists


def space_of(vector: Sequence[float]) -> EmbeddingSpace | None:
    """The space that an embedding tells; None if it is another model's, or was float32 since."""
    try:
        head = _INTEGERS.unpack(_DOUBLES.pack(*vector[:_NUMBERS]))
    except struct.error:  # too short, or no numbers: whoever stores or searches it says so
        return None
    return _SPACES.get(tuple(number & _BEYOND_FLOAT32 for number in head))


@lru_cache
def _bits(space: EmbeddingSpace) -> tuple[int, ...]:
    """112 bits of a digest: another model's numbers don't have them by chance."""
    digest = hashlib.blake2b(str(space).encode(), digest_size=4 * _NUMBERS).digest()
    return tuple(number & _MARK for number in struct.unpack(f"<{_NUMBERS}I", digest))


_SPACES = {
    _bits(space): space
    for space in (
        EmbeddingSpace.of(spec, task) for spec in MODELS.values() for task in (*TaskType, None)
    )
}
