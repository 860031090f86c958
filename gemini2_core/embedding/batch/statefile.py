"""The SQLite file that a batch run is kept in: its tables, its facts, its one writer."""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from gemini2_core.embedding.result import Usage
from gemini2_core.errors import ClosedError, ConfigurationError, StateLockedError
from gemini2_core.model import Modality

__all__ = [
    "StateFile",
    "blob",
    "count_up",
    "pay",
    "read_facts",
    "read_tokens",
    "some_at_a_time",
    "whole",
]

_VERSION = "1"
#: Few enough for the arguments of one statement in any build of SQLite.
_SOME = 500
_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS contents (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, digest TEXT NOT NULL, error TEXT,
    forgotten INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS live_contents ON contents (id) WHERE forgotten = 0;
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
INSERT OR IGNORE INTO counts VALUES
    ('contents', 0), ('refused', 0), ('lines', 0), ('done', 0), ('failed', 0);
"""


class StateFile:
    """The file. Every change is a transaction, so that a kill at any moment leaves it whole.

    Args:
        path: The file; made if it isn't there.
        facts: What this run is for; a file that was begun for something else is refused. None
            takes a file that is there as it is.
        notes: Facts that are only kept.

    Raises:
        ConfigurationError: No such folder, no state of ours, or one for another model, task or
            size.
    """

    def __init__(
        self, path: Path, facts: Mapping[str, str] | None, notes: Mapping[str, str] | None = None
    ) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._held: sqlite3.Connection | None = None
        self._closed = False
        if facts is None and not path.is_file():
            raise ConfigurationError(f"there is no batch run in {path}")
        try:
            self._database = sqlite3.connect(path, timeout=30, check_same_thread=False)
            self._open(facts, notes or {})
        except sqlite3.Error as error:
            self.close()
            raise ConfigurationError(f"state={str(path)!r} can't be opened: {error}") from error
        except ConfigurationError:
            self.close()
            raise

    def _open(self, facts: Mapping[str, str] | None, notes: Mapping[str, str]) -> None:
        self._database.execute("PRAGMA journal_mode=WAL")
        # What was paid for must outlive a power cut as well: its files are deleted next.
        self._database.execute("PRAGMA synchronous=FULL")
        if facts is not None:
            self._database.executescript(_SCHEMA)
            self._agree({"version": _VERSION, **facts}, notes)
        elif self.fact("version") != _VERSION:
            raise ConfigurationError(f"{self.path} holds no batch run of this version")
        self.run_id = self.fact("run")

    def _agree(self, facts: Mapping[str, str], notes: Mapping[str, str]) -> None:
        with self.change() as database:
            known = dict(database.execute("SELECT name, value FROM facts"))
            if "version" not in known:
                made = {"run": secrets.token_hex(6), "created": str(time.time())}
                facts = {**facts, **notes, **made}
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
            self._closed = True
            database: sqlite3.Connection | None = getattr(self, "_database", None)
            if database is not None:
                database.close()
            if self._held is not None:
                self._held.close()
                self._held = None

    def __del__(self) -> None:
        self.close()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it happens, or nothing."""
        with self._lock:
            self._check_open()
            with self._database as database:
                database.execute("BEGIN IMMEDIATE")
                yield database

    def rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        """What a query finds."""
        with self._lock:
            self._check_open()
            return self._database.execute(query, values).fetchall()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"the batch run of {self.path} was closed: open it again")

    def fact(self, name: str) -> str:
        """Something about the run as a whole; "" if it isn't known."""
        found = self.rows("SELECT value FROM facts WHERE name = ?", name)
        return str(found[0][0]) if found else ""

    def set_fact(self, name: str, value: str) -> None:
        """Note something about the run as a whole."""
        with self.change() as database:
            database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    @property
    def cancelled(self) -> bool:
        """True if no new job is to be started."""
        return self.fact("cancelled") == "yes"

    @property
    def usage(self) -> Usage:
        """What was paid so far."""
        return _usage(self.fact("usage"))


def read_facts(path: Path) -> dict[str, str]:
    """What a run in a file is for: its model, task, size; nothing is changed.

    Raises:
        ConfigurationError: There is no run in it.
    """
    file = StateFile(path, None)
    try:
        return {str(name): str(value) for name, value in file.rows("SELECT * FROM facts")}
    finally:
        file.close()


def count_up(database: sqlite3.Connection, name: str, more: int = 1) -> None:
    """More of what is counted: contents, lines, tokens by modality."""
    database.execute(
        "INSERT INTO counts VALUES (?1, ?2) ON CONFLICT DO UPDATE SET number = number + ?2",
        (name, more),
    )


def pay(database: sqlite3.Connection, usage: Usage) -> None:
    """Add to what was paid."""
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


def read_tokens(written: str) -> dict[Modality, int]:
    """Tokens by modality, from JSON."""
    return _by_modality(json.loads(written))


def _by_modality(fields: Mapping[str, int]) -> dict[Modality, int]:
    return {Modality(kind): count for kind, count in fields.items()}


def whole(value: object) -> int:
    """A number of a row."""
    assert isinstance(value, int)
    return value


def blob(value: object) -> bytes:
    """Bytes of a row."""
    assert isinstance(value, bytes)
    return value


def some_at_a_time(values: Sequence[object]) -> Iterator[Sequence[object]]:
    """The values, as many at a time as a statement takes."""
    for start in range(0, len(values), _SOME):
        yield values[start : start + _SOME]
