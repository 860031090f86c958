"""Intervals by a paired bootstrap, and the sentence that follows from one."""

from __future__ import annotations

import numpy as np
import pytest

from gemini2_core.index.evaluation.bootstrap import Interval, interval, resampled_means
from gemini2_core.index.evaluation.verdict import (
    MIN_QUERIES,
    Difference,
    Verdict,
    model_sentence,
    size_sentence,
    two_pass_sentence,
)


def difference(
    gap: tuple[float, float, float],
    *,
    queries: int = 300,
    search: str = "3072",
    base: str = "768",
    differing: int = 40,
) -> Difference:
    return Difference(
        metric="nDCG@10",
        model="new",
        search=search,
        base_model="old",
        base=base,
        gap=Interval(*gap),
        queries=queries,
        differing=differing,
        margin=0.01,
    )


@pytest.mark.parametrize(
    ("gap", "queries", "verdict"),
    [
        ((0.03, 0.01, 0.05), 300, "more"),
        ((0.002, -0.004, 0.0099), 300, "not more"),
        ((-0.03, -0.05, -0.01), 300, "not more"),
        ((0.012, 0.002, 0.022), 300, "too few queries"),  # a gap there is, but of what size?
        ((0.004, -0.012, 0.02), 300, "too few queries"),
        ((0.03, 0.01, 0.05), MIN_QUERIES - 1, "too few queries"),
        ((0.0, 0.0, 0.0), 10, "too few queries"),
    ],
)
def test_an_interval_decides(
    gap: tuple[float, float, float], queries: int, verdict: Verdict
) -> None:
    assert difference(gap, queries=queries).verdict == verdict


def test_the_sentence_says_what_to_do_and_why() -> None:
    small = difference((0.002, -0.004, 0.008), search="1536")
    large = difference((0.03, 0.02, 0.04))
    assert size_sentence([small, large], 768) == (
        "More than 768 pays on this data: 3072 brings +3.00 points of nDCG@10 over 300 queries "
        "(95 % interval +2.00 to +4.00), at least the 1 point that four times the storage must "
        "bring."
    )
    assert size_sentence([small, difference((-0.0, -0.006, 0.006))], 768) == (
        "768 is enough on this data: 3072 brings +0.00 points of nDCG@10 over 300 queries "
        "(95 % interval -0.60 to +0.60), less than the 1 point that four times the storage must "
        "bring."
    )
    unsure = size_sentence([small, difference((0.02, -0.01, 0.05))], 768)
    assert unsure.startswith("Too few queries to tell whether more than 768 pays: 3072 brings")
    assert "about 2,700 queries would settle it" in unsure  # 9 times as many: a third the width
    few = size_sentence([difference((0.5, 0.4, 0.6), queries=7)], 768)
    assert few.startswith("Too few queries to tell")
    assert "below 50 queries" in few
    assert size_sentence([], 768).startswith("Only 768 was looked at")


def test_two_passes_are_told_by_the_shortest_list_that_loses_nothing() -> None:
    loses = difference((0.03, 0.02, 0.04), base="768 → 3072, short list 10")
    keeps = difference((0.001, -0.001, 0.003), base="768 → 3072, short list 50")
    same = difference((0.0, 0.0, 0.0), base="768 → 3072, short list 90", differing=0)
    assert "short list 50" in str(two_pass_sentence([loses, keeps, same]))
    assert "on every query" in str(two_pass_sentence([loses, same]))
    assert str(two_pass_sentence([loses])).startswith("Two passes lose")
    assert two_pass_sentence([]) is None


def test_another_model_finds_better_worse_or_cant_be_told() -> None:
    assert model_sentence(difference((0.03, 0.02, 0.04))).endswith("it finds better.")
    assert model_sentence(difference((-0.03, -0.04, -0.02))).endswith("it finds worse.")
    assert "too few queries to tell" in model_sentence(difference((0.03, -0.02, 0.08)))
    assert "too few queries to tell" in model_sentence(difference((0.3, 0.2, 0.4), queries=9))


def test_a_seed_draws_the_same_queries_for_every_system() -> None:
    scores = np.random.default_rng(0).random((80, 1))
    twins = np.hstack([scores, scores + 0.25])
    means = resampled_means(twins, resamples=500, seed=3)
    assert np.allclose(means[:, 1] - means[:, 0], 0.25)  # paired: a sure gap has no width
    assert (means == resampled_means(twins, resamples=500, seed=3)).all()
    assert not (means == resampled_means(twins, resamples=500, seed=4)).all()


def test_the_interval_is_the_one_of_theory() -> None:
    scores = np.random.default_rng(1).random((400, 1))
    found = interval(float(scores.mean()), resampled_means(scores, resamples=4000, seed=0)[:, 0])
    half = 1.96 * scores.std() / np.sqrt(len(scores))
    assert found.low == pytest.approx(scores.mean() - half, abs=half / 10)
    assert found.high == pytest.approx(scores.mean() + half, abs=half / 10)


def test_many_queries_are_drawn_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    from gemini2_core.index.evaluation import bootstrap

    scores = np.random.default_rng(2).random((60, 2))
    at_once = resampled_means(scores, resamples=50, seed=0)
    monkeypatch.setattr(bootstrap, "_COUNTS_AT_ONCE", 60 * 7)
    assert np.allclose(resampled_means(scores, resamples=50, seed=0), at_once)
