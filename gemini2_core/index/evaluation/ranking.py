"""Exact rankings at every tier and by two passes, from vectors that come by a chunk at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gemini2_core.index.evaluation.metrics import DEPTH
from gemini2_core.model import Vectors, truncate

__all__ = ["Ranker", "TieOrder"]

_Keys = npt.NDArray[np.int64]

_QUERIES_AT_ONCE = 512
# A float32 sum of 3072 products is right to about a millionth; what is closer is a tie.
_STEPS = 1_000_000
_BITS = 32
_LOW = (1 << _BITS) - 1
_NOTHING = np.iinfo(np.int64).min


class TieOrder:
    """Which of two documents with one score comes first: trec_eval's rule, the id that sorts last.

    Args:
        ids: Ids of all documents, none twice.
    """

    def __init__(self, ids: Sequence[str]) -> None:
        self._ids = sorted(ids, reverse=True)
        self._places = {own: place for place, own in enumerate(self._ids)}

    def __len__(self) -> int:
        return len(self._ids)

    def places(self, ids: Sequence[str]) -> _Keys:
        """The place of each id in the order, int64, shape (n,)."""
        return np.fromiter((self._places[own] for own in ids), np.int64, len(ids))

    def keys(self, scores: Vectors, places: _Keys) -> _Keys:
        """One number for a score and its document: the larger is better, and no two are equal."""
        keys: _Keys = (np.rint(scores * np.float32(_STEPS)).astype(np.int64) << _BITS) + (
            _LOW - places
        )
        return keys

    def ids(self, keys: _Keys) -> list[str]:
        """The documents of one query's keys, the best first."""
        best = np.sort(keys[keys != _NOTHING])[::-1]
        return [self._ids[place] for place in (_LOW - (best & _LOW)).tolist()]


class Ranker:
    """The best documents for each query, at each tier and by two passes; exact, no graph, no int8.

    It holds the queries and, for each, as many documents as are asked for; the documents'
    vectors are looked at once and let go.

    Args:
        queries: One row a query, float32, at least as long as the largest tier.
        tiers: Sizes to rank at, the smallest first.
        shortlists: How many documents the smallest tier hands on to the larger ones.
        order: Breaks ties.
    """

    def __init__(
        self, queries: Vectors, tiers: Sequence[int], shortlists: Sequence[int], order: TieOrder
    ) -> None:
        self._order = order
        self._tiers = tuple(tiers)
        self._queries = {tier: truncate(queries, tier) for tier in tiers}
        longest = max([DEPTH, *shortlists])
        keep = {tier: longest if tier == tiers[0] else DEPTH for tier in tiers}
        self._best = {t: np.full((len(queries), keep[t]), _NOTHING) for t in tiers}
        # The largest tier's keys of what the smallest found.
        self._rescored = np.full((len(queries), longest), _NOTHING)

    def add(self, ids: Sequence[str], vectors: Vectors) -> None:
        """Look at some documents, shape (n, d) with d at least the largest tier."""
        places = self._order.places(ids)
        cut = {tier: truncate(vectors, tier) for tier in self._tiers}
        for start in range(0, len(self._rescored), _QUERIES_AT_ONCE):
            block = slice(start, start + _QUERIES_AT_ONCE)
            keys = {
                tier: self._order.keys(self._queries[tier][block] @ cut[tier].T, places)
                for tier in self._tiers
            }
            self._merge(block, keys)

    def _merge(self, block: slice, keys: dict[int, _Keys]) -> None:
        small, large = self._tiers[0], self._tiers[-1]
        found = np.concatenate([self._best[small][block], keys[small]], axis=1)
        rescored = np.concatenate([self._rescored[block], keys[large]], axis=1)
        kept = _largest(found, self._best[small].shape[1])
        self._best[small][block] = np.take_along_axis(found, kept, axis=1)
        self._rescored[block] = np.take_along_axis(rescored, kept, axis=1)
        for tier in self._tiers[1:]:
            found = np.concatenate([self._best[tier][block], keys[tier]], axis=1)
            kept = _largest(found, DEPTH)
            self._best[tier][block] = np.take_along_axis(found, kept, axis=1)

    def one_pass(self, tier: int) -> list[list[str]]:
        """Ids for each query, the best first, searched at one tier."""
        best = self._best[tier]
        return [self._order.ids(row)[:DEPTH] for row in best]

    def two_passes(self, shortlist: int) -> list[list[str]]:
        """Ids for each query: the smallest tier's ``shortlist``, re-scored at the largest."""
        small = self._best[self._tiers[0]]
        kept = np.argsort(small, axis=1)[:, ::-1][:, :shortlist]
        best = np.take_along_axis(self._rescored, kept, axis=1)
        return [self._order.ids(row)[:DEPTH] for row in best]


def _largest(keys: _Keys, count: int) -> _Keys:
    """Where the ``count`` largest keys of each row are."""
    found: _Keys = np.argpartition(keys, keys.shape[1] - count, axis=1)[:, -count:]
    return found
