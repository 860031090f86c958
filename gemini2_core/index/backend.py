"""The engine under a collection: what it must do, and which one an address stands for."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from gemini2_core.errors import ClosedError, IndexUnavailableError
from gemini2_core.index.operations import Operation, Together

__all__ = ["Backend", "InThread"]

_T = TypeVar("_T")


class Backend(Protocol):
    """An engine that holds one collection."""

    where: str
    """What messages call it: ``:memory:``, a folder, a URL."""

    batch_size: int
    """Points it likes to be given at once."""

    side_by_side: int
    """Batches it likes to be given together."""

    follows_aliases: bool
    """Whether an alias may name another collection while one is open through it."""

    def beside(self, name: str) -> Backend:
        """Another collection at the same address, over the same connection."""

    def run(self, operation: Operation[_T]) -> _T:
        """Do one thing.

        Raises:
            IndexUnavailableError: The engine didn't answer, refused or failed.
            AuthenticationError: The server refused the key.
            IndexLockedError: Somebody else has the folder open.
        """

    async def arun(self, operation: Operation[_T]) -> _T:
        """Do one thing without blocking the loop; the errors of ``run``."""

    def close(self) -> None:
        """Let go of files and connections."""

    async def aclose(self) -> None:
        """Let go of files and connections, those of the running loop too."""


class InThread:
    """The async half of an engine that has none: one thread that works off what it is given."""

    where: str

    def __init__(self, name: str) -> None:
        self._thread_name = name
        self._pool: ThreadPoolExecutor | None = None
        self._process = os.getpid()
        self._closed = False

    def check_open(self) -> None:
        """See that it wasn't closed, which another thread may do at any time.

        Raises:
            ClosedError: It was.
        """
        if self._closed:
            raise ClosedError(f"{self.where} was closed meanwhile")

    def run(self, operation: Operation[_T]) -> _T:
        """What the thread runs; each engine has its own."""
        raise NotImplementedError

    def in_turn(self, operation: Together) -> list[IndexUnavailableError | None]:
        """Writes one after the other; none after one that failed."""
        done: list[IndexUnavailableError | None] = []
        for write in operation.writes:
            try:
                self.run(write)
            except IndexUnavailableError as error:
                return [*done, *[error] * (len(operation.writes) - len(done))]
            done.append(None)
        return done

    async def arun(self, operation: Operation[_T]) -> _T:
        """Run it in the thread."""
        self.check_open()
        if self._process != os.getpid():
            # A fork has no threads.
            self._pool, self._process = None, os.getpid()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=self._thread_name)
        return await asyncio.get_running_loop().run_in_executor(self._pool, self.run, operation)

    def close(self) -> None:
        """Refuse what is asked from now on, and end the thread."""
        self._closed = True
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=self._process == os.getpid())

    async def aclose(self) -> None:
        """End the thread, waiting beside the loop."""
        await asyncio.to_thread(self.close)
