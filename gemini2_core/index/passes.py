"""The passes of one search, nested: each tier looks only at what the smaller one handed on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import index

import numpy as np

from gemini2_core.errors import ConfigurationError
from gemini2_core.index.filters import JsonFilter
from gemini2_core.index.operations import Numbers, Pass, Sparse
from gemini2_core.model import truncate

__all__ = [
    "DEFAULT_SHORTLIST",
    "Shortlist",
    "candidates",
    "dense_passes",
    "exact_pass",
    "fused",
    "shortlists",
    "whole_number",
    "without_vector",
    "words_pass",
]

Shortlist = int | Sequence[int]

DEFAULT_SHORTLIST = 50
_WIDENING = 4
_TOO_MANY = 2**32
# What the graph search overlooks, the next pass can't bring back, and it overlooks more in a
# larger graph. Recall@10 of the benchmark's synthetic vectors at a short list of 50: with 20,000
# points 0.974 from 128 candidates and 0.997 from 512; with 100,000 0.984 from 512; with a million
# 0.897 from 512 and 0.970 from 2,048 (9 ms of CPU).
_MIN_EF, _MIN_EF_POINTS, _EF_GROWTH = 512, 100_000, 0.6


def shortlists(shortlist: Shortlist, tiers: int, k: int) -> tuple[int, ...]:
    """How many points each pass but the last hands on.

    One number is the list that the last tier re-scores; with more than two tiers, each pass
    before that hands on four times as many. A list of numbers says it for each pass. None is
    below ``k``.

    Raises:
        ConfigurationError: Not positive, or not one number a pass.
    """
    passes, least = tiers - 1, whole_number("k", k)
    if isinstance(shortlist, list | tuple):
        found = [whole_number("shortlist", n) for n in shortlist]
        if len(found) != passes:
            raise ConfigurationError(
                f"shortlist={found} has {len(found)} numbers; "
                f"{tiers} tiers make {passes} before the last"
            )
    else:
        last = whole_number("shortlist", shortlist)
        found = [last * _WIDENING ** (passes - 1 - n) for n in range(passes)]
    return tuple(max(n, least) for n in found)


def whole_number(name: str, given: object) -> int:
    """A number of points.

    Raises:
        ConfigurationError: Not whole, below 1, or beyond all reason.
    """
    try:
        found = index(given)  # type: ignore[arg-type]  # it says so if it isn't
    except TypeError:
        found = 0
    if isinstance(given, bool) or not 1 <= found < _TOO_MANY:
        raise ConfigurationError(f"{name}={given!r} must be a whole number, 1 or more")
    return found


def candidates(points: int, limit: int) -> int:
    """How many candidates a graph search over so many points keeps, to hand on ``limit``."""
    growth: float = max(1.0, points / _MIN_EF_POINTS) ** _EF_GROWTH
    return max(round(_MIN_EF * growth), 2 * limit)


def dense_passes(
    vector: Numbers,
    tiers: Mapping[int, str],
    *,
    k: int,
    shortlist: Shortlist,
    filter: JsonFilter | None,  # noqa: A002  # Qdrant's word
    ef: int | None = None,
    points: int = 0,
) -> Pass:
    """All passes over the tiers (the smallest first), as one nested query for ``k`` points.

    ``points`` is how many there are, about; it says the candidates where ``ef`` doesn't.
    """
    sizes = list(tiers)
    limits = [*shortlists(shortlist, len(sizes), k), k]
    found: Pass | None = None
    for size, limit in zip(sizes, limits, strict=True):
        first = found is None
        found = Pass(
            query=_cut(vector, size),
            using=tiers[size],
            limit=limit,
            before=() if found is None else (found,),
            filter=filter if first else None,
            ef=(ef or candidates(points, limit)) if first else None,
            rescore=False if first and len(sizes) > 1 else None,
        )
    assert found is not None
    return found


def exact_pass(
    vector: Numbers,
    size: int,
    name: str,
    *,
    k: int,
    filter: JsonFilter | None,  # noqa: A002  # Qdrant's word
) -> Pass:
    """One pass over every point at one tier, without graph or int8."""
    return Pass(query=_cut(vector, size), using=name, limit=k, filter=filter, exact=True)


def fused(dense: Pass, terms: Sparse, name: str, *, k: int, limit: int) -> Pass:
    """The dense passes and BM25 side by side, fused by rank."""
    leaf = dense
    while leaf.before:
        leaf = leaf.before[0]
    words = Pass(query=terms, using=name, limit=limit, filter=leaf.filter)
    return Pass(query=None, using=None, limit=k, before=(dense, words))


def words_pass(
    terms: Sparse,
    name: str,
    *,
    k: int,
    filter: JsonFilter | None,  # noqa: A002  # Qdrant's word
) -> Pass:
    """One pass of BM25 alone."""
    return Pass(query=terms, using=name, limit=k, filter=filter)


def without_vector(name: str) -> JsonFilter:
    """The filter for points that have no vector of that name."""
    return {"must_not": [{"has_vector": name}]}


def _cut(vector: Numbers, size: int) -> Numbers:
    row: Numbers = np.ascontiguousarray(truncate(vector[None, :], size)[0])
    return row
