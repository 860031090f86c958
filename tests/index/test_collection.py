"""The collection on the engines that run here: written, searched, opened again, grown."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import numpy as np
import pytest

from gemini2_core.embedding import EmbeddingResult, Usage
from gemini2_core.errors import (
    ClosedError,
    ConfigurationError,
    IndexMismatchError,
    InvalidInputError,
)
from gemini2_core.index import (
    FilterLike,
    MatryoshkaCollection,
    PointId,
    Record,
    read_filter,
)
from gemini2_core.model import EmbeddingSpace, truncate
from tests.index.conftest import SPACE, Make, Rows, random_rows


def nearest(rows: Rows, query: Rows, k: int) -> list[int]:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return np.argsort(-(unit @ query))[:k].tolist()  # type: ignore[no-any-return]


def test_a_search_finds_what_brute_force_finds(make: Make) -> None:
    rows, queries = random_rows(400), random_rows(20, seed=1)
    collection = make(tiers=(16, 32))
    collection.add(range(400), rows)
    for query in queries:
        found = [hit.id for hit in collection.search(query, 5, shortlist=400)]
        assert found == nearest(rows, query, 5)
        assert [hit.id for hit in collection.search(query, 5, exact=True)] == found


def test_the_short_list_is_the_small_tiers(make: Make) -> None:
    """With a short list of k, what the first pass misses stays missed."""
    rows, query = random_rows(300), random_rows(1, seed=2)[0]
    collection = make(tiers=(4, 32))
    collection.add(range(300), rows)
    found = {hit.id for hit in collection.search(query, 5, shortlist=1)}
    assert found == set(nearest(rows[:, :4], query[:4], 5))


def test_three_passes_find_what_brute_force_finds(make: Make) -> None:
    rows, query = random_rows(300), random_rows(1, seed=3)[0]
    collection = make(tiers=[32, 8, 16])
    assert collection.tiers == (8, 16, 32)
    collection.add(range(300), rows)
    found = [hit.id for hit in collection.search(query, 3, shortlist=[300, 100])]
    assert found == nearest(rows, query, 3)


def test_one_tier_is_one_pass(make: Make) -> None:
    rows = random_rows(50)
    collection = make(tiers=[32])
    collection.add(range(50), rows)
    assert [h.id for h in collection.search(rows[9], 3)] == nearest(rows, rows[9], 3)


def test_hits_carry_scores_of_both_passes_and_the_vector(make: Make) -> None:
    rows, query = random_rows(30), random_rows(1, seed=4)[0]
    collection = make(tiers=(8, 32))
    collection.add(range(30), rows)
    for hit in collection.search(query, 5, with_vectors=True, first_scores=True):
        row = rows[int(hit.id)]
        assert hit.vector == pytest.approx(row / np.linalg.norm(row), abs=1e-6)
        first = truncate(row[None], 8)[0] @ truncate(query[None], 8)[0]
        assert hit.first_score == pytest.approx(first, abs=1e-5)
        assert hit.score == pytest.approx(row @ query / np.linalg.norm(row) / np.linalg.norm(query))


def test_any_string_is_an_id_and_comes_back(make: Make) -> None:
    ids: list[PointId] = [
        "a.md#3",
        "7",
        7,
        "0b1f6f6e-3a0c-5d5e-9a43-6d0f6a3f2e57",
        "0B1F6F6E3A0C5D5E9A436D0F6A3F2E58",
    ]
    collection = make(tiers=(8, 32))
    assert collection.add(ids, random_rows(5)) == ids
    assert [record.id for record in collection.get(ids)] == ids
    assert {record.id for record in collection.scroll()} == set(ids)
    assert all(record.payload == {} for record in collection.scroll())
    collection.delete(["7", "never there"])
    assert [record.id for record in collection.get(ids)] == [ids[0], *ids[2:]]


def test_the_same_id_is_the_same_point(make: Make) -> None:
    rows = random_rows(4)
    collection = make(tiers=(8, 32))
    collection.add(["a", "b", "a"], rows[:3], [{"n": 1}, {"n": 2}, {"n": 3}])
    assert collection.count() == 2
    assert collection.get(["a"])[0].payload == {"n": 3}
    collection.add(["a"], rows[3:], [{"m": 4}])
    assert collection.get(["a"])[0].payload == {"m": 4}
    assert collection.search(rows[3], 1)[0].score == pytest.approx(1, abs=1e-5)


FILTERS: list[tuple[FilterLike | None, set[int]]] = [
    ({"s": "a"}, {0, 3, 6, 9}),
    ({"s": ["a", "b"]}, {0, 1, 3, 4, 6, 7, 9}),
    ({"s": []}, set()),
    ({"n": {"gte": 3, "lt": 6}}, {3, 4, 5}),
    ({"n": {"$gt": 8}}, {9}),
    ({"s": "a", "n": {"lte": 3}}, {0, 3}),
    ({"s": {"ne": "a"}, "n": {"lt": 3}}, {1, 2}),
    ({"s": {"nin": ["a", "b"]}}, {2, 5, 8}),
    ({"$or": [{"n": 1}, {"n": 5}]}, {1, 5}),
    ({"$not": {"n": {"gte": 1}}}, {0}),
    ({"even": True}, {0, 2, 4, 6, 8}),
    ({"half": 1.5}, {3}),
    ({"meta": {"page": 2}}, {2}),
    ({"meta.page": {"in": [2, 3]}}, {2, 3}),
    ({"rare": None}, {0, 1, 2, 3, 4, 5, 6, 7, 8}),
    ({"rare": {"exists": True}}, {9}),
    ({"day": {"gte": datetime(2026, 1, 9, tzinfo=UTC)}}, {8, 9}),
    ({"tags": "t1"}, {1}),
    ({"must": [{"key": "n", "match": {"value": 4}}]}, {4}),
    ({"min_should": {"conditions": [{"key": "n", "match": {"any": [4, 5]}},
                                    {"key": "even", "match": {"value": True}}],
                     "min_count": 2}}, {4}),
    (None, set(range(10))),
    ({}, set(range(10))),
]  # fmt: skip


@pytest.fixture
def filled(make: Make) -> MatryoshkaCollection:
    collection = make(tiers=(8, 32))
    payloads: list[dict[str, object]] = [
        {
            "n": n,
            "s": "abc"[n % 3],
            "even": n % 2 == 0,
            "half": n / 2,
            "meta": {"page": n},
            "tags": [f"t{n}", "all"],
            "day": datetime(2026, 1, n + 1, tzinfo=UTC),
            **({"rare": "yes"} if n == 9 else {}),
        }
        for n in range(10)
    ]
    collection.add(range(10), random_rows(10), payloads)
    return collection


@pytest.mark.filterwarnings("ignore:Payload indexes")
def test_filters_hold_from_the_first_pass_on(filled: MatryoshkaCollection) -> None:
    query = random_rows(1, seed=5)[0]
    for given, wanted in FILTERS:
        found = {hit.id for hit in filled.search(query, 10, shortlist=10, filter=given)}
        assert found == wanted, given
        # A short list filled with others would lose them, were it not filtered itself.
        few = {hit.id for hit in filled.search(query, 1, shortlist=1, filter=given)}
        assert len(few) == min(1, len(wanted))
        assert filled.count(given) == len(wanted)
        assert {record.id for record in filled.scroll(given, page=3)} == wanted


def test_qdrants_own_filters_are_taken(filled: MatryoshkaCollection) -> None:
    from qdrant_client import models

    condition = models.FieldCondition(key="n", range=models.Range(gte=7))
    assert filled.count(models.Filter(must=[condition])) == 3
    assert filled.count(models.Filter(must_not=[condition])) == 7
    assert filled.count(condition) == 3
    dated = models.DatetimeRange(gte=datetime(2026, 1, 10, tzinfo=UTC))
    assert filled.count(models.FieldCondition(key="day", range=dated)) == 1
    assert filled.count(models.HasIdCondition(has_id=[1, 2, 99])) == 2


def test_a_filter_that_cant_be_read_is_an_error(filled: MatryoshkaCollection) -> None:
    wrongs: list[object] = [{"n": {"$near": 3}}, {"$nand": []}, {"n": object()}, {"$or": "x"}, "n"]
    for wrong in wrongs:
        with pytest.raises(InvalidInputError):
            filled.count(wrong)  # type: ignore[arg-type]


def test_delete_by_filter(filled: MatryoshkaCollection) -> None:
    filled.delete(filter={"s": "a"})
    assert {record.id for record in filled.scroll()} == {1, 2, 4, 5, 7, 8}
    with pytest.raises(ConfigurationError):
        filled.delete([1], filter={"s": "b"})
    with pytest.raises(ConfigurationError):
        filled.delete()
    with pytest.raises(ConfigurationError):
        filled.delete(filter={})
    assert filled.count() == 6


def test_words_bring_up_what_the_vectors_miss(make: Make) -> None:
    rows = random_rows(60)
    collection = make(tiers=(8, 32), hybrid=True)
    texts = [f"text number {n}" for n in range(60)]
    texts[41] = "The Überdruckventil opens at 7 bar."
    collection.add(range(60), rows, [{"n": n} for n in range(60)], texts=texts)
    query = rows[5]
    assert 41 not in {hit.id for hit in collection.search(query, 3, shortlist=5)}
    fused = [hit.id for hit in collection.search(query, 2, shortlist=5, text="überdruckventil?")]
    assert set(fused) == {5, 41}
    kept = collection.search(query, 5, text="überdruckventil", filter={"n": {"lt": 10}})
    assert all(int(hit.id) < 10 for hit in kept)
    assert [hit.id for hit in collection.search(query, 1, text="?!")] == [5]


def test_words_alone_are_searched_without_a_vector(make: Make) -> None:
    collection = make(tiers=(8, 32), hybrid=True)
    texts = ["fuel pump", "pump", "oil cooler", "a pump that pumps oil"]
    collection.add(range(4), random_rows(4), [{"n": n} for n in range(4)], texts=texts)
    found = collection.search(None, 3, text="oil pump", with_vectors=True, first_scores=True)
    assert found[0].id == 3
    assert {hit.id for hit in found} <= {0, 1, 2, 3}
    assert found[0].score > found[1].score > 0
    assert (found[0].vector is not None, found[0].first_score) == (True, None)
    assert [hit.id for hit in collection.search(None, text="pump", filter={"n": 1})] == [1]
    assert collection.search(None, text="zeppelin") == []
    assert collection.search(None, text="?!") == []
    with pytest.raises(InvalidInputError, match="needs a vector, or text="):
        collection.search(None)
    with pytest.raises(ConfigurationError, match="k=0"):
        collection.search(None, 0, text="pump")
    with pytest.raises(ConfigurationError, match="hybrid=True"):
        make("plain", tiers=(8, 32)).search(None, text="pump")


def test_what_was_written_is_there_when_it_is_opened_again(make: Make) -> None:
    rows = random_rows(40)
    make(tiers=(8, 32), hybrid=True).add(["x", *range(39)], rows)
    again = make()
    assert again.tiers == (8, 32)
    assert again.hybrid
    assert again.dimensions == 32
    assert again.count() == 40
    assert again.search(rows[0], 1)[0].id == "x"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": "gemini-embedding-001/RETRIEVAL"}, r"holds vectors of gemini-embedding-2/.*001"),
        (
            {"space": "gemini-embedding-2/CLUSTERING"},
            r"/RETRIEVAL.*/CLUSTERING.*embed its contents",
        ),
        ({"tiers": (8, 16, 32)}, r"has tiers 8 \+ 32.*8 \+ 16 \+ 32: add_tier\(16\)"),
        ({"tiers": (8,)}, r"has tiers 8 \+ 32.*opened for 8: open it without"),
        ({"hybrid": True}, r"without hybrid=True"),
    ],
)
def test_the_wrong_collection_is_an_error_that_says_which(
    make: Make, options: dict[str, object], message: str
) -> None:
    make(tiers=(8, 32)).add([1], random_rows(1))
    with pytest.raises(IndexMismatchError, match=message):
        make(**options).open()
    assert make().count() == 1


def test_wrong_vectors_are_refused_and_nothing_is_written(make: Make) -> None:
    collection = make(tiers=(8, 32))
    short, bad = random_rows(2, 16), random_rows(2)
    bad[1, 3] = np.nan
    with pytest.raises(IndexMismatchError, match=r"16 numbers for tier 32.*dimensions=32"):
        collection.add([1, 2], short)
    with pytest.raises(InvalidInputError, match=r"input 1: .*finite"):
        collection.add([1, 2], bad)
    with pytest.raises(InvalidInputError, match="3 ids with 2 vectors"):
        collection.add([1, 2, 3], random_rows(2))
    with pytest.raises(InvalidInputError, match="shape"):
        collection.add([1], random_rows(1)[0])
    with pytest.raises(InvalidInputError, match=r"input 1: .*JSON"):
        collection.add([1, 2], random_rows(2), [{}, {"x": object()}])
    for wrong in ("", -1, 2**64, True, 1.5):
        with pytest.raises(InvalidInputError, match="id is"):
            collection.add([wrong], random_rows(1))  # type: ignore[list-item]
    with pytest.raises(ConfigurationError, match="hybrid"):
        collection.add([1], random_rows(1), texts=["x"])
    with pytest.raises(IndexMismatchError, match="16 numbers"):
        collection.search(short[0])
    for words in ("a text", ["a text"], [[1.0], [1.0, 2.0]], object()):
        with pytest.raises(InvalidInputError, match="rows of numbers"):
            collection.search(words)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="one vector, not 2"):
        collection.search(random_rows(2))
    with pytest.raises(ConfigurationError, match="shortlist"):
        collection.search(random_rows(1), shortlist=[3, 2, 1])
    with pytest.raises(ConfigurationError, match="k=0"):
        collection.search(random_rows(1), 0)
    assert collection.count() == 0


def test_a_result_brings_its_space_along(make: Make) -> None:
    def result(space: str) -> EmbeddingResult:
        return EmbeddingResult(random_rows(1), np.arange(1), Usage(), EmbeddingSpace.parse(space))

    collection = make(tiers=(8, 32))
    collection.add([1], result(SPACE))
    assert collection.search(result(SPACE), 1)[0].id == 1
    with pytest.raises(IndexMismatchError, match="gemini-embedding-001"):
        collection.add([2], result("gemini-embedding-001/RETRIEVAL"))
    with pytest.raises(IndexMismatchError, match="gemini-embedding-001"):
        collection.search(result("gemini-embedding-001/RETRIEVAL"))


def test_a_tier_below_the_largest_is_cut_from_what_is_stored(make: Make) -> None:
    rows = random_rows(600)
    collection = make(tiers=(16, 32))
    collection.add(range(600), rows)
    collection.add_tier(8)
    assert list(collection.tiers) == [8, 16, 32]
    found = [hit.id for hit in collection.search(rows[9], 3, shortlist=600)]
    assert found == nearest(rows, rows[9], 3)
    assert make(tiers=(8, 16, 32)).count() == 600


def test_a_larger_tier_comes_from_the_caller_and_goes_on_after_an_error(make: Make) -> None:
    rows = random_rows(600, 64)
    collection = make(tiers=(8, 32))
    collection.add(range(600), rows, [{"n": n} for n in range(600)])
    with pytest.raises(ConfigurationError, match="vectors_for"):
        collection.add_tier(64)
    seen: list[int] = []

    def embedded(records: list[Record]) -> Rows:
        if len(seen) > 300 and not stopped:
            stopped.append(True)
            raise RuntimeError("the quota is used up")
        seen.extend(int(record.id) for record in records)
        return rows[[int(record.id) for record in records]]

    stopped: list[bool] = []
    with pytest.raises(RuntimeError, match="quota"):
        collection.add_tier(64, embedded)  # type: ignore[arg-type]
    # Half a tier is never searched.
    again = make()
    assert list(again.tiers) == [8, 32]
    assert [hit.id for hit in again.search(rows[5, :32], 1)] == [5]
    again.add_tier(64, embedded)  # type: ignore[arg-type]
    assert list(again.tiers) == [8, 32, 64]
    assert sorted(seen) == list(range(600)), "each point embedded once"
    assert [h.id for h in again.search(rows[9], 3, shortlist=600)] == nearest(rows, rows[9], 3)


def test_a_point_without_the_largest_tier_is_named_when_one_is_cut_from_it() -> None:
    from qdrant_client import QdrantClient, models

    client = QdrantClient(":memory:")
    collection = MatryoshkaCollection("docs", space=SPACE, tiers=(8, 32), client=client)
    collection.add([1], random_rows(1))
    client.upsert("docs", [models.PointStruct(id=2, vector={"8": [1.0] * 8})])
    assert (collection.unfilled(32), collection.unfilled(8)) == (1, 0)
    with pytest.raises(IndexMismatchError, match="point 2 has no vector at the largest tier"):
        collection.add_tier(16)
    assert collection.tiers == (8, 32)


def test_points_added_while_a_tier_is_added_have_it(make: Make) -> None:
    rows = random_rows(500, 64)
    collection = make(tiers=(8, 32))
    collection.add(range(300), rows[:300])

    def embedded(records: list[Record]) -> Rows:
        if collection.count() == 300:
            collection.add(range(300, 500), rows[300:])
        return rows[[int(record.id) for record in records]]

    collection.add_tier(64, embedded)  # type: ignore[arg-type]
    found = {hit.id for hit in collection.search(rows[0], 500, shortlist=500)}
    assert found == set(range(500))


async def test_everything_has_an_async_twin(make: Make) -> None:
    rows = random_rows(30)
    async with make(tiers=(8, 32)) as collection:
        await collection.aadd([f"p{n}" for n in range(30)], rows, [{"n": n} for n in range(30)])
        found = await asyncio.gather(*(collection.asearch(row, 1) for row in rows))
        assert [hits[0].id for hits in found] == [f"p{n}" for n in range(30)]
        assert [record.id for record in await collection.aget(["p3"])] == ["p3"]
        assert await collection.acount({"n": {"lt": 5}}) == 5
        await collection.adelete(["p0"])
        await collection.aadd_tier(16)
        await collection.aoptimize()
        assert len([record async for record in collection.ascroll(page=7)]) == 29
        await collection.adrop()
    with pytest.raises(ClosedError):
        await collection.acount()


def test_dropped_is_gone(make: Make) -> None:
    collection = make(tiers=(8, 32))
    collection.add([1], random_rows(1))
    collection.drop()
    assert make(tiers=(4, 16)).count() == 0


def test_nothing_added_and_nothing_found(make: Make) -> None:
    collection = make(tiers=(8, 32))
    assert collection.add([], []) == []
    assert collection.search(random_rows(1)) == []
    assert collection.get([]) == []
    assert list(collection.scroll()) == []
    assert collection.get(["nothing"]) == []


def test_arguments_are_checked_when_it_is_built() -> None:
    for wrong in (
        {"url": "http://localhost:1", "path": "x"},
        {"location": "somewhere"},
        {"tiers": ()},
        {"tiers": (8, 8)},
        {"tiers": (0, 8)},
        {"space": "word2vec"},
        {"name": ""},
    ):
        with pytest.raises(ConfigurationError):
            MatryoshkaCollection(**{"space": SPACE, **wrong})  # type: ignore[arg-type]
    assert SPACE in repr(MatryoshkaCollection(space=SPACE))


def test_a_collection_says_its_space_itself(make: Make) -> None:
    make(tiers=(8, 32)).add([1], random_rows(1))
    assert str(make(space=None).space) == SPACE
    with pytest.raises(ConfigurationError, match=r"there is no collection 'new' at .*space="):
        make("new", space=None).open()


def test_a_prefix_is_put_before_every_field(filled: MatryoshkaCollection) -> None:
    """As an adapter does, whose callers name the fields of ``metadata`` alone."""
    for given in ({"page": {"lt": 2}}, {"$or": [{"page": 0}, {"page": 1}]}):
        assert filled.count(read_filter(given, prefix="meta")) == 2
    inner: FilterLike = {"text": "a field that is called as an operator is"}
    wanted = {"must": [{"key": "meta.text", "match": {"value": inner["text"]}}]}  # type: ignore[index]
    assert read_filter(inner, prefix="meta") == wanted
