"""What a Qdrant server is sent, held against a recorder: no server runs on this machine."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from gemini2_core.errors import IndexMismatchError
from gemini2_core.index import MatryoshkaCollection
from tests.index.recorder import Recorder, recorder

SPACE = "gemini-embedding-2/RETRIEVAL"


@pytest.fixture
def server() -> Iterator[Recorder]:
    with recorder() as kept:
        yield kept


def rows(n: int, size: int = 16) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(0).normal(size=(n, size)).astype(np.float32)


def opened(url: str, **options: object) -> MatryoshkaCollection:
    options = {"tiers": (4, 16), "retry_seconds": 5.0, **options}
    return MatryoshkaCollection("docs", space=SPACE, url=url, **options)  # type: ignore[arg-type]


def test_only_the_small_tier_gets_a_graph_and_int8(server: Recorder) -> None:
    with opened(server.url, shard_number=3, replication_factor=2, hybrid=True):
        made = server.of("PUT", "/docs")[0].body
    small, large = made["vectors"]["4"], made["vectors"]["16"]
    assert small["hnsw_config"]["m"] == 16
    assert small["quantization_config"]["scalar"]["type"] == "int8"
    assert small["quantization_config"]["scalar"]["always_ram"] is True
    assert large["hnsw_config"]["m"] == 0
    assert large["on_disk"] is True
    assert "quantization_config" not in large
    assert (made["shard_number"], made["replication_factor"]) == (3, 2)
    assert made["sparse_vectors"] == {"bm25": {"modifier": "idf"}}
    assert made["metadata"]["gemini2_embeddings"]["space"] == SPACE
    assert made["metadata"]["gemini2_embeddings"]["tiers"] == {"4": "4", "16": "16"}


def test_payload_indexes_are_made_once(server: Recorder) -> None:
    with opened(server.url, payload_indexes={"metadata.source": "keyword"}):
        asked = server.of("PUT", "/index")
    assert [one.body for one in asked] == [
        {"field_name": "metadata.source", "field_schema": "keyword"}
    ]


@pytest.mark.parametrize(("points", "ef"), [(0, 512), (100_000, 512), (1_000_000, 2038)])
def test_a_larger_graph_is_searched_with_more_candidates(
    server: Recorder, points: int, ef: int
) -> None:
    opened(server.url).open().close()
    server.ids = list(range(points))
    with opened(server.url) as collection:
        collection.search(rows(1)[0], 3)
        collection.search(rows(1)[0], 3, shortlist=3000)
        collection.search(rows(1)[0], 3, ef=64)
    asked = [one.body["prefetch"][0]["params"]["hnsw_ef"] for one in server.of("POST", "/query")]
    assert asked == [ef, 6000, 64]


def test_points_that_are_added_count_for_the_candidates() -> None:
    with MatryoshkaCollection("docs", space=SPACE, tiers=(4, 16)) as collection:
        opening = collection._opening
        assert opening.points == 0
        collection.add(range(3), rows(3))
        assert opening.points == 3


def test_both_passes_and_the_filter_go_in_one_request(server: Recorder) -> None:
    query = rows(1)[0]
    with opened(server.url) as collection:
        before = len(server.asked)
        hits = collection.search(query, 3, shortlist=20, filter={"source": ["a.md", "b.md"]})
        (asked,) = server.asked[before:]
    assert asked.path == "/collections/docs/points/query"
    body = asked.body
    assert (body["using"], body["limit"], len(body["query"]["nearest"])) == ("16", 3, 16)
    first = body["prefetch"][0]
    assert (first["using"], first["limit"], len(first["query"])) == ("4", 20, 4)
    wanted = {"must": [{"key": "source", "match": {"any": ["a.md", "b.md"]}}]}
    assert first["filter"] == wanted
    assert first["params"]["quantization"] == {"rescore": False}
    assert np.linalg.norm(first["query"]) == pytest.approx(1)
    assert hits[0].id == 7
    assert hits[0].payload == {"source": "a.md"}


def test_three_tiers_nest_and_filter_in_the_innermost(server: Recorder) -> None:
    with opened(server.url, tiers=(4, 8, 16)) as collection:
        collection.search(rows(1), 2, shortlist=10, filter={"n": {"gte": 3}})
    outer = server.of("POST", "/query")[0].body["prefetch"][0]
    inner = outer["prefetch"][0]
    assert [(p["using"], p["limit"]) for p in (outer, inner)] == [("8", 10), ("4", 40)]
    assert "filter" not in outer
    assert inner["filter"] == {"must": [{"key": "n", "range": {"gte": 3.0}}]}


def test_words_are_fused_by_rank_in_the_same_request(server: Recorder) -> None:
    with opened(server.url, hybrid=True) as collection:
        collection.search(rows(1), 2, text="fuel pump", filter={"n": 1})
    body = server.of("POST", "/query")[0].body
    assert body["query"] == {"fusion": "rrf"}
    dense, words = body["prefetch"]
    assert (dense["using"], words["using"]) == ("16", "bm25")
    assert dense["prefetch"][0]["filter"] == words["filter"]
    assert words["query"]["values"] == [1.0, 1.0]


def test_points_carry_every_tier_and_are_waited_for(server: Recorder) -> None:
    with opened(server.url) as collection:
        collection.add(["a", 5], rows(2), [{"n": 1}, {"n": 2}])
    (asked,) = server.of("PUT", "/points")
    assert asked.query == "wait=true"
    for point in asked.body["points"]:
        assert {name: len(vector) for name, vector in point["vector"].items()} == {"4": 4, "16": 16}
    assert asked.body["points"][0]["payload"] == {"n": 1, "_id": "a"}
    assert asked.body["points"][1]["id"] == 5


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_the_key_is_sent() -> None:
    with recorder(key="right") as kept, opened(kept.url, api_key="right"):
        assert {asked.key for asked in kept.asked} == {"right"}


def test_a_server_that_keeps_no_metadata_is_an_error() -> None:
    with recorder(keeps_metadata=False) as kept, pytest.raises(IndexMismatchError, match=r"1\.16"):
        opened(kept.url).open()
