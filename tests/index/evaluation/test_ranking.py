"""Rankings by the chunk against rankings of everything at once, and against the engine's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemini2_core.index import MatryoshkaCollection
from gemini2_core.index.evaluation.metrics import DEPTH, trec_order
from gemini2_core.index.evaluation.ranking import Ranker, TieOrder
from gemini2_core.model import Vectors, truncate

TIERS = (4, 16, 32)


def random_rows(rng: np.random.Generator, count: int, copies: bool) -> Vectors:
    rows = rng.normal(size=(count, 32)).astype(np.float32)
    if copies:  # every third is another's twin, and so ties with it
        rows[::3] = rows[0]
    return rows


def ranked_at_once(
    queries: Vectors, vectors: Vectors, ids: list[str], tier: int
) -> list[list[str]]:
    scores = truncate(queries, tier) @ truncate(vectors, tier).T
    return [
        trec_order({i: round(float(s), 6) for i, s in zip(ids, row, strict=True)})[:DEPTH]
        for row in scores
    ]


@settings(max_examples=25)
@given(st.integers(1, 250), st.integers(1, 90), st.booleans(), st.integers(0, 99))
def test_chunks_give_what_all_at_once_gives(count: int, step: int, copies: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, queries = random_rows(rng, count, copies), random_rows(rng, 3, copies=False)
    ids = [f"{n:x}" for n in rng.permutation(count)]
    ranker = Ranker(queries, TIERS, (5, 120), TieOrder(ids))
    for start in range(0, count, step):
        ranker.add(ids[start : start + step], vectors[start : start + step])
    for tier in TIERS:
        assert ranker.one_pass(tier) == ranked_at_once(queries, vectors, ids, tier)
    for shortlist in (5, 120):
        whole = ranked_at_once(queries, vectors, ids, TIERS[-1])
        found = ranker.two_passes(shortlist)
        assert [len(one) for one in found] == [min(shortlist, count, DEPTH)] * 3
        for query, (one, all_of_it) in enumerate(zip(found, whole, strict=True)):
            scores = truncate(queries, TIERS[0])[query] @ truncate(vectors, TIERS[0]).T
            first = trec_order({i: round(float(s), 6) for i, s in zip(ids, scores, strict=True)})[
                :shortlist
            ]
            if shortlist >= count or count <= DEPTH:
                assert one == [i for i in all_of_it if i in set(first)]
            assert set(one) <= set(first)


def test_two_passes_are_the_collections_own() -> None:
    rng = np.random.default_rng(5)
    vectors, queries = random_rows(rng, 300, copies=False), random_rows(rng, 8, copies=False)
    ids = [str(n) for n in range(300)]
    ranker = Ranker(queries, (4, 32), (20,), TieOrder(ids))
    ranker.add(ids, vectors)
    with MatryoshkaCollection(space="gemini-embedding-2/RETRIEVAL", tiers=(4, 32)) as collection:
        collection.add(range(300), vectors)
        for query, ours in zip(queries, ranker.two_passes(20), strict=True):
            theirs = collection.search(query, 10, shortlist=20)
            assert [str(hit.id) for hit in theirs] == ours[:10]
        for query, ours in zip(queries, ranker.one_pass(32), strict=True):
            theirs = collection.search(query, 10, exact=True)
            assert [str(hit.id) for hit in theirs] == ours[:10]


def test_a_tie_order_keeps_every_document_apart() -> None:
    order = TieOrder(["a", "b", "é"])
    keys = order.keys(np.zeros((1, 3), np.float32), order.places(["a", "b", "é"]))[0]
    assert order.ids(keys) == ["é", "b", "a"]
    with pytest.raises(KeyError):
        order.places(["unknown"])
