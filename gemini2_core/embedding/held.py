"""What an embedder and its variants share: what is open on the background loop, and the usage."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING

from gemini2_core.embedding.connection import Connection
from gemini2_core.embedding.engine import Engine
from gemini2_core.embedding.result import Usage
from gemini2_core.errors import ClosedError

if TYPE_CHECKING:
    from google.genai import Client

__all__ = ["Held"]


class Held:
    """What an embedder and its variants share: what is open on the background loop, the usage."""

    def __init__(self) -> None:
        self.usage = Usage()
        self.closed = False
        self.loop: asyncio.AbstractEventLoop | None = None
        self.engine: asyncio.Future[Engine] | None = None
        self._lock = threading.Lock()
        self._sdk: tuple[int, Client] | None = None

    def spend(self, usage: Usage) -> None:
        """Add what was paid elsewhere, by a batch run."""
        self.usage += usage

    def sdk_client(self, connection: Connection | Client) -> Client:
        """What jobs and files are asked through: the caller's own client, or one for all of them.

        A forked child opens its own.
        """
        if not isinstance(connection, Connection):
            return connection
        with self._lock:
            if self.closed:
                raise ClosedError("this embedder was closed: make a new one")
            if self._sdk is None or self._sdk[0] != os.getpid():
                self._sdk = os.getpid(), connection.client(None)
            return self._sdk[1]

    def drop(self) -> None:
        """Close it, without waiting: this also runs from the garbage collector."""
        sdk, self._sdk = self._sdk, None
        if sdk is not None and sdk[0] == os.getpid():
            sdk[1].close()
        held, engine = self.loop, self.engine
        self.loop = self.engine = None
        if held is not None and engine is not None and held.is_running():
            held.call_soon_threadsafe(lambda: asyncio.ensure_future(_close(engine)))


async def _close(engine: asyncio.Future[Engine]) -> None:
    await (await engine).close()
