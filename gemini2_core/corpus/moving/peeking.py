"""Looking into a checkpoint without touching it, also while a move is running."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from gemini2_core.corpus.moving.checkpoint import Identity, check_identity, read_failures
from gemini2_core.corpus.moving.failure import Failure
from gemini2_core.corpus.moving.marks import Fate, Mark, fate, known_items
from gemini2_core.errors import ConfigurationError

__all__ = ["Known", "failures"]


class Known:
    """What a checkpoint says, with nothing written: for a dry run.

    Args:
        path: The file; if it isn't there, nothing is stored yet.
        identity: The move it is for.

    Raises:
        ConfigurationError: It belongs to another move, or the file is no checkpoint.
    """

    def __init__(self, path: str | Path, identity: Identity) -> None:
        self._path = Path(path).expanduser()
        self._database: sqlite3.Connection | None = None
        if not self._path.is_file():
            return
        try:
            address = f"{self._path.resolve().as_uri()}?mode=ro"
            self._database = sqlite3.connect(address, uri=True, check_same_thread=False)
            check_identity(self._path, self._database, identity)
        except sqlite3.Error as error:
            self.close()
            raise ConfigurationError(f"{self._path} is no checkpoint: {error}") from error
        except BaseException:
            self.close()
            raise

    def read(self, marks: Sequence[Mark]) -> list[Fate]:
        """What would have to be done with each item."""
        keys = [mark.key for mark in marks]
        known = known_items(self._database, keys) if self._database is not None else {}
        return [fate(mark, known, -1) for mark in marks]

    def close(self) -> None:
        """Let go of the file."""
        if self._database is not None:
            self._database.close()


def failures(checkpoint: str | Path) -> Iterator[Failure]:
    """Every item that couldn't be embedded, with its reason; also while a move is running.

    Args:
        checkpoint: The file of the move.

    Raises:
        ConfigurationError: There is no such file, or it is no checkpoint.
    """
    path = Path(checkpoint).expanduser()
    if not path.is_file():
        raise ConfigurationError(f"there is no checkpoint {path}")
    database = sqlite3.connect(path, timeout=30, check_same_thread=False)
    try:
        yield from read_failures(database, -1)
    except sqlite3.Error as error:
        raise ConfigurationError(f"{path} is no checkpoint: {error}") from error
    finally:
        database.close()
