"""From the queries' scores to a report: means with intervals, paired differences, decisions."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gemini2_core.index.evaluation.bootstrap import interval, resampled_means
from gemini2_core.index.evaluation.candidate import Candidate
from gemini2_core.index.evaluation.metrics import DEPTH, METRICS, Scores
from gemini2_core.index.evaluation.report import EvaluationReport, Row
from gemini2_core.index.evaluation.verdict import (
    Difference,
    model_sentence,
    size_sentence,
    two_pass_sentence,
)

__all__ = ["Measured", "summary"]


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One way to search and the score of each query, by metric, shape (queries,)."""

    candidate: Candidate
    search: str
    tiers: tuple[int, ...]
    shortlist: int | None
    scores: Mapping[str, Scores]
    milliseconds: float | None = None


def summary(
    measured: Sequence[Measured],
    *,
    queries: tuple[str, ...],
    documents: int,
    notes: Sequence[str],
    margin: float,
    resamples: int,
    seed: int,
    begun: float,
) -> EvaluationReport:
    """Draw the queries for all searches at once, and say what follows."""
    values = np.stack([[one.scores[metric] for one in measured] for metric in METRICS])
    drawn_means = resampled_means(
        values.reshape(-1, len(queries)).T, resamples=resamples, seed=seed
    ).T.reshape(len(METRICS), len(measured), resamples)
    means = dict(zip(METRICS, drawn_means, strict=True))
    rows = tuple(
        Row(
            model=one.candidate.name,
            search=one.search,
            tiers=one.tiers,
            shortlist=one.shortlist,
            scores={
                metric: interval(float(one.scores[metric].mean()), means[metric][place])
                for metric in METRICS
                if _reaches(one, metric)
            },
            milliseconds=one.milliseconds,
        )
        for place, one in enumerate(measured)
    )
    metric = METRICS[0]

    def difference(search: int, base: int) -> Difference:
        a, b = measured[search], measured[base]
        gaps = a.scores[metric] - b.scores[metric]
        drawn = means[metric][search] - means[metric][base]
        return Difference(
            metric=metric,
            model=a.candidate.name,
            search=a.search,
            base_model=b.candidate.name,
            base=b.search,
            gap=interval(float(gaps.mean()), drawn),
            queries=len(queries),
            differing=int(np.count_nonzero(np.abs(gaps) > 1e-9)),
            margin=margin,
        )

    sizes, passes, models = _pairs(measured)
    larger = [difference(*pair) for pair in sizes]
    losses = [difference(*pair) for pair in passes]
    others = [difference(*pair) for pair in models]
    first = measured[0].candidate
    sentences = [
        size_sentence([one for one in larger if one.model == first.name], first.tiers[0]),
        two_pass_sentence([one for one in losses if one.model == first.name]),
        *(model_sentence(one) for one in {one.model: one for one in others}.values()),
    ]
    candidates = {id(one.candidate): one.candidate for one in measured}.values()
    return EvaluationReport(
        documents=documents,
        queries=queries,
        rows=rows,
        differences=(*larger, *losses, *others),
        sentences=tuple(sentence for sentence in sentences if sentence),
        costs=tuple(one.cost for one in candidates),
        servers=tuple({one.server: None for one in candidates if one.server}),
        notes=tuple(notes),
        per_query={(one.candidate.name, one.search): one.scores for one in measured},
        seconds=time.monotonic() - begun,
    )


_Pairs = list[tuple[int, int]]


def _pairs(measured: Sequence[Measured]) -> tuple[_Pairs, _Pairs, _Pairs]:
    """What is compared, as places: larger sizes, the largest against two passes, other models."""
    sizes: _Pairs = []
    passes: _Pairs = []
    models: _Pairs = []
    base: list[int] = []
    for candidate in {id(one.candidate): one.candidate for one in measured}.values():
        own = [n for n, one in enumerate(measured) if one.candidate is candidate]
        single = [n for n in own if len(measured[n].tiers) == 1 and not _in_engine(measured[n])]
        sizes += [(n, single[0]) for n in single[1:]]
        passes += [(single[-1], n) for n in own if measured[n].shortlist is not None]
        base = base or single
        if own[0]:
            models += _same_size(measured, single, base) or [(single[-1], base[-1])]
    return sizes, passes, models


def _same_size(measured: Sequence[Measured], some: Sequence[int], others: Sequence[int]) -> _Pairs:
    by_size = {measured[n].tiers: n for n in others}
    return [(n, by_size[measured[n].tiers]) for n in some if measured[n].tiers in by_size]


def _in_engine(one: Measured) -> bool:
    return one.milliseconds is not None


def _reaches(one: Measured, metric: str) -> bool:
    return one.shortlist is None or one.shortlist >= DEPTH or not metric.endswith(str(DEPTH))
