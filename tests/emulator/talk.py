"""Plain HTTP to an emulator, without any SDK."""

from __future__ import annotations

import gzip
import http.client
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import orjson

from gemini2_core.emulator import Emulator

EMBED = "/v1beta/models/gemini-embedding-2:embedContent"
BATCH = "/v1beta/models/gemini-embedding-2:batchEmbedContents"
VERTEX = "/v1beta1/projects/p/locations/global/publishers/google/models/"


@dataclass(frozen=True)
class Reply:
    """An answer: its body as bytes and as JSON."""

    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def json(self) -> dict[str, Any]:
        return cast("dict[str, Any]", orjson.loads(self.raw))

    @property
    def error(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self.json["error"])


def call(
    emulator: Emulator,
    path: str,
    body: object = None,
    *,
    method: str | None = None,
    key: str | None = "a-key",
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Send one request on a connection of its own."""
    raw = body if isinstance(body, bytes) else None if body is None else orjson.dumps(body)
    sent = {"x-goog-api-key": key} if key is not None else {}
    sent |= dict(headers or {})
    connection = http.client.HTTPConnection("127.0.0.1", emulator.port, timeout=10)
    try:
        connection.request(method or ("GET" if raw is None else "POST"), path, raw, sent)
        response = connection.getresponse()
        data = response.read()
    finally:
        connection.close()
    got = {name.lower(): value for name, value in response.getheaders()}
    if got.get("content-encoding") == "gzip":
        data = gzip.decompress(data)
    return Reply(response.status, got, data)


def content(*parts: str | dict[str, object]) -> dict[str, object]:
    return {"parts": [{"text": part} if isinstance(part, str) else part for part in parts]}


def batch(*texts: str, model: str = "gemini-embedding-2", **fields: object) -> dict[str, object]:
    return {
        "requests": [
            {"model": f"models/{model}", "content": content(text), **fields} for text in texts
        ]
    }


def vectors(reply: Reply) -> list[list[float]]:
    return [embedding["values"] for embedding in reply.json["embeddings"]]


def vector(emulator: Emulator, *parts: str | dict[str, object], **fields: object) -> list[float]:
    reply = call(emulator, EMBED, {"content": content(*parts), **fields})
    assert reply.status == 200, reply.raw
    return cast("list[float]", reply.json["embedding"]["values"])
