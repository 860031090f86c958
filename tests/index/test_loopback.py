"""The collection over HTTP, answered by qdrant-client's local mode: found, followed, survived."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from cookbooks.qdrant_on_loopback import Loopback, serve
from gemini2_core.errors import (
    AuthenticationError,
    ConfigurationError,
    IndexMismatchError,
    IndexUnavailableError,
)
from gemini2_core.index import MatryoshkaCollection, copy_collection
from gemini2_core.index.operations import Point, Upsert
from tests.index.conftest import SPACE, random_rows

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def server() -> Iterator[Loopback]:
    with serve() as url:
        yield url


def at(url: str, name: str = "docs", **options: object) -> MatryoshkaCollection:
    options = {"space": SPACE, "tiers": (8, 32), "retry_seconds": 5.0, **options}
    return MatryoshkaCollection(name, url=url, **options)  # type: ignore[arg-type]


def test_a_search_over_http_finds_what_brute_force_finds(server: Loopback) -> None:
    rows, query = random_rows(300), random_rows(1, seed=1)[0]
    with at(server, payload_indexes={"n": "integer"}, hybrid=True) as docs:
        docs.add(
            range(300), rows, [{"n": n} for n in range(300)], texts=[f"w{n}" for n in range(300)]
        )
        before = len(server.requests)
        found = docs.search(query, 5, shortlist=300, filter={"n": {"lt": 200}})
        assert server.requests[before:] == [("POST", "/collections/docs/points/query")]
        unit = rows[:200] / np.linalg.norm(rows[:200], axis=1, keepdims=True)
        assert [hit.id for hit in found] == np.argsort(-(unit @ query))[:5].tolist()
        words = docs.search(query, 2, shortlist=5, text="w123")
        assert 123 in {hit.id for hit in words}
    with at(server, payload_indexes={"n": "integer"}) as again:
        assert again.count() == 300
    assert server.requests.count(("PUT", "/collections/docs/index")) == 1


def test_float32_goes_over_the_wire_unchanged(server: Loopback) -> None:
    rows = np.array([[1e-30, 0.1, -3.4e8, 7], [1 / 3, 2 / 3, 1e-7, 0]], dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    with at(server, tiers=(4,)) as docs:
        docs.add([0, 1], rows)
        sent = docs.get([0, 1], with_vectors=True)
    for row, record in zip(rows, sent, strict=True):
        assert record.vector is not None
        # The local mode normalises once more: a bit of the last place.
        assert record.vector == pytest.approx(row, rel=2e-7)


def test_a_tier_is_added_and_a_note_kept_over_http(server: Loopback) -> None:
    rows = random_rows(300)
    with at(server) as docs:
        docs.add(range(300), rows)
        docs.write_note({"step": 1})
        docs.add_tier(16)
        assert docs.tiers == (8, 16, 32)
        assert [hit.id for hit in docs.search(rows[9], 1)] == [9]
        assert docs.note() == {"step": 1}
    with pytest.raises(IndexMismatchError, match=r"8 \+ 16 \+ 32"):
        at(server).open()


def test_two_clients_write_at_once_and_one_of_them_makes_the_collection(server: Loopback) -> None:
    async def upload(start: int) -> None:
        async with at(server) as docs:
            for more in range(start, start + 200, 50):
                await docs.aadd(range(more, more + 50), random_rows(50, seed=more))

    async def both() -> None:
        await asyncio.gather(upload(0), upload(200))

    asyncio.run(both())
    with at(server) as docs:
        assert {record.id for record in docs.scroll(page=70)} == set(range(400))


async def test_a_reader_follows_an_alias_while_it_moves(server: Loopback) -> None:
    """Each answer is wholly of one collection, none fails, and the last are of the new one."""
    rows = random_rows(40)
    names = ("one", "two")
    async with at(server, "one") as one, at(server, "two", tiers=(4, 16)) as two:
        for docs in (one, two):
            await docs.aadd(range(40), rows, [{"in": docs.name}] * 40)
        await one.apoint_alias("live")
        seen: list[str] = []

        async def read(reader: MatryoshkaCollection) -> None:
            while seen.count("two") < 3:
                found = await reader.asearch(rows[len(seen) % 40], 3)
                (came,) = {str(hit.payload["in"]) for hit in found}
                seen.append(came)
                if len(seen) == 6:
                    assert await two.apoint_alias("live") == "one"

        async with at(server, "live", tiers=None) as reader:
            await read(reader)
    assert set(seen[:6]) == {"one"}
    assert seen[-1] == "two"
    assert set(seen) == set(names)


def test_a_switch_is_one_request(server: Loopback) -> None:
    with at(server, "one") as one, at(server, "two") as two:
        one.point_alias("live")
        before = len(server.requests)
        two.point_alias("live")
        sent = [asked for asked in server.requests[before:] if asked[0] != "GET"]
    assert sent == [("POST", "/collections/aliases")]


def test_an_alias_of_another_space_is_never_searched(server: Loopback) -> None:
    rows = random_rows(3)
    with (
        at(server, "old", space="gemini-embedding-001/RETRIEVAL") as old,
        at(server, "new") as new,
    ):
        old.add([1], rows[:1])
        new.add([1, 2], rows[:2])
        old.point_alias("live")
        with at(server, "live", space="gemini-embedding-001/RETRIEVAL") as reader:
            assert len(reader.search(rows[0])) == 1
            new.point_alias("live")
            with pytest.raises(IndexMismatchError, match=r"gemini-embedding-2.*opened for.*001"):
                reader.search(rows[0])
        with pytest.raises(ConfigurationError, match="alias 'live'"):
            new.drop()
        new.drop_alias("live")
        new.drop()
        assert old.collections() == ["old"]


async def test_a_client_of_the_callers_serves_async_calls_too(server: Loopback) -> None:
    from qdrant_client import QdrantClient

    client = QdrantClient(url=server, check_compatibility=False)
    async with MatryoshkaCollection("docs", space=SPACE, tiers=(8, 32), client=client) as docs:
        await docs.aadd([1], random_rows(1))
        assert (await docs.asearch(random_rows(1)))[0].id == 1
    # What was handed in stays open.
    assert client.get_collection("docs").points_count == 1
    client.close()


def test_one_collection_serves_several_event_loops(server: Loopback) -> None:
    collection = at(server)
    collection.add([7], random_rows(1))

    async def once() -> int:
        found = await collection.asearch(random_rows(1))
        return int(found[0].id)

    assert [asyncio.run(once()) for _ in range(2)] == [7, 7]
    collection.close()


# ---- trouble


def test_a_server_that_isnt_there_is_one_clear_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(IndexUnavailableError, match=rf"127\.0\.0\.1:{port} didn't answer"):
        at(f"http://127.0.0.1:{port}").open()


async def test_a_server_that_isnt_there_is_one_clear_error_async() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(IndexUnavailableError, match=r"didn't answer .*Is it running"):
        await at(f"http://127.0.0.1:{port}").aopen()


def test_a_wrong_key_is_said_once() -> None:
    with serve(api_key="right") as url:
        with pytest.raises(AuthenticationError, match="refused the key"):
            at(url).open()
        assert len(url.requests) == 1


def test_what_a_server_refuses_isnt_repeated(server: Loopback) -> None:
    with at(server, parallel=1) as docs:
        docs.add([0], random_rows(1))
        server.fail_next(400)
        before = len(server.requests)
        with pytest.raises(IndexUnavailableError, match=r"refused \(400\).*0 of 3 points") as told:
            docs.add([1, 2, 3], random_rows(3))
        assert (told.value.code, told.value.stored) == (400, ())
        assert len(server.requests) == before + 1
        assert docs.count() == 1


def test_a_batch_with_a_bad_point_is_refused_whole(server: Loopback) -> None:
    """What a check here would have missed, the server's own finds: no half of a batch stays."""
    with at(server) as docs:
        good, bad = ({"8": row[:8], "32": row} for row in random_rows(2))
        points = [Point(1, good, {}), Point(2, {**bad, "32": bad["8"]}, {}), Point(3, good, {})]
        with pytest.raises(IndexUnavailableError, match="refused"):
            docs._backend.run(Upsert(points))
        assert docs.count() == 0


def test_an_upload_in_parallel_goes_through_statuses_and_broken_connections(
    server: Loopback,
) -> None:
    with at(server, parallel=4) as docs:
        server.fail_next(503, 0, 200, 429, 0, 500)
        docs.add(range(1000), random_rows(1000))
        assert docs.count() == 1000


async def test_an_upload_waits_for_a_server_to_come_back(server: Loopback) -> None:
    async with at(server, retry_seconds=20.0, parallel=2) as docs:
        server.die_after(3)
        upload = asyncio.create_task(docs.aadd(range(800), random_rows(800)))
        while len(server.requests) < 10:  # noqa: ASYNC110  # the server is in another thread
            await asyncio.sleep(0.01)
        assert not upload.done()
        server.revive()
        await upload
        assert await docs.acount() == 800


@contextmanager
def process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The server in a process of its own, and its URL."""
    with subprocess.Popen(
        [sys.executable, str(ROOT / "cookbooks" / "qdrant_on_loopback.py"), *arguments],
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        try:
            yield child, child.stdout.readline().strip()
        finally:
            child.kill()


async def test_a_key_that_may_only_read_is_one_error_awaited_too(server: Loopback) -> None:
    rows = random_rows(250)
    async with at(server) as docs:
        server.fail_next(403, 403, 403)
        with pytest.raises(AuthenticationError, match="api_key"):
            await docs.aadd(range(250), rows)
        server.fail_next(403, 403, 403)
        with pytest.raises(AuthenticationError, match="api_key"):
            docs.add(range(250), rows)


def test_a_server_killed_in_the_middle_has_what_it_acknowledged_when_it_is_back(
    tmp_path: Path,
) -> None:
    rows = random_rows(250)
    folder = str(tmp_path)
    with process("--port", "0", "--folder", folder, "--die-after", "1") as (child, url):
        docs = at(url, retry_seconds=0.5, parallel=1).open()
        with pytest.raises(IndexUnavailableError, match=r"100 of 250 points are stored") as told:
            docs.add(range(250), rows, [{"n": n} for n in range(250)])
        docs.close()
        assert child.wait(10) == -signal.SIGKILL
    assert list(told.value.stored) == list(range(100))
    with serve(port=int(url.rpartition(":")[2]), folder=folder) as again:
        assert again == url
        with at(url) as docs:
            assert {record.id for record in docs.scroll()} == set(range(100))
            docs.add(range(250), rows, [{"n": n} for n in range(250)])
            assert docs.count() == 250
            assert docs.search(rows[249], 1)[0].id == 249


def test_a_tier_that_is_gone_is_said(server: Loopback) -> None:
    with at(server) as docs:
        docs.add([1], random_rows(1))
    server.collections.local.delete_vector_name("docs", "8")
    with pytest.raises(
        IndexMismatchError, match=r"tier 8 as vector '8', but that vector is missing"
    ):
        at(server).open()


def test_a_folder_is_copied_to_a_server_and_both_answer_alike(
    server: Loopback, tmp_path: Path
) -> None:
    pytest.importorskip("qdrant_edge")
    rows, queries = random_rows(300), random_rows(5, seed=9)
    with (
        MatryoshkaCollection("docs", space=SPACE, tiers=(8, 32), path=tmp_path) as source,
        at(server) as target,
    ):
        source.add([f"p{n}" for n in range(300)], rows, [{"n": n} for n in range(300)])
        assert copy_collection(source, target) == 300
        for query in queries:
            here, there = (one.search(query, 5, shortlist=300) for one in (source, target))
            assert [hit.id for hit in here] == [hit.id for hit in there]
            assert [hit.payload for hit in here] == [hit.payload for hit in there]


def test_other_peoples_clients_are_answered_too(server: Loopback) -> None:
    from qdrant_client import QdrantClient, models

    client = QdrantClient(url=server)
    client.create_collection("old", models.VectorParams(size=4, distance=models.Distance.COSINE))
    client.upload_collection("old", random_rows(5, 4), [{"n": n} for n in range(5)], range(5))
    batch = models.Batch(ids=[7], vectors={"": [[1.0, 0, 0, 0]]}, payloads=[{"n": 7}])
    client.upsert("old", batch)
    query = models.QueryRequest(query=[1.0, 0, 0, 0], limit=1, with_payload=True)
    (answer,) = client.query_batch_points("old", [query])
    assert answer.points[0].payload == {"n": 7}
    client.set_payload("old", {"m": 1}, points=[7])
    assert client.retrieve("old", [7])[0].payload == {"n": 7, "m": 1}
    assert client.collection_exists("old")
    assert not client.collection_exists("new")
    assert "not Qdrant" in client.info().title
    with pytest.raises(IndexMismatchError, match="no mark"):
        at(server, "old").open()
    client.close()
