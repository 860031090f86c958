"""Points on their way in and out: the caller's ids and payloads, and the engine's."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any

import numpy as np
import orjson

from gemini2_core.errors import InvalidInputError
from gemini2_core.index.ids import ID_KEY, Payload, PointId, caller_id, point_id
from gemini2_core.index.operations import Numbers, Point, Scored, Sparse
from gemini2_core.index.results import Hit, Record

__all__ = ["plain_json", "read_payload", "read_vectors", "to_hit", "to_record"]

# The embedded engine stores 128 levels and more, and can't read them any more.
_DEEPEST = 100


def plain_json(given: Mapping[str, object], what: str) -> dict[str, object]:
    """A mapping as JSON: every engine then stores, and gives back, the same.

    Raises:
        InvalidInputError: Something in it isn't JSON, or it is nested too deeply.
    """
    try:
        data = orjson.dumps(dict(given), option=orjson.OPT_SERIALIZE_NUMPY)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{what} isn't JSON: {error}") from error
    plain: dict[str, object] = orjson.loads(data)
    if data.count(b"{") + data.count(b"[") > _DEEPEST and _depth(plain) > _DEEPEST:
        raise InvalidInputError(f"{what} is nested more than {_DEEPEST} levels deep")
    return plain


def _depth(value: Mapping[str, object]) -> int:
    level: list[Any] = [value]
    for depth in count():
        if not level:
            return depth
        inside = (one.values() if isinstance(one, dict) else one for one in level)
        level = [one for some in inside for one in some if isinstance(one, dict | list)]
    raise AssertionError("count doesn't end")


def read_payload(own: PointId, given: Mapping[str, object]) -> Payload:
    """A payload as it is stored: with the id in it, if Qdrant couldn't be told that."""
    payload: Payload = plain_json(given, "the payload")
    if point_id(own) != own and payload.setdefault(ID_KEY, own) != own:
        raise InvalidInputError(
            f"the payload's field {ID_KEY!r} is where the id {own!r} is kept: call yours "
            "something else, or give the point a UUID"
        )
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
    if own != point.id:
        del payload[ID_KEY]
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
