"""What a batch run knows, in one SQLite file: contents, lines, jobs, rows, and what was paid."""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from gemini2_core.embedding.answer import Row
from gemini2_core.embedding.batch.lines import Line
from gemini2_core.embedding.cache import pack_row, unpack_row
from gemini2_core.embedding.result import Usage
from gemini2_core.errors import ConfigurationError, InvalidInputError, StateLockedError
from gemini2_core.model import Modality

__all__ = ["Job", "Kept", "NewContent", "Outcome", "Settled", "State"]

_VERSION = "1"
_OPEN, _DONE, _FAILED = 0, 1, 2
#: Chosen so that SQLite takes them as arguments of one statement on any build.
_SOME = 500
_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS contents (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, digest TEXT NOT NULL, error TEXT,
    forgotten INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS pieces (
    content INTEGER NOT NULL, place INTEGER NOT NULL, line INTEGER NOT NULL, weight REAL NOT NULL,
    PRIMARY KEY (content, place)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS pieces_of_line ON pieces (line);
CREATE TABLE IF NOT EXISTS lines (
    id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, status INTEGER NOT NULL DEFAULT 0,
    job INTEGER, tries INTEGER NOT NULL DEFAULT 0, size INTEGER NOT NULL, tokens TEXT NOT NULL,
    cache_key TEXT, permanent INTEGER NOT NULL DEFAULT 0, error TEXT
);
CREATE INDEX IF NOT EXISTS lines_of_job ON lines (job) WHERE job IS NOT NULL;
CREATE INDEX IF NOT EXISTS free_lines ON lines (id) WHERE job IS NULL AND status = 0;
CREATE TABLE IF NOT EXISTS bodies (line INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS vectors (line INTEGER PRIMARY KEY, vector BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS media (digest TEXT PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS line_media (
    line INTEGER NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (line, digest)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS lines_of_media ON line_media (digest);
CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, phase TEXT NOT NULL, lines INTEGER NOT NULL DEFAULT 0,
    size INTEGER NOT NULL DEFAULT 0, tokens INTEGER NOT NULL DEFAULT 0,
    done INTEGER NOT NULL DEFAULT 0, name TEXT NOT NULL DEFAULT '',
    state TEXT NOT NULL DEFAULT '', uploads INTEGER NOT NULL DEFAULT 0, changed REAL NOT NULL,
    prepared REAL, started REAL, ended REAL, refusals INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS files (
    name TEXT PRIMARY KEY, job INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO counts VALUES ('lines', 0), ('done', 0), ('failed', 0);
"""


class NewContent(NamedTuple):
    """A content to be kept: its key, a digest of what it is, and its lines with their weights."""

    key: str
    digest: str
    pieces: Sequence[tuple[Line, float]] = ()
    error: str | None = None
    forgotten: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """A job as we know it.

    Attributes:
        id: Its number in this run, from 1.
        phase: ``filling``, ``packed``, ``creating``, ``running``, ``cancelling`` or ``closed``.
        lines: How many it was made of.
        size: Their bytes, about.
        tokens: Their tokens, as we estimate.
        done: How many of them came back with a vector.
        name: The service's name for it, or "".
        state: The service's word for how it is, or ours for what became of it.
        uploads: How often its files were prepared: part of their names.
        changed: Unix seconds of the last change of the phase.
        prepared: Unix seconds when its file was first to be uploaded, or None.
        started: Unix seconds of its creation at the service, or None.
        ended: Unix seconds when we saw its end, or None.
        refusals: How often the service had no room for it.
    """

    id: int
    phase: str
    lines: int
    size: int
    tokens: int
    done: int
    name: str
    state: str
    uploads: int
    changed: float
    prepared: float | None
    started: float | None
    ended: float | None
    refusals: int


class Kept(NamedTuple):
    """A line that isn't done: its id, its request as it's kept, our estimate of its tokens."""

    id: int
    body: bytes
    tokens: dict[Modality, int]
    cache_key: str | None


class Outcome(NamedTuple):
    """What became of a line: a row, or an error and whether the same request would fail again."""

    line: int
    row: Row | None
    error: str = ""
    permanent: bool = False


class Settled(NamedTuple):
    """A content of which all that can be known is: its lines and weights, or its error."""

    id: int
    key: str
    pieces: list[tuple[int, float]]
    error: str | None
    permanent: bool


_KEPT = "l.id, b.body, l.tokens, l.cache_key FROM lines l JOIN bodies b ON b.line = l.id"
_JOB = ", ".join(Job.__dataclass_fields__)


class State:
    """The file. Every change is a transaction, so that a kill at any moment leaves it whole.

    Args:
        path: The file; made if it isn't there.
        facts: What this run is for; a file that was begun for something else is refused.

    Raises:
        ConfigurationError: No such folder, no state of ours, or one for another model, task or
            size.
    """

    def __init__(self, path: Path, facts: Mapping[str, str]) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._held: sqlite3.Connection | None = None
        try:
            self._database = sqlite3.connect(path, timeout=30, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode=WAL")
            # A batch that was paid for must outlive a power cut as well.
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise ConfigurationError(f"state={str(path)!r} can't be opened: {error}") from error
        self._agree({"version": _VERSION, **facts})
        self.run_id = self._fact("run")

    def _agree(self, facts: Mapping[str, str]) -> None:
        with self._change() as database:
            known = dict(database.execute("SELECT name, value FROM facts"))
            if "version" not in known:
                facts = {**facts, "run": secrets.token_hex(6), "created": str(time.time())}
                database.executemany("INSERT INTO facts VALUES (?, ?)", facts.items())
                return
        other = {name: known.get(name) for name in facts if known.get(name) != facts[name]}
        if other:
            told = ", ".join(f"{name} {was}, not {facts[name]}" for name, was in other.items())
            raise ConfigurationError(
                f"{self.path} holds a batch run with {told}: take another state file, or an "
                "embedder that fits it"
            )

    def own(self) -> None:
        """Be the one who changes it, until ``close`` or the end of the process.

        Raises:
            StateLockedError: Another process, or another object of this one, is at it.
        """
        if self._held is not None:
            return
        held = sqlite3.connect(f"{self.path}-lock", timeout=0, check_same_thread=False)
        try:
            # SQLite's own lock: the system takes it back from a process that dies.
            held.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            held.close()
            raise StateLockedError(
                f"somebody is working on {self.path}, in another process or with another object "
                "of this one: wait for it, or close it there"
            ) from error
        self._held = held

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._database.close()
            if self._held is not None:
                self._held.close()
                self._held = None

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._database as database:
            database.execute("BEGIN IMMEDIATE")
            yield database

    def _rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        with self._lock:
            return self._database.execute(query, values).fetchall()

    def _fact(self, name: str, default: str = "") -> str:
        found = self._rows("SELECT value FROM facts WHERE name = ?", name)
        return str(found[0][0]) if found else default

    def set_fact(self, name: str, value: str) -> None:
        """Note something about the run as a whole."""
        with self._change() as database:
            database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    @property
    def cancelled(self) -> bool:
        """True if no new job is to be started."""
        return self._fact("cancelled") == "yes"

    @property
    def usage(self) -> Usage:
        """What was paid so far."""
        return _usage(self._fact("usage"))

    # Contents and lines

    def digests(self, keys: Sequence[str]) -> dict[str, str]:
        """What is known of those keys that are known."""
        known: dict[str, str] = {}
        for some in _chunks(keys):
            marks = ",".join("?" * len(some))
            query = f"SELECT key, digest FROM contents WHERE key IN ({marks})"  # noqa: S608
            known.update((str(key), str(digest)) for key, digest in self._rows(query, *some))
        return known

    def add(self, contents: Iterable[NewContent]) -> list[tuple[int, str]]:
        """Keep contents and those of their lines that aren't there yet.

        Returns:
            Id and cache key of the new lines that have one.
        """
        new: list[tuple[int, str]] = []
        duplicates = 0
        with self._change() as database:
            for key, digest, pieces, error, forgotten in contents:
                content = database.execute(
                    "INSERT INTO contents (key, digest, error, forgotten) VALUES (?, ?, ?, ?)",
                    (key, digest, error, forgotten),
                ).lastrowid
                for place, (line, weight) in enumerate(pieces):
                    number = _known_line(database, line.digest)
                    if number is None:
                        number = _insert_line(database, line)
                        if line.cache_key is not None:
                            new.append((number, line.cache_key))
                    else:
                        duplicates += 1
                    database.execute(
                        "INSERT INTO pieces VALUES (?, ?, ?, ?)", (content, place, number, weight)
                    )
            if duplicates:
                _pay(database, Usage(duplicates=duplicates))
        return new

    def pack(self, lines: int, size: int, tokens: int | None, *, seal: bool) -> None:
        """Put free lines into jobs of at most so many lines, bytes and estimated tokens.

        Args:
            lines: Most lines of a job.
            size: Most bytes of its file.
            tokens: Most tokens, or None.
            seal: Close the last job too, though there is room in it.
        """
        while self._pack_some(lines, size, tokens, seal):
            pass

    def _pack_some(self, lines: int, size: int, tokens: int | None, seal: bool) -> bool:
        with self._change() as database:
            free = database.execute(
                "SELECT id, size, tokens FROM lines WHERE job IS NULL AND status = 0 "
                "ORDER BY id LIMIT 10000"
            ).fetchall()
            found = database.execute(
                "SELECT id, lines, size, tokens FROM jobs WHERE phase = 'filling'"
            ).fetchone()
            job, count, bytes_, told = found or (None, 0, 0, 0)
            for line, line_size, estimate in free:
                line_tokens = sum(json.loads(estimate).values())
                full = count >= lines or bytes_ + line_size > size
                if tokens is not None and told + line_tokens > tokens:
                    full = True
                if job is not None and full and count:
                    _fill(database, job, "packed", count, bytes_, told)
                    job = None
                if job is None:
                    job = database.execute(
                        "INSERT INTO jobs (phase, changed) VALUES ('filling', ?)", (time.time(),)
                    ).lastrowid
                    count = bytes_ = told = 0
                database.execute("UPDATE lines SET job = ? WHERE id = ?", (job, line))
                count, bytes_, told = count + 1, bytes_ + line_size, told + line_tokens
            if job is not None:
                full = count >= lines or (tokens is not None and told >= tokens)
                phase = "packed" if full or (seal and len(free) < 10000) else "filling"
                _fill(database, job, phase, count, bytes_, told)
            return len(free) == 10000

    def lines_of(self, job: int, after: int, count: int) -> list[Kept]:
        """The next lines of a job that aren't done, by id."""
        query = (
            f"SELECT {_KEPT} WHERE l.job = ? AND l.status = 0 AND l.id > ? ORDER BY l.id LIMIT ?"
        )
        return [_kept(row) for row in self._rows(query, job, after, count)]

    def line(self, number: int) -> Kept | None:
        """A line that isn't done."""
        query = f"SELECT {_KEPT} WHERE l.id = ? AND l.status = 0"
        return next((_kept(row) for row in self._rows(query, number)), None)

    def media_of(self, line: int) -> dict[str, bytes]:
        """Bytes of the media of a line, by their digest."""
        query = (
            "SELECT m.digest, m.data FROM line_media l JOIN media m ON m.digest = l.digest "
            "WHERE l.line = ?"
        )
        return {str(digest): _bytes(data) for digest, data in self._rows(query, line)}

    def tokens_of(self, job: int, lines: Sequence[int]) -> dict[int, dict[Modality, int]]:
        """Our estimates for those of the lines that are this job's and aren't done."""
        estimates: dict[int, dict[Modality, int]] = {}
        for some in _chunks(lines):
            query = (
                "SELECT id, tokens FROM lines WHERE job = ? AND status = 0 "  # noqa: S608
                f"AND id IN ({','.join('?' * len(some))})"
            )
            for number, tokens in self._rows(query, job, *some):
                estimates[_int(number)] = _tokens(str(tokens))
        return estimates

    def cache_keys(self, lines: Sequence[int]) -> dict[int, str]:
        """Cache keys of those lines that have one."""
        keys: dict[int, str] = {}
        for some in _chunks(lines):
            query = (
                "SELECT id, cache_key FROM lines WHERE cache_key IS NOT NULL "  # noqa: S608
                f"AND id IN ({','.join('?' * len(some))})"
            )
            keys.update((_int(number), str(key)) for number, key in self._rows(query, *some))
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
        with self._change() as database:
            for line, row, error, permanent in outcomes:
                if row is None:
                    _failed(database, line, error, permanent, tries)
                else:
                    database.execute(
                        "INSERT OR REPLACE INTO vectors VALUES (?, ?)", (line, pack_row(row))
                    )
                    _finish(database, line, _DONE)
                    done += 1
            if job:
                database.execute("UPDATE jobs SET done = done + ? WHERE id = ?", (done, job))
            _pay(database, usage)

    def close_job(self, job: int, state: str, missing: str, *, tries: int) -> None:
        """A job is over: what it still has is free for another, or given up.

        Args:
            job: Its number.
            state: What became of it.
            missing: What to say of the lines that it leaves.
            tries: How often a line is tried.
        """
        with self._change() as database:
            left = database.execute(
                "SELECT id FROM lines WHERE job = ? AND status = 0", (job,)
            ).fetchall()
            for (line,) in left:
                _failed(database, line, missing, False, tries)
            database.execute(
                "UPDATE jobs SET phase = 'closed', state = ?, changed = ?, ended = ? WHERE id = ?",
                (state, time.time(), time.time(), job),
            )

    def release(self, job: int) -> None:
        """Take a job apart that wasn't started: its lines are free, and weren't tried."""
        with self._change() as database:
            database.execute("UPDATE lines SET job = NULL WHERE job = ? AND status = 0", (job,))
            database.execute("DELETE FROM jobs WHERE id = ?", (job,))

    def failed_lines(self, after: int, count: int) -> list[Kept]:
        """Free lines that were tried before, by id."""
        query = (
            f"SELECT {_KEPT} "
            "WHERE l.job IS NULL AND l.status = 0 AND l.tries > 0 AND l.id > ? "
            "ORDER BY l.id LIMIT ?"
        )
        return [_kept(row) for row in self._rows(query, after, count)]

    # Jobs and their files

    def jobs(self, *phases: str) -> list[Job]:
        """Jobs in any of the phases, or all."""
        where = f"WHERE phase IN ({','.join('?' * len(phases))})" if phases else ""
        rows = self._rows(f"SELECT {_JOB} FROM jobs {where} ORDER BY id", *phases)  # noqa: S608
        return [Job(*row) for row in rows]  # type: ignore[arg-type]  # as the schema has them

    def set_phase(
        self, job: int, phase: str, *, name: str | None = None, state: str | None = None
    ) -> None:
        """A job is a step further."""
        changes: dict[str, object] = {"phase": phase, "changed": time.time()}
        if name is not None:
            changes |= {"name": name, "started": time.time()}
        if state is not None:
            changes["state"] = state
        sets = ", ".join(f"{column} = ?" for column in changes)
        with self._change() as database:
            database.execute(f"UPDATE jobs SET {sets} WHERE id = ?", (*changes.values(), job))  # noqa: S608

    def set_state(self, job: int, state: str) -> None:
        """What the service says of a job."""
        with self._change() as database:
            database.execute("UPDATE jobs SET state = ? WHERE id = ?", (state, job))

    def refused(self, job: int) -> None:
        """The service had no room for a job: it waits."""
        with self._change() as database:
            database.execute(
                "UPDATE jobs SET phase = 'packed', state = 'no room', changed = ?, "
                "refusals = refusals + 1 WHERE id = ?",
                (time.time(), job),
            )

    def prepare(self, job: int, uploads: int) -> None:
        """The job's files are going to be uploaded, under names with this number."""
        with self._change() as database:
            database.execute(
                "UPDATE jobs SET uploads = ?, prepared = ? WHERE id = ?",
                (uploads, time.time(), job),
            )

    def name_file(self, name: str, job: int) -> None:
        """A file is about to be made: it's to be deleted, whatever comes between."""
        with self._change() as database:
            database.execute("INSERT OR IGNORE INTO files VALUES (?, ?)", (name, job))

    def files(self, job: int | None = None) -> list[str]:
        """Files of a job; without one, of all jobs that are over."""
        if job is None:
            query = (
                "SELECT f.name FROM files f LEFT JOIN jobs j ON j.id = f.job "
                "WHERE j.phase = 'closed' OR j.id IS NULL ORDER BY f.name"
            )
            return [str(name) for (name,) in self._rows(query)]
        query = "SELECT name FROM files WHERE job = ? ORDER BY name"
        return [str(name) for (name,) in self._rows(query, job)]

    def forget_file(self, name: str) -> None:
        """A file is gone."""
        with self._change() as database:
            database.execute("DELETE FROM files WHERE name = ?", (name,))

    # What came of it

    def settled(self, after: int, count: int) -> tuple[list[Settled], int | None]:
        """Of the next contents by id those that are settled, and where to go on; None at the end.

        A content is settled if it can't be embedded, or if each of its lines is done or given up.
        """
        contents = self._rows(
            "SELECT id, key, error FROM contents WHERE id > ? AND NOT forgotten "
            "ORDER BY id LIMIT ?",
            after,
            count,
        )
        if not contents:
            return [], None
        first, last = _int(contents[0][0]), _int(contents[-1][0])
        pieces: dict[int, list[tuple[int, float]]] = {}
        errors: dict[int, tuple[str, bool]] = {}
        waiting: set[int] = set()
        for content, line, weight, status, error, permanent in self._rows(
            "SELECT p.content, p.line, p.weight, l.status, l.error, l.permanent "
            "FROM pieces p JOIN lines l ON l.id = p.line "
            "WHERE p.content BETWEEN ? AND ? ORDER BY p.content, p.place",
            first,
            last,
        ):
            number = _int(content)
            pieces.setdefault(number, []).append((_int(line), float(str(weight))))
            if status == _OPEN:
                waiting.add(number)
            elif status == _FAILED:
                errors.setdefault(number, (str(error), bool(permanent)))
        found = []
        for content, key, error in contents:
            number = _int(content)
            told = (str(error), True) if error is not None else errors.get(number)
            if told is not None or number not in waiting:
                text, permanent = told or (None, False)
                some = pieces.get(number, [])
                found.append(Settled(number, str(key), some, text, permanent))
        return found, last

    def vectors(self, lines: Iterable[int], dimensions: int) -> dict[int, Row]:
        """Rows of lines."""
        rows: dict[int, Row] = {}
        for some in _chunks(list(lines)):
            marks = ",".join("?" * len(some))
            query = f"SELECT line, vector FROM vectors WHERE line IN ({marks})"  # noqa: S608
            for line, data in self._rows(query, *some):
                row = unpack_row(_bytes(data), dimensions)
                if row is not None:
                    rows[_int(line)] = row
        return rows

    def forget(self, keys: Sequence[str]) -> None:
        """Drop the vectors of contents that are settled; their keys stay known.

        Raises:
            InvalidInputError: A key isn't known.
        """
        with self._change() as database:
            for key in keys:
                found = database.execute("SELECT id FROM contents WHERE key = ?", (key,)).fetchone()
                if found is None:
                    raise InvalidInputError(f"{self.path} has no content {key!r}")
                lines = database.execute(
                    "SELECT DISTINCT line FROM pieces WHERE content = ?", found
                ).fetchall()
                database.execute("DELETE FROM pieces WHERE content = ?", found)
                database.execute("UPDATE contents SET forgotten = 1 WHERE id = ?", found)
                for line in lines:
                    _drop_unused(database, line)

    def counts(self) -> dict[str, int]:
        """How many contents, lines, and lines done and given up there are or were."""
        known = {str(name): _int(n) for name, n in self._rows("SELECT name, number FROM counts")}
        ((contents, bad),) = self._rows("SELECT count(*), count(error) FROM contents")
        return {**known, "contents": _int(contents), "refused": _int(bad)}


def _known_line(database: sqlite3.Connection, digest: str) -> int | None:
    found = database.execute("SELECT id FROM lines WHERE digest = ?", (digest,)).fetchone()
    return None if found is None else _int(found[0])


def _insert_line(database: sqlite3.Connection, line: Line) -> int:
    number = database.execute(
        "INSERT INTO lines (digest, size, tokens, cache_key) VALUES (?, ?, ?, ?)",
        (line.digest, line.size, json.dumps(line.tokens), line.cache_key),
    ).lastrowid
    assert number is not None
    database.execute("INSERT INTO bodies VALUES (?, ?)", (number, line.body))
    for digest, data in line.media.items():
        database.execute("INSERT OR IGNORE INTO media VALUES (?, ?)", (digest, data))
        database.execute("INSERT INTO line_media VALUES (?, ?)", (number, digest))
    _count(database, "lines")
    return number


def _fill(
    database: sqlite3.Connection, job: int, phase: str, lines: int, size: int, tokens: int
) -> None:
    database.execute(
        "UPDATE jobs SET phase = ?, lines = ?, size = ?, tokens = ?, changed = ? WHERE id = ?",
        (phase, lines, size, tokens, time.time(), job),
    )


def _failed(
    database: sqlite3.Connection, line: int, error: str, permanent: bool, tries: int
) -> None:
    database.execute(
        "UPDATE lines SET job = NULL, tries = tries + 1, error = ?, permanent = ? "
        "WHERE id = ? AND status = 0",
        (error, permanent, line),
    )
    (tried,) = database.execute("SELECT tries FROM lines WHERE id = ?", (line,)).fetchone()
    if permanent or tried >= tries:
        _finish(database, line, _FAILED)


def _finish(database: sqlite3.Connection, line: int, status: int) -> None:
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
    _count(database, "done" if status == _DONE else "failed")


def _drop_unused(database: sqlite3.Connection, line: tuple[int]) -> None:
    used = database.execute("SELECT 1 FROM pieces WHERE line = ? LIMIT 1", line).fetchone()
    if used is None:
        database.execute("DELETE FROM vectors WHERE line = ?", line)
        # One that is still with the service stays, for the job that it is in.
        database.execute("DELETE FROM lines WHERE id = ? AND status != 0", line)


def _count(database: sqlite3.Connection, name: str) -> None:
    database.execute("UPDATE counts SET number = number + 1 WHERE name = ?", (name,))


def _pay(database: sqlite3.Connection, usage: Usage) -> None:
    found = database.execute("SELECT value FROM facts WHERE name = 'usage'").fetchone()
    paid = _usage(found[0] if found else "") + usage
    written = {name: getattr(paid, name) for name in Usage.__dataclass_fields__}
    database.execute(
        "INSERT OR REPLACE INTO facts VALUES ('usage', ?)", (json.dumps(written, default=dict),)
    )


def _usage(written: str) -> Usage:
    if not written:
        return Usage()
    fields = json.loads(written)
    return Usage(**{**fields, "tokens": _by_modality(fields["tokens"])})


def _tokens(written: str) -> dict[Modality, int]:
    return _by_modality(json.loads(written))


def _by_modality(fields: Mapping[str, int]) -> dict[Modality, int]:
    return {Modality(kind): count for kind, count in fields.items()}


def _kept(row: tuple[object, ...]) -> Kept:
    number, body, tokens, cache_key = row
    key = None if cache_key is None else str(cache_key)
    return Kept(_int(number), _bytes(body), _tokens(str(tokens)), key)


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value


def _bytes(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value


def _chunks(values: Sequence[object]) -> Iterator[Sequence[object]]:
    for start in range(0, len(values), _SOME):
        yield values[start : start + _SOME]


def content_digest(lines: Iterable[str]) -> str:
    """A digest of what a content is, from the digests of its lines before any was cut."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
