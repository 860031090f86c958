"""How sure a mean over queries is: a paired bootstrap, the same queries drawn for every system."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gemini2_core.index.evaluation.metrics import Scores

__all__ = ["CONFIDENCE", "Interval", "interval", "resampled_means"]

#: Share of the resamples that lie within an interval.
CONFIDENCE = 0.95
_COUNTS_AT_ONCE = 2_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over queries and its 95 % percentile interval."""

    value: float
    low: float
    high: float


def resampled_means(values: Scores, *, resamples: int, seed: int) -> Scores:
    """Means over queries drawn with replacement, shape (resamples, systems).

    Every system sees the same draws, so columns may be subtracted: that is what makes the
    interval of a difference narrower than two intervals side by side.

    Args:
        values: One row a query, one column a system, shape (queries, systems).
        resamples: How often the queries are drawn.
        seed: The same seed draws the same queries.
    """
    queries = len(values)
    rng = np.random.default_rng(seed)
    means = np.empty((resamples, values.shape[1]))
    step = max(1, _COUNTS_AT_ONCE // queries)
    for start in range(0, resamples, step):
        rows = means[start : start + step]
        drawn = rng.integers(queries, size=(len(rows), queries))
        drawn += np.arange(0, len(rows) * queries, queries)[:, None]
        times = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
        rows[:] = times @ values / queries
    return means


def interval(value: float, means: Scores) -> Interval:
    """The mean with the interval that its resamples, shape (resamples,), show."""
    beyond = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [beyond, 1 - beyond])
    return Interval(value, float(low), float(high))
