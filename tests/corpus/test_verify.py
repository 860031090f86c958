"""Verifying: what is missing, extra, half filled or different is found; answers are compared."""

from __future__ import annotations

import json
import re
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient, models

from gemini2_core.corpus import CollectionSource, Item, Verification, averify, switch, verify
from gemini2_core.corpus.filling import mark_filled, mark_filling
from gemini2_core.corpus.switchover.side_by_side import QueryChange
from gemini2_core.corpus.switchover.tally import Tally
from gemini2_core.embedding import Gemini2Embedder
from gemini2_core.emulator import Emulator, serve
from gemini2_core.errors import ConfigurationError, IndexMismatchError
from gemini2_core.index import MatryoshkaCollection
from gemini2_core.index.ids import point_id
from tests.wire import KEY, items

WORDS = "fuel pump strainer gauge valve filter tank drain cap line hose pressure".split()
TEXTS = [f"{WORDS[n % 12]} and {WORDS[n // 12 % 12]}, part {n}" for n in range(15)]
OLD, NEW = "gemini-embedding-001", "gemini-embedding-2"


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with serve() as running:
        yield running


@pytest.fixture
def embedder(emulator: Emulator) -> Iterator[Gemini2Embedder]:
    emulator.reset()
    with Gemini2Embedder(NEW, api_key=KEY, base_url=emulator.base_url, dimensions=768) as made:
        yield made


@pytest.fixture
def old(emulator: Emulator) -> Iterator[Gemini2Embedder]:
    with Gemini2Embedder(OLD, api_key=KEY, base_url=emulator.base_url, dimensions=768) as made:
        yield made


def corpus(n: int = len(TEXTS)) -> list[Item]:
    """Items as LangChain's stores keep them; every third has a title."""
    found = []
    for at, text in enumerate(TEXTS[:n]):
        metadata: dict[str, object] = {"n": at}
        if at % 3 == 0:
            metadata["title"] = f"Chapter {at}"
        payload: dict[str, object] = {"page_content": text, "metadata": metadata}
        title = metadata.get("title")
        found.append(Item(f"doc-{at}", text, None if title is None else str(title), payload))
    return found


def fill(collection: MatryoshkaCollection, embedder: Gemini2Embedder, given: list[Item]) -> None:
    vectors = embedder.embed_contents([i.content for i in given], titles=[i.title for i in given])
    collection.add([i.id for i in given], vectors, [i.payload for i in given])


@pytest.fixture
def client() -> QdrantClient:
    return QdrantClient(":memory:")


@pytest.fixture
def new(client: QdrantClient, embedder: Gemini2Embedder) -> MatryoshkaCollection:
    made = MatryoshkaCollection("new", space=embedder.space, tiers=(256, 768), client=client)
    fill(made, embedder, corpus())
    return made


@pytest.fixture
def live(client: QdrantClient, old: Gemini2Embedder) -> MatryoshkaCollection:
    made = MatryoshkaCollection("live", space=old.space, tiers=(768,), client=client)
    fill(made, old, corpus())
    return made


def test_a_whole_collection_passes(new: MatryoshkaCollection, embedder: Gemini2Embedder) -> None:
    found = verify(new, source=corpus(), embedder=embedder, sample=10)
    assert found.reasons == []
    assert (found.expected, found.points, found.missing, found.extra) == (15, 15, 0, 0)
    assert found.sampled == 10
    assert min(found.cosines.values()) > 1 - 1e-6
    assert set(found.cosines) == {256, 768}
    assert switch("docs", new).now == "new"


async def test_a_whole_collection_passes_async(
    new: MatryoshkaCollection, embedder: Gemini2Embedder
) -> None:
    assert (await averify(new, source=corpus(), embedder=embedder, sample=3)).passed


def test_equal_numbers_of_other_ids_dont_pass(
    new: MatryoshkaCollection, embedder: Gemini2Embedder
) -> None:
    new.delete(["doc-4"])
    fill(new, embedder, [Item("stranger", "not of this corpus")])
    found = verify(new, source=corpus(), embedder=embedder, sample=0)
    assert (found.expected, found.points) == (15, 15)
    assert (found.some_missing, found.some_extra) == (("doc-4",), ("stranger",))
    assert found.reasons == [
        "1 of the source are missing ('doc-4')",
        "1 are in it that the source hasn't ('stranger')",
    ]


def test_a_failed_verification_takes_an_earlier_one_back(
    new: MatryoshkaCollection, embedder: Gemini2Embedder
) -> None:
    assert verify(new, source=corpus(), embedder=embedder, sample=0).passed
    assert new.note()["verified"]
    assert not verify(new, source=corpus(14), embedder=embedder, sample=0).passed
    assert new.note()["verified"] is None


def test_other_vectors_and_payloads_of_the_sample_are_found(
    new: MatryoshkaCollection, embedder: Gemini2Embedder
) -> None:
    item = corpus()[7]
    changed = {"page_content": item.content, "metadata": {"n": 8}}
    new.add([item.id], embedder.embed_documents(["something else"]), [changed])
    found = verify(new, source=corpus(), embedder=embedder, sample=15)
    assert [one.id for one in found.differences] == ["doc-7"]
    (told,) = [one.what for one in found.differences]
    assert re.fullmatch(
        r"payload field 'metadata'; cosine -?0\.\d+ at tier 256; cosine -?0\.\d+ at tier 768", told
    )


def test_one_wrong_tier_is_found(
    new: MatryoshkaCollection, embedder: Gemini2Embedder, client: QdrantClient
) -> None:
    row = np.random.default_rng(0).normal(size=256).tolist()
    wrong = models.PointVectors(id=point_id("doc-3"), vector={"256": row})
    client.update_vectors("new", [wrong])
    found = verify(new, source=corpus(), embedder=embedder, sample=15)
    assert found.cosines[256] < 0.5
    assert found.cosines[768] > 1 - 1e-6
    assert [one.id for one in found.differences] == ["doc-3"]


def test_a_tier_that_a_point_lacks_is_found(
    new: MatryoshkaCollection, embedder: Gemini2Embedder, client: QdrantClient
) -> None:
    client.delete_vectors("new", ["768"], [point_id("doc-3"), point_id("doc-5")])
    found = verify(new, source=corpus(), embedder=embedder, sample=0)
    assert found.reasons == ["2 points have no vector of 768 numbers"]


def test_what_is_still_being_filled_doesnt_pass(
    new: MatryoshkaCollection, embedder: Gemini2Embedder
) -> None:
    mark_filling(new, shard=(0, 2))
    mark_filled(new, shard=(0, 2))
    found = verify(new, source=corpus(), embedder=embedder, sample=0)
    assert found.reasons == ["it is still being filled (shard 1/2)"]


def test_the_same_seed_draws_the_same_sample(
    new: MatryoshkaCollection, embedder: Gemini2Embedder, emulator: Emulator
) -> None:
    drawn = []
    for seed in (1, 1, 2):
        emulator.reset()
        verify(new, source=corpus(), embedder=embedder, sample=5, seed=seed)
        drawn.append([item["content"]["parts"][0]["text"] for item in items(emulator)])
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 5


def test_the_source_may_be_the_live_collection_of_ours_or_of_others(
    new: MatryoshkaCollection,
    live: MatryoshkaCollection,
    embedder: Gemini2Embedder,
    client: QdrantClient,
) -> None:
    assert verify(new, source=live, embedder=embedder).passed
    theirs = models.VectorParams(size=4, distance=models.Distance.COSINE)
    client.create_collection("theirs", vectors_config=theirs)
    points = [
        models.PointStruct(id=point_id(one.id), vector=[1.0, 0, 0, 0], payload=one.payload)
        for one in corpus()
    ]
    client.upsert("theirs", points)
    source = CollectionSource("theirs", client=client)
    found = verify(new, source=source, embedder=embedder)
    assert (found.missing, found.extra, found.sampled) == (0, 0, 15)
    assert found.passed


def test_another_space_is_refused_before_anything_is_paid(
    new: MatryoshkaCollection, old: Gemini2Embedder, emulator: Emulator
) -> None:
    emulator.reset()
    with pytest.raises(IndexMismatchError, match=r"gemini-embedding-2/.*gemini-embedding-001/"):
        verify(new, source=corpus(), embedder=old)
    assert emulator.requests == []


def test_queries_are_answered_side_by_side(
    new: MatryoshkaCollection,
    live: MatryoshkaCollection,
    embedder: Gemini2Embedder,
    old: Gemini2Embedder,
) -> None:
    found = verify(
        new,
        source=live,
        embedder=embedder,
        queries=["fuel pump", "drain the tank"],
        live_embedder=old,
        k=5,
        sample=2,
    )
    assert found.passed
    assert [one.query for one in found.queries] == ["fuel pump", "drain the tank"]
    for one in found.queries:
        assert len(one.before) == len(one.after) == 5
        assert set(one.texts) == {str(own) for own in (*one.before, *one.after)}
        assert len(one.new) == len(one.gone) == 5 - len(one.moves)
    assert found.overlap is not None
    assert 0 < found.overlap <= 1


def test_another_vendors_search_is_any_function(
    new: MatryoshkaCollection, embedder: Gemini2Embedder, client: QdrantClient
) -> None:
    vendor = MatryoshkaCollection(
        "vendor", space="gemini-embedding-2/NONE", tiers=(16,), client=client
    )
    rows = np.random.default_rng(0).normal(size=(15, 16)).astype(np.float32)
    vendor.add([one.id for one in corpus()], rows, [one.payload for one in corpus()])

    def vector(query: Any) -> list[float]:
        return list(map(float, rows[len(query) % 15]))

    queries = ["fuel pump"]
    by_vector = verify(
        new, source=corpus(), embedder=embedder, sample=0, queries=queries, live=vendor,
        live_embedder=vector,
    )  # fmt: skip
    assert by_vector.queries[0].before[0] == "doc-9"
    by_ids = verify(
        new, source=corpus(), embedder=embedder, sample=0, queries=queries,
        live=lambda _query, k: [f"doc-{n}" for n in range(k)],
    )  # fmt: skip
    assert by_ids.queries[0].before == tuple(f"doc-{n}" for n in range(10))


def test_queries_need_something_to_compare_with(
    new: MatryoshkaCollection, live: MatryoshkaCollection, embedder: Gemini2Embedder
) -> None:
    with pytest.raises(ConfigurationError, match="live="):
        verify(new, source=corpus(), embedder=embedder, queries=["a"])
    with pytest.raises(ConfigurationError, match=r"gemini-embedding-001/.*live_embedder="):
        verify(new, source=live, embedder=embedder, queries=["a"])
    with pytest.raises(ConfigurationError, match="sample=-1 must be 0 or more"):
        verify(new, source=live, embedder=embedder, sample=-1)


def test_changes_of_a_query_are_counted() -> None:
    change = QueryChange("q", ("a", "b", "c", 4), ("b", "a", "d", "4"))
    assert change.overlap == 0.75
    assert change.moves == {"b": 1, "a": -1, "4": 0}
    assert (change.new, change.gone, change.same_first) == (("d",), ("c",), False)
    nothing = QueryChange("q", (), ())
    assert (nothing.overlap, nothing.same_first, nothing.moves) == (1.0, True, {})


def shown() -> Verification:
    changes = (
        QueryChange("pump <b>", ("a", "b"), ("b", "c"), {"b": "<i>text</i>"}),
        QueryChange("a much longer question about the strainer and its bowl", ("a",), ("a",)),
    )
    return Verification(
        "new", "gemini-embedding-2/RETRIEVAL", (768, 3072), 12_000, 11_999, missing=1,
        some_missing=("doc-4",), sampled=100, cosines={768: 0.9999999, 3072: 1.0}, k=2,
        queries=changes,
    )  # fmt: skip


def test_the_table_lines_up() -> None:
    lines = str(shown()).splitlines()
    assert lines[0] == "new: NOT passed: 1 of the source are missing ('doc-4')"
    checks = lines[1 : lines.index("")]
    assert len({len(re.match(r"  \S+(?: \S+)*  +", line).group()) for line in checks}) == 1  # type: ignore[union-attr]  # or the test fails
    table = lines[lines.index("") + 1 :]
    assert len({len(line) for line in table}) == 1
    assert table[0].split() == "query overlap@2 same first new gone furthest move".split()


def test_a_notebook_shows_it_with_everything_escaped() -> None:
    html = shown()._repr_html_()
    assert "NOT passed" in html
    assert "pump &lt;b&gt;" in html
    assert "&lt;i&gt;text" in html
    assert "<i>" not in html


def test_json_says_all_of_it() -> None:
    told = json.loads(shown().to_json())
    assert (told["passed"], told["missing"], told["overlap"]) == (False, 1, 0.75)
    assert told["queries"][0]["moves"] == {"b": 1}
    fields = set(Verification.__dataclass_fields__)
    assert fields <= told.keys()


_IDS = st.one_of(st.integers(0, 30), st.sampled_from("abcdefghij"), st.uuids().map(str))


@settings(max_examples=25)
@given(st.lists(_IDS), st.sets(_IDS))
def test_a_tally_says_exactly_what_sets_would(
    expected: list[int | str], found: set[int | str]
) -> None:
    with Tally() as ids:
        ids.expect(expected)
        strange = ids.find(found)
        assert set(strange) == found - set(expected)
        assert ids.expected == len(set(expected))
        assert ids.repeated == len(expected) - len(set(expected))
        assert ids.missing == len(set(expected) - found)
        assert ids.extra == len(found - set(expected))
        assert set(ids.some_missing(100)) == set(expected) - found


def test_a_tally_doesnt_grow_with_the_ids() -> None:
    peaks = []
    for n in (1_000, 8_000):
        tracemalloc.start()
        with Tally() as ids:
            for start in range(0, n, 256):
                ids.expect(range(start, min(start + 256, n)))
            assert ids.find([0, n]) == [n]
            assert ids.missing == n - 1
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
