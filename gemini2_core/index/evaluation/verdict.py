"""Whether a gap pays: the difference of two searches over the same queries, told in a sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gemini2_core.index.evaluation.bootstrap import Interval

__all__ = [
    "MIN_QUERIES",
    "Difference",
    "Verdict",
    "model_sentence",
    "size_sentence",
    "two_pass_sentence",
]

#: Fewer tell nothing that lasts: TREC judges systems on 50 topics at least (Buckley and Voorhees,
#: "Evaluating evaluation measure stability", SIGIR 2000).
MIN_QUERIES = 50

Verdict = Literal["more", "not more", "too few queries"]


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better one search is than another, over the same queries.

    Attributes:
        metric: What was measured.
        model: The embedder of ``search``.
        search: The search in question: a size, or two passes.
        base_model: The embedder of ``base``.
        base: What it is compared with.
        gap: Mean of ``search`` minus mean of ``base``, with the interval of a paired bootstrap.
        queries: How many queries there are.
        differing: On how many of them the two don't score the same.
        margin: The smallest gap that would pay.
    """

    metric: str
    model: str
    search: str
    base_model: str
    base: str
    gap: Interval
    queries: int
    differing: int
    margin: float

    @property
    def verdict(self) -> Verdict:
        """Whether the gap is at least the margin, below it, or can't be told from these queries."""
        if self.queries < MIN_QUERIES:
            return "too few queries"
        if self.gap.low >= self.margin:
            return "more"
        if self.gap.high < self.margin:
            return "not more"
        return "too few queries"

    @property
    def queries_needed(self) -> int | None:
        """About how many queries would settle it, were the gap as it looks; None if no number."""
        distance = abs(self.gap.value - self.margin)
        half = (self.gap.high - self.gap.low) / 2
        if self.verdict != "too few queries" or distance < half / 10:
            return None
        return max(MIN_QUERIES, math.ceil(self.queries * (half / distance) ** 2))

    def __str__(self) -> str:
        """The gap with its interval: ``+0.42 points of nDCG@10 (95 % interval -0.31 to +1.20)``."""
        gap = self.gap
        return (
            f"{_points(gap.value)} points of {self.metric} over {_queries(self.queries)} "
            f"(95 % interval {_points(gap.low)} to {_points(gap.high)})"
        )


def size_sentence(differences: Sequence[Difference], smallest: int) -> str:
    """Whether more than the smallest size pays, from its differences to the larger ones.

    Args:
        differences: A larger size against the smallest, by size.
        smallest: The smallest size.
    """
    if not differences:
        return f"Only {smallest} was looked at: to learn whether more pays, embed at a larger size."
    paying = [one for one in differences if one.verdict == "more"]
    if paying:
        first = paying[0]
        return (
            f"More than {smallest} pays on this data: {first.search} brings {first}, at least the "
            f"{_size(first.margin)} that {_times(first, smallest)} the storage must bring."
        )
    largest = differences[-1]
    if all(one.verdict == "not more" for one in differences):
        return (
            f"{smallest} is enough on this data: {largest.search} brings {largest}, less than the "
            f"{_size(largest.margin)} that {_times(largest, smallest)} the storage must bring."
        )
    open_ones = [one for one in differences if one.verdict == "too few queries"]
    return _too_few(open_ones[-1], smallest)


def two_pass_sentence(losses: Sequence[Difference]) -> str | None:
    """What the shortest short list that loses nothing is; None if there are no two passes.

    Args:
        losses: The largest size alone against two passes, by length of the short list.
    """
    if not losses:
        return None
    for one in losses:
        if not one.differing and one.queries >= MIN_QUERIES:
            return f"Two passes ({one.base}) score as {one.search} alone does, on every query."
        if one.verdict == "not more":
            return (
                f"Two passes ({one.base}) are as good as {one.search} alone: "
                f"that has {one} over them."
            )
    last = losses[-1]
    if last.verdict == "more":
        return f"Two passes lose: even against {last.base}, {last.search} alone has {last}."
    return f"Too few queries to tell what two passes lose: {last.search} alone has {last}."


def model_sentence(one: Difference) -> str:
    """Whether another embedder finds better or worse, from its difference to the first one."""
    said = f"{one.model} ({one.search}) has {one} against {one.base_model} ({one.base})"
    if one.queries < MIN_QUERIES or one.gap.low <= 0 <= one.gap.high:
        return f"{said}: too few queries to tell which finds better."
    return f"{said}: it finds {'better' if one.gap.value > 0 else 'worse'}."


def _too_few(one: Difference, smallest: int) -> str:
    said = f"Too few queries to tell whether more than {smallest} pays: {one.search} brings {one}"
    if one.queries < MIN_QUERIES:
        return f"{said}, and below {MIN_QUERIES} queries no interval is to be trusted."
    said += f", which may be more or less than the {_size(one.margin)} that would pay"
    needed = one.queries_needed
    return said + (
        f"; about {needed:,} queries would settle it, were the gap as it looks." if needed else "."
    )


def _queries(count: int) -> str:
    return f"{count:,} {'query' if count == 1 else 'queries'}"


def _points(value: float) -> str:
    # Without a minus zero.
    return f"{round(100 * value, 2) + 0.0:+.2f}"


def _size(margin: float) -> str:
    points = 100 * margin
    return f"{points:g} point" if points == 1 else f"{points:g} points"


def _times(one: Difference, smallest: int) -> str:
    times = int(one.search) / smallest
    return {2.0: "twice", 4.0: "four times"}.get(times, f"{times:g} times")
