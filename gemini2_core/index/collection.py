"""A Matryoshka collection: every tier from one embedding, all passes of a search in one call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Self

from gemini2_core.index.filters import FilterLike
from gemini2_core.index.ids import PointId
from gemini2_core.index.passes import DEFAULT_SHORTLIST, Shortlist
from gemini2_core.index.reading import count_points, count_unfilled, get_points, read_page
from gemini2_core.index.results import Record, Results
from gemini2_core.index.rows import VectorsLike
from gemini2_core.index.searching import Search, search_points
from gemini2_core.index.steps import atake, take
from gemini2_core.index.tiers import VectorsFor, add_tier
from gemini2_core.index.whole import CollectionAsAWhole
from gemini2_core.index.writing import add_points, delete_points

__all__ = ["MatryoshkaCollection"]

_PAGE = 256


class MatryoshkaCollection(CollectionAsAWhole):
    """Points with one vector a tier, searched small first and re-scored large.

    ``add`` takes the largest vector of each point and cuts every tier from it; ``search`` takes
    the largest vector of the query, searches everything at the smallest tier, and re-scores the
    short list at the larger ones, in one call to the engine. Building it checks arguments and
    opens nothing: ``open``, or the first call, does.

    Args:
        name: The collection's name, or an alias (``point_alias``) of one.
        space: The space of the vectors (``Gemini2Embedder.space``), or its string form; None
            takes what a collection that is there says of itself.
        tiers: Sizes, any order; None for those the collection has, ``(768, 3072)`` for a new one.
        location: ``":memory:"``, which is also what no address at all means.
        path: A folder, for the engine embedded in this process (extra ``[edge]``).
        url: A Qdrant server or cluster.
        api_key: The server's key.
        prefer_grpc: Points and searches go over gRPC.
        client: A ``QdrantClient`` to use instead of an address.
        async_client: Its twin for the async methods; None makes one from the client's address.
        payload_indexes: Type by payload field (``{"metadata.source": "keyword"}``), for what is
            filtered on.
        hybrid: A new collection also gets a sparse BM25 vector (``texts=`` and ``text=``).
        adopt: Take a collection that has no mark and write the mark into it.
        shard_number: Shards of a new collection on a server.
        replication_factor: Copies of each shard of a new collection on a cluster.
        timeout: Seconds for one request.
        retry_seconds: How long a request is repeated that failed in passing.
        parallel: Uploads at once.

    Raises:
        ConfigurationError: Arguments that don't go together.
        MissingExtraError: The engine's package isn't installed.
    """

    # ---- writing

    def add(
        self,
        ids: Iterable[PointId],
        vectors: VectorsLike,
        payloads: Iterable[Mapping[str, object]] | None = None,
        *,
        texts: Iterable[str] | None = None,
    ) -> list[PointId]:
        """Store points; one whose id is there already is replaced. Stored when it returns.

        Args:
            ids: Unsigned integers, UUIDs or any other strings. Of two equal ones the last wins.
            vectors: Shape (n, d) with d at least the largest tier; each tier is cut from it.
                An ``EmbeddingResult`` has its space checked too.
            payloads: What is stored beside each vector, JSON values; None for nothing.
            texts: The words of each point, for a hybrid collection.

        Returns:
            The ids, as they were given.

        Raises:
            IndexMismatchError: Vectors of another space, or shorter than the largest tier.
            InvalidInputError: Lengths that differ, a bad id, numbers that aren't finite.
            IndexUnavailableError: The engine failed; ``stored`` tells what it had acknowledged,
                ``partial`` is the ``EmbeddingResult`` that was given, which is paid for.
        """
        return take(add_points(self._opening, ids, vectors, payloads, texts), self._backend)

    async def aadd(
        self,
        ids: Iterable[PointId],
        vectors: VectorsLike,
        payloads: Iterable[Mapping[str, object]] | None = None,
        *,
        texts: Iterable[str] | None = None,
    ) -> list[PointId]:
        """Store points; see ``add``."""
        return await atake(add_points(self._opening, ids, vectors, payloads, texts), self._backend)

    @contextmanager
    def bulk(self) -> Iterator[Self]:
        """A block in which many points are added, and the graph built once, at its end.

        What is added inside is stored as safely as ever; until the end, searches compare it
        point by point. Without it, a folder gets a graph for each part that came in, and every
        search walks them all: on 100,000 points three, in twice the time. One large graph wants
        a larger ``ef``, see ``search``. An error or a kill leaves the points without the graph;
        ``optimize``, or an ``add`` that finds it due, makes up for it.
        A server builds by itself, and this changes nothing there.
        """
        with self._opening.graph_put_off():
            yield self
        self.optimize()

    @asynccontextmanager
    async def abulk(self) -> AsyncIterator[Self]:
        """A block in which many points are added; see ``bulk``."""
        with self._opening.graph_put_off():
            yield self
        await self.aoptimize()

    def delete(
        self,
        ids: Iterable[PointId] | None = None,
        *,
        filter: FilterLike | None = None,  # noqa: A002  # Qdrant's word
    ) -> None:
        """Delete points by id, or all that a filter matches. Ids that aren't there are no error.

        Raises:
            ConfigurationError: Neither ids nor a filter, or both.
        """
        take(delete_points(self._opening, ids, filter), self._backend)

    async def adelete(
        self,
        ids: Iterable[PointId] | None = None,
        *,
        filter: FilterLike | None = None,  # noqa: A002  # Qdrant's word
    ) -> None:
        """Delete points; see ``delete``."""
        await atake(delete_points(self._opening, ids, filter), self._backend)

    def add_tier(self, dimensions: int, vectors_for: VectorsFor | None = None) -> None:
        """Give every point one more tier, while the collection is in use.

        A tier below the largest is cut from what is stored. A larger one needs vectors:
        ``vectors_for`` gets a page of records and returns theirs. Searches use the tier when
        every point has it; interrupted, the same call goes on.

        Raises:
            ConfigurationError: A larger tier without ``vectors_for``, or a size below 1.
            IndexMismatchError: ``vectors_for`` returned another space or other sizes.
        """
        take(add_tier(self._opening, dimensions, vectors_for), self._backend)

    async def aadd_tier(self, dimensions: int, vectors_for: VectorsFor | None = None) -> None:
        """Give every point one more tier; see ``add_tier``."""
        await atake(add_tier(self._opening, dimensions, vectors_for), self._backend)

    # ---- reading

    def get(
        self, ids: Iterable[PointId], *, with_vectors: bool = False, tier: int | None = None
    ) -> list[Record]:
        """Points by id, in the order of the ids; those that aren't there are left out.

        Args:
            ids: As they were given to ``add``.
            with_vectors: Records carry their vector.
            tier: The vector at this tier; None for the largest.

        Raises:
            ConfigurationError: There is no such tier.
        """
        return take(
            get_points(self._opening, ids, with_vectors=with_vectors, tier=tier), self._backend
        )

    async def aget(
        self, ids: Iterable[PointId], *, with_vectors: bool = False, tier: int | None = None
    ) -> list[Record]:
        """Points by id; see ``get``."""
        return await atake(
            get_points(self._opening, ids, with_vectors=with_vectors, tier=tier), self._backend
        )

    def unfilled(self, tier: int) -> int:
        """How many points have no vector at a tier, so that no search finds them."""
        return take(count_unfilled(self._opening, tier), self._backend)

    async def aunfilled(self, tier: int) -> int:
        """How many points have no vector at a tier; see ``unfilled``."""
        return await atake(count_unfilled(self._opening, tier), self._backend)

    def count(self, filter: FilterLike | None = None) -> int:  # noqa: A002  # Qdrant's word
        """How many points there are, or how many a filter matches."""
        return take(count_points(self._opening, filter), self._backend)

    async def acount(self, filter: FilterLike | None = None) -> int:  # noqa: A002
        """How many points there are; see ``count``."""
        return await atake(count_points(self._opening, filter), self._backend)

    def scroll(
        self,
        filter: FilterLike | None = None,  # noqa: A002  # Qdrant's word
        *,
        with_vectors: bool = False,
        page: int = _PAGE,
    ) -> Iterator[Record]:
        """Every point that a filter matches, fetched page by page, in the order of stored ids."""
        offset: PointId | None = None
        while True:
            points, offset = take(
                read_page(self._opening, filter, page, offset, with_vectors), self._backend
            )
            yield from points
            if offset is None:
                return

    async def ascroll(
        self,
        filter: FilterLike | None = None,  # noqa: A002  # Qdrant's word
        *,
        with_vectors: bool = False,
        page: int = _PAGE,
    ) -> AsyncIterator[Record]:
        """Every point that a filter matches; see ``scroll``."""
        offset: PointId | None = None
        while True:
            points, offset = await atake(
                read_page(self._opening, filter, page, offset, with_vectors), self._backend
            )
            for point in points:
                yield point
            if offset is None:
                return

    def search(
        self,
        vector: VectorsLike | None,
        k: int = 4,
        *,
        shortlist: Shortlist = DEFAULT_SHORTLIST,
        filter: FilterLike | None = None,  # noqa: A002  # Qdrant's word
        text: str | None = None,
        with_vectors: bool = False,
        first_scores: bool = False,
        exact: bool = False,
        ef: int | None = None,
    ) -> Results:
        """The ``k`` nearest points, best first.

        Args:
            vector: The query's vector, shape (d,) or (1, d), d at least the largest tier; None
                for the words alone (``text``, a hybrid collection).
            k: How many.
            shortlist: How many points the largest tier re-scores; with three tiers or more the
                passes before hand on four times as many each, or one number a pass. At least k.
            filter: Which points count, from the first pass on; see ``read_filter``.
            text: The query's words: BM25 beside the dense passes, fused by rank (a hybrid
                collection).
            with_vectors: Hits carry their largest vector.
            first_scores: Hits carry the smallest tier's score too.
            exact: One pass over every point at the largest tier, to compare with.
            ef: Candidates of the graph search. None for 512, growing beyond 100,000 points (2,038
                for a million: there recall@10 was 0.90 with 512 and 0.97 with 2,048, on synthetic
                vectors), or twice the short list if that is larger.

        Raises:
            IndexMismatchError: A vector of another space, or shorter than the largest tier.
            ConfigurationError: ``k`` or ``shortlist`` below 1; ``text`` without ``hybrid``.
            InvalidInputError: A filter that can't be read; neither a vector nor ``text``.
        """
        return take(
            search_points(
                self._opening,
                Search(vector, k, shortlist, filter, text, with_vectors, first_scores, exact, ef),
            ),
            self._backend,
        )

    async def asearch(
        self,
        vector: VectorsLike | None,
        k: int = 4,
        *,
        shortlist: Shortlist = DEFAULT_SHORTLIST,
        filter: FilterLike | None = None,  # noqa: A002  # Qdrant's word
        text: str | None = None,
        with_vectors: bool = False,
        first_scores: bool = False,
        exact: bool = False,
        ef: int | None = None,
    ) -> Results:
        """The ``k`` nearest points; see ``search``."""
        return await atake(
            search_points(
                self._opening,
                Search(vector, k, shortlist, filter, text, with_vectors, first_scores, exact, ef),
            ),
            self._backend,
        )
