"""The way to the service: google-genai's client, with the answer's bytes taken past its parser."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from gemini2_core.embedding.answer import Answer, decode_answer, tokens_by_modality
from gemini2_core.embedding.connection import Connection
from gemini2_core.embedding.wire import Json
from gemini2_core.errors import BadResponseError, ConfigurationError
from gemini2_core.model import Backend, ModelSpec

if TYPE_CHECKING:
    import aiohttp
    from google.genai import Client
    from google.genai.types import (
        Content,
        EmbedContentConfig,
        EmbedContentResponse,
        File,
        UploadFileConfig,
    )

__all__ = [
    "Transport",
    "UploadedFile",
    "open_transport",
]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file of the Files API: its name there (``files/…``), and the URI to refer to it by."""

    name: str
    uri: str
    state: str


class Transport(Protocol):
    """One request to the service at a time, without retries; used on the engine's loop only."""

    @property
    def backend(self) -> Backend:
        """Which service is at the other end."""

    @property
    def batches(self) -> bool:
        """True if several items may go in one request (not on every Vertex)."""

    async def embed(self, items: Sequence[dict[str, Json]]) -> Answer:
        """Embed the request items."""

    async def count_tokens(self, text: str) -> int:
        """Tokens of ``text`` as the service counts them."""

    async def upload(self, source: Path | bytes, mime_type: str) -> UploadedFile:
        """Put a file into the Files API."""

    async def file(self, name: str) -> UploadedFile:
        """Look at a file of the Files API."""

    async def delete(self, name: str) -> None:
        """Remove a file from the Files API."""

    async def close(self) -> None:
        """Give back what the transport opened itself."""


class _Routes:
    """Which of the service's methods to call, and what the SDK must be given to call it."""

    def __init__(self, spec: ModelSpec, backend: Backend) -> None:
        self._model = spec.id
        self.backend = backend
        self.batches = backend is Backend.GEMINI_API or _sdk_batches_on_vertex()

    def call(
        self, items: Sequence[dict[str, Json]]
    ) -> tuple[str, list[Content], EmbedContentConfig]:
        """Model, placeholder contents and configuration for ``embed_content``."""
        from google.genai.types import Content, EmbedContentConfig, HttpOptions, Part

        # The SDK wants contents to choose its path by; ``extra_body`` then replaces them.
        contents = [Content(parts=[Part(text="-")])]
        body: dict[str, Json]
        if self.backend is Backend.GEMINI_API:
            body = {"requests": list(items)}
        elif len(items) == 1:
            body = _for_vertex(items[0])
        else:
            contents *= 2  # makes google-genai >= 3.4 choose Vertex's batch method
            body = {"requests": [_for_vertex(item) for item in items]}
        options = HttpOptions(extra_body=body)
        return self._model, contents, EmbedContentConfig(http_options=options)

    @property
    def model(self) -> str:
        """Name of the model on the wire."""
        return self._model


def _sdk_batches_on_vertex() -> bool:
    from google.genai import types

    return hasattr(types.EmbeddingApiType, "BATCH_EMBED_CONTENTS")


def _for_vertex(item: dict[str, Json]) -> dict[str, Json]:
    """A request item in Vertex's words: the settings stand in ``embedContentConfig``."""
    names = ("taskType", "title", "outputDimensionality")
    config: dict[str, Json] = {name: item[name] for name in names if name in item}
    body: dict[str, Json] = {"content": item["content"]}
    if config:
        body["embedContentConfig"] = config
    return body


def _parsed_by_sdk(response: EmbedContentResponse) -> Answer:
    """The SDK's own reading of an answer, where the bytes weren't to be had."""
    embeddings = response.embeddings or []
    rows = [np.array(e.values, dtype=np.float32) if e.values else None for e in embeddings]
    cut = any(e.statistics and e.statistics.truncated for e in embeddings)
    usage = getattr(response, "usage_metadata", None)
    if usage is None:
        return Answer(rows, truncated=cut)
    tokens = tokens_by_modality(usage.model_dump(by_alias=True, exclude_none=True))
    return Answer(rows, tokens, truncated=cut)


class _HookedTransport:
    """The fast way: a client of ours whose session keeps the bytes of each answer.

    Args:
        connection: Where to and who.
        spec: The model.
        session: What ``open_session`` made on the engine's loop.
    """

    def __init__(
        self, connection: Connection, spec: ModelSpec, session: aiohttp.ClientSession
    ) -> None:
        self._client = connection.client(session)
        self._session = session
        self._routes = _Routes(spec, connection.backend)

    @property
    def backend(self) -> Backend:
        return self._routes.backend

    @property
    def batches(self) -> bool:
        return self._routes.batches

    async def embed(self, items: Sequence[dict[str, Json]]) -> Answer:
        from gemini2_core.embedding.session import ANSWER_BYTES, AnswerBytes

        model, contents, config = self._routes.call(items)
        kept = AnswerBytes()
        token = ANSWER_BYTES.set(kept)
        try:
            response = await self._client.aio.models.embed_content(
                model=model, contents=contents, config=config
            )
        finally:
            ANSWER_BYTES.reset(token)
        # A recorder such as vcrpy puts its own answers in the session's place.
        return _parsed_by_sdk(response) if kept.body is None else decode_answer(kept.body)

    async def count_tokens(self, text: str) -> int:
        response = await self._client.aio.models.count_tokens(
            model=self._routes.model, contents=text
        )
        return response.total_tokens or 0

    async def upload(self, source: Path | bytes, mime_type: str) -> UploadedFile:
        return await _upload(self._client.aio.files.upload, source, mime_type)

    async def file(self, name: str) -> UploadedFile:
        return _uploaded(await self._client.aio.files.get(name=name))

    async def delete(self, name: str) -> None:
        await self._client.aio.files.delete(name=name)

    async def close(self) -> None:
        await self._session.close()
        self._client.close()


class _ClientTransport:
    """The caller's own ``genai.Client``, whatever it is made of: its sync methods, in threads.

    Its async side may be tied to the caller's loop, so it isn't touched; nor is the client closed
    here, unless it is ``owned``: one made for the caller's HTTP options.
    """

    def __init__(
        self, client: Client, spec: ModelSpec, max_concurrency: int, *, owned: bool = False
    ) -> None:
        if not hasattr(client, "models") or not hasattr(client, "vertexai"):
            raise ConfigurationError(
                f"client= must be a google.genai.Client, not {type(client).__name__}"
            )
        self._client = client
        self._owned = owned
        backend = Backend.VERTEX if client.vertexai else Backend.GEMINI_API
        self._routes = _Routes(spec, backend)
        self._threads = ThreadPoolExecutor(max_concurrency, thread_name_prefix="gemini2-client")

    @property
    def backend(self) -> Backend:
        return self._routes.backend

    @property
    def batches(self) -> bool:
        return self._routes.batches

    async def embed(self, items: Sequence[dict[str, Json]]) -> Answer:
        model, contents, config = self._routes.call(items)
        call = partial(
            self._client.models.embed_content, model=model, contents=contents, config=config
        )
        return _parsed_by_sdk(await self._in_thread(call))

    async def count_tokens(self, text: str) -> int:
        call = partial(self._client.models.count_tokens, model=self._routes.model, contents=text)
        return (await self._in_thread(call)).total_tokens or 0

    async def upload(self, source: Path | bytes, mime_type: str) -> UploadedFile:
        async def call(*, file: io.BytesIO | str, config: UploadFileConfig) -> File:
            upload = partial(self._client.files.upload, file=file, config=config)
            return await self._in_thread(upload)

        return await _upload(call, source, mime_type)

    async def file(self, name: str) -> UploadedFile:
        return _uploaded(await self._in_thread(partial(self._client.files.get, name=name)))

    async def delete(self, name: str) -> None:
        await self._in_thread(partial(self._client.files.delete, name=name))

    async def close(self) -> None:
        self._threads.shutdown(wait=False)
        if self._owned:
            self._client.close()

    async def _in_thread(self, call: partial[_T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


async def open_transport(
    connection: Connection | Client, spec: ModelSpec, max_concurrency: int
) -> Transport:
    """The transport for a connection, or for the caller's own client; call it on the loop.

    A connection whose ``http_options`` bring HTTP clients of their own is left to these.
    """
    if not isinstance(connection, Connection):
        return _ClientTransport(connection, spec, max_concurrency)
    if connection.brings_http_client():
        return _ClientTransport(connection.client(None), spec, max_concurrency, owned=True)
    from gemini2_core.embedding.session import open_session

    return _HookedTransport(connection, spec, open_session(max_concurrency))


class _Upload(Protocol):
    async def __call__(self, *, file: io.BytesIO | str, config: UploadFileConfig) -> File: ...


async def _upload(call: _Upload, source: Path | bytes, mime_type: str) -> UploadedFile:
    from google.genai.types import UploadFileConfig

    file = io.BytesIO(source) if isinstance(source, bytes) else str(source)
    return _uploaded(await call(file=file, config=UploadFileConfig(mime_type=mime_type)))


def _uploaded(file: File) -> UploadedFile:
    if not file.name or not file.uri:
        raise BadResponseError("the Files API answered without the file's name")
    return UploadedFile(file.name, file.uri, getattr(file.state, "value", None) or "ACTIVE")
