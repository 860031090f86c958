"""Aliases of a folder's collections: one small file, since the embedded engine has none."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gemini2_core.errors import IndexLockedError, IndexMismatchError
from gemini2_core.index.durable import write_json
from gemini2_core.index.lock import WriterLock

__all__ = ["FolderAliases"]

# No collection's own files can be called so: those end in .lock, .new and .gone.
_FILE, _BESIDE, _LOCK = ".aliases.json", ".aliases.next", ".aliases.writer"
_SECONDS, _PAUSE = 10.0, 0.01


class FolderAliases:
    """The aliases in one folder, read by anybody, written by one at a time.

    A change is in the file, and on the disk, when ``set`` returns; a kill leaves the aliases of
    before or those of after.

    Args:
        home: The folder that the collections' folders are in.
    """

    def __init__(self, home: Path) -> None:
        self._home = home

    def read(self) -> dict[str, str]:
        """The collection that each alias names; none if there is no file.

        Raises:
            IndexMismatchError: The file isn't one of ours.
        """
        path = self._home / _FILE
        try:
            found = json.loads(path.read_text("utf-8"))
            return {str(alias): str(name) for alias, name in sorted(found.items())}
        except FileNotFoundError:
            return {}
        except (ValueError, AttributeError) as error:
            raise IndexMismatchError(f"the aliases in {path} can't be read") from error

    def set(self, alias: str, collection: str | None) -> None:
        """Make an alias name a collection, or nothing; call it ``held``."""
        found = {**self.read(), alias: collection}
        left = {one: name for one, name in found.items() if name is not None}
        write_json(self._home / _FILE, left, beside=_BESIDE)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let nobody else change the aliases, or the collections' names, meanwhile.

        Raises:
            IndexLockedError: Somebody else did for ten seconds.
        """
        end = time.monotonic() + _SECONDS
        while True:
            try:
                lock = WriterLock(self._home / _LOCK, f"the list of aliases in {self._home}")
                break
            except IndexLockedError:
                if time.monotonic() > end:
                    raise
                time.sleep(_PAUSE)
        try:
            yield
        finally:
            lock.release()
