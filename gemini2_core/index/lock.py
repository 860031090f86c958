"""One writer at a time: a lock on a file, which the system takes back from a process that dies."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from gemini2_core.errors import IndexLockedError

__all__ = ["WriterLock"]

# Windows locks bytes against reading as well, so it's one far behind what is written.
_FAR = 1 << 20


class WriterLock:
    """The lock of one folder.

    Args:
        path: The file; made if it isn't there, and left there.
        what: What the message says is locked.

    Raises:
        IndexLockedError: Another process, or another object of this one, has it.
    """

    def __init__(self, path: Path, what: str) -> None:
        self._file: int | None = None
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock(self._file)
        except OSError as error:
            os.close(self._file)
            self._file = None
            raise IndexLockedError(f"{what} is open {_holder(path)}: {_ADVICE}") from error
        os.ftruncate(self._file, 0)
        os.write(self._file, str(os.getpid()).encode())

    def release(self) -> None:
        """Let the next one in."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __del__(self) -> None:
        self.release()


_ADVICE = (
    "the embedded engine has one writer. Close it there, share one collection object, "
    "or move to a Qdrant server with copy_collection"
)


def _holder(path: Path) -> str:
    try:
        holder = int(path.read_text())
    except (OSError, ValueError):
        return "elsewhere"
    if holder == os.getpid():
        return "in this process already"
    return f"in process {holder}"


def _lock(file: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        os.lseek(file, _FAR, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        os.lseek(file, 0, os.SEEK_SET)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
