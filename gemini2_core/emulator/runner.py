"""Running the emulator: in a thread of this process, or as this process."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypedDict, Unpack

from gemini2_core.emulator.log import RequestRecord
from gemini2_core.emulator.server import State, application
from gemini2_core.emulator.settings import BatchOutcome, FailureKind, Settings, VectorMode
from gemini2_core.errors import MissingExtraError

if TYPE_CHECKING:
    import uvicorn

__all__ = ["Emulator", "SettingsFields", "run", "serve"]

_HOST = "127.0.0.1"


class SettingsFields(TypedDict, total=False):
    """The fields of ``Settings``, as keyword arguments."""

    latency: float
    requests_per_minute: int | None
    requests_per_day: int | None
    tokens_per_minute: int | None
    minute_seconds: float
    failure_rate: float
    failures: tuple[FailureKind, ...]
    retry_delay: float
    slow_seconds: float
    seed: int
    api_keys: frozenset[str] | None
    gzip: bool
    gzip_level: int
    pretty: bool
    vertex_batch: bool
    vectors: VectorMode
    cache_bytes: int
    log_requests: bool
    batch_seconds: float
    batch_outcome: BatchOutcome
    batch_outcomes: tuple[BatchOutcome, ...]
    batch_tokens: int | None
    batch_failing: float
    batch_out_of_order: bool
    file_processing_seconds: float
    file_lifetime: float


class Emulator:
    """A running emulator.

    Attributes:
        base_url: ``http://127.0.0.1:PORT``, for ``HttpOptions(base_url=…)``.
        port: Its port.
    """

    def __init__(self, state: State, port: int) -> None:
        self._state = state
        self.port = port
        self.base_url = f"http://{_HOST}:{port}"

    @property
    def settings(self) -> Settings:
        """How it behaves now; change it with ``configure``."""
        return self._state.settings

    @property
    def requests(self) -> list[RequestRecord]:
        """The requests so far, in order of answering (the last 20,000)."""
        return list(self._state.requests)

    def configure(self, **changes: Unpack[SettingsFields]) -> Settings:
        """Change some settings from the next request on."""
        settings = dataclasses.replace(self._state.settings, **changes)
        self._state.configure(settings)
        return settings

    def fail_next(self, *kinds: FailureKind | None) -> None:
        """Fail the next calls of a model, one kind each; None lets one pass."""
        self._state.failures.tell(kinds)

    def reset(self) -> None:
        """Forget requests, quotas, failures, files and jobs; keep the settings."""
        self._state.reset()

    def __repr__(self) -> str:
        return f"<Emulator {self.base_url}>"


def _server(state: State) -> uvicorn.Server:
    try:
        import starlette  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise MissingExtraError(
            "the emulator", extra="emulator", package=error.name or "uvicorn"
        ) from error
    return uvicorn.Server(
        uvicorn.Config(
            application(state),
            lifespan="off",
            ws="none",
            access_log=False,
            log_level="critical",
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=1,
            backlog=2048,
        )
    )


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((_HOST, port))
    except OSError:
        listener.close()
        raise
    return listener


@contextlib.contextmanager
def serve(port: int = 0, **settings: Unpack[SettingsFields]) -> Iterator[Emulator]:
    """Run an emulator on loopback, in a thread, for as long as the block lasts.

    Args:
        port: 0 takes a free one.
        **settings: Fields of ``Settings``.

    Yields:
        The running emulator.

    Raises:
        MissingExtraError: The extra ``emulator`` isn't installed.
        ConfigurationError: A setting is out of range.
        OSError: The port is taken.

    Example:
        >>> with serve(latency=0.05) as emulator:
        ...     client = genai.Client(
        ...         api_key="any", http_options={"base_url": emulator.base_url}
        ...     )
    """
    state = State(Settings(**settings))
    server = _server(state)
    with _listen(port) as listener:
        thread = threading.Thread(
            target=server.run, args=([listener],), name="gemini2-emulator", daemon=True
        )
        thread.start()
        # Connections made before the server is up wait in the socket's queue.
        listener.listen(2048)
        try:
            yield Emulator(state, listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(timeout=10)


def run(port: int, settings: Settings, on_ready: Callable[[str], None]) -> None:
    """Serve on loopback until the process is interrupted.

    Args:
        port: 0 takes a free one.
        settings: How to behave.
        on_ready: Called with the base URL once connections are accepted.
    """
    server = _server(State(settings))
    with _listen(port) as listener:
        listener.listen(2048)
        on_ready(f"http://{_HOST}:{listener.getsockname()[1]}")
        server.run([listener])
