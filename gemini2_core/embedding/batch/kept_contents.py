"""Contents of a batch run as they are kept: keys, and the lines that each is made of."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gemini2_core.embedding.batch.kept_lines import DONE, FAILED, OPEN
from gemini2_core.embedding.batch.lines import Line
from gemini2_core.embedding.batch.statefile import (
    StateFile,
    count_up,
    pay,
    some_at_a_time,
    whole,
)
from gemini2_core.embedding.cache import pack_row
from gemini2_core.embedding.result import Usage
from gemini2_core.errors import InvalidInputError

__all__ = ["KeptContents", "NewContent", "Settled", "content_digest"]


class NewContent(NamedTuple):
    """A content to be kept: its key, a digest of what it is, and its lines with their weights."""

    key: str
    digest: str
    pieces: Sequence[tuple[Line, float]] = ()
    error: str | None = None
    forgotten: bool = False


class Settled(NamedTuple):
    """A content of which all that can be known is: its lines and weights, or its error."""

    id: int
    key: str
    pieces: list[tuple[int, float]]
    error: str | None
    permanent: bool


class KeptContents:
    """The contents in a state file."""

    def __init__(self, file: StateFile) -> None:
        self._file = file

    def digests(self, keys: Sequence[str]) -> dict[str, str]:
        """What is known of those keys that are known."""
        known: dict[str, str] = {}
        for some in some_at_a_time(keys):
            marks = ",".join("?" * len(some))
            query = f"SELECT key, digest FROM contents WHERE key IN ({marks})"  # noqa: S608
            known.update((str(key), str(digest)) for key, digest in self._file.rows(query, *some))
        return known

    def given_up(self, keys: Sequence[str]) -> set[str]:
        """Those keys whose contents lack a line that was given up, and might work another time."""
        found: set[str] = set()
        for some in some_at_a_time(keys):
            query = (
                "SELECT c.key FROM contents c JOIN pieces p ON p.content = c.id "  # noqa: S608
                f"JOIN lines l ON l.id = p.line WHERE l.status = {FAILED} AND l.permanent = 0 "
                f"AND c.key IN ({','.join('?' * len(some))})"
            )
            found.update(str(key) for (key,) in self._file.rows(query, *some))
        return found

    def add(self, contents: Iterable[NewContent]) -> Usage:
        """Keep contents and those of their lines that aren't there yet; returns what was saved."""
        duplicates = cached = 0
        with self._file.change() as database:
            for content in contents:
                number = _insert_content(database, content)
                for place, (line, weight) in enumerate(content.pieces):
                    known = _known_line(database, line)
                    if known is None:
                        known = _insert_line(database, line)
                        cached += line.row is not None
                    else:
                        duplicates += 1
                    database.execute(
                        "INSERT INTO pieces VALUES (?, ?, ?, ?)", (number, place, known, weight)
                    )
            saved = Usage(duplicates=duplicates, cached=cached)
            pay(database, saved)
        return saved

    def try_again(self, contents: Iterable[NewContent]) -> None:
        """Free the lines of known contents that were given up, as if they had never been tried."""
        with self._file.change() as database:
            for content in contents:
                for line, _ in content.pieces:
                    _known_line(database, line)

    def settled(self, after: int, count: int) -> tuple[list[Settled], int | None]:
        """Of the next contents by id those that are settled, and where to go on; None at the end.

        A content is settled if it can't be embedded, or if each of its lines is done or given up.
        """
        contents = self._file.rows(
            "SELECT id, key, error FROM contents INDEXED BY live_contents "
            "WHERE forgotten = 0 AND id > ? ORDER BY id LIMIT ?",
            after,
            count,
        )
        if not contents:
            return [], None
        first, last = whole(contents[0][0]), whole(contents[-1][0])
        pieces: dict[int, list[tuple[int, float]]] = {}
        errors: dict[int, tuple[str, bool]] = {}
        waiting: set[int] = set()
        for content, line, weight, status, error, permanent in self._file.rows(
            "SELECT p.content, p.line, p.weight, l.status, l.error, l.permanent "
            "FROM pieces p JOIN lines l ON l.id = p.line "
            "WHERE p.content BETWEEN ? AND ? ORDER BY p.content, p.place",
            first,
            last,
        ):
            number = whole(content)
            pieces.setdefault(number, []).append((whole(line), float(str(weight))))
            if status == OPEN:
                waiting.add(number)
            elif status == FAILED:
                errors.setdefault(number, (str(error), bool(permanent)))
        found = []
        for content, key, error in contents:
            number = whole(content)
            told = (str(error), True) if error is not None else errors.get(number)
            if told is not None or number not in waiting:
                text, permanent = told or (None, False)
                some = pieces.get(number, [])
                found.append(Settled(number, str(key), some, text, permanent))
        return found, last

    def forget(self, keys: Sequence[str]) -> None:
        """Drop the vectors of contents that are settled; their keys stay known.

        Raises:
            InvalidInputError: A key isn't known.
        """
        with self._file.change() as database:
            for key in keys:
                found = database.execute("SELECT id FROM contents WHERE key = ?", (key,)).fetchone()
                if found is None:
                    raise InvalidInputError(f"{self._file.path} has no content {key!r}")
                lines = database.execute(
                    "SELECT DISTINCT line FROM pieces WHERE content = ?", found
                ).fetchall()
                database.execute("DELETE FROM pieces WHERE content = ?", found)
                database.execute("UPDATE contents SET forgotten = 1 WHERE id = ?", found)
                for line in lines:
                    _drop_unused(database, line)

    def counts(self) -> dict[str, int]:
        """How many contents, refused ones, lines, lines done and given up there are or were.

        And the estimated tokens of all lines, by modality.
        """
        return {str(n): whole(count) for n, count in self._file.rows("SELECT * FROM counts")}


def content_digest(lines: Iterable[str]) -> str:
    """A digest of what a content is, from the digests of its lines before any was cut."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _insert_content(database: sqlite3.Connection, content: NewContent) -> int | None:
    number = database.execute(
        "INSERT INTO contents (key, digest, error, forgotten) VALUES (?, ?, ?, ?)",
        (content.key, content.digest, content.error, content.forgotten),
    ).lastrowid
    count_up(database, "contents")
    if content.error is not None:
        count_up(database, "refused")
    return number


def _known_line(database: sqlite3.Connection, line: Line) -> int | None:
    """A line that is there already; one that was given up is free again, if that may help."""
    found = database.execute(
        "SELECT id, status = ? AND NOT permanent FROM lines WHERE digest = ?", (FAILED, line.digest)
    ).fetchone()
    if found is None:
        return None
    number, given_up = whole(found[0]), found[1]
    if given_up:
        database.execute(
            "UPDATE lines SET status = ?, tries = 0, error = NULL WHERE id = ?", (OPEN, number)
        )
        count_up(database, "failed", -1)
        _keep_line(database, number, line)
    return number


def _insert_line(database: sqlite3.Connection, line: Line) -> int:
    number = database.execute(
        "INSERT INTO lines (digest, size, tokens, cache_key) VALUES (?, ?, ?, ?)",
        (line.digest, line.size, json.dumps(line.tokens), line.cache_key),
    ).lastrowid
    assert number is not None
    count_up(database, "lines")
    if line.row is None:
        for kind, tokens in line.tokens.items():
            count_up(database, kind, tokens)
    _keep_line(database, number, line)
    return number


def _keep_line(database: sqlite3.Connection, number: int, line: Line) -> None:
    """What an open line is made of, or the vector that a cache has of it."""
    if line.row is not None:
        database.execute("UPDATE lines SET status = ? WHERE id = ?", (DONE, number))
        database.execute("INSERT INTO vectors VALUES (?, ?)", (number, pack_row(line.row)))
        count_up(database, "done")
        return
    database.execute("INSERT INTO bodies VALUES (?, ?)", (number, line.body))
    for digest, data in line.media.items():
        database.execute("INSERT OR IGNORE INTO media VALUES (?, ?)", (digest, data))
        database.execute("INSERT INTO line_media VALUES (?, ?)", (number, digest))


def _drop_unused(database: sqlite3.Connection, line: tuple[int]) -> None:
    used = database.execute("SELECT 1 FROM pieces WHERE line = ? LIMIT 1", line).fetchone()
    if used is None:
        database.execute("DELETE FROM vectors WHERE line = ?", line)
        # One that is still with the service stays, for the job that it is in.
        database.execute("DELETE FROM lines WHERE id = ? AND status != 0", line)
