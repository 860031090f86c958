"""Rows of one page, on the disk as soon as each answer comes."""

from __future__ import annotations

from collections.abc import Sequence

from gemini2_core.corpus.moving.checkpoint import Checkpoint
from gemini2_core.errors import Gemini2Error

__all__ = ["PaidRows"]


class PaidRows:
    """Rows of one page, on the disk as soon as each answer comes: a ``VectorCache``.

    Args:
        checkpoint: Where they are kept.

    Attributes:
        keys: What was asked for.
        recovered: How many were there already: paid for by an earlier run.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._own: set[str] = set()
        self.keys: set[str] = set()
        self.recovered = 0
        self.ended = False

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """One row a key, in order; None for one that has to be paid for."""
        self.keys.update(keys)
        found = self._checkpoint.rows(keys)
        there = {key for key, row in zip(keys, found, strict=True) if row is not None}
        self.recovered += len(there - self._own)
        self._own |= there
        return found

    def mset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        """Keep rows; on the disk when it returns.

        Raises:
            Gemini2Error: They are kept, and no more are wanted.
        """
        self._checkpoint.keep_rows(key_value_pairs)
        self._own.update(key for key, _ in key_value_pairs)
        if self.ended:
            raise Gemini2Error("the move was stopped")
