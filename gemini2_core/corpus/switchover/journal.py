"""What was written to both sides of a move, in a file, until the new side is known to agree."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gemini2_core.errors import ConfigurationError

__all__ = ["Entry", "Journal", "Kind", "State"]

Kind = Literal["put", "delete", "where"]
"""A document, the deletion of one, or the deletion of all that something matches."""

State = Literal["begun", "owed", "done"]
"""Nothing is known of it, the live side has it and the new one not, or both have it."""

_SECONDS = 60.0
_TABLE = """
CREATE TABLE IF NOT EXISTS entries (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    own TEXT NOT NULL,
    body TEXT,
    family TEXT,
    state TEXT NOT NULL DEFAULT 'begun',
    reason TEXT,
    whole INT NOT NULL,
    UNIQUE (own, whole)
)"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that was done to both sides, or should be.

    Attributes:
        number: Its place: a later one has a larger number.
        kind: What was done.
        own: The document's id; of a ``"where"``, what it matches.
        body: The document as JSON, for a ``"put"``.
        state: How far it came.
    """

    number: int
    kind: Kind
    own: str
    body: str | None
    state: State


class Journal:
    """Documents that were written or deleted during a move: the last word on each.

    Several threads and processes of one machine may write to one file. What is noted is on the
    disk before the live side is told, so a process may die anywhere.

    Args:
        path: The file (SQLite); made if it isn't there.

    Raises:
        ConfigurationError: The file is something else.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self._lock = threading.RLock()
        try:
            self._rows = sqlite3.connect(self.path, timeout=_SECONDS, check_same_thread=False)
            self._rows.execute("PRAGMA journal_mode = wal")
            with self._rows:
                self._rows.execute(_TABLE)
        except sqlite3.DatabaseError as error:
            raise ConfigurationError(f"{self.path} can't be a journal: {error}") from error

    def put(
        self, documents: Mapping[str, str], families: Mapping[str, str] | None = None
    ) -> list[int]:
        """Note that documents are about to be written; their numbers.

        Args:
            documents: JSON by id.
            families: What a document was cut from, by id, for ``void_family``.
        """
        told = families or {}
        return self._begin([("put", own, body, told.get(own)) for own, body in documents.items()])

    def delete(self, ids: Iterable[str]) -> list[int]:
        """Note that documents are about to be deleted; their numbers."""
        return self._begin([("delete", own, None, None) for own in ids])

    def delete_where(self, what: str) -> list[int]:
        """Note that everything is about to be deleted that ``what`` matches; its number."""
        return self._begin([("where", what, None, None)])

    def _begin(self, told: Sequence[tuple[Kind, str, str | None, str | None]]) -> list[int]:
        with self._lock, self._rows:
            numbers = []
            for entry in told:
                # Replaced: the last word on a document has the last number.
                done = self._rows.execute(
                    "INSERT OR REPLACE INTO entries (kind, own, body, family, whole) "
                    "VALUES (?, ?, ?, ?, ?)",
                    (*entry, entry[0] == "where"),
                )
                numbers.append(int(done.lastrowid or 0))
            return numbers

    def done(self, numbers: Iterable[int]) -> None:
        """Say that both sides have these; those that something later replaced are none."""
        self._set(numbers, "done", None)

    def owe(self, numbers: Iterable[int], reason: str) -> None:
        """Say that the live side has these, and why the new one hasn't."""
        self._set(numbers, "owed", reason)

    def _set(self, numbers: Iterable[int], state: State, reason: str | None) -> None:
        with self._lock, self._rows:
            self._rows.executemany(
                "UPDATE entries SET state = ?, reason = ? WHERE number = ?",
                [(state, reason, number) for number in numbers],
            )

    def forget(self, numbers: Iterable[int]) -> None:
        """Take entries back."""
        with self._lock, self._rows:
            self._rows.executemany(
                "DELETE FROM entries WHERE number = ?", [(number,) for number in numbers]
            )

    @property
    def owed(self) -> int:
        """How many entries the new side hasn't, as far as is known."""
        return self._count("state != 'done'")

    def __len__(self) -> int:
        return self._count("1")

    def _count(self, where: str) -> int:
        with self._lock:
            row = self._rows.execute(f"SELECT count(*) FROM entries WHERE {where}").fetchone()  # noqa: S608  # our own words
        return int(row[0])

    def put_after(self, own: str, number: int) -> bool:
        """Whether a document was written later than an entry."""
        with self._lock:
            row = self._rows.execute(
                "SELECT 1 FROM entries WHERE own = ? AND kind = 'put' AND number > ?", (own, number)
            ).fetchone()
        return row is not None

    def void(self, ids: Iterable[str], number: int) -> None:
        """Say that documents that were written before an entry are deleted since."""
        with self._lock, self._rows:
            self._rows.executemany(
                "UPDATE entries SET kind = 'delete', body = NULL "
                "WHERE own = ? AND kind = 'put' AND number < ?",
                [(own, number) for own in ids],
            )

    def void_family(self, family: str, number: int) -> None:
        """``void`` for all that was cut from one thing."""
        with self._lock, self._rows:
            self._rows.execute(
                "UPDATE entries SET kind = 'delete', body = NULL "
                "WHERE family = ? AND kind = 'put' AND number < ?",
                (family, number),
            )

    def pages(self, size: int) -> Iterator[list[Entry]]:
        """All entries in their order, those that come meanwhile too; a "where" stands alone."""
        last = 0
        while True:
            with self._lock:
                rows = self._rows.execute(
                    "SELECT number, kind, own, body, state FROM entries WHERE number > ? "
                    "ORDER BY number LIMIT ?",
                    (last, size),
                ).fetchall()
            if not rows:
                return
            page: list[Entry] = []
            for row in rows:
                entry = Entry(*row)
                if entry.kind == "where":
                    if page:
                        yield page
                        page = []
                    yield [entry]
                else:
                    page.append(entry)
            if page:
                yield page
            last = int(rows[-1][0])

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._rows.close()
