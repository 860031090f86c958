"""The HTTP session handed to google-genai: keeps the answer's bytes, raises what breaks at once."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from gemini2_core.embedding.faults import ConnectionLostError

__all__ = ["ANSWER_BYTES", "AnswerBytes", "open_session"]


@dataclass(slots=True)
class AnswerBytes:
    """Where the session leaves the bytes of a good answer, for who waits for the request."""

    body: bytes | None = None


#: Set by a caller that wants the bytes. The SDK then gets an empty answer to parse; without it,
#: for files and everything else, the session behaves like any other.
ANSWER_BYTES: ContextVar[AnswerBytes | None] = ContextVar("ANSWER_BYTES", default=None)

#: Bytes of a body above which aiohttp warns that sending it at once might block the loop.
_LARGE = 2**20
_BROKEN = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, ConnectionError)


def _gunzip() -> Callable[[bytes], bytes]:
    """Inflate by isal if the extra ``fast`` is installed (2.5 times as fast), else by zlib."""
    try:
        from isal import isal_zlib
    except ImportError:
        return lambda data: zlib.decompress(data, wbits=31)
    return lambda data: isal_zlib.decompress(data, wbits=31)


_decompress = _gunzip()


class _Response(aiohttp.ClientResponse):
    """An answer that unzips itself and, if asked, keeps its bytes from the SDK's slow parsing."""

    _plain: bytes | None = None

    async def read(self) -> bytes:
        if self._plain is None:
            try:
                data = await super().read()
            except _BROKEN as error:
                raise ConnectionLostError(f"in the middle of an answer: {error}") from error
            if self.headers.get("Content-Encoding", "").lower() == "gzip" and data:
                try:
                    data = _decompress(data)
                except Exception as error:  # zlib.error or isal's own
                    raise ConnectionLostError(f"a damaged answer: {error}") from error
            self._plain = data
        return self._plain

    async def text(self, encoding: str | None = None, errors: str = "strict") -> str:
        body = await self.read()
        wanted = ANSWER_BYTES.get()
        if wanted is not None and self.status == 200:
            wanted.body = body
            return "{}"
        return body.decode(encoding or self.get_encoding(), errors)

    async def json(
        self,
        *,
        encoding: str | None = None,
        loads: Callable[[str], Any] | None = None,
        content_type: str | None = "application/json",  # noqa: ARG002 - as in aiohttp
    ) -> Any:  # as in aiohttp
        body = await self.read()
        try:
            return loads(body.decode(encoding or "utf-8")) if loads else orjson.loads(body)
        except ValueError as error:
            # What the SDK expects of an answer that isn't JSON: it then takes the text.
            raise aiohttp.ContentTypeError(
                self.request_info, self.history, status=self.status, message="not JSON"
            ) from error


class _Request(aiohttp.ClientRequest):
    """A request that hands a large body over piece by piece, as aiohttp wants it."""

    def update_body_from_data(self, body: Any, *options: Any, **more: Any) -> None:
        data = body.encode() if isinstance(body, str) else body
        if isinstance(data, bytes) and len(data) > _LARGE:
            body = io.BytesIO(data)
        super().update_body_from_data(body, *options, **more)


async def _surface(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    # google-genai sleeps 1 to 10 s and tries again on aiohttp's own connection errors; the
    # engine has a retry policy of its own, so they go past it under another name.
    try:
        return await handler(request)
    except _BROKEN as error:
        raise ConnectionLostError(str(error) or type(error).__name__) from error


def open_session(max_concurrency: int) -> aiohttp.ClientSession:
    """A session for ``HttpOptions(aiohttp_client=…)``; call it on the loop that will use it."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=max_concurrency + 8, keepalive_timeout=60),
        request_class=_Request,
        response_class=_Response,
        auto_decompress=False,
        headers={"Accept-Encoding": "gzip"},
        middlewares=(_surface,),
        trust_env=True,  # proxies, as the SDK's own session has it
    )
