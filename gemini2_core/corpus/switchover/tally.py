"""Ids of two sides held against each other on the disk, however many there are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from gemini2_core.index import PointId
from gemini2_core.index.ids import point_id

__all__ = ["Tally"]


class Tally:
    """Which ids were expected, and which of them were found.

    A temporary SQLite file of its own, which vanishes with it; memory stays the same from a
    thousand ids to many millions. Ids are equal if a collection stores them as one point.
    """

    def __init__(self) -> None:
        # An empty name is a file without one, in the system's temporary folder.
        self._rows = sqlite3.connect("", check_same_thread=False)
        self._rows.execute("PRAGMA temp_store = file")
        self._rows.execute(
            "CREATE TABLE ids (point TEXT PRIMARY KEY, own TEXT, number INT, found INT DEFAULT 0)"
            " WITHOUT ROWID"
        )
        self.repeated = 0
        """Ids that were expected a second time."""
        self.extra = 0
        """Ids that were found and not expected."""

    def expect(self, ids: Iterable[PointId]) -> None:
        """Say that ids should be there."""
        rows = [(str(point_id(one)), str(one), isinstance(one, int)) for one in ids]
        before = self._rows.total_changes
        self._rows.executemany(
            "INSERT INTO ids (point, own, number) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", rows
        )
        self.repeated += len(rows) - (self._rows.total_changes - before)

    def find(self, ids: Iterable[PointId]) -> list[PointId]:
        """Say that ids are there; returns those that weren't expected."""
        strange: list[PointId] = []
        for one in ids:
            done = self._rows.execute(
                "UPDATE ids SET found = 1 WHERE point = ?", (str(point_id(one)),)
            )
            if not done.rowcount:
                strange.append(one)
        self.extra += len(strange)
        return strange

    @property
    def expected(self) -> int:
        """How many different ids were expected."""
        return int(self._rows.execute("SELECT count(*) FROM ids").fetchone()[0])

    @property
    def missing(self) -> int:
        """How many of them weren't found."""
        return int(self._rows.execute("SELECT count(*) FROM ids WHERE NOT found").fetchone()[0])

    def some_missing(self, most: int) -> list[PointId]:
        """A few of those that weren't found."""
        rows = self._rows.execute(
            "SELECT own, number FROM ids WHERE NOT found ORDER BY point LIMIT ?", (most,)
        )
        return [int(own) if number else str(own) for own, number in rows]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._rows.close()
