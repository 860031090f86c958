"""Opening a collection: made, found, adopted or refused; its mark read, and changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from gemini2_core.errors import (
    AuthenticationError,
    ClosedError,
    ConfigurationError,
    IndexMismatchError,
    IndexUnavailableError,
)
from gemini2_core.index.backend import Backend
from gemini2_core.index.mark import DEFAULT_TIERS, SPARSE_NAME, Mark
from gemini2_core.index.operations import (
    Aliases,
    Count,
    Create,
    Describe,
    Description,
    FieldType,
    IndexField,
    Layout,
    WriteMark,
)
from gemini2_core.index.passes import without_vector
from gemini2_core.index.steps import Steps, ask
from gemini2_core.model import EmbeddingSpace

__all__ = ["Opening", "Wanted"]


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


class Opening:
    """One collection on one engine, opened by the first step that needs it.

    Args:
        wanted: What the caller said.
        backend: The engine.

    Attributes:
        name: The collection's name, or an alias.
        backend: The engine.
        bulks: Blocks open in which points are added without building the graph.
        points: How many points there were when it was last looked at, and were added here since.
    """

    def __init__(self, wanted: Wanted, backend: Backend) -> None:
        self.name = wanted.name
        self.backend = backend
        self.bulks = 0
        self.points = 0
        self._wanted = wanted
        self._tiers = wanted.tiers
        self._mark: Mark | None = None
        self._space = wanted.space
        self._through_alias = False
        self._closed = False

    @property
    def known_tiers(self) -> tuple[int, ...]:
        """The tiers, as far as they are known without opening."""
        return (self._mark.sizes if self._mark else self._tiers) or ()

    @property
    def place(self) -> str:
        """What messages call the collection."""
        return f"collection {self.name!r} at {self.backend.where}"

    def close(self) -> None:
        """Refuse every step from now on."""
        self._closed, self._mark = True, None

    def check_open(self) -> None:
        """See that it wasn't closed.

        Raises:
            ClosedError: It was.
        """
        if self._closed:
            raise ClosedError(f"collection {self.name!r} was closed")

    def forget(self) -> None:
        """Look again at what is there, with the next step."""
        self._mark = None

    @contextmanager
    def graph_put_off(self) -> Iterator[None]:
        """Let what is added be left out of the graph for as long as this is open."""
        self.bulks += 1
        try:
            yield
        finally:
            self.bulks -= 1

    def opened(self) -> Steps[Mark]:
        """Open the collection, making it if it isn't there; its mark."""
        self.check_open()
        if self._mark is not None:
            return self._mark
        found = yield from ask(Describe())
        if found is None:
            # Made under the alias's name, it would keep the alias from ever coming back.
            self._check_alias(named=False)
            found = yield from self._made()
        mark = Mark.from_json(found.mark, self.name)
        if mark is None:
            mark = yield from self._adopted(found)
        self._check(mark, found)
        self.points = found.points
        # Who said no space keeps to the first one found, whatever an alias names later.
        self._space = mark.space
        for field, kind in self._wanted.payload_indexes.items():
            if field not in found.fields:
                yield from ask(IndexField(field, kind))
        if self.backend.follows_aliases:
            self._through_alias = self.name in (yield from self.aliases_if_told())
        self._mark = mark
        return mark

    def opened_now(self) -> Steps[Mark]:
        """As ``opened``; what an alias names by now, if the collection was opened by one."""
        yield from self.followed((yield from self.opened()))
        return (yield from self.opened())

    def followed(self, mark: Mark) -> Steps[bool]:
        """Whether the alias names a collection with another mark by now; that is then opened.

        Looked at after a search, since a switch just before it would have compared a query with
        vectors of another space.

        Raises:
            IndexMismatchError: It isn't what was asked for.
        """
        if not self._through_alias:
            return False
        found = yield from ask(Describe())
        self._check_alias(named=found is not None)
        if found and Mark.from_json(found.mark, self.name) == mark:
            self.points = found.points
            return False
        self.forget()
        yield from self.opened()
        return True

    def _check_alias(self, *, named: bool) -> None:
        if self._through_alias and not named:
            raise IndexUnavailableError(f"alias {self.name!r} names no collection any more")

    def aliases_if_told(self) -> Steps[dict[str, str]]:
        """The aliases at the address; none for a key that mayn't know them."""
        try:
            return (yield from ask(Aliases()))
        except AuthenticationError:
            return {}

    def layout(self, mark: Mark) -> Layout:
        """How a collection with this mark is laid out."""
        return Layout(
            vectors={name: size for size, name in mark.tiers.items()},
            sparse=mark.sparse,
            shard_number=self._wanted.shard_number,
            replication_factor=self._wanted.replication_factor,
        )

    def changed(self, change: Callable[[Mark], Mark]) -> Steps[Mark]:
        """Change the mark that stands there now, which others may have written to."""
        found = yield from ask(Describe())
        there = Mark.from_json(found.mark, self.name) if found else None
        if there is None:
            raise IndexUnavailableError(f"{self.place} has lost its mark or vanished")
        changed = change(there)
        yield from ask(WriteMark(changed.to_json()))
        self._mark = changed
        if self._tiers is not None and changed.sizes != there.sizes:
            self._tiers = changed.sizes
        return changed

    def _made(self) -> Steps[Description]:
        made = Mark(
            self._own_space(f"there is no {self.place}, and to make it"),
            {size: str(size) for size in self._tiers or DEFAULT_TIERS},
            SPARSE_NAME if self._wanted.hybrid else None,
        )
        # False: somebody else made it in between, and then theirs is looked at like any.
        created = yield from ask(Create(self.layout(made), made.to_json()))
        found = yield from ask(Describe())
        if found is None:
            raise IndexUnavailableError(f"{self.place} vanished while it was made")
        if created and Mark.from_json(found.mark, self.name) is None:
            raise IndexMismatchError(
                f"Qdrant at {self.backend.where} doesn't keep a collection's metadata: "
                "it needs version 1.16 or later"
            )
        return found

    def _own_space(self, why: str) -> EmbeddingSpace:
        if self._wanted.space is None:
            raise ConfigurationError(f"{why} the space of its vectors is needed: space=")
        return self._wanted.space

    def _adopted(self, found: Description) -> Steps[Mark]:
        if not self._wanted.adopt:
            raise IndexMismatchError(
                f"{self.place} has no mark that tells which model's vectors it holds. "
                f"If they are {self._wanted.space or 'of a space you know'}, open it once with "
                "adopt=True; else use another name and embed its contents anew"
            )
        mark = Mark.adopt(
            found,
            self._own_space(f"{self.place} has no mark, and to adopt it"),
            self._tiers or DEFAULT_TIERS,
            self.name,
        )
        for size, name in mark.tiers.items():
            if lacking := (yield from ask(Count(without_vector(name)))):
                raise IndexMismatchError(
                    f"{self.place} can't be adopted: {lacking:,} of its points have no vector "
                    f"{name!r}, and a search at tier {size} would never find them. Delete them, "
                    "or adopt the other tiers and use add_tier"
                )
        yield from ask(WriteMark(mark.to_json()))
        return mark

    def _check(self, mark: Mark, found: Description) -> None:
        """See that the collection is what was asked for."""
        if self._space not in {None, mark.space}:
            raise IndexMismatchError(
                f"{self.place} holds vectors of {mark.space}, and it was opened for "
                f"{self._space}: they can't be compared. Open it with the model and task "
                "it was made with, or embed its contents anew into another collection"
            )
        mark.check(found, self.name)
        if self._tiers is not None and self._tiers != mark.sizes:
            missing = [size for size in self._tiers if size not in mark.sizes]
            how = (
                f"add_tier({missing[0]}) on the collection opened without tiers= gives it that one"
                if missing
                else "open it without tiers=, or with all it has"
            )
            raise IndexMismatchError(
                f"{self.place} has tiers {_listed(mark.sizes)}, and "
                f"it was opened for {_listed(self._tiers)}: {how}"
            )
        if self._wanted.hybrid and mark.sparse is None:
            raise IndexMismatchError(
                f"{self.place} was made without hybrid=True and has "
                "no BM25 vector: copy it into a new one that is hybrid"
            )


def _listed(sizes: Sequence[int]) -> str:
    return " + ".join(str(size) for size in sizes)
