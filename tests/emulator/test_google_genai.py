"""What google-genai itself makes of the emulator, whichever version is installed."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google import genai
from google.auth.credentials import Credentials
from google.genai import types
from google.genai.errors import ClientError

from gemini2_core.emulator import Emulator
from tests.emulator.test_rules import PNG

MODEL = "gemini-embedding-2"
# Both are google-genai's own doing, with aiohttp 3.14.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession"),
    pytest.mark.filterwarnings("ignore:Sending a large body directly"),
]


class Token(Credentials):  # type: ignore[misc,unused-ignore]
    """Credentials that never ask anyone for anything."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call,unused-ignore]
        self.token = "a-token"

    def refresh(self, request: object) -> None:
        pass


def contents(*texts: str) -> list[types.Content]:
    return [types.Content(parts=[types.Part(text=text)]) for text in texts]


@pytest.fixture(params=["v1", "v1beta"])
def client(gemini2_emulator: Emulator, request: pytest.FixtureRequest) -> Iterator[genai.Client]:
    options = types.HttpOptions(base_url=gemini2_emulator.base_url, api_version=request.param)
    client = genai.Client(api_key="a-key", http_options=options)
    yield client
    client.close()


@pytest.fixture
def vertex(gemini2_emulator: Emulator) -> Iterator[genai.Client]:
    client = genai.Client(
        vertexai=True,
        project="a-project",
        location="global",
        credentials=Token(),
        http_options=types.HttpOptions(base_url=gemini2_emulator.base_url),
    )
    yield client
    client.close()


def test_embedding_sync_and_async(client: genai.Client) -> None:
    def values(response: types.EmbedContentResponse) -> list[list[float] | None]:
        return [embedding.values for embedding in response.embeddings or []]

    config = types.EmbedContentConfig(output_dimensionality=768)
    texts = contents("a", "b", "c")
    first = values(client.models.embed_content(model=MODEL, contents=texts, config=config))

    async def again() -> types.EmbedContentResponse:
        try:
            return await client.aio.models.embed_content(model=MODEL, contents=texts, config=config)
        finally:
            await client.aio.aclose()

    assert [len(row or []) for row in first] == [768] * 3
    assert values(asyncio.run(again())) == first


def test_a_list_of_strings_is_one_content_for_this_model(client: genai.Client) -> None:
    texts: list[Any] = ["a", "b"]
    response = client.models.embed_content(model=MODEL, contents=texts)
    assert len(response.embeddings or []) == 1


def test_tokens_and_models(client: genai.Client) -> None:
    assert client.models.count_tokens(model=MODEL, contents="Hello, world!").total_tokens == 5
    assert client.models.get(model=MODEL).input_token_limit == 8192
    assert f"models/{MODEL}" in [model.name for model in client.models.list()]


def test_errors_are_the_sdks_own(gemini2_emulator: Emulator, client: genai.Client) -> None:
    with pytest.raises(ClientError, match="is not found for API version") as caught:
        client.models.embed_content(model="no-model", contents="a")
    assert caught.value.code == 404
    gemini2_emulator.fail_next("429")
    with pytest.raises(ClientError, match="RESOURCE_EXHAUSTED"):
        client.models.embed_content(model=MODEL, contents="a")


def test_files_sync(client: genai.Client, tmp_path: Path) -> None:
    path = tmp_path / "pixel.png"
    path.write_bytes(PNG)
    file = client.files.upload(file=path, config={"display_name": "a pixel"})
    assert file.name
    assert file.uri
    assert client.files.get(name=file.name).display_name == "a pixel"
    part = types.Part.from_uri(file_uri=file.uri, mime_type="image/png")
    response = client.models.embed_content(model=MODEL, contents=[types.Content(parts=[part])])
    assert len(response.embeddings or []) == 1
    assert [other.name for other in client.files.list()] == [file.name]
    client.files.delete(name=file.name)
    with pytest.raises(ClientError):
        client.files.get(name=file.name)


def test_files_async_in_several_chunks(client: genai.Client, tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(9 * 1024 * 1024))  # the SDK's chunks have 8 MB

    async def upload() -> types.File:
        try:
            return await client.aio.files.upload(
                file=path, config={"mime_type": "application/octet-stream"}
            )
        finally:
            await client.aio.aclose()

    assert asyncio.run(upload()).size_bytes == 9 * 1024 * 1024


def test_batch_jobs(client: genai.Client, tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text('{"key": "k", "request": {"content": {"parts": [{"text": "a"}]}}}\n')
    source = client.files.upload(file=path, config={"mime_type": "application/jsonl"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "experimental"
        inline = client.batches.create_embeddings(
            model=MODEL, src={"inlined_requests": {"contents": contents("a", "b")}}
        )
        file = client.batches.create_embeddings(model=MODEL, src={"file_name": source.name})
    assert inline.name
    assert file.name
    done = client.batches.get(name=inline.name)
    assert done.state == types.JobState.JOB_STATE_SUCCEEDED
    assert done.dest
    assert len(done.dest.inlined_embed_content_responses or []) == 2
    done = client.batches.get(name=file.name)
    assert done.dest
    assert done.dest.file_name
    assert client.files.download(file=done.dest.file_name).startswith(b'{"key":"k","response"')
    assert len(list(client.batches.list())) == 2
    client.batches.cancel(name=inline.name)
    client.batches.delete(name=inline.name)


def test_vertex_one_content_and_001(vertex: genai.Client) -> None:
    config = types.EmbedContentConfig(output_dimensionality=768)
    response = vertex.models.embed_content(model=MODEL, contents=contents("a"), config=config)
    assert response.embeddings
    assert len(response.embeddings[0].values or []) == 768
    older = "gemini-embedding-001"
    texts: list[Any] = ["a", "b"]
    response = vertex.models.embed_content(model=older, contents=texts, config=config)
    assert [len(e.values or []) for e in response.embeddings or []] == [768, 768]
    assert vertex.models.count_tokens(model=MODEL, contents="Hello").total_tokens == 2


@pytest.mark.skipif(genai.__version__ < "3.4", reason="2.x and 3.0 to 3.3 take one content there")
def test_vertex_batches(vertex: genai.Client) -> None:
    response = vertex.models.embed_content(model=MODEL, contents=contents("a", "b"))
    assert len(response.embeddings or []) == 2
