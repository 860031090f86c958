"""What a ranking is worth: nDCG, recall and reciprocal rank, defined and tied as trec_eval does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

__all__ = [
    "DEPTH",
    "METRICS",
    "Gains",
    "Scores",
    "gains_of",
    "measure",
    "measure_run",
    "trec_order",
]

Scores = npt.NDArray[np.float64]
Gains = npt.NDArray[np.int64]

METRICS = ("nDCG@10", "recall@10", "recall@100", "MRR@10")
#: How many documents of a ranking the metrics look at.
DEPTH = 100
_CUT = 10


def trec_order(scores: Mapping[str, float]) -> list[str]:
    """Document ids, the best first, as trec_eval orders them.

    It compares scores as float32, and of equal ones puts the id that sorts last first.
    """
    return sorted(scores, key=lambda document: (np.float32(scores[document]), document))[::-1]


def gains_of(ranked: Sequence[Sequence[str]], judged: Sequence[Mapping[str, int]]) -> Gains:
    """The grade of each ranked document, shape (queries, 100); 0 where there is none."""
    gains = np.zeros((len(judged), DEPTH), np.int64)
    for row, documents, grades in zip(gains, ranked, judged, strict=True):
        found = [max(grades.get(document, 0), 0) for document in documents[:DEPTH]]
        row[: len(found)] = found
    return gains


def measure(gains: Gains, judged: Sequence[Mapping[str, int]]) -> dict[str, Scores]:
    """Each metric of ``METRICS`` for each query, shape (queries,).

    Args:
        gains: What ``gains_of`` gives.
        judged: Grade by document id, one mapping a query. From grade 1 on a document is
            relevant. A query without any relevant one scores 0, as trec_eval has it.
    """
    discounts = 1 / np.log2(np.arange(_CUT) + 2)
    ideal = np.zeros((len(judged), _CUT))
    for row, grades in zip(ideal, judged, strict=True):
        best = sorted((grade for grade in grades.values() if grade > 0), reverse=True)[:_CUT]
        row[: len(best)] = best
    relevant = np.array([sum(g > 0 for g in grades.values()) for grades in judged], np.float64)
    hits = gains > 0
    first = np.where(hits[:, :_CUT].any(axis=1), hits.argmax(axis=1) + 1.0, np.inf)
    return {
        "nDCG@10": _divided(gains[:, :_CUT] @ discounts, ideal @ discounts),
        "recall@10": _divided(hits[:, :_CUT].sum(axis=1), relevant),
        "recall@100": _divided(hits[:, :DEPTH].sum(axis=1), relevant),
        "MRR@10": 1 / first,
    }


def measure_run(
    run: Mapping[str, Mapping[str, float]], qrels: Mapping[str, Mapping[str, int]]
) -> dict[str, dict[str, float]]:
    """Each metric of any system's run, by query id.

    Args:
        run: Score by document id by query id. A query that is missing found nothing.
        qrels: Grade by document id by query id; what isn't judged here isn't measured.
    """
    queries = list(qrels)
    ranked = [trec_order(run.get(query, {})) for query in queries]
    judged = [qrels[query] for query in queries]
    found = measure(gains_of(ranked, judged), judged)
    return {
        query: {metric: float(found[metric][place]) for metric in METRICS}
        for place, query in enumerate(queries)
    }


def _divided(above: npt.NDArray[np.generic], below: Scores) -> Scores:
    share: Scores = np.zeros(len(below))
    np.divide(above, below, out=share, where=below > 0)
    return share
