"""Odd ids, payloads, filters and numbers: stored as given or refused in words, on every engine."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cookbooks.qdrant_on_loopback import serve
from gemini2_core.corpus.sources import CollectionSource
from gemini2_core.errors import ConfigurationError, IndexUnavailableError, InvalidInputError
from gemini2_core.index import FilterLike, MatryoshkaCollection, copy_collection
from tests.index.conftest import SPACE, random_rows

pytest.importorskip("qdrant_edge")
from qdrant_client import QdrantClient, models

QUERY = random_rows(1)[0]


@pytest.fixture(params=["memory", "folder", "server"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    if request.param == "server":
        with serve() as url:
            yield {"url": str(url), "retry_seconds": 0}
    else:
        yield {"path": tmp_path} if request.param == "folder" else {}


@pytest.fixture
def collection(place: dict[str, Any]) -> Iterator[MatryoshkaCollection]:
    with MatryoshkaCollection("docs", space=SPACE, tiers=(8, 32), **place) as made:
        yield made


def test_filters_of_qdrants_that_cant_be_are_refused_alike(
    collection: MatryoshkaCollection,
) -> None:
    wrongs: list[dict[str, object]] = [
        {"must": [{"key": "n", "mitch": {"value": 3}}]},
        {"must": [{"ki": "n"}]},
        {"min_should": {"min_count": 1}},
        {"day": {"gte": "some day"}},
        {"n": {"gte": 1, "lt": "x"}},
        {"$and": [{}]},
        {"$not": {}},
    ]
    for wrong in wrongs:
        with pytest.raises(InvalidInputError):
            collection.search(QUERY, filter=wrong)
        with pytest.raises(InvalidInputError):
            collection.delete(filter=wrong)


def test_qdrants_filters_take_the_callers_ids_and_every_match(
    collection: MatryoshkaCollection,
) -> None:
    collection.add(["a.md#1", "b", 3], random_rows(3), [{"n": n} for n in range(3)])
    other = models.FieldCondition(key="n", match=models.MatchExcept(**{"except": [0]}))
    assert collection.count(other) == 2
    named = models.HasIdCondition(has_id=["a.md#1", 3])
    assert {record.id for record in collection.scroll(named)} == {"a.md#1", 3}
    assert collection.count({"must": [named, other]}) == 1
    assert collection.count({"must_not": [{"has_id": ["b"]}]}) == 2
    assert collection.count({"n": np.int64(1)}) == collection.count({"n": [np.int64(1)]}) == 1
    assert collection.count({"n": {"gte": np.float32(0.5)}}) == 2


def test_a_filter_with_nothing_in_it_deletes_nothing(collection: MatryoshkaCollection) -> None:
    collection.add([1], random_rows(1))
    empties: list[FilterLike] = [
        {"must": []},
        {"must_not": [], "should": []},
        models.Filter(must=[]),
    ]
    for empty in empties:
        assert collection.count(empty) == 1
        with pytest.raises(ConfigurationError, match="everything"):
            collection.delete(filter=empty)
    assert collection.count() == 1


def test_a_payload_keeps_an_id_field_of_the_callers(collection: MatryoshkaCollection) -> None:
    own = "0b1f6f6e-3a0c-5d5e-9a43-6d0f6a3f2e57"
    collection.add([own, 7], random_rows(2), [{"_id": "mongo"}, {"_id": 5}])
    told = [(record.id, record.payload) for record in collection.get([own, 7])]
    assert told == [(own, {"_id": "mongo"}), (7, {"_id": 5})]
    collection.add(["a.md"], random_rows(1), [{"_id": "a.md", "n": 1}])
    assert collection.get(["a.md"])[0].payload == {"n": 1}
    with pytest.raises(InvalidInputError, match="'_id'") as told_error:
        collection.add([1, "b.md"], random_rows(2), [{}, {"_id": "mongo"}])
    assert told_error.value.index == 1
    assert collection.count() == 3


def test_what_one_engine_could_not_give_back_none_takes(collection: MatryoshkaCollection) -> None:
    deep: dict[str, object] = {}
    for _ in range(75):
        deep = {"a": [deep]}
    with pytest.raises(InvalidInputError, match="nested"):
        collection.add([1], random_rows(1), [deep])
    with pytest.raises(InvalidInputError, match="id"):
        collection.add(["\ud800"], random_rows(1))
    wide = {"a": [{"b": [n]} for n in range(200)]}
    collection.add([1], random_rows(1), [wide])
    assert [record.payload for record in collection.scroll()] == [wide]


def test_numbers_of_a_search_are_whole_and_positive(collection: MatryoshkaCollection) -> None:
    collection.add(range(5), random_rows(5))
    wrongs: list[dict[str, Any]] = [
        *({"k": k} for k in (0, -1, 1.5, "3", None, True, 2**40)),
        *({"shortlist": n} for n in (0, 1.5, "50", None, True, [], [3, 3], [0])),
        *({"ef": n} for n in (0, -1, 1.5, "x")),
    ]
    for wrong in wrongs:
        for exact in (False, True):
            with pytest.raises(ConfigurationError, match=next(iter(wrong))):
                collection.search(QUERY, exact=exact, **wrong)
    found = collection.search(QUERY, np.int64(3), shortlist=np.int64(4))  # type: ignore[arg-type]
    assert len(found) == len(collection.search(QUERY, 3, shortlist=[np.int64(4)], ef=7)) == 3  # type: ignore[list-item]
    with pytest.raises(ConfigurationError, match="page"):
        list(collection.scroll(page=0))


def test_what_a_collection_cannot_be_is_told_before_it_is_made(place: dict[str, Any]) -> None:
    wrongs: list[dict[str, Any]] = [
        {"tiers": 768},
        {"tiers": ("768",)},
        {"tiers": (76.8,)},
        {"tiers": (768, 100_000)},
        {"payload_indexes": {"source": "string"}},
        {"name": 5},
    ]
    for wrong in wrongs:
        with pytest.raises(ConfigurationError):
            MatryoshkaCollection(**{"name": "docs", "space": SPACE, **place, **wrong})
    for name in ("url", "path"):
        with pytest.raises(ConfigurationError, match=name):
            MatryoshkaCollection("docs", space=SPACE, **{name: ""})  # type: ignore[arg-type]


def test_a_name_too_long_for_a_folder_leaves_nothing_behind(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    with pytest.raises(IndexUnavailableError, match="too long"):
        MatryoshkaCollection("n" * 300, space=SPACE, path=tmp_path).open()
    gc.collect()
    assert not recwarn.list


def test_half_a_second_is_a_timeout() -> None:
    with serve() as url:
        options: dict[str, Any] = {"url": str(url), "timeout": 0.5}
        with MatryoshkaCollection("docs", space=SPACE, tiers=(8, 32), **options) as made:
            assert made.count() == 0


def test_an_id_field_of_others_stays_in_what_is_read_of_their_collection() -> None:
    client, own = QdrantClient(":memory:"), "0b1f6f6e-3a0c-5d5e-9a43-6d0f6a3f2e57"
    size = models.VectorParams(size=32, distance=models.Distance.COSINE)
    client.create_collection("theirs", {"dense": size})
    payload = {"_id": "of a document database", "text": "Bleed the brakes."}
    client.upsert(
        "theirs", [models.PointStruct(id=own, vector={"dense": QUERY.tolist()}, payload=payload)]
    )
    (item,) = CollectionSource("theirs", client=client)
    assert (item.id, item.payload) == (own, payload)
    theirs = MatryoshkaCollection("theirs", space=SPACE, tiers=(32,), client=client, adopt=True)
    (record,) = theirs.scroll()
    assert (record.id, record.payload) == (own, payload)
    assert len(theirs.get([record.id])) == 1
    copied = MatryoshkaCollection("ours", space=SPACE, tiers=(32,), client=client)
    assert copy_collection(theirs, copied) == 1
    assert next(copied.scroll()).payload == payload
