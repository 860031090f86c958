"""From a sample to the whole: drawn from a stream, extrapolated with an interval of 95 %."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Generic, TypeVar

from gemini2_core.corpus.billing.bill import Interval

__all__ = ["Reservoir", "extrapolated", "ratio"]

_T = TypeVar("_T")

#: Of a normal distribution, 95 % lie within so many standard deviations.
_DEVIATIONS = 1.96


class Reservoir(Generic[_T]):
    """So many things of a stream, each with the same chance; the same ones every time.

    Args:
        size: How many are drawn at most.

    Attributes:
        drawn: Those that are drawn so far.
        offered: How many there were.
    """

    def __init__(self, size: int) -> None:
        self.drawn: list[_T] = []
        self.offered = 0
        self._size = size
        self._random = random.Random(0)

    def offer(self, one: _T) -> None:
        """The next of the stream."""
        self.offered += 1
        if len(self.drawn) < self._size:
            self.drawn.append(one)
            return
        place = self._random.randrange(self.offered)
        if place < self._size:
            self.drawn[place] = one


def extrapolated(values: Sequence[float], population: int) -> Interval:
    """The sum over a population of which ``values`` are a sample.

    Args:
        values: One a thing of the sample.
        population: How many things there are.
    """
    n = len(values)
    if n == 0:
        return Interval.certain(0.0)
    total = population * math.fsum(values) / n
    if n >= population:
        return Interval.certain(total)
    return _around(total, population * _error(values, population))


def ratio(wanted: Sequence[float], known: Sequence[float], population: int) -> Interval:
    """By what the sum of the ``known`` numbers of a population becomes that of the ``wanted``.

    Args:
        wanted: One a thing of the sample.
        known: The same things' numbers, which are known for the whole population too.
        population: How many things there are.
    """
    base = math.fsum(known)
    if not base:
        return Interval.certain(1.0)
    factor = math.fsum(wanted) / base
    n = len(wanted)
    if n >= population:
        return Interval.certain(factor)
    left = [one - factor * other for one, other in zip(wanted, known, strict=True)]
    return _around(factor, _error(left, population) / (base / n))


def _error(values: Sequence[float], population: int) -> float:
    """Standard error of the mean of a sample drawn without putting back."""
    n = len(values)
    if n < 2:
        return math.inf
    mean = math.fsum(values) / n
    variance = math.fsum((one - mean) ** 2 for one in values) / (n - 1)
    return math.sqrt(variance / n * (1 - n / population))


def _around(value: float, error: float) -> Interval:
    width = _DEVIATIONS * error
    return Interval(value, max(0.0, value - width), value + width)
