"""The checkpoint of a move: which items are stored, which rows are paid for, which items failed."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from gemini2_core.corpus.moving.failure import Failure
from gemini2_core.corpus.moving.marks import (
    FAILED,
    OPEN,
    STORED,
    Fate,
    Mark,
    fate,
    item_key,
    known_items,
    stored_id,
)
from gemini2_core.embedding import Usage
from gemini2_core.errors import ConfigurationError, IndexLockedError
from gemini2_core.index import PointId
from gemini2_core.index.lock import WriterLock
from gemini2_core.model import Modality

__all__ = ["Checkpoint", "Identity", "check_identity", "read_failures"]

_VERSION = 1
_KEYS_A_QUERY = 500
#: Pages of SQLite's that are kept in memory, kB.
_CACHE = 16_000
_TABLES = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS items (
    key BLOB PRIMARY KEY, content BLOB, payload BLOB, state INTEGER NOT NULL, seen INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS failures (key BLOB NOT NULL, id TEXT NOT NULL, reason TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS failures_by_key ON failures (key);
CREATE TABLE IF NOT EXISTS rows (key TEXT PRIMARY KEY, row BLOB NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which move a checkpoint belongs to; it goes on for no other.

    Attributes:
        source: Name of the source.
        space: The space of the vectors.
        target: Name and place of the collection.
        shard: Which part of the source, ``"0/1"`` for all of it.
    """

    source: str
    space: str
    target: str
    shard: str


class Checkpoint:
    """One SQLite file (WAL): a kill loses nothing that was written, and one process has it open.

    Args:
        path: The file; made, with its folder, if it isn't there.
        identity: The move it is for.

    Raises:
        ConfigurationError: It belongs to another move, or the file is no checkpoint.
        IndexLockedError: Another process is using it.
    """

    def __init__(self, path: str | Path, identity: Identity) -> None:
        self.path = Path(path).expanduser()
        self._lock = threading.Lock()
        self._writer = _alone(self.path)
        try:
            self._database = _connect(self.path)
            try:
                self._begin(identity)
            except BaseException:
                self._database.close()
                raise
        except (OSError, sqlite3.Error) as error:
            self._writer.release()
            raise ConfigurationError(f"{self.path} is no checkpoint: {error}") from error
        except BaseException:
            self._writer.release()
            raise

    def _begin(self, identity: Identity) -> None:
        with self._database:
            self._database.executescript(_TABLES)
        check_identity(self.path, self._database, identity)
        self.run = int(self.about.get("run", 0)) + 1
        with self._database:
            self._say({"version": str(_VERSION), "run": str(self.run), **_fields(identity)})

    # ---- what it says of the whole move

    @property
    def about(self) -> dict[str, str]:
        """What stands in it about the move."""
        with self._lock:
            return dict(self._database.execute("SELECT name, value FROM about"))

    @property
    def tokens(self) -> dict[Modality, int]:
        """Tokens that were paid for by all runs so far."""
        about = self.about
        tokens: dict[Modality, int] = {}
        for told in ("tokens", "batch_tokens"):
            for name, count in json.loads(about.get(told, "{}")).items():
                tokens[Modality(name)] = tokens.get(Modality(name), 0) + int(count)
        return tokens

    @property
    def dollars(self) -> float:
        """What all runs so far paid, US dollars."""
        about = self.about
        return float(about.get("dollars", 0.0)) + float(about.get("batch_dollars", 0.0))

    @property
    def foreseen(self) -> float:
        """What was expected, by our own count, of what was paid, US dollars."""
        return float(self.about.get("foreseen", 0.0))

    def paid_to_batch(self, usage: Usage) -> None:
        """What a run of the Batch API has paid so far, in place of what was said of it before."""
        tokens = json.dumps({kind.value: count for kind, count in usage.tokens.items()})
        with self.change():
            self._say({"batch_tokens": tokens, "batch_dollars": repr(usage.dollars)})

    def stored(self) -> int:
        """Items that the collection has acknowledged."""
        return self._number("SELECT count(*) FROM items WHERE state = ?", STORED)

    def failed(self) -> int:
        """Items that couldn't be embedded."""
        return self._number("SELECT count(*) FROM failures")

    def some_failures(self, most: int) -> list[Failure]:
        """The first few of them."""
        with self._lock:
            return list(read_failures(self._database, most))

    def some_stored(self, most: int) -> list[PointId]:
        """A few ids, as stored, that the collection has acknowledged."""
        with self._lock:
            rows = self._database.execute(
                "SELECT key FROM items WHERE state = ? LIMIT ?", (STORED, most)
            ).fetchall()
        return [stored_id(key) for (key,) in rows]

    # ---- an item's way through a run

    def read(self, marks: Sequence[Mark]) -> list[Fate]:
        """Take note of items that were read; what has to be done with each."""
        with self._lock, self._database:
            known = known_items(self._database, [mark.key for mark in marks])
            fates = [fate(mark, known, self.run) for mark in marks]
            new = [(mark.key, OPEN, self.run) for mark in marks]
            self._database.executemany(
                "INSERT INTO items (key, state, seen) VALUES (?, ?, ?) "
                "ON CONFLICT (key) DO UPDATE SET seen = excluded.seen WHERE seen < excluded.seen",
                new,
            )
            again = [
                (m.key,) for m, fate in zip(marks, fates, strict=True) if fate is not Fate.REPEATED
            ]
            self._database.executemany("DELETE FROM failures WHERE key = ?", again)
        return fates

    def acknowledged(
        self,
        marks: Sequence[Mark],
        *,
        paid: Iterable[str] = (),
        usage: Usage | None = None,
        recovered: Mapping[Modality, int] | None = None,
        dollars: float = 0.0,
        foreseen: float = 0.0,
    ) -> None:
        """The collection has stored items.

        Args:
            marks: Them.
            paid: Keys of the rows that were kept for them, which aren't needed any more.
            usage: What embedding them cost.
            recovered: Tokens of rows that an earlier run paid for and couldn't note.
            dollars: Price of both.
            foreseen: Price that was expected of them.
        """
        spent: dict[Modality, int] = dict(recovered or {})
        for modality, count in (usage.tokens if usage else {}).items():
            spent[modality] = spent.get(modality, 0) + count
        with self._lock, self._database:
            self._database.executemany(
                "UPDATE items SET content = ?, payload = ?, state = ? WHERE key = ?",
                [(mark.content, mark.payload, STORED, mark.key) for mark in marks],
            )
            self._database.executemany("DELETE FROM rows WHERE key = ?", [(k,) for k in paid])
            self._spend(spent, dollars, foreseen)

    def _spend(self, tokens: Mapping[Modality, int], dollars: float, foreseen: float) -> None:
        told = dict(self._database.execute("SELECT name, value FROM about"))
        before: dict[str, int] = json.loads(told.get("tokens", "{}"))
        for modality, count in tokens.items():
            before[modality.value] = before.get(modality.value, 0) + count
        sums = {"dollars": dollars, "foreseen": foreseen}
        told = {name: repr(float(told.get(name, 0.0)) + more) for name, more in sums.items()}
        self._say({"tokens": json.dumps(before), **told})

    def refused(self, found: Sequence[tuple[bytes, Failure]]) -> None:
        """Items can't be embedded; an empty key is for one whose id isn't one."""
        with self._lock, self._database:
            self._database.executemany(
                "INSERT INTO failures VALUES (?, ?, ?)",
                [(key, json.dumps(one.id), one.reason) for key, one in found],
            )
            self._database.executemany(
                "UPDATE items SET state = ? WHERE key = ? AND state = ?",
                [(FAILED, key, OPEN) for key, _ in found],
            )

    def reading_begins(self) -> None:
        """What failed without an id in the last reading will be met again in this one."""
        with self._lock, self._database:
            self._database.execute("DELETE FROM failures WHERE key = x''")

    # ---- the end of a reading

    def removed(self) -> int:
        """Stored items that this run, which has read the whole source, didn't meet."""
        return self._number(
            "SELECT count(*) FROM items WHERE seen < ? AND state = ?", self.run, STORED
        )

    def removed_ids(self, page: int) -> Iterator[list[PointId]]:
        """Their ids, as stored, page by page."""
        last = b""
        while True:
            with self._lock:
                rows = self._database.execute(
                    "SELECT key FROM items WHERE seen < ? AND state = ? AND key > ? "
                    "ORDER BY key LIMIT ?",
                    (self.run, STORED, last, page),
                ).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            yield [stored_id(key) for (key,) in rows]

    def forget(self, ids: Iterable[PointId]) -> None:
        """Items are in the collection no more."""
        with self._lock, self._database:
            self._database.executemany(
                "DELETE FROM items WHERE key = ?", [(item_key(one),) for one in ids]
            )

    def completed(self) -> None:
        """The whole source is read and stored: nothing that was kept is needed any more."""
        with self._lock, self._database:
            self._database.execute("DELETE FROM rows")
            self._database.execute(
                "DELETE FROM items WHERE seen < ? AND state <> ?", (self.run, STORED)
            )
            self._database.execute(
                "DELETE FROM failures WHERE key <> x'' "
                "AND NOT EXISTS (SELECT 1 FROM items WHERE items.key = failures.key)"
            )

    # ---- paid rows, for whoever keeps them

    def rows(self, keys: Sequence[str]) -> list[bytes | None]:
        """One row a key, in order; None for one that isn't kept."""
        found: dict[str, bytes] = {}
        with self._lock:
            for start in range(0, len(keys), _KEYS_A_QUERY):
                some = keys[start : start + _KEYS_A_QUERY]
                found.update(
                    self._database.execute(
                        f"SELECT key, row FROM rows "  # noqa: S608
                        f"WHERE key IN ({','.join('?' * len(some))})",
                        tuple(some),
                    )
                )
        return [found.get(key) for key in keys]

    def keep_rows(self, rows: Sequence[tuple[str, bytes]]) -> None:
        """Keep rows; on the disk when it returns."""
        with self._lock, self._database:
            self._database.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?)", rows)

    def kept_rows(self) -> int:
        """How many rows are kept, being paid for and not stored."""
        return self._number("SELECT count(*) FROM rows")

    # ---- for those who keep more in it

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """The database, for one transaction."""
        with self._lock, self._database:
            yield self._database

    # ---- its end

    def close(self) -> None:
        """Close the file and let the next one in."""
        with self._lock:
            self._database.close()
        self._writer.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _number(self, query: str, *values: object) -> int:
        with self._lock:
            return int(self._database.execute(query, values).fetchone()[0])

    def _say(self, values: Mapping[str, str]) -> None:
        self._database.executemany(
            "INSERT OR REPLACE INTO about VALUES (?, ?)", list(values.items())
        )


def check_identity(path: Path, database: sqlite3.Connection, identity: Identity) -> None:
    """See that a checkpoint is of this move; one whose source was never read is of any.

    Raises:
        ConfigurationError: It belongs to another move, or was written by another version.
    """
    about = dict(database.execute("SELECT name, value FROM about"))
    if not about:
        return
    if about.get("version") != str(_VERSION):
        raise ConfigurationError(
            f"the checkpoint {path} was written by another version of gemini2-embeddings: take "
            "another file"
        )
    begun = database.execute("SELECT 1 FROM items LIMIT 1").fetchone() is not None
    if not begun and not float(about.get("dollars", 0.0)):
        return  # a name was mistyped, say: nothing is lost
    others = [
        f"its {name} is {about.get(name, '')!r}, not {value!r}"
        for name, value in _fields(identity).items()
        if about.get(name, "") != value
    ]
    if others:
        raise ConfigurationError(
            f"the checkpoint {path} belongs to another move: {'; '.join(others)}. "
            "Take another file for this one"
        )


def read_failures(database: sqlite3.Connection, most: int) -> Iterator[Failure]:
    """The first so many failures of a checkpoint; all of them for -1."""
    for own, reason in database.execute(
        "SELECT id, reason FROM failures ORDER BY rowid LIMIT ?", (most,)
    ):
        yield Failure(json.loads(own), reason)


def _fields(identity: Identity) -> dict[str, str]:
    return {
        "source": identity.source,
        "space": identity.space,
        "target": identity.target,
        "shard": identity.shard,
    }


def _alone(path: Path) -> WriterLock:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return WriterLock(path.with_name(f".{path.name}.lock"), f"the checkpoint {path}")
    except IndexLockedError as error:
        raise IndexLockedError(
            f"the checkpoint {path} is in use by another process: let it end, or give each "
            "process a checkpoint and a shard= of its own"
        ) from error
    except OSError as error:
        raise ConfigurationError(f"checkpoint={str(path)!r} can't be made: {error}") from error


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=30, check_same_thread=False)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute(f"PRAGMA cache_size = -{_CACHE}")
    return database
