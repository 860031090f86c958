"""Items that are with the Batch API: what will be stored of them when their vectors come."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson

from gemini2_core.corpus.moving.checkpoint import Checkpoint
from gemini2_core.corpus.moving.marks import Mark
from gemini2_core.index import Payload, PointId

__all__ = ["Waiting", "WaitingItems"]

_TABLE = """
CREATE TABLE IF NOT EXISTS waiting (
    key TEXT PRIMARY KEY, item BLOB NOT NULL UNIQUE, content BLOB NOT NULL,
    payload BLOB NOT NULL, id TEXT NOT NULL, stored TEXT NOT NULL, words TEXT NOT NULL,
    dollars REAL NOT NULL
)
"""
_COLUMNS = "key, item, content, payload, id, stored, words, dollars"


@dataclass(frozen=True, slots=True)
class Waiting:
    """An item that was submitted.

    Attributes:
        key: What the batch run knows it by.
        mark: What tells this version of it from others.
        id: Its id, as the source gave it.
        payload: What will be stored beside its vectors.
        words: Its words, for a hybrid collection; else "".
        dollars: What it will cost, by our own count.
    """

    key: str
    mark: Mark
    id: PointId
    payload: Payload
    words: str
    dollars: float


class WaitingItems:
    """A table of the checkpoint.

    Args:
        checkpoint: The checkpoint.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        with checkpoint.change() as database:
            database.execute(_TABLE)

    def keep(self, items: Sequence[Waiting]) -> list[str]:
        """Note items before they are submitted; the key of each.

        One that was noted before with the same content keeps its key: the batch run may know it
        already. One with another content takes the place of the version before.
        """
        keys: list[str] = []
        with self._checkpoint.change() as database:
            for one in items:
                found = database.execute(
                    "SELECT key FROM waiting WHERE item = ? AND content = ?",
                    (one.mark.key, one.mark.content),
                ).fetchone()
                keys.append(found[0] if found else one.key)
                database.execute(
                    f"INSERT OR REPLACE INTO waiting ({_COLUMNS}) "  # noqa: S608
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        keys[-1],
                        one.mark.key,
                        one.mark.content,
                        one.mark.payload,
                        json.dumps(one.id),
                        orjson.dumps(one.payload, option=orjson.OPT_SERIALIZE_NUMPY).decode(),
                        one.words,
                        one.dollars,
                    ),
                )
        return keys

    def known(self, marks: Iterable[Mark]) -> set[bytes]:
        """Which of these are waiting already, with the same content: the ids' keys."""
        with self._checkpoint.change() as database:
            return {
                mark.key
                for mark in marks
                if database.execute(
                    "SELECT 1 FROM waiting WHERE item = ? AND content = ?",
                    (mark.key, mark.content),
                ).fetchone()
            }

    def get(self, keys: Iterable[str]) -> dict[str, Waiting]:
        """Items by key; those that aren't waiting any more are left out."""
        found: dict[str, Waiting] = {}
        with self._checkpoint.change() as database:
            for key in keys:
                row = database.execute(
                    f"SELECT {_COLUMNS} FROM waiting WHERE key = ?",  # noqa: S608
                    (key,),
                ).fetchone()
                if row is not None:
                    found[key] = _waiting(row)
        return found

    def some(self, most: int) -> list[Waiting]:
        """A few of them."""
        with self._checkpoint.change() as database:
            rows = database.execute(
                f"SELECT {_COLUMNS} FROM waiting LIMIT ?",  # noqa: S608
                (most,),
            ).fetchall()
        return [_waiting(row) for row in rows]

    def remove(self, keys: Iterable[str]) -> None:
        """They have come, or never will."""
        with self._checkpoint.change() as database:
            database.executemany("DELETE FROM waiting WHERE key = ?", [(key,) for key in keys])

    def count(self) -> int:
        """How many are waiting."""
        with self._checkpoint.change() as database:
            return int(database.execute("SELECT count(*) FROM waiting").fetchone()[0])

    def dollars(self) -> float:
        """What they will cost together, by our own count."""
        with self._checkpoint.change() as database:
            return float(database.execute("SELECT total(dollars) FROM waiting").fetchone()[0])


def _waiting(row: tuple[str, bytes, bytes, bytes, str, str, str, float]) -> Waiting:
    key, item, content, payload, own, stored, words, dollars = row
    mark = Mark(item, content, payload)
    return Waiting(key, mark, json.loads(own), orjson.loads(stored), words, dollars)
