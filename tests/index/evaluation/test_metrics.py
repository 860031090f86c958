"""The metrics against trec_eval itself: ties, grades, queries and documents that are missing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemini2_core.index.evaluation import measure_run
from gemini2_core.index.evaluation.metrics import METRICS, trec_order

pytrec_eval = pytest.importorskip("pytrec_eval")

# Few ids and few scores, so that ties and judged documents are common; ids of several scripts
# and lengths, since ties hang on how they sort. trec_eval's own have neither blanks nor zeros.
documents = st.sampled_from([*(f"d{n}" for n in range(130)), "é", "z", "Ω", "😀", "d", "D1"])
scores = st.sampled_from([0.0, 0.25, 0.5, 1.0, 1e-9, 0.1, 0.1 + 1e-10, -1.0, 3e38])
grades = st.integers(-1, 3)
queries = st.sampled_from(["q1", "q2", "q10", "x"])
runs = st.dictionaries(queries, st.dictionaries(documents, scores, max_size=140))
judgements = st.dictionaries(
    queries, st.dictionaries(documents, grades, min_size=1, max_size=12), min_size=1
)


@settings(max_examples=200)
@given(runs, judgements)
def test_as_trec_eval_has_it(
    run: dict[str, dict[str, float]], qrels: dict[str, dict[str, int]]
) -> None:
    ours = measure_run(run, qrels)
    wide = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10", "recall.10,100"}).evaluate(run)
    # Its reciprocal rank has no cut of its own.
    heads = {query: _head(found, 10) for query, found in run.items()}
    narrow = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(heads)
    assert set(ours) == set(qrels)
    for query, found in ours.items():
        theirs = wide.get(query, {})
        expected = {
            "nDCG@10": theirs.get("ndcg_cut_10", 0.0),
            "recall@10": theirs.get("recall_10", 0.0),
            "recall@100": theirs.get("recall_100", 0.0),
            "MRR@10": narrow.get(query, {}).get("recip_rank", 0.0),
        }
        assert found == pytest.approx(expected, abs=1e-6), query


def _head(found: dict[str, float], count: int) -> dict[str, float]:
    """The first documents in trec_eval's order, found by asking it where each one is."""
    place = {}
    for document in found:
        answer = pytrec_eval.RelevanceEvaluator({"q": {document: 1}}, {"recip_rank"})
        place[document] = round(1 / answer.evaluate({"q": found})["q"]["recip_rank"])
    return {document: found[document] for document in found if place[document] <= count}


@given(st.dictionaries(documents, scores, max_size=20))
def test_ties_are_broken_as_trec_eval_breaks_them(found: dict[str, float]) -> None:
    order = trec_order(found)
    for place, document in enumerate(order, start=1):
        asked = pytrec_eval.RelevanceEvaluator({"q": {document: 1}}, {"recip_rank"})
        assert asked.evaluate({"q": found})["q"]["recip_rank"] == pytest.approx(1 / place)


def test_of_equal_scores_the_id_that_sorts_last_comes_first() -> None:
    assert trec_order({"a": 0.5, "b": 0.5, "c": 0.9, "B": 0.5 + 1e-9}) == ["c", "b", "a", "B"]


def test_a_perfect_run_scores_one_and_an_empty_one_nothing() -> None:
    qrels = {"q": {"a": 2, "b": 1, "c": 0}}
    assert measure_run({"q": {"a": 3, "b": 2}}, qrels)["q"] == dict.fromkeys(METRICS, 1.0)
    assert measure_run({}, qrels)["q"] == dict.fromkeys(METRICS, 0.0)
