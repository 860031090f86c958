"""Vectors that were paid for once: a SQLite file, or any key-value store of the caller's."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from gemini2_core.embedding.answer import Row
from gemini2_core.errors import ConfigurationError

__all__ = ["SqliteCache", "TwoCaches", "VectorCache", "open_cache", "pack_row", "unpack_row"]

_KEYS_A_QUERY = 500


@runtime_checkable
class VectorCache(Protocol):
    """A store of bytes by key; LangChain's ``BaseStore[str, bytes]`` is one."""

    def mget(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """One value a key, in order; None for a key that isn't there."""

    def mset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        """Store values, replacing older ones."""


class SqliteCache:
    """A cache in one SQLite file; processes may share it (WAL), and a kill loses nothing written.

    Args:
        path: The file; made, with its folder, if it isn't there.

    Raises:
        ConfigurationError: The file can't be opened or isn't a database.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self._parents: list[sqlite3.Connection] = []
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connect()
            with self._database:
                self._database.execute("PRAGMA journal_mode=WAL")
                self._database.execute(
                    "CREATE TABLE IF NOT EXISTS vectors (key TEXT PRIMARY KEY, row BLOB NOT NULL) "
                    "WITHOUT ROWID"
                )
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(f"cache={str(path)!r} can't be opened: {error}") from error

    def _connect(self) -> None:
        self._lock, self._process = threading.Lock(), os.getpid()
        self._database = sqlite3.connect(self.path, timeout=30, check_same_thread=False)
        self._database.execute("PRAGMA synchronous=NORMAL")

    def _open(self) -> sqlite3.Connection:
        """The connection, a new one in a forked child: SQLite's mustn't be carried over a fork."""
        if self._process != os.getpid():
            self._parents.append(self._database)  # closing it here would undo the parent's locks
            self._connect()
        return self._database

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """One value a key, in order; None for a key that isn't there."""
        found: dict[str, bytes] = {}
        database = self._open()
        with self._lock:
            for start in range(0, len(keys), _KEYS_A_QUERY):
                some = keys[start : start + _KEYS_A_QUERY]
                marks = ",".join("?" * len(some))
                found.update(
                    database.execute(
                        f"SELECT key, row FROM vectors WHERE key IN ({marks})",  # noqa: S608
                        tuple(some),
                    )
                )
        return [found.get(key) for key in keys]

    def mset(self, key_value_pairs: Iterable[tuple[str, bytes]]) -> None:
        """Store values, replacing older ones; on the disk when it returns."""
        database = self._open()
        with self._lock, database:
            database.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", key_value_pairs)

    def close(self) -> None:
        """Close the file."""
        database = self._open()
        with self._lock:
            database.close()

    def __len__(self) -> int:
        database = self._open()
        with self._lock:
            (count,) = database.execute("SELECT count(*) FROM vectors").fetchone()
        return int(count)

    def __reduce__(self) -> tuple[type[SqliteCache], tuple[Path]]:
        return type(self), (self.path,)

    def __repr__(self) -> str:
        return f"SqliteCache({str(self.path)!r})"


class TwoCaches:
    """Two caches as one: the first is asked first, and both are filled."""

    def __init__(self, first: VectorCache, second: VectorCache) -> None:
        self._first, self._second = first, second

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """One value a key, in order; None for a key that neither has."""
        found = list(self._first.mget(keys))
        missing = [place for place, data in enumerate(found) if data is None]
        if missing:
            others = self._second.mget([keys[place] for place in missing])
            for place, data in zip(missing, others, strict=True):
                found[place] = data
        return found

    def mset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        """Store values in both, in the first one first."""
        self._first.mset(key_value_pairs)
        self._second.mset(key_value_pairs)


def open_cache(cache: str | Path | VectorCache | None) -> VectorCache | None:
    """The cache that an argument ``cache=`` means.

    Raises:
        ConfigurationError: Neither a path nor an object with ``mget`` and ``mset``.
    """
    if cache is None or (isinstance(cache, VectorCache) and not isinstance(cache, (str, Path))):
        return cache
    if isinstance(cache, (str, Path)):
        return SqliteCache(cache)
    raise ConfigurationError(
        f"cache= takes a path or an object with mget and mset, not {type(cache).__name__}"
    )


def pack_row(row: Row) -> bytes:
    """A row as little-endian float32 bytes."""
    return row.astype("<f4", copy=False).tobytes()


def unpack_row(data: bytes | None, dimensions: int) -> Row | None:
    """The first ``dimensions`` numbers of a stored row, raw; None if it hasn't as many.

    A row serves every size up to its own.

    Raises:
        TypeError: A store gave a str or the like: it would never serve a row.
    """
    if data is not None and not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"bytes were stored, {type(data).__name__} came back")
    if data is None or len(data) % 4 or len(data) < 4 * dimensions:
        return None
    return np.frombuffer(data, "<f4", count=dimensions).astype(np.float32)
