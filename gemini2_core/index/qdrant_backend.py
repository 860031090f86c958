"""Qdrant through its own client: a server or a cluster at a URL, or the memory of this process."""

from __future__ import annotations

import asyncio
import copy
import math
import random
import re
import threading
import time
import weakref
from collections.abc import Awaitable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar, cast

from gemini2_core.errors import (
    ConfigurationError,
    Gemini2Error,
    IndexUnavailableError,
    MissingExtraError,
)
from gemini2_core.index.backend import InThread
from gemini2_core.index.operations import Create, Describe, Operation, Together
from gemini2_core.index.qdrant_errors import ExistsError, NotFoundError, is_passing, told_error
from gemini2_core.index.qdrant_words import Call, ClientWords

if TYPE_CHECKING:
    from qdrant_client import AsyncQdrantClient, QdrantClient

__all__ = ["QdrantBackend"]

_T = TypeVar("_T")

_BATCH = 100
_USER = re.compile(r"//[^/]*@")
_FIRST_WAIT, _LONGEST_WAIT = 0.25, 4.0


class QdrantBackend(InThread):
    """One collection in Qdrant.

    Async calls go to an ``AsyncQdrantClient`` where there is a server; the memory of the process
    has no async half that sees the same points, so there they take a thread.

    Args:
        name: The collection.
        url: A server, or None for the memory of this process.
        api_key: The server's key.
        prefer_grpc: Points and searches go over gRPC.
        timeout: Seconds for one request.
        retry_seconds: How long a request is repeated that failed in passing.
        parallel: Writes at once.
        client: A client to use as it is, instead of ``url`` and what follows it.
        async_client: The same for async calls.
    """

    def __init__(
        self,
        name: str,
        *,
        url: str | None = None,
        api_key: str | None = None,
        prefer_grpc: bool = False,
        timeout: float = 60.0,
        retry_seconds: float = 30.0,
        parallel: int = 4,
        client: QdrantClient | None = None,
        async_client: AsyncQdrantClient | None = None,
    ) -> None:
        super().__init__("qdrant")
        try:
            import qdrant_client
        except ImportError as error:
            raise MissingExtraError(
                "A Qdrant collection", extra="qdrant", package="qdrant-client"
            ) from error
        models = qdrant_client.models
        self._name = name
        self.batch_size = _BATCH
        self.side_by_side = 4 * parallel
        self.follows_aliases = True
        self._options: dict[str, Any] = {
            "url": url,
            "api_key": api_key,
            "prefer_grpc": prefer_grpc,
            "timeout": max(1, math.ceil(timeout)),
            # The check is a request of its own, and its warning says less than our errors.
            "check_compatibility": False,
        }
        self._retry_seconds = retry_seconds
        self._parallel = parallel
        self._own = client is None
        self._client = client
        self._async_client = async_client
        self._async_clients: weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, AsyncQdrantClient
        ] = weakref.WeakKeyDictionary()
        self._lock = threading.RLock()
        self._remote = url is not None
        self.where = url or ":memory:"
        if client is not None or async_client is not None:
            options = (client or async_client).init_options  # type: ignore[union-attr]
            self._remote = not (options.get("location") == ":memory:" or options.get("path"))
            host = options.get("host") or "localhost"
            self.where = str(
                options.get("url")
                or options.get("location")
                or options.get("path")
                or f"{host}:{options.get('port')}"
            )
            self._options = options
        # A password may stand in an address, and mustn't in a message.
        self.where = _USER.sub("//", self.where)
        self._words = ClientWords(name, models, remote=self._remote)

    def beside(self, name: str) -> QdrantBackend:
        """Another collection at the same address, over the same client as long as it is open."""
        if self._remote or self._async_client is None:
            self._sync()
        import qdrant_client

        other = copy.copy(self)
        other._name, other._own, other._pool = name, False, None
        other._words = ClientWords(name, qdrant_client.models, remote=self._remote)
        other._async_clients = weakref.WeakKeyDictionary()
        return other

    # ---- running

    def run(self, operation: Operation[_T]) -> _T:
        """Do one thing, repeating what failed in passing."""
        if isinstance(operation, Together):
            return cast("_T", self._together(operation))
        call = self._words.call(operation)
        if call is None:
            return cast("_T", None)
        if not self._remote:
            # Python's own brute force isn't meant for several threads.
            with self._lock:
                return self._once(operation, call)
        for wait in self._waits(operation):
            try:
                return self._once(operation, call)
            except IndexUnavailableError as error:
                if wait is None or not is_passing(error):
                    raise
                time.sleep(wait)
        raise AssertionError("the last wait is None")

    def _once(self, operation: Operation[_T], call: Call[_T]) -> _T:
        self.check_open()
        method, arguments, read = call
        try:
            return read(getattr(self._sync(), method)(**arguments))
        except Exception as error:  # noqa: BLE001  # the client raises its own and httpx's and grpc's
            return self._failed(operation, error)

    def _together(self, operation: Together) -> list[IndexUnavailableError | None]:
        if not self._remote or self._parallel == 1 or len(operation.writes) == 1:
            return self.in_turn(operation)

        def write(one: Operation[None]) -> IndexUnavailableError | None:
            try:
                self.run(one)
            except IndexUnavailableError as error:
                return error
            return None

        with ThreadPoolExecutor(self._parallel, thread_name_prefix="qdrant-write") as pool:
            return list(pool.map(write, operation.writes))

    async def arun(self, operation: Operation[_T]) -> _T:
        """Do one thing on the running loop, repeating what failed in passing."""
        if not self._remote:
            return await super().arun(operation)
        if isinstance(operation, Together):
            return cast("_T", await self._atogether(operation))
        call = self._words.call(operation)
        if call is None:
            return cast("_T", None)
        method, arguments, read = call
        for wait in self._waits(operation):
            self.check_open()
            try:
                answer: Awaitable[object] = getattr(self._async(), method)(**arguments)
                return read(await answer)
            except Exception as error:  # noqa: BLE001  # as above
                try:
                    return self._failed(operation, error)
                except IndexUnavailableError as failed:
                    if wait is None or not is_passing(failed):
                        raise
            await asyncio.sleep(wait)
        raise AssertionError("the last wait is None")

    async def _atogether(self, operation: Together) -> list[IndexUnavailableError | None]:
        gate = asyncio.Semaphore(self._parallel)

        async def write(one: Operation[None]) -> IndexUnavailableError | None:
            async with gate:
                try:
                    await self.arun(one)
                except IndexUnavailableError as error:
                    return error
                return None

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(write(one)) for one in operation.writes]
        except ExceptionGroup as errors:
            # A refused key, say: one error, as for who waits.
            first = errors.exceptions[0]
            raise first from first.__cause__
        return [task.result() for task in tasks]

    def _waits(self, operation: Operation[_T]) -> Iterator[float | None]:
        """Seconds before each repetition; None when this was the last try."""
        # Opening asks first of all whether anybody is there: that is answered at once.
        seconds = 0.0 if isinstance(operation, Describe) else self._retry_seconds
        end = time.monotonic() + seconds
        wait = _FIRST_WAIT
        while time.monotonic() + wait < end:
            yield wait * random.uniform(0.75, 1.25)
            wait = min(2 * wait, _LONGEST_WAIT)
        yield None

    def _failed(self, operation: Operation[_T], error: Exception) -> _T:
        if isinstance(error, Gemini2Error):
            raise error
        try:
            raise told_error(error, self.where, remote=self._remote) from error
        except NotFoundError:
            if isinstance(operation, Describe):
                return cast("_T", None)
            raise IndexUnavailableError(
                f"there is no collection {self._name!r} at {self.where} any more",
                code=404,
            ) from error
        except ExistsError:
            if isinstance(operation, Create):
                return cast("_T", False)
            raise IndexUnavailableError(f"{self.where}: {error}", code=409) from error

    # ---- clients

    def _sync(self) -> QdrantClient:
        with self._lock:
            if self._client is None:
                if self._async_client is not None and not self._remote:
                    raise ConfigurationError(
                        "an AsyncQdrantClient of this process's memory has no sync half: "
                        "use the async methods, or give client="
                    )
                from qdrant_client import QdrantClient

                if self._remote:
                    self._client = QdrantClient(**self._options)
                else:
                    self._client = QdrantClient(":memory:")
            return self._client

    def _async(self) -> AsyncQdrantClient:
        if self._async_client is not None:
            return self._async_client
        # Connections belong to the loop they were opened on.
        loop = asyncio.get_running_loop()
        with self._lock:
            client = self._async_clients.get(loop)
            if client is None:
                from qdrant_client import AsyncQdrantClient

                client = AsyncQdrantClient(**{**self._options, "check_compatibility": False})
                self._async_clients[loop] = client
            return client

    def close(self) -> None:
        """Close the client that was opened here; a client that was handed in stays open."""
        super().close()
        with self._lock:
            if self._own and self._client is not None:
                self._client.close()
                self._client = None

    async def aclose(self) -> None:
        """Close the clients that were opened here, the running loop's too."""
        client = self._async_clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()
        await super().aclose()
