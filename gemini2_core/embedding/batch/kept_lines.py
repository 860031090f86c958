"""Lines of a batch run as they are kept: requests until they are done, then vectors."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gemini2_core.embedding.answer import Row
from gemini2_core.embedding.batch.statefile import (
    StateFile,
    blob,
    count_up,
    pay,
    read_tokens,
    some_at_a_time,
    whole,
)
from gemini2_core.embedding.cache import pack_row, unpack_row
from gemini2_core.embedding.result import Usage
from gemini2_core.model import Modality

__all__ = ["DONE", "FAILED", "OPEN", "KeptLine", "KeptLines", "Outcome", "fail_line"]

OPEN = 0
DONE = 1
FAILED = 2
_KEPT = "l.id, b.body, l.tokens FROM lines l JOIN bodies b ON b.line = l.id"


class KeptLine(NamedTuple):
    """A line that isn't done: its id, its request as it's kept, our estimate of its tokens."""

    id: int
    body: bytes
    tokens: dict[Modality, int]


class Outcome(NamedTuple):
    """What became of a line: a row, or an error and whether the same request would fail again."""

    line: int
    row: Row | None
    error: str = ""
    permanent: bool = False


class KeptLines:
    """The lines in a state file."""

    def __init__(self, file: StateFile) -> None:
        self._file = file

    def of_job(self, job: int, after: int, count: int) -> list[KeptLine]:
        """The next lines of a job that aren't done, by id."""
        query = (
            f"SELECT {_KEPT} WHERE l.job = ? AND l.status = 0 AND l.id > ? ORDER BY l.id LIMIT ?"
        )
        return [_kept(row) for row in self._file.rows(query, job, after, count)]

    def failed(self, after: int, count: int) -> list[KeptLine]:
        """Free lines that were tried before, by id."""
        query = (
            f"SELECT {_KEPT} "
            "WHERE l.job IS NULL AND l.status = 0 AND l.tries > 0 AND l.id > ? "
            "ORDER BY l.id LIMIT ?"
        )
        return [_kept(row) for row in self._file.rows(query, after, count)]

    def with_media(self, job: int, after: int, count: int) -> list[KeptLine]:
        """The next lines of a job that aren't done and have media, by id."""
        query = (
            f"SELECT {_KEPT} WHERE l.job = ? AND l.status = 0 AND l.id > ? "  # noqa: S608
            "AND EXISTS (SELECT 1 FROM line_media m WHERE m.line = l.id) ORDER BY l.id LIMIT ?"
        )
        return [_kept(row) for row in self._file.rows(query, job, after, count)]

    def media_of(self, line: int) -> dict[str, bytes]:
        """Bytes of the media of a line, by their digest."""
        query = (
            "SELECT m.digest, m.data FROM line_media l JOIN media m ON m.digest = l.digest "
            "WHERE l.line = ?"
        )
        return {str(digest): blob(data) for digest, data in self._file.rows(query, line)}

    def tokens_of(self, job: int, lines: Sequence[int]) -> dict[int, dict[Modality, int]]:
        """Our estimates for those of the lines that are this job's and aren't done."""
        estimates: dict[int, dict[Modality, int]] = {}
        for some in some_at_a_time(lines):
            query = (
                "SELECT id, tokens FROM lines WHERE job = ? AND status = 0 "  # noqa: S608
                f"AND id IN ({','.join('?' * len(some))})"
            )
            for number, tokens in self._file.rows(query, job, *some):
                estimates[whole(number)] = read_tokens(str(tokens))
        return estimates

    def cache_keys(self, lines: Sequence[int]) -> dict[int, str]:
        """Cache keys of those lines that have one."""
        keys: dict[int, str] = {}
        for some in some_at_a_time(lines):
            query = (
                "SELECT id, cache_key FROM lines WHERE cache_key IS NOT NULL "  # noqa: S608
                f"AND id IN ({','.join('?' * len(some))})"
            )
            keys.update((whole(number), str(key)) for number, key in self._file.rows(query, *some))
        return keys

    def keep(self, outcomes: Iterable[Outcome], usage: Usage, *, tries: int, job: int = 0) -> None:
        """Keep what became of lines, and what it cost: both or neither.

        A line that failed is free again, or given up: if the same request would fail again, or
        after so many tries.

        Args:
            outcomes: Of lines that aren't done.
            usage: What they cost.
            tries: How often a line is tried.
            job: Whose lines they are; 0 for none's.
        """
        done = 0
        with self._file.change() as database:
            for line, row, error, permanent in outcomes:
                if row is None:
                    fail_line(database, line, error, permanent, tries)
                else:
                    database.execute(
                        "INSERT OR REPLACE INTO vectors VALUES (?, ?)", (line, pack_row(row))
                    )
                    _finish_line(database, line, DONE)
                    done += 1
            if job:
                database.execute("UPDATE jobs SET done = done + ? WHERE id = ?", (done, job))
            pay(database, usage)

    def vectors(self, lines: Iterable[int], dimensions: int) -> dict[int, Row]:
        """Rows of lines."""
        rows: dict[int, Row] = {}
        for some in some_at_a_time(list(lines)):
            marks = ",".join("?" * len(some))
            query = f"SELECT line, vector FROM vectors WHERE line IN ({marks})"  # noqa: S608
            for line, data in self._file.rows(query, *some):
                row = unpack_row(blob(data), dimensions)
                if row is not None:
                    rows[whole(line)] = row
        return rows


def fail_line(
    database: sqlite3.Connection, line: int, error: str, permanent: bool, tries: int
) -> None:
    """A line came back without a vector: it's free again, or given up."""
    database.execute(
        "UPDATE lines SET job = NULL, tries = tries + 1, error = ?, permanent = ? "
        "WHERE id = ? AND status = 0",
        (error, permanent, line),
    )
    (tried,) = database.execute("SELECT tries FROM lines WHERE id = ?", (line,)).fetchone()
    if permanent or tried >= tries:
        _finish_line(database, line, FAILED)


def _finish_line(database: sqlite3.Connection, line: int, status: int) -> None:
    """A line is done or given up: what it was made of isn't needed any more."""
    database.execute("UPDATE lines SET status = ?, job = NULL WHERE id = ?", (status, line))
    database.execute("DELETE FROM bodies WHERE line = ?", (line,))
    media = database.execute("SELECT digest FROM line_media WHERE line = ?", (line,)).fetchall()
    if media:
        database.execute("DELETE FROM line_media WHERE line = ?", (line,))
        database.executemany(
            "DELETE FROM media WHERE digest = ?1 "
            "AND NOT EXISTS (SELECT 1 FROM line_media WHERE digest = ?1)",
            media,
        )
    count_up(database, "done" if status == DONE else "failed")


def _kept(row: tuple[object, ...]) -> KeptLine:
    number, body, tokens = row
    return KeptLine(whole(number), blob(body), read_tokens(str(tokens)))
