"""What a search returns: hits with the scores of both passes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gemini2_core.index.ids import Payload, PointId

__all__ = ["Hit", "Record", "Results"]


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """A stored point.

    Attributes:
        id: As it was given to ``add``.
        payload: What was stored beside the vectors.
        vector: The largest tier, float32 of unit length, if it was asked for.
    """

    id: PointId
    payload: Payload
    vector: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Hit(Record):
    """A point that a search found.

    Attributes:
        score: Cosine at the largest tier; for a hybrid search the fused rank score.
        first_score: Cosine at the smallest tier, if it was asked for.
    """

    score: float = 0.0
    first_score: float | None = None


class Results(list[Hit]):
    """Hits, the best first."""
