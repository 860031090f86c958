"""One client in a process of its own: reads jobs as JSON lines, measures them, answers in JSON."""

# Runs in the peers' environment too, where this project isn't installed: every import of a client
# is inside the function that makes it, and the rest is the standard library.

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

MODEL = "gemini-embedding-2"
KEY = "benchmark-on-loopback"

Vectors = list[list[float]]


@dataclass(frozen=True)
class Client:
    """How a client embeds documents, as its users call it."""

    sync: Callable[[list[str]], Vectors] | None
    concurrent: Callable[[list[str]], Awaitable[Vectors]]
    packages: tuple[str, ...]
    close: Callable[[], Awaitable[None]] | None = None


def ours_langchain(base_url: str, dimensions: int) -> Client:
    from pydantic import SecretStr

    from langchain_gemini2 import Gemini2Embeddings

    made = Gemini2Embeddings(
        model=MODEL, api_key=SecretStr(KEY), base_url=base_url, dimensions=dimensions
    )
    packages = ("gemini2-embeddings", "google-genai", "langchain-core")
    return Client(made.embed_documents, made.aembed_documents, packages)


def ours_without_fast(base_url: str, dimensions: int) -> Client:
    """What one gets who leaves the extra ``fast`` out: zlib and orjson."""
    for name in ("isal", "simdjson"):
        sys.modules[name] = None  # type: ignore[assignment]  # importing it then fails
    return ours_langchain(base_url, dimensions)


def ours_llama_index(base_url: str, dimensions: int) -> Client:
    from llama_index_gemini2 import Gemini2Embedding

    made = Gemini2Embedding(model_name=MODEL, api_key=KEY, base_url=base_url, dimensions=dimensions)
    packages = ("gemini2-embeddings", "google-genai", "llama-index-core")
    return Client(made.get_text_embedding_batch, made.aget_text_embedding_batch, packages)


def langchain_google_genai(base_url: str, dimensions: int) -> Client:
    from langchain_google_genai import GoogleGenerativeAIEmbeddings

    made = GoogleGenerativeAIEmbeddings(
        model=MODEL, google_api_key=KEY, base_url=base_url, output_dimensionality=dimensions
    )
    packages = ("langchain-google-genai", "google-genai", "langchain-core")
    return Client(made.embed_documents, made.aembed_documents, packages)


def llama_index_google_genai(base_url: str, dimensions: int) -> Client:
    from google.genai.types import HttpOptions
    from llama_index.embeddings.google_genai import GoogleGenAIEmbedding

    made = GoogleGenAIEmbedding(
        model_name=MODEL,
        api_key=KEY,
        embedding_config={"output_dimensionality": dimensions},
        http_options=HttpOptions(base_url=base_url),
    )
    packages = ("llama-index-embeddings-google-genai", "google-genai", "llama-index-core")
    return Client(made.get_text_embedding_batch, made.aget_text_embedding_batch, packages)


def floor(base_url: str, dimensions: int) -> Client:
    """What the wire itself costs: prepared bytes out, orjson in, no checks, no retries."""
    import aiohttp
    import orjson

    url = f"{base_url}/v1beta/models/{MODEL}:batchEmbedContents"
    headers = {"content-type": "application/json", "x-goog-api-key": KEY}
    session: aiohttp.ClientSession | None = None

    async def embed(texts: list[str]) -> Vectors:
        nonlocal session
        if session is None:
            session = aiohttp.ClientSession(headers=headers)
        gate = asyncio.Semaphore(8)

        async def batch(some: list[str]) -> Vectors:
            items = [
                {
                    "model": f"models/{MODEL}",
                    "content": {"parts": [{"text": text}]},
                    "outputDimensionality": dimensions,
                }
                for text in some
            ]
            async with gate, session.post(url, data=orjson.dumps({"requests": items})) as answer:
                answer.raise_for_status()
                body = orjson.loads(await answer.read())
            return [row["values"] for row in body["embeddings"]]

        parts = await asyncio.gather(
            *(batch(texts[start : start + 40]) for start in range(0, len(texts), 40))
        )
        return [row for part in parts for row in part]

    async def close() -> None:
        if session is not None:
            await session.close()

    return Client(None, embed, ("aiohttp", "orjson"), close)


CLIENTS: dict[str, Callable[[str, int], Client]] = {
    "ours-langchain": ours_langchain,
    "ours-llama-index": ours_llama_index,
    "ours-without-fast": ours_without_fast,
    "langchain-google-genai": langchain_google_genai,
    "llama-index-embeddings-google-genai": llama_index_google_genai,
    "floor": floor,
}


def measure(
    client: Client, job: dict[str, Any], dimensions: int, runner: asyncio.Runner
) -> dict[str, float]:
    """CPU and wall seconds of one call; the whole process's CPU, threads included.

    Raises:
        ValueError: The client gave another number of vectors, or another length.
    """
    texts: list[str] = job["texts"]
    if job["mode"] == "sync":
        assert client.sync is not None
        wall, cpu = time.perf_counter(), time.process_time()
        vectors = client.sync(texts)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    else:

        async def call() -> tuple[Vectors, float, float]:
            wall, cpu = time.perf_counter(), time.process_time()
            vectors = await client.concurrent(texts)
            return vectors, time.process_time() - cpu, time.perf_counter() - wall

        vectors, cpu, wall = runner.run(call())
    if len(vectors) != len(texts) or {len(vector) for vector in vectors} != {dimensions}:
        raise ValueError(f"{len(texts)} texts gave {len(vectors)} vectors")
    return {"cpu": cpu, "wall": wall}


async def _awaited(work: Awaitable[None]) -> None:
    await work


def main() -> None:
    """``client.py NAME DIMENSIONS URL...``: an instance for each URL, jobs on stdin."""
    name, dimensions, *urls = sys.argv[1:]
    # One loop for all calls, as in a server: clients keep connections that belong to a loop.
    with asyncio.Runner() as runner:
        clients = [CLIENTS[name](url, int(dimensions)) for url in urls]
        versions = {p: importlib.metadata.version(p) for p in clients[0].packages}
        modes = ["sync", "async"] if clients[0].sync else ["async"]
        print(json.dumps({"versions": versions, "modes": modes}), flush=True)
        for line in sys.stdin:
            job = json.loads(line)
            taken = measure(clients[job["url"]], job, int(dimensions), runner)
            print(json.dumps(taken), flush=True)
        for client in clients:
            if client.close is not None:
                runner.run(_awaited(client.close()))


if __name__ == "__main__":
    main()
