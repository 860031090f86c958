"""What couldn't be embedded, and why."""

from __future__ import annotations

from dataclasses import dataclass

from gemini2_core.index import PointId

__all__ = ["Failure"]


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that couldn't be embedded.

    Attributes:
        id: Its id, as the source gave it.
        reason: Why, in words.
    """

    id: PointId
    reason: str

    def __str__(self) -> str:
        return f"{self.id}: {self.reason}"
