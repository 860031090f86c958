"""Ids of points: what a caller calls a point, and what Qdrant allows it to be called."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID, uuid5

from gemini2_core.errors import InvalidInputError

__all__ = ["ID_KEY", "Payload", "PointId", "caller_id", "point_id"]

PointId = int | str
Payload = dict[str, object]

ID_KEY = "_id"
"""Where the payload keeps an id that Qdrant itself couldn't."""

# Never to change: the ids of every stored collection follow from it.
_NAMESPACE = UUID("0b1f6f6e-3a0c-5d5e-9a43-6d0f6a3f2e57")
_MAX = 2**64 - 1


def point_id(own: PointId) -> PointId:
    """The id a point is stored under: an unsigned integer or a UUID as it is, else its uuid5.

    Raises:
        InvalidInputError: Neither a string with something in it nor an integer from 0 to 2**64-1.
    """
    given: object = own
    if isinstance(given, bool) or not isinstance(given, int | str) or given == "":
        raise InvalidInputError(f"an id is a non-empty string or an integer, not {own!r}")
    if isinstance(own, int):
        if not 0 <= own <= _MAX:
            raise InvalidInputError(f"an integer id is from 0 to 2**64-1, not {own}")
        return own
    try:
        plain = str(UUID(own))
    except ValueError:
        plain = ""
    # Only the plain form comes back from Qdrant unchanged.
    if own == plain:
        return own
    try:
        return str(uuid5(_NAMESPACE, own))
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"an id is text, not half of a character: {own!r}") from error


def caller_id(stored: PointId, payload: Mapping[str, object]) -> PointId:
    """The id as the caller gave it: the inverse of ``point_id`` for a stored point."""
    own = payload.get(ID_KEY)
    # A field of that name may also be the caller's own, or of whoever made the collection.
    return own if own and isinstance(own, str) and point_id(own) == stored else stored
