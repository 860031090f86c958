"""Over gRPC, as far as it can be seen from the client's side: no server of Qdrant's runs here."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import grpc  # type: ignore[import-untyped]  # no types of its own
import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient, QdrantClient
from qdrant_client import grpc as q

from gemini2_core.errors import AuthenticationError, IndexMismatchError, IndexUnavailableError
from gemini2_core.index import MatryoshkaCollection
from tests.index.conftest import SPACE, random_rows
from tests.index.grpc_loopback import Seen, serve_grpc


@pytest.fixture
def server() -> Iterator[Seen]:
    with serve_grpc() as seen:
        yield seen


def at(port: int, **options: Any) -> MatryoshkaCollection:
    told: dict[str, Any] = {
        "url": "http://127.0.0.1:1",
        "grpc_port": port,
        "prefer_grpc": True,
        "check_compatibility": False,
    }
    clients = {"client": QdrantClient(**told), "async_client": AsyncQdrantClient(**told)}
    options = {"space": SPACE, "tiers": (8, 32), "retry_seconds": 5.0, **clients, **options}
    return MatryoshkaCollection("docs", **options)


def test_a_search_over_grpc_finds_what_brute_force_finds(server: Seen) -> None:
    rows, query = random_rows(250), random_rows(1, seed=1)[0]
    docs = at(server.port)
    docs.add(range(250), rows, [{"n": n, "even": n % 2 == 0} for n in range(250)])
    assert docs.count() == 250
    assert docs.count({"even": True, "n": {"lt": 10}}) == 5
    server.requests.clear()
    found = docs.search(query, 5, shortlist=250, filter={"n": {"lt": 100}})
    unit = rows[:100] / np.linalg.norm(rows[:100], axis=1, keepdims=True)
    assert [hit.id for hit in found] == np.argsort(-(unit @ query))[:5].tolist()
    assert found[0].payload.keys() == {"n", "even"}
    (asked,) = server.requests
    assert isinstance(asked, q.QueryPoints)
    assert (asked.using, asked.limit, len(asked.prefetch)) == ("32", 5, 1)
    first = asked.prefetch[0]
    assert (first.using, first.limit) == ("8", 250)
    assert first.params.hnsw_ef == 512
    assert not first.params.quantization.rescore


def test_mark_and_layout_go_over_grpc(server: Seen) -> None:
    at(server.port).open()
    (made,) = [one for one in server.requests if isinstance(one, q.CreateCollection)]
    small, large = (made.vectors_config.params_map.map[name] for name in ("8", "32"))
    assert (small.hnsw_config.m, large.hnsw_config.m) == (16, 0)
    assert small.quantization_config.scalar.always_ram
    assert large.on_disk
    assert at(server.port, tiers=None).open().tiers == (8, 32)
    with pytest.raises(IndexMismatchError, match="holds vectors of gemini-embedding-2"):
        at(server.port, space="gemini-embedding-001/RETRIEVAL").open()


async def test_async_over_grpc_goes_through_what_passes(server: Seen) -> None:
    docs = at(server.port)
    server.failures = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED]
    rows = random_rows(250)
    await docs.aadd(range(250), rows)
    assert await docs.acount() == 250
    assert (await docs.asearch(rows[9], 1))[0].id == 9


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, AuthenticationError, "refused the key"),
        (grpc.StatusCode.INVALID_ARGUMENT, IndexUnavailableError, r"refused \(400\): told to fail"),
        (grpc.StatusCode.NOT_FOUND, IndexUnavailableError, "no collection 'docs' .* any more"),
    ],
)
def test_statuses_are_errors_of_ours(
    server: Seen, code: grpc.StatusCode, kind: type[Exception], message: str
) -> None:
    docs = at(server.port, parallel=1).open()
    server.failures = [code]
    with pytest.raises(kind, match=message):
        docs.add([1], random_rows(1))
    assert sum(isinstance(one, q.UpsertPoints) for one in server.requests) == 1
    assert docs.count() == 0


async def test_nobody_there_is_one_clear_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(IndexUnavailableError, match=r"didn't answer \(UNAVAILABLE.*Is it running"):
        at(port).open()
    with pytest.raises(IndexUnavailableError, match=r"didn't answer \(UNAVAILABLE.*Is it running"):
        await at(port).aopen()
