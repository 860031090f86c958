"""What tells an item from other versions of itself, and what must be done with it for that."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from uuid import UUID

from gemini2_core.index import PointId
from gemini2_core.index.ids import point_id

__all__ = [
    "FAILED",
    "OPEN",
    "STORED",
    "Fate",
    "KnownItem",
    "Mark",
    "fate",
    "item_key",
    "known_items",
    "stored_id",
]

_KEYS_A_QUERY = 500
OPEN = 0
"""State of an item in a checkpoint: it was read, and is neither stored nor given up."""
STORED = 1
"""State of an item that the collection has acknowledged."""
FAILED = 2
"""State of an item that couldn't be embedded and isn't stored."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What tells an item from another version of itself.

    Attributes:
        key: The id a collection stores it under, as bytes.
        content: Digest of what is embedded.
        payload: Digest of what is stored beside it.
    """

    key: bytes
    content: bytes
    payload: bytes


class Fate(Enum):
    """What has to be done with an item that was read."""

    NEW = "new"
    """It isn't stored: embed and store it."""
    CHANGED = "changed"
    """Another content is stored under its id: embed and store it anew."""
    MOVED_ON = "moved on"
    """Only its payload is another: store that, with the vector that is there."""
    UNCHANGED = "unchanged"
    """It is stored as it is."""
    REPEATED = "repeated"
    """Its id came before in this reading."""


@dataclass(frozen=True, slots=True)
class KnownItem:
    """What a checkpoint says of an item.

    Attributes:
        content: Digest of the content that is stored, or None.
        payload: Digest of the payload that is stored, or None.
        state: ``OPEN``, ``STORED`` or ``FAILED``.
        seen: The run that read it last.
    """

    content: bytes | None
    payload: bytes | None
    state: int
    seen: int


def item_key(own: PointId) -> bytes:
    """The id a collection stores a point under, in as few bytes as it takes.

    Raises:
        InvalidInputError: That is no id.
    """
    stored = point_id(own)
    return stored.to_bytes(8, "big") if isinstance(stored, int) else UUID(stored).bytes


def stored_id(key: bytes) -> PointId:
    """The id that a key was made of, as a collection stores it."""
    return int.from_bytes(key, "big") if len(key) == 8 else str(UUID(bytes=key))


def known_items(database: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, KnownItem]:
    """What a checkpoint says of items, of those that it knows."""
    known: dict[bytes, KnownItem] = {}
    for start in range(0, len(keys), _KEYS_A_QUERY):
        some = keys[start : start + _KEYS_A_QUERY]
        for key, *rest in database.execute(
            f"SELECT key, content, payload, state, seen FROM items "  # noqa: S608
            f"WHERE key IN ({','.join('?' * len(some))})",
            tuple(some),
        ):
            known[key] = KnownItem(*rest)
    return known


def fate(mark: Mark, known: dict[bytes, KnownItem], run: int) -> Fate:
    """What must be done with an item that a run has read; ``known`` is told that it has."""
    before = known.get(mark.key, KnownItem(None, None, OPEN, 0))
    known[mark.key] = KnownItem(before.content, before.payload, before.state, run)
    if before.seen == run:
        return Fate.REPEATED
    if before.state != STORED:
        return Fate.NEW
    if before.content != mark.content:
        return Fate.CHANGED
    return Fate.UNCHANGED if before.payload == mark.payload else Fate.MOVED_ON
