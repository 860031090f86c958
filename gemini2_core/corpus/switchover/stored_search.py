"""The search of a collection as it is, by one of its vectors, whoever made it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gemini2_core.content import ContentLike
from gemini2_core.corpus.sources import CollectionSource
from gemini2_core.corpus.switchover.side_by_side import QueryVector, Search, query_vector
from gemini2_core.embedding import EmbeddingResult, Gemini2Embedder
from gemini2_core.errors import IndexMismatchError, IndexUnavailableError
from gemini2_core.index import PointId
from gemini2_core.index.ids import caller_id
from gemini2_core.index.operations import Describe, Numbers, Pass, Query

__all__ = ["StoredSearch"]


class StoredSearch:
    """A collection that is only searched: the live one, before its successor takes over.

    Args:
        source: The collection, as a corpus; its connection is used, and stays the source's.
        using: The vector that is compared; None for the only one, or the largest.
    """

    def __init__(self, source: CollectionSource, *, using: str | None = None) -> None:
        self._backend = source.backend
        self._name = source.collection
        self._wanted = using
        self._found: tuple[str, int] | None = None

    @property
    def using(self) -> str:
        """The vector that is compared; Qdrant's unnamed one is ``""``."""
        return self._vector()[0]

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return self._vector()[1]

    def by(self, embed: Gemini2Embedder | QueryVector) -> Search:
        """The search, for queries that are embedded so."""
        vector = query_vector(embed)

        def search(query: ContentLike, k: int) -> list[PointId]:
            return self.search(_row(vector(query)), k)

        return search

    def search(self, vector: Sequence[float] | Numbers, k: int) -> list[PointId]:
        """Ids of the ``k`` points nearest to a vector, the best first.

        Raises:
            IndexMismatchError: The vector has another size than those of the collection.
        """
        using, size = self._vector()
        row: Numbers = np.asarray(vector, dtype=np.float32)
        if row.shape != (size,):
            raise IndexMismatchError(
                f"collection {self._name!r} holds vectors of {size} numbers ({using or 'unnamed'}),"
                f" and the query has {row.shape[-1]}"
            )
        scored = self._backend.run(Query(Pass(row, using or None, k)))
        return [caller_id(one.point.id, one.point.payload) for one in scored]

    def _vector(self) -> tuple[str, int]:
        if self._found is None:
            there = self._backend.run(Describe())
            if there is None:
                raise IndexUnavailableError(
                    f"there is no collection {self._name!r} at {self._backend.where}", code=404
                )
            sizes = {name: size for name, (size, _) in there.vectors.items()}
            using = self._wanted
            if using is None:
                using = max(sizes, key=lambda name: sizes[name], default="")
            if using not in sizes:
                names = ", ".join(repr(name) for name in sorted(sizes)) or "none"
                raise IndexMismatchError(
                    f"collection {self._name!r} has no vector {using!r}: there is {names}"
                )
            self._found = using, sizes[using]
        return self._found


def _row(vector: object) -> Numbers:
    rows = vector.vectors if isinstance(vector, EmbeddingResult) else np.asarray(vector, np.float32)
    row: Numbers = rows.reshape(-1)
    return row
