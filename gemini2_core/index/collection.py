"""A Matryoshka collection: every tier from one embedding, all passes of a search in one call."""

from __future__ import annotations

from collections.abc import (
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import numpy as np
import numpy.typing as npt
import orjson

from gemini2_core.embedding import EmbeddingResult
from gemini2_core.errors import (
    ClosedError,
    ConfigurationError,
    IndexMismatchError,
    IndexUnavailableError,
    InvalidInputError,
)
from gemini2_core.index.backend import Backend
from gemini2_core.index.filters import FilterLike, JsonFilter, read_filter
from gemini2_core.index.ids import ID_KEY, Payload, PointId, caller_id, point_id
from gemini2_core.index.mark import DEFAULT_TIERS, SPARSE_NAME, Mark, check_tiers
from gemini2_core.index.operations import (
    AddVector,
    Count,
    Create,
    Delete,
    Describe,
    Description,
    Drop,
    FieldType,
    IndexField,
    Layout,
    Numbers,
    Operation,
    Optimize,
    Point,
    Query,
    Retrieve,
    Scored,
    Scroll,
    SetVectors,
    Sparse,
    Together,
    Tune,
    Upsert,
    WriteMark,
)
from gemini2_core.index.passes import (
    DEFAULT_SHORTLIST,
    Shortlist,
    dense_passes,
    exact_pass,
    fused,
    shortlists,
)
from gemini2_core.index.results import Hit, Record, Results
from gemini2_core.index.sparse import document_terms, query_terms
from gemini2_core.model import EmbeddingSpace, truncate

if TYPE_CHECKING:
    from qdrant_client import AsyncQdrantClient, QdrantClient

__all__ = ["MatryoshkaCollection", "VectorsFor", "VectorsLike"]

_T = TypeVar("_T")
_Steps = Generator[Operation[Any], Any, _T]
VectorsLike = EmbeddingResult | npt.ArrayLike
VectorsFor = Callable[[Sequence[Record]], VectorsLike]

_PAGE = 256
_JSON = orjson.OPT_SERIALIZE_NUMPY
_MEMORY = ":memory:"


class MatryoshkaCollection:
    """Points with one vector a tier, searched small first and re-scored large.

    ``add`` takes the largest vector of each point and cuts every tier from it; ``search`` takes
    the largest vector of the query, searches everything at the smallest tier, and re-scores the
    short list at the larger ones, in one call to the engine. Building it checks arguments and
    opens nothing: ``open``, or the first call, does.

    Args:
        name: The collection's name.
        space: The space of the vectors (``Gemini2Embedder.space``), or its string form.
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
        space: EmbeddingSpace | str,
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
        self._name = name
        self._wanted = EmbeddingSpace.parse(space) if isinstance(space, str) else space
        self._tiers = None if tiers is None else check_tiers(tiers)
        self._hybrid = hybrid
        self._adopt = adopt
        self._payload_indexes = dict(payload_indexes or {})
        self._shard_number = shard_number
        self._replication_factor = replication_factor
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
        self._mark: Mark | None = None
        self._closed = False

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
        """The space its vectors live in."""
        return self._wanted

    @property
    def tiers(self) -> tuple[int, ...]:
        """The sizes that are searched, the smallest first; opens the collection."""
        return self._run(self._opened()).sizes

    @property
    def dimensions(self) -> int:
        """The largest tier: the size ``add`` and ``search`` need; opens the collection."""
        return max(self._run(self._opened()).tiers)

    @property
    def hybrid(self) -> bool:
        """Whether it has a sparse BM25 vector; opens the collection."""
        return self._run(self._opened()).sparse is not None

    def __repr__(self) -> str:
        tiers = list((self._mark.sizes if self._mark else self._tiers) or ())
        return f"MatryoshkaCollection({self._name!r}, {self.space}, tiers={tiers}, {self.where})"

    # ---- opening and closing

    def open(self) -> Self:
        """Open the collection, making it if it isn't there.

        Raises:
            IndexMismatchError: It holds vectors of another space or of other sizes, or has no
                mark and ``adopt`` is False.
            IndexUnavailableError: The server doesn't answer.
            IndexLockedError: The folder is open elsewhere.
        """
        self._run(self._opened())
        return self

    async def aopen(self) -> Self:
        """Open the collection; see ``open``."""
        await self._arun(self._opened())
        return self

    def close(self) -> None:
        """Let go of files and connections; a client that was handed in stays open."""
        self._closed, self._mark = True, None
        self._backend.close()

    async def aclose(self) -> None:
        """Let go of files and connections; see ``close``."""
        self._closed, self._mark = True, None
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
        return self._run(self._adding(ids, vectors, payloads, texts))

    async def aadd(
        self,
        ids: Iterable[PointId],
        vectors: VectorsLike,
        payloads: Iterable[Mapping[str, object]] | None = None,
        *,
        texts: Iterable[str] | None = None,
    ) -> list[PointId]:
        """Store points; see ``add``."""
        return await self._arun(self._adding(ids, vectors, payloads, texts))

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
        self._run(self._deleting(ids, filter))

    async def adelete(
        self,
        ids: Iterable[PointId] | None = None,
        *,
        filter: FilterLike | None = None,  # noqa: A002  # Qdrant's word
    ) -> None:
        """Delete points; see ``delete``."""
        await self._arun(self._deleting(ids, filter))

    def add_tier(self, dimensions: int, vectors_for: VectorsFor | None = None) -> None:
        """Give every point one more tier, while the collection is in use.

        A tier below the largest is cut from what is stored. A larger one needs vectors:
        ``vectors_for`` gets a page of records and returns theirs. Searches use the tier when
        every point has it; interrupted, the same call goes on.

        Raises:
            ConfigurationError: A larger tier without ``vectors_for``, or a size below 1.
            IndexMismatchError: ``vectors_for`` returned another space or other sizes.
        """
        self._run(self._adding_tier(dimensions, vectors_for))

    async def aadd_tier(self, dimensions: int, vectors_for: VectorsFor | None = None) -> None:
        """Give every point one more tier; see ``add_tier``."""
        await self._arun(self._adding_tier(dimensions, vectors_for))

    def optimize(self) -> None:
        """Build the graph over all points now.

        A server does so by itself. In a folder ``add`` does when enough points are waiting; the
        build runs in a process of its own, and other calls wait until it is done.
        """
        self._run(self._asked(Optimize()))

    async def aoptimize(self) -> None:
        """Build the graph over all points now; see ``optimize``."""
        await self._arun(self._asked(Optimize()))

    def drop(self) -> None:
        """Delete the collection with all its points."""
        self._run(self._dropping())

    async def adrop(self) -> None:
        """Delete the collection with all its points."""
        await self._arun(self._dropping())

    # ---- reading

    def get(self, ids: Iterable[PointId], *, with_vectors: bool = False) -> list[Record]:
        """Points by id, in the order of the ids; those that aren't there are left out."""
        return self._run(self._getting(ids, with_vectors))

    async def aget(self, ids: Iterable[PointId], *, with_vectors: bool = False) -> list[Record]:
        """Points by id; see ``get``."""
        return await self._arun(self._getting(ids, with_vectors))

    def count(self, filter: FilterLike | None = None) -> int:  # noqa: A002  # Qdrant's word
        """How many points there are, or how many a filter matches."""
        return self._run(self._asked(Count(read_filter(filter))))

    async def acount(self, filter: FilterLike | None = None) -> int:  # noqa: A002
        """How many points there are; see ``count``."""
        return await self._arun(self._asked(Count(read_filter(filter))))

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
            points, offset = self._run(self._page(filter, page, offset, with_vectors))
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
            points, offset = await self._arun(self._page(filter, page, offset, with_vectors))
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
            self._searching(
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
            self._searching(
                vector, k, shortlist, filter, text, with_vectors, first_scores, exact, ef
            )
        )

    # ---- each method once, as steps that either driver takes

    def _run(self, steps: _Steps[_T]) -> _T:
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

    async def _arun(self, steps: _Steps[_T]) -> _T:
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

    def _opened(self) -> _Steps[Mark]:
        if self._closed:
            raise ClosedError(f"collection {self._name!r} was closed")
        if self._mark is not None:
            return self._mark
        found = yield from _ask(Describe())
        if found is None:
            made = Mark(
                self._wanted,
                {size: str(size) for size in self._tiers or DEFAULT_TIERS},
                SPARSE_NAME if self._hybrid else None,
            )
            layout = self._layout(made)
            # False: somebody else made it in between, and then theirs is looked at like any.
            created = yield from _ask(Create(layout, made.to_json()))
            found = yield from _ask(Describe())
            if found is None:
                raise IndexUnavailableError(
                    f"collection {self._name!r} at {self.where} vanished while it was made"
                )
            if created and Mark.from_json(found.mark, self._name) is None:
                raise IndexMismatchError(
                    f"Qdrant at {self.where} doesn't keep a collection's metadata: "
                    "it needs version 1.16 or later"
                )
        mark = Mark.from_json(found.mark, self._name)
        if mark is None:
            mark = yield from self._adopted(found)
        self._check(mark, found)
        for field, kind in self._payload_indexes.items():
            if field not in found.fields:
                yield from _ask(IndexField(field, kind))
        self._mark = mark
        return mark

    def _layout(self, mark: Mark) -> Layout:
        return Layout(
            vectors={name: size for size, name in mark.tiers.items()},
            sparse=mark.sparse,
            shard_number=self._shard_number,
            replication_factor=self._replication_factor,
        )

    def _adopted(self, found: Description) -> _Steps[Mark]:
        if not self._adopt:
            raise IndexMismatchError(
                f"collection {self._name!r} at {self.where} has no mark that tells which model's "
                f"vectors it holds. If they are {self._wanted}, open it once with adopt=True; "
                "else use another name and embed its contents anew"
            )
        mark = Mark.adopt(found, self._wanted, self._tiers or DEFAULT_TIERS, self._name)
        yield from _ask(WriteMark(mark.to_json()))
        return mark

    def _check(self, mark: Mark, found: Description) -> None:
        """See that the collection is what was asked for."""
        if mark.space != self._wanted:
            raise IndexMismatchError(
                f"collection {self._name!r} at {self.where} holds vectors of {mark.space}, and it "
                f"was opened for {self._wanted}: they can't be compared. Open it with the model "
                "and task it was made with, or embed its contents anew into another collection"
            )
        mark.check(found, self._name)
        if self._tiers is not None and self._tiers != mark.sizes:
            missing = [size for size in self._tiers if size not in mark.sizes]
            how = (
                f"add_tier({missing[0]}) on the collection opened without tiers= gives it that one"
                if missing
                else "open it without tiers=, or with all it has"
            )
            raise IndexMismatchError(
                f"collection {self._name!r} at {self.where} has tiers {_listed(mark.sizes)}, and "
                f"it was opened for {_listed(self._tiers)}: {how}"
            )
        if self._hybrid and mark.sparse is None:
            raise IndexMismatchError(
                f"collection {self._name!r} at {self.where} was made without hybrid=True and has "
                "no BM25 vector: copy it into a new one that is hybrid"
            )

    def _asked(self, operation: Operation[_T]) -> _Steps[_T]:
        yield from self._opened()
        return (yield from _ask(operation))

    def _adding(
        self,
        ids: Iterable[PointId],
        vectors: VectorsLike,
        payloads: Iterable[Mapping[str, object]] | None,
        texts: Iterable[str] | None,
    ) -> _Steps[list[PointId]]:
        mark = yield from self._opened()
        own = list(ids)
        rows = self._rows(vectors, mark.space, max(mark.tiers))
        told: list[Mapping[str, object]] = [{}] * len(own) if payloads is None else list(payloads)
        words = None if texts is None else list(texts)
        for what, n in (
            ("vectors", len(rows)),
            ("payloads", len(told)),
            ("texts", len(own if words is None else words)),
        ):
            if n != len(own):
                raise InvalidInputError(f"{len(own)} ids with {n} {what}")
        if words is not None and mark.sparse is None:
            raise ConfigurationError("texts= is for a collection made with hybrid=True")
        payloads_read = [_payload(*pair, at) for at, pair in enumerate(zip(own, told, strict=True))]
        # Two writes of one id side by side could end in either order.
        last = {point_id(one): at for at, one in enumerate(own)}
        order = list(last.values())
        size = self._backend.batch_size
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        stored: list[PointId] = []
        failures: list[IndexUnavailableError] = []

        def upsert(batch: list[int]) -> Upsert:
            cut = {
                name: np.ascontiguousarray(truncate(rows[batch], tier))
                for tier, name in mark.tiers.items()
            }
            return Upsert(
                [
                    Point(
                        point_id(own[at]),
                        {
                            **{name: tier[row] for name, tier in cut.items()},
                            **_terms(mark, words[at] if words else None),
                        },
                        payloads_read[at],
                    )
                    for row, at in enumerate(batch)
                ]
            )

        # A few batches at a time: the tiers of all of them at once could be gigabytes.
        step = max(1, self._backend.side_by_side)
        for start in range(0, len(batches), step):
            some = batches[start : start + step]
            outcomes = yield from _ask(Together([upsert(batch) for batch in some]))
            for batch, failure in zip(some, outcomes, strict=True):
                if failure is None:
                    stored += [own[at] for at in batch]
                else:
                    failures.append(failure)
            if failures:
                error = failures[0]
                error.stored = tuple(stored)
                error.message += (
                    f" ({len(stored):,} of {len(order):,} points are stored; "
                    "add all of them again, that is harmless)"
                )
                raise error
        yield from _ask(Optimize(only_if_due=True))
        return own

    def _rows(self, vectors: VectorsLike, space: EmbeddingSpace, largest: int) -> Numbers:
        """Vectors as float32 (n, d) of this space, d at least the largest size asked for."""
        if isinstance(vectors, EmbeddingResult):
            if vectors.space != space:
                raise IndexMismatchError(
                    f"vectors of {vectors.space} for collection {self._name!r}, which holds "
                    f"{space}: they can't be compared"
                )
            vectors = vectors.vectors
        try:
            rows: Numbers = np.asarray(vectors, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise InvalidInputError(
                f"vectors aren't rows of numbers of one length: {error}"
            ) from error
        if rows.ndim == 1 and rows.size == 0:
            rows = rows.reshape(0, largest)
        if rows.ndim != 2:
            raise InvalidInputError(f"vectors must have shape (n, d), not {rows.shape}")
        if rows.shape[1] < largest:
            raise IndexMismatchError(
                f"vectors of {rows.shape[1]} numbers for tier {largest} of collection "
                f"{self._name!r}: embed with dimensions={largest}"
            )
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            bad = int(np.flatnonzero(~finite)[0])
            raise InvalidInputError("the vector has numbers that aren't finite").at(bad)
        return rows

    def _deleting(self, ids: Iterable[PointId] | None, where: FilterLike | None) -> _Steps[None]:
        if (ids is None) == (where is None):
            raise ConfigurationError("delete takes ids or filter=, one of them")
        if ids is not None:
            gone = [point_id(one) for one in ids]
            yield from self._opened()
            if gone:
                yield from _ask(Delete(ids=gone))
            return
        read = read_filter(where)
        if read is None:
            raise ConfigurationError("delete with an empty filter would delete everything: drop()")
        yield from self._asked(Delete(filter=read))

    def _dropping(self) -> _Steps[None]:
        yield from self._opened()
        yield from _ask(Drop())
        self._mark = None

    def _getting(self, ids: Iterable[PointId], with_vectors: bool) -> _Steps[list[Record]]:
        mark = yield from self._opened()
        wanted = [point_id(one) for one in ids]
        if not wanted:
            return []
        largest = _largest(mark)
        points = yield from _ask(Retrieve(wanted, (largest,) if with_vectors else ()))
        found = {point.id: point for point in points}
        return [_record(found[one], largest) for one in wanted if one in found]

    def _page(
        self,
        where: FilterLike | None,
        page: int,
        offset: PointId | None,
        with_vectors: bool,
    ) -> _Steps[tuple[list[Record], PointId | None]]:
        mark = yield from self._opened()
        largest = _largest(mark)
        points, after = yield from _ask(
            Scroll(page, offset, read_filter(where), (largest,) if with_vectors else ())
        )
        return [_record(point, largest) for point in points], after

    def _searching(
        self,
        vector: VectorsLike,
        k: int,
        shortlist: Shortlist,
        where: FilterLike | None,
        text: str | None,
        with_vectors: bool,
        first_scores: bool,
        exact: bool,
        ef: int | None,
    ) -> _Steps[Results]:
        mark = yield from self._opened()
        if not isinstance(vector, EmbeddingResult):
            vector = np.atleast_2d(np.asarray(vector, dtype=np.float32))
        rows = self._rows(vector, mark.space, mark.sizes[-1])
        if len(rows) != 1:
            raise InvalidInputError(f"search takes one vector, not {len(rows)}")
        query = rows[0]
        tiers = {size: mark.tiers[size] for size in mark.sizes}
        smallest, largest = next(iter(tiers)), max(tiers)
        read = read_filter(where)
        words = shortlists(shortlist, len(tiers), k)
        if exact:
            last = exact_pass(query, largest, tiers[largest], k=k, filter=read)
        else:
            last = dense_passes(query, tiers, k=k, shortlist=shortlist, filter=read, ef=ef)
        if text is not None:
            if mark.sparse is None:
                raise ConfigurationError("text= is for a collection made with hybrid=True")
            terms = query_terms(text)
            if terms.indices:
                limit = max(words[-1] if words else k, k)
                last = fused(last, terms, mark.sparse, k=k, limit=limit)
        names = []
        if with_vectors:
            names.append(tiers[largest])
        if first_scores and smallest != largest:
            names.append(tiers[smallest])
        scored = yield from _ask(Query(last, tuple(names)))
        cut = truncate(rows, smallest)[0] if first_scores else None
        return Results(_hit(one, tiers[largest], tiers[smallest], cut) for one in scored)

    def _adding_tier(self, size: int, vectors_for: VectorsFor | None) -> _Steps[None]:
        mark = yield from self._opened()
        check_tiers([size])
        if size in mark.sizes:
            return
        largest = mark.sizes[-1]
        if size > largest and vectors_for is None:
            raise ConfigurationError(
                f"tier {size} is larger than what is stored ({largest}): give vectors_for, which "
                "returns the vectors of a page of records"
            )
        adding = mark.with_tier(size)
        name = adding.tiers[size]
        # The mark first: from here on new points carry the tier, and none is missed below.
        yield from _ask(WriteMark(adding.to_json()))
        yield from _ask(AddVector(name, size))
        if min(adding.tiers) != size:
            yield from _ask(Tune(self._layout(adding)))
        self._mark = adding
        source = mark.tiers[largest]
        without: JsonFilter = {"must_not": [{"has_vector": name}]}
        while True:
            # From the start each time: what has been filled doesn't match any more.
            points, _ = yield from _ask(Scroll(_PAGE, None, without, (source,)))
            if not points:
                break
            records = [_record(point, source) for point in points]
            given = _stacked(records) if vectors_for is None else vectors_for(records)
            rows = self._rows(given, mark.space, size)
            if len(rows) != len(points):
                raise InvalidInputError(
                    f"vectors_for returned {len(rows)} vectors for {len(points)} records"
                )
            cut = np.ascontiguousarray(truncate(rows, size))
            yield from _ask(SetVectors(name, [point.id for point in points], cut))
        if min(adding.tiers) == size:
            # Only now: until it is searched, the old smallest tier needs its graph.
            yield from _ask(Tune(self._layout(adding)))
            yield from _ask(Optimize())
        filled = adding.tier_filled(size)
        yield from _ask(WriteMark(filled.to_json()))
        self._mark = filled
        if self._tiers is not None:
            self._tiers = filled.sizes


def _ask(operation: Operation[_T]) -> _Steps[_T]:
    answer = yield operation
    return cast("_T", answer)


def _terms(mark: Mark, text: str | None) -> dict[str, Sparse]:
    if mark.sparse is None or text is None:
        return {}
    terms = document_terms(text)
    return {mark.sparse: terms} if terms.indices else {}


def _payload(own: PointId, given: Mapping[str, object], at: int) -> Payload:
    """The payload as JSON: every engine then stores, and gives back, the same."""
    try:
        payload: Payload = orjson.loads(orjson.dumps(dict(given), option=_JSON))
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"the payload isn't JSON: {error}").at(at) from error
    payload.pop(ID_KEY, None)
    if point_id(own) != own:
        payload[ID_KEY] = own
    return payload


def _record(point: Point, vector: str) -> Record:
    payload = dict(point.payload)
    own = caller_id(point.id, payload)
    payload.pop(ID_KEY, None)
    row = point.vectors.get(vector)
    return Record(own, payload, row if isinstance(row, np.ndarray) else None)


def _hit(one: Scored, largest: str, smallest: str, query: Numbers | None) -> Hit:
    record = _record(one.point, largest)
    first: float | None = None
    if query is not None:
        row = one.point.vectors.get(smallest)
        if isinstance(row, np.ndarray):
            norm = float(np.linalg.norm(row)) or 1.0
            first = float(row @ query) / norm
        elif smallest == largest:
            first = one.score
    return Hit(record.id, record.payload, record.vector, one.score, first)


def _largest(mark: Mark) -> str:
    return mark.tiers[mark.sizes[-1]]


def _stacked(records: Sequence[Record]) -> Numbers:
    rows: Numbers = np.stack([r.vector for r in records if r.vector is not None])
    return rows


def _listed(sizes: Sequence[int]) -> str:
    return " + ".join(str(size) for size in sizes)
