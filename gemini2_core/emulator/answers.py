"""Bodies on their way out: JSON as the service prints it, gzip, and answers that go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

from gemini2_core.emulator.encoding import Encoded, encode, gzip_body, plain_body
from gemini2_core.emulator.failures import Failure

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

__all__ = ["JSON_TYPE", "TRANSPORT", "Answer", "dump", "embedding", "embeddings"]

JSON_TYPE = "application/json; charset=UTF-8"
#: Where the connection is found in a request's scope.
TRANSPORT = "gemini2_emulator.transport"
_SERVER = "gemini2-emulator"


def dump(value: object, *, pretty: bool) -> bytes:
    """JSON in the service's layout: two spaces and a line end, or compact."""
    option = orjson.OPT_SERIALIZE_NUMPY
    if pretty:
        option |= orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(value, option=option)


def embeddings(
    vectors: Sequence[Encoded],
    usage: Mapping[str, object] | None,
    *,
    pretty: bool,
    missing: int | None = None,
) -> list[bytes | Encoded]:
    """The pieces of ``{"embeddings": [...], "usageMetadata": {...}}``.

    Args:
        vectors: One for each item.
        usage: Left out if None.
        pretty: As the vectors were encoded.
        missing: Position of an embedding that comes without values, or None.
    """
    open_, comma = (
        (b'{\n  "embeddings": [\n    ', b",\n    ") if pretty else (b'{"embeddings":[', b",")
    )
    pieces: list[bytes | Encoded] = [open_]
    for number, vector in enumerate(vectors):
        if number:
            pieces.append(comma)
        pieces.append(encode(None, pretty=pretty) if number == missing else vector)
    pieces.append((b"\n  ]" if pretty else b"]") + _rest({"usageMetadata": usage}, pretty))
    return pieces


def embedding(
    vector: Encoded, rest: Mapping[str, object], *, pretty: bool, missing: bool = False
) -> list[bytes | Encoded]:
    """The pieces of ``{"embedding": {...}, …}``."""
    return [
        b'{\n  "embedding": ' if pretty else b'{"embedding":',
        encode(None, pretty=pretty) if missing else vector,
        _rest(rest, pretty),
    ]


def _rest(fields: Mapping[str, object], pretty: bool) -> bytes:
    """More fields and the end of an object whose first field is written."""
    given = {name: value for name, value in fields.items() if value is not None}
    if not given:
        return b"\n}\n" if pretty else b"}"
    return b"," + dump(given, pretty=pretty)[1:]


@dataclass(slots=True)
class Answer:
    """An ASGI response.

    Attributes:
        status: HTTP status.
        pieces: The body.
        headers: Beside the usual ones.
        content_type: Of the body.
        gzip: True if the client takes it.
        failure: What goes wrong while it's sent, or None.
        slow_seconds: The pause of a slow one.
    """

    status: int
    pieces: Sequence[bytes | Encoded]
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = JSON_TYPE
    gzip: bool = False
    failure: Failure | None = None
    slow_seconds: float = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        kind = self.failure.kind if self.failure else ""
        early = self.failure is not None and self.failure.draw % 2 == 1
        if kind == "drop" and early and await _drop(scope, receive, at_once=True):
            return
        body = gzip_body(self.pieces) if self.gzip else plain_body(self.pieces)
        headers = {
            "content-type": self.content_type,
            "vary": "Origin, X-Origin, Referer",
            "server": _SERVER,
            **({"content-encoding": "gzip"} if self.gzip else {}),
            **self.headers,
        }
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": raw})
        if kind in ("drop", "slow"):
            half = len(body) // 2
            await send({"type": "http.response.body", "body": body[:half], "more_body": True})
            if kind == "drop":
                # Returning without the rest makes the server close the connection.
                await _drop(scope, receive, at_once=False)
                return
            await asyncio.sleep(self.slow_seconds)
            body = body[half:]
        await send({"type": "http.response.body", "body": body})


async def _drop(scope: Scope, receive: Receive, *, at_once: bool) -> bool:
    """Close the connection; False if the server doesn't let it be reached."""
    transport = scope.get(TRANSPORT)
    if transport is None:
        return False
    if at_once:
        transport.abort()
    else:
        transport.close()
    while (await receive())["type"] != "http.disconnect":
        pass
    return True
