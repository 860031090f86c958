"""A Matryoshka collection: every tier from one embedding, all passes of a search in one call."""

from __future__ import annotations

import copy
from collections.abc import (
    AsyncIterator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar, cast

from gemini2_core.errors import (
    ConfigurationError,
)
from gemini2_core.index.backend import Backend
from gemini2_core.index.filters import FilterLike, read_filter
from gemini2_core.index.ids import PointId
from gemini2_core.index.mark import check_tiers
from gemini2_core.index.operations import (
    Count,
    FieldType,
    Optimize,
)
from gemini2_core.index.passes import (
    DEFAULT_SHORTLIST,
    Shortlist,
)
from gemini2_core.index.procedures import Procedures, Steps, VectorsFor, VectorsLike, Wanted
from gemini2_core.index.results import Record, Results
from gemini2_core.model import EmbeddingSpace

if TYPE_CHECKING:
    from qdrant_client import AsyncQdrantClient, QdrantClient

__all__ = ["MatryoshkaCollection"]

_T = TypeVar("_T")

_PAGE = 256
_MEMORY = ":memory:"


class MatryoshkaCollection:
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

    def __init__(
        self,
        name: str = "gemini2",
        *,
        space: EmbeddingSpace | str | None,
        tiers: Sequence[int] | None = None,
        location: str | None = None,
        path: str | Path | None = None,
        url: str | None = None,
        api_key: str | None = None,
        prefer_grpc: bool = False,
        client: QdrantClient | None = None,
        async_client: AsyncQdrantClient | None = None,
        payload_indexes: Mapping[str, FieldType] | None = None,
        hybrid: bool = False,
        adopt: bool = False,
        shard_number: int | None = None,
        replication_factor: int | None = None,
        timeout: float = 60.0,
        retry_seconds: float = 30.0,
        parallel: int = 4,
    ) -> None:
        if not name:
            raise ConfigurationError("a collection needs a name")
        given = [location, path, url, client or async_client]
        if sum(one is not None for one in given) > 1:
            raise ConfigurationError("give one of location=, path=, url= and client=")
        if location not in {None, _MEMORY}:
            raise ConfigurationError(
                f"location= is {_MEMORY!r}; a folder is path=, a server url= (got {location!r})"
            )
        wanted = Wanted(
            name=name,
            space=EmbeddingSpace.parse(space) if isinstance(space, str) else space,
            tiers=None if tiers is None else check_tiers(tiers),
            payload_indexes=dict(payload_indexes or {}),
            hybrid=hybrid,
            adopt=adopt,
            shard_number=shard_number,
            replication_factor=replication_factor,
        )
        self._name = name
        self._space = wanted.space
        self._backend: Backend
        if path is not None:
            from gemini2_core.index.edge_backend import EdgeBackend

            self._backend = EdgeBackend(name, Path(path))
        else:
            from gemini2_core.index.qdrant_backend import QdrantBackend

            self._backend = QdrantBackend(
                name,
                url=url,
                api_key=api_key,
                prefer_grpc=prefer_grpc,
                timeout=timeout,
                retry_seconds=retry_seconds,
                parallel=parallel,
                client=client,
                async_client=async_client,
            )
        self._steps = Procedures(wanted, self._backend)

    # ---- what it is

    @property
    def name(self) -> str:
        """The collection's name."""
        return self._name

    @property
    def where(self) -> str:
        """``:memory:``, the folder, or the URL."""
        return self._backend.where

    @property
    def space(self) -> EmbeddingSpace:
        """The space its vectors live in; opens the collection if it wasn't given."""
        return self._space or self._run(self._steps.opened()).space

    @property
    def tiers(self) -> tuple[int, ...]:
        """The sizes that are searched, the smallest first; opens the collection."""
        return self._run(self._steps.opened()).sizes

    @property
    def dimensions(self) -> int:
        """The largest tier: the size ``add`` and ``search`` need; opens the collection."""
        return max(self._run(self._steps.opened()).tiers)

    @property
    def hybrid(self) -> bool:
        """Whether it has a sparse BM25 vector; opens the collection."""
        return self._run(self._steps.opened()).sparse is not None

    def __repr__(self) -> str:
        tiers = list(self._steps.known_tiers)
        return f"MatryoshkaCollection({self._name!r}, {self._space}, tiers={tiers}, {self.where})"

    # ---- opening and closing

    def open(self) -> Self:
        """Open the collection, making it if it isn't there.

        Raises:
            IndexMismatchError: It holds vectors of another space or of other sizes, or has no
                mark and ``adopt`` is False.
            IndexUnavailableError: The server doesn't answer.
            IndexLockedError: The folder is open elsewhere.
        """
        self._run(self._steps.opened())
        return self

    async def aopen(self) -> Self:
        """Open the collection; see ``open``."""
        await self._arun(self._steps.opened())
        return self

    def close(self) -> None:
        """Let go of files and connections; a client that was handed in stays open."""
        self._steps.close()
        self._backend.close()

    async def aclose(self) -> None:
        """Let go of files and connections; see ``close``."""
        self._steps.close()
        await self._backend.aclose()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await self.aopen()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

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
            IndexUnavailableError: The engine failed; ``stored`` tells what it had acknowledged.
        """
        return self._run(self._steps.adding(ids, vectors, payloads, texts))

    async def aadd(
        self,
        ids: Iterable[PointId],
        vectors: VectorsLike,
        payloads: Iterable[Mapping[str, object]] | None = None,
        *,
        texts: Iterable[str] | None = None,
    ) -> list[PointId]:
        """Store points; see ``add``."""
        return await self._arun(self._steps.adding(ids, vectors, payloads, texts))

    @contextmanager
    def bulk(self) -> Iterator[Self]:
        """A block in which many points are added, and the graph built once, at its end.

        What is added inside is stored as safely as ever; until the end, searches compare it
        point by point. Without it, a folder gets a graph for each part that came in, and every
        search walks them all: slower, from some 100,000 points on. An error or a kill leaves the
        points without the graph; ``optimize``, or an ``add`` that finds it due, makes up for it.
        A server builds by itself, and this changes nothing there.
        """
        with self._steps.graph_put_off():
            yield self
        self.optimize()

    @asynccontextmanager
    async def abulk(self) -> AsyncIterator[Self]:
        """A block in which many points are added; see ``bulk``."""
        with self._steps.graph_put_off():
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
        self._run(self._steps.deleting(ids, filter))

    async def adelete(
        self,
        ids: Iterable[PointId] | None = None,
        *,
        filter: FilterLike | None = None,  # noqa: A002  # Qdrant's word
    ) -> None:
        """Delete points; see ``delete``."""
        await self._arun(self._steps.deleting(ids, filter))

    def add_tier(self, dimensions: int, vectors_for: VectorsFor | None = None) -> None:
        """Give every point one more tier, while the collection is in use.

        A tier below the largest is cut from what is stored. A larger one needs vectors:
        ``vectors_for`` gets a page of records and returns theirs. Searches use the tier when
        every point has it; interrupted, the same call goes on.

        Raises:
            ConfigurationError: A larger tier without ``vectors_for``, or a size below 1.
            IndexMismatchError: ``vectors_for`` returned another space or other sizes.
        """
        self._run(self._steps.adding_tier(dimensions, vectors_for))

    async def aadd_tier(self, dimensions: int, vectors_for: VectorsFor | None = None) -> None:
        """Give every point one more tier; see ``add_tier``."""
        await self._arun(self._steps.adding_tier(dimensions, vectors_for))

    def optimize(self) -> None:
        """Build the graph over all points now.

        A server does so by itself. In a folder ``add`` does when enough points are waiting; the
        build runs in a process of its own, and other calls wait until it is done.
        """
        self._run(self._steps.asked(Optimize()))

    async def aoptimize(self) -> None:
        """Build the graph over all points now; see ``optimize``."""
        await self._arun(self._steps.asked(Optimize()))

    def drop(self, *, unmarked: bool = False) -> None:
        """Delete the collection with all its points.

        Args:
            unmarked: Also one without a mark, which others made.

        Raises:
            ConfigurationError: An alias names it.
            IndexMismatchError: It has no mark.
        """
        self._run(self._steps.dropping(unmarked))

    async def adrop(self, *, unmarked: bool = False) -> None:
        """Delete the collection with all its points; see ``drop``."""
        await self._arun(self._steps.dropping(unmarked))

    # ---- its other names, its neighbours, and what is noted about it

    def beside(self, name: str) -> MatryoshkaCollection:
        """Another collection at this address, over the same connection; opens nothing.

        Its space and tiers are what it says of itself. It works as long as this one is open, and
        is closed by itself.
        """
        other = copy.copy(self)
        other._name, other._space = name, None
        other._backend = self._backend.beside(name)
        wanted = Wanted(name, None, None, {}, False, False, None, None)
        other._steps = Procedures(wanted, other._backend)
        return other

    def collections(self) -> list[str]:
        """Names of all collections at this address; opens none."""
        return self._run(self._steps.naming())

    async def acollections(self) -> list[str]:
        """Names of all collections at this address; opens none."""
        return await self._arun(self._steps.naming())

    def aliases(self) -> dict[str, str]:
        """The collection that each alias at this address names; opens nothing."""
        return self._run(self._steps.aliasing())

    async def aaliases(self) -> dict[str, str]:
        """The collection that each alias at this address names; opens nothing."""
        return await self._arun(self._steps.aliasing())

    def point_alias(self, alias: str, *, unmarked: bool = False) -> str | None:
        """Make an alias name this collection, in one step whatever it named before.

        ``MatryoshkaCollection(alias, …)`` then opens this one. One that is open through the
        alias already follows on a server and in memory, with its next call; if the other
        collection holds vectors of another space, that call is an error. In a folder it keeps
        to what it opened: close it and open it again.

        Args:
            alias: The other name.
            unmarked: Also if this one has no mark, since others made it.

        Returns:
            The collection that the alias named before, or None.

        Raises:
            ConfigurationError: A collection has that name.
        """
        return self._run(self._steps.pointing(alias, unmarked))

    async def apoint_alias(self, alias: str, *, unmarked: bool = False) -> str | None:
        """Make an alias name this collection; see ``point_alias``."""
        return await self._arun(self._steps.pointing(alias, unmarked))

    def drop_alias(self, alias: str) -> str | None:
        """Take an alias away; the collection stays.

        Returns:
            The collection that it named, or None if there is no such alias.
        """
        return self._run(self._steps.unpointing(alias))

    async def adrop_alias(self, alias: str) -> str | None:
        """Take an alias away; see ``drop_alias``."""
        return await self._arun(self._steps.unpointing(alias))

    def note(self) -> dict[str, object]:
        """What ``write_note`` stored; empty if nothing was."""
        return self._run(self._steps.noted())

    async def anote(self) -> dict[str, object]:
        """What ``write_note`` stored; empty if nothing was."""
        return await self._arun(self._steps.noted())

    def write_note(self, note: Mapping[str, object]) -> None:
        """Keep a few JSON values with the collection, in place of those of before.

        They stand beside its space and tiers, for whoever opens it: where it came from, say.

        Raises:
            InvalidInputError: Something that isn't JSON.
        """
        self._run(self._steps.noting(note))

    async def awrite_note(self, note: Mapping[str, object]) -> None:
        """Keep a few JSON values with the collection; see ``write_note``."""
        await self._arun(self._steps.noting(note))

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
        return self._run(self._steps.getting(ids, with_vectors, tier))

    async def aget(
        self, ids: Iterable[PointId], *, with_vectors: bool = False, tier: int | None = None
    ) -> list[Record]:
        """Points by id; see ``get``."""
        return await self._arun(self._steps.getting(ids, with_vectors, tier))

    def unfilled(self, tier: int) -> int:
        """How many points have no vector at a tier, so that no search finds them."""
        return self._run(self._steps.counting_unfilled(tier))

    async def aunfilled(self, tier: int) -> int:
        """How many points have no vector at a tier; see ``unfilled``."""
        return await self._arun(self._steps.counting_unfilled(tier))

    def count(self, filter: FilterLike | None = None) -> int:  # noqa: A002  # Qdrant's word
        """How many points there are, or how many a filter matches."""
        return self._run(self._steps.asked(Count(read_filter(filter))))

    async def acount(self, filter: FilterLike | None = None) -> int:  # noqa: A002
        """How many points there are; see ``count``."""
        return await self._arun(self._steps.asked(Count(read_filter(filter))))

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
            points, offset = self._run(self._steps.page(filter, page, offset, with_vectors))
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
            points, offset = await self._arun(self._steps.page(filter, page, offset, with_vectors))
            for point in points:
                yield point
            if offset is None:
                return

    def search(
        self,
        vector: VectorsLike,
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
            vector: The query's vector, shape (d,) or (1, d), d at least the largest tier.
            k: How many.
            shortlist: How many points the largest tier re-scores; with three tiers or more the
                passes before hand on four times as many each, or one number a pass. At least k.
            filter: Which points count, from the first pass on; see ``read_filter``.
            text: The query's words: BM25 beside the dense passes, fused by rank (a hybrid
                collection).
            with_vectors: Hits carry their largest vector.
            first_scores: Hits carry the smallest tier's score too.
            exact: One pass over every point at the largest tier, to compare with.
            ef: Candidates of the graph search; None for 512, or twice the short list if larger.

        Raises:
            IndexMismatchError: A vector of another space, or shorter than the largest tier.
            ConfigurationError: ``k`` or ``shortlist`` below 1; ``text`` without ``hybrid``.
            InvalidInputError: A filter that can't be read.
        """
        return self._run(
            self._steps.searching(
                vector, k, shortlist, filter, text, with_vectors, first_scores, exact, ef
            )
        )

    async def asearch(
        self,
        vector: VectorsLike,
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
        return await self._arun(
            self._steps.searching(
                vector, k, shortlist, filter, text, with_vectors, first_scores, exact, ef
            )
        )

    # ---- who takes the steps

    def _run(self, steps: Steps[_T]) -> _T:
        """Take the steps, blocking."""
        try:
            operation = next(steps)
            while True:
                try:
                    answer = self._backend.run(operation)
                except Exception as error:  # noqa: BLE001  # the steps see it where they stand
                    operation = steps.throw(error)
                else:
                    operation = steps.send(answer)
        except StopIteration as done:
            return cast("_T", done.value)

    async def _arun(self, steps: Steps[_T]) -> _T:
        """Take the steps on the running loop."""
        try:
            operation = next(steps)
            while True:
                try:
                    answer = await self._backend.arun(operation)
                except Exception as error:  # noqa: BLE001  # the steps see it where they stand
                    operation = steps.throw(error)
                else:
                    operation = steps.send(answer)
        except StopIteration as done:
            return cast("_T", done.value)
