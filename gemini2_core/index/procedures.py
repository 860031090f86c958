"""What each method of a collection does, as steps that a sync and an async caller take alike."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt
import orjson

from gemini2_core.embedding import EmbeddingResult
from gemini2_core.errors import (
    AuthenticationError,
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
    Aliases,
    Collections,
    Count,
    Create,
    Delete,
    Describe,
    Description,
    Drop,
    DropAlias,
    FieldType,
    Flush,
    IndexField,
    Layout,
    Numbers,
    Operation,
    Optimize,
    Point,
    PointAlias,
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
    Shortlist,
    dense_passes,
    exact_pass,
    fused,
    shortlists,
)
from gemini2_core.index.results import Hit, Record, Results
from gemini2_core.index.sparse import document_terms, query_terms
from gemini2_core.model import EmbeddingSpace, truncate

__all__ = ["Procedures", "Steps", "VectorsFor", "VectorsLike", "Wanted"]

_T = TypeVar("_T")
#: Operations for the engine, each answered by what it returns; in the end the method's own answer.
Steps: TypeAlias = Generator[Operation[Any], Any, _T]
VectorsLike = EmbeddingResult | npt.ArrayLike
VectorsFor = Callable[[Sequence[Record]], VectorsLike]

_PAGE = 256
_JSON = orjson.OPT_SERIALIZE_NUMPY


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the caller said of the collection; ``MatryoshkaCollection`` explains each."""

    name: str
    space: EmbeddingSpace | None
    tiers: tuple[int, ...] | None
    payload_indexes: Mapping[str, FieldType]
    hybrid: bool
    adopt: bool
    shard_number: int | None
    replication_factor: int | None


class Procedures:
    """The steps of every method, on one engine.

    A generator yields what it asks of the engine and is sent the answer, or thrown the error; so
    each procedure is written once, and who drives it decides whether to wait or to await.

    Args:
        wanted: What the caller said.
        backend: The engine.
    """

    def __init__(self, wanted: Wanted, backend: Backend) -> None:
        self._wanted = wanted
        self._name = wanted.name
        self._tiers = wanted.tiers
        self._backend = backend
        self._mark: Mark | None = None
        self._through_alias = False
        self._closed = False
        self._bulks = 0

    @property
    def known_tiers(self) -> tuple[int, ...]:
        """The tiers, as far as they are known without opening."""
        return (self._mark.sizes if self._mark else self._tiers) or ()

    @property
    def _place(self) -> str:
        return f"collection {self._name!r} at {self._backend.where}"

    def close(self) -> None:
        """Refuse every step from now on."""
        self._closed, self._mark = True, None

    def opened(self) -> Steps[Mark]:
        """Open the collection, making it if it isn't there; its mark."""
        self._check_open()
        if self._mark is not None:
            return self._mark
        found = yield from _ask(Describe())
        if found is None:
            made = Mark(
                self._own_space(),
                {size: str(size) for size in self._tiers or DEFAULT_TIERS},
                SPARSE_NAME if self._wanted.hybrid else None,
            )
            layout = self._layout(made)
            # False: somebody else made it in between, and then theirs is looked at like any.
            created = yield from _ask(Create(layout, made.to_json()))
            found = yield from _ask(Describe())
            if found is None:
                raise IndexUnavailableError(f"{self._place} vanished while it was made")
            if created and Mark.from_json(found.mark, self._name) is None:
                raise IndexMismatchError(
                    f"Qdrant at {self._backend.where} doesn't keep a collection's metadata: "
                    "it needs version 1.16 or later"
                )
        mark = Mark.from_json(found.mark, self._name)
        if mark is None:
            mark = yield from self._adopted(found)
        self._check(mark, found)
        for field, kind in self._wanted.payload_indexes.items():
            if field not in found.fields:
                yield from _ask(IndexField(field, kind))
        if self._backend.follows_aliases:
            self._through_alias = self._name in (yield from self._aliases_if_told())
        self._mark = mark
        return mark

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"collection {self._name!r} was closed")

    def _aliases_if_told(self) -> Steps[dict[str, str]]:
        try:
            return (yield from _ask(Aliases()))
        except AuthenticationError:
            return {}  # a key for this collection alone

    def _followed(self, mark: Mark) -> Steps[bool]:
        """Whether the alias names a collection with another mark by now; that is then opened.

        Looked at after a search, since a switch just before it would have compared a query with
        vectors of another space.

        Raises:
            IndexMismatchError: It isn't what was asked for.
        """
        if not self._through_alias:
            return False
        found = yield from _ask(Describe())
        if found is None:
            raise IndexUnavailableError(f"alias {self._name!r} names no collection any more")
        if Mark.from_json(found.mark, self._name) == mark:
            return False
        self._mark = None
        yield from self.opened()
        return True

    def _change_mark(self, change: Callable[[Mark], Mark]) -> Steps[Mark]:
        """Change the mark that stands there now, which others may have written to."""
        found = yield from _ask(Describe())
        there = Mark.from_json(found.mark, self._name) if found else None
        if there is None:
            raise IndexUnavailableError(f"{self._place} has lost its mark or vanished")
        changed = change(there)
        yield from _ask(WriteMark(changed.to_json()))
        self._mark = changed
        return changed

    # ---- aliases and the note

    def aliasing(self) -> Steps[dict[str, str]]:
        """Every alias and what it names."""
        self._check_open()
        return (yield from _ask(Aliases()))

    def naming(self) -> Steps[list[str]]:
        """Names of the collections at the address."""
        self._check_open()
        return (yield from _ask(Collections()))

    def pointing(self, alias: str, unmarked: bool) -> Steps[str | None]:
        """Make an alias name this collection; what it named before."""
        if not alias:
            raise ConfigurationError("an alias needs a name")
        if unmarked:
            self._check_open()
        else:
            yield from self.opened()
        aliases = yield from _ask(Aliases())
        names = yield from _ask(Collections())
        # Looked for in the list: a folder that is in use elsewhere can't be opened for it.
        if aliases.get(self._name, self._name) not in names:
            raise IndexUnavailableError(f"there is no {self._place}", code=404)
        if alias not in aliases and alias in names:
            raise ConfigurationError(
                f"{alias!r} is the name of a collection at {self._backend.where}, so no alias can "
                "have it: take another alias, or copy that collection to another name "
                "(copy_collection) and drop it first"
            )
        yield from _ask(PointAlias(alias, aliases.get(self._name, self._name)))
        return aliases.get(alias)

    def unpointing(self, alias: str) -> Steps[str | None]:
        """Take an alias away; what it named."""
        self._check_open()
        aliases = yield from _ask(Aliases())
        if alias in aliases:
            yield from _ask(DropAlias(alias))
        return aliases.get(alias)

    def noted(self) -> Steps[dict[str, object]]:
        """The note as it stands in the collection now."""
        yield from self.opened()
        found = yield from _ask(Describe())
        mark = Mark.from_json(found.mark, self._name) if found else None
        return dict(mark.note) if mark else {}

    def noting(self, note: Mapping[str, object]) -> Steps[None]:
        """Replace the note."""
        try:
            plain: dict[str, object] = orjson.loads(orjson.dumps(dict(note), option=_JSON))
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"the note isn't JSON: {error}") from error
        yield from self.opened()
        yield from self._change_mark(lambda mark: replace(mark, note=plain))

    def _own_space(self) -> EmbeddingSpace:
        if self._wanted.space is None:
            raise ConfigurationError(f"{self._place} has no mark: say the space of its vectors")
        return self._wanted.space

    def _layout(self, mark: Mark) -> Layout:
        return Layout(
            vectors={name: size for size, name in mark.tiers.items()},
            sparse=mark.sparse,
            shard_number=self._wanted.shard_number,
            replication_factor=self._wanted.replication_factor,
        )

    def _adopted(self, found: Description) -> Steps[Mark]:
        if not self._wanted.adopt:
            raise IndexMismatchError(
                f"{self._place} has no mark that tells which model's vectors it holds. "
                f"If they are {self._wanted.space or 'of a space you know'}, open it once with "
                "adopt=True; else use another name and embed its contents anew"
            )
        mark = Mark.adopt(found, self._own_space(), self._tiers or DEFAULT_TIERS, self._name)
        yield from _ask(WriteMark(mark.to_json()))
        return mark

    def _check(self, mark: Mark, found: Description) -> None:
        """See that the collection is what was asked for."""
        if self._wanted.space not in {None, mark.space}:
            raise IndexMismatchError(
                f"{self._place} holds vectors of {mark.space}, and it was opened for "
                f"{self._wanted.space}: they can't be compared. Open it with the model and task "
                "it was made with, or embed its contents anew into another collection"
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
                f"{self._place} has tiers {_listed(mark.sizes)}, and "
                f"it was opened for {_listed(self._tiers)}: {how}"
            )
        if self._wanted.hybrid and mark.sparse is None:
            raise IndexMismatchError(
                f"{self._place} was made without hybrid=True and has "
                "no BM25 vector: copy it into a new one that is hybrid"
            )

    def asked(self, operation: Operation[_T]) -> Steps[_T]:
        """One operation on the open collection."""
        yield from self.opened()
        return (yield from _ask(operation))

    def adding(
        self,
        ids: Iterable[PointId],
        vectors: VectorsLike,
        payloads: Iterable[Mapping[str, object]] | None,
        texts: Iterable[str] | None,
    ) -> Steps[list[PointId]]:
        """Store points, a few batches at a time."""
        yield from self._followed((yield from self.opened()))
        mark = yield from self.opened()
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
        yield from _ask(Flush() if self._bulks else Optimize(only_if_due=True))
        return own

    @contextmanager
    def graph_put_off(self) -> Iterator[None]:
        """Let ``adding`` leave its points out of the graph for as long as this is open."""
        self._bulks += 1
        try:
            yield
        finally:
            self._bulks -= 1

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

    def deleting(self, ids: Iterable[PointId] | None, where: FilterLike | None) -> Steps[None]:
        """Delete by ids or by a filter."""
        if (ids is None) == (where is None):
            raise ConfigurationError("delete takes ids or filter=, one of them")
        if ids is not None:
            gone = [point_id(one) for one in ids]
            yield from self.opened()
            if gone:
                yield from _ask(Delete(ids=gone))
            return
        read = read_filter(where)
        if read is None:
            raise ConfigurationError("delete with an empty filter would delete everything: drop()")
        yield from self.asked(Delete(filter=read))

    def dropping(self, unmarked: bool) -> Steps[None]:
        """Delete the collection."""
        if unmarked:
            self._check_open()
            if (yield from _ask(Describe())) is None:
                raise IndexUnavailableError(f"there is no {self._place}", code=404)
        else:
            yield from self.opened()
        aliases = yield from self._aliases_if_told()
        own = aliases.get(self._name, self._name)
        if naming := sorted(alias for alias, name in aliases.items() if name == own):
            raise ConfigurationError(
                f"collection {own!r} at {self._backend.where} is what alias {naming[0]!r} names: "
                f"point_alias on another collection, or drop_alias({naming[0]!r}), first"
            )
        yield from _ask(Drop())
        self._mark = None

    def getting(
        self, ids: Iterable[PointId], with_vectors: bool, tier: int | None
    ) -> Steps[list[Record]]:
        """Points in the order of their ids."""
        mark = yield from self.opened()
        wanted = [point_id(one) for one in ids]
        name = _largest(mark) if tier is None else self._tier(mark, tier)
        if not wanted:
            return []
        points = yield from _ask(Retrieve(wanted, (name,) if with_vectors else ()))
        found = {point.id: point for point in points}
        return [_record(found[one], name) for one in wanted if one in found]

    def counting_unfilled(self, tier: int) -> Steps[int]:
        """Points without a vector at a tier."""
        mark = yield from self.opened()
        without: JsonFilter = {"must_not": [{"has_vector": self._tier(mark, tier)}]}
        return (yield from _ask(Count(without)))

    def _tier(self, mark: Mark, tier: int) -> str:
        if tier not in mark.tiers:
            raise ConfigurationError(f"{self._place} has tiers {_listed(mark.sizes)}, not {tier}")
        return mark.tiers[tier]

    def page(
        self,
        where: FilterLike | None,
        page: int,
        offset: PointId | None,
        with_vectors: bool,
    ) -> Steps[tuple[list[Record], PointId | None]]:
        """One page of records, and where the next begins."""
        mark = yield from self.opened()
        largest = _largest(mark)
        points, after = yield from _ask(
            Scroll(page, offset, read_filter(where), (largest,) if with_vectors else ())
        )
        return [_record(point, largest) for point in points], after

    def searching(
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
    ) -> Steps[Results]:
        """All passes of one search; of the collection that an alias names when they are done."""
        told = (vector, k, shortlist, where, text, with_vectors, first_scores, exact, ef)
        while True:
            mark = yield from self.opened()
            try:
                found = yield from self._searched(mark, *told)
            except IndexUnavailableError:
                # Tiers that an alias's collection of before had: an error of the server.
                if not (yield from self._followed(mark)):
                    raise
            else:
                if not (yield from self._followed(mark)):
                    return found

    def _searched(
        self,
        mark: Mark,
        vector: VectorsLike,
        k: int,
        shortlist: Shortlist,
        where: FilterLike | None,
        text: str | None,
        with_vectors: bool,
        first_scores: bool,
        exact: bool,
        ef: int | None,
    ) -> Steps[Results]:
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

    def adding_tier(self, size: int, vectors_for: VectorsFor | None) -> Steps[None]:
        """Give every point one more tier."""
        mark = yield from self.opened()
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
        found = yield from _ask(Describe())
        there = found.vectors.get(name) if found else None
        if there is None:
            yield from _ask(AddVector(name, size))
        elif there[0] != size:
            raise IndexMismatchError(
                f"{self._place} has a vector {name!r} of another size already: {there[0]}"
            )
        # From here on new points carry the tier; those without it are found below.
        adding = yield from self._change_mark(lambda there: there.with_tier(size))
        if min(adding.tiers) != size:
            yield from _ask(Tune(self._layout(adding)))
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
        filled = yield from self._change_mark(lambda there: there.tier_filled(size))
        if self._tiers is not None:
            self._tiers = filled.sizes


def _ask(operation: Operation[_T]) -> Steps[_T]:
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
