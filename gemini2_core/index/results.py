"""What a search returns: hits with the scores of both passes."""

from __future__ import annotations

import os
from collections.abc import Iterable
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
    """Hits, the best first; in a notebook the list shows itself.

    Attributes:
        media_root: Folder that the media linked in the texts are shown from; None shows none.
    """

    def __init__(
        self, hits: Iterable[Hit] = (), *, media_root: str | os.PathLike[str] | None = None
    ) -> None:
        super().__init__(hits)
        self.media_root = media_root

    def _repr_html_(self) -> str:
        from gemini2_core.index.showing import hits_html

        return hits_html(self, media_root=self.media_root)
