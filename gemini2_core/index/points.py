"""Points on their way in and out: the caller's ids and payloads, and the engine's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from gemini2_core.errors import InvalidInputError
from gemini2_core.index.ids import ID_KEY, Payload, PointId, caller_id, point_id
from gemini2_core.index.operations import Numbers, Point, Scored, Sparse
from gemini2_core.index.results import Hit, Record

__all__ = ["plain_json", "read_payload", "read_vectors", "to_hit", "to_record"]


def plain_json(given: Mapping[str, object], what: str) -> dict[str, object]:
    """A mapping as JSON: every engine then stores, and gives back, the same.

    Raises:
        InvalidInputError: Something in it isn't JSON.
    """
    try:
        plain: dict[str, object] = orjson.loads(
            orjson.dumps(dict(given), option=orjson.OPT_SERIALIZE_NUMPY)
        )
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{what} isn't JSON: {error}") from error
    return plain


def read_payload(own: PointId, given: Mapping[str, object]) -> Payload:
    """A payload as it is stored: with the id in it, if Qdrant couldn't be told that."""
    payload: Payload = plain_json(given, "the payload")
    payload.pop(ID_KEY, None)
    if point_id(own) != own:
        payload[ID_KEY] = own
    return payload


def read_vectors(given: Mapping[str, Any]) -> dict[str, Numbers | Sparse]:
    """A point's vectors as an engine gives them."""
    return {
        name: Sparse(list(vector.indices), list(vector.values))
        if hasattr(vector, "indices")
        else np.asarray(vector, dtype=np.float32)
        for name, vector in given.items()
    }


def to_record(point: Point, vector: str) -> Record:
    """A stored point as its caller knows it, with the named vector if that came along."""
    payload = dict(point.payload)
    own = caller_id(point.id, payload)
    payload.pop(ID_KEY, None)
    row = point.vectors.get(vector)
    return Record(own, payload, row if isinstance(row, np.ndarray) else None)


def to_hit(one: Scored, largest: str, smallest: str, query: Numbers | None) -> Hit:
    """A point that was found; with the query at the smallest tier, with that tier's score too."""
    record = to_record(one.point, largest)
    first: float | None = None
    if query is not None:
        row = one.point.vectors.get(smallest)
        if isinstance(row, np.ndarray):
            norm = float(np.linalg.norm(row)) or 1.0
            first = float(row @ query) / norm
        elif smallest == largest:
            first = one.score
    return Hit(record.id, record.payload, record.vector, one.score, first)
