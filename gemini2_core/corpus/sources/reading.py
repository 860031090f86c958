"""Reading a source soundly: what can't be embedded, or is there twice, is counted and told."""

from __future__ import annotations

import hashlib
import sqlite3
import uuid
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol, TypeAlias, get_args, runtime_checkable

from gemini2_core.content import Content, ContentLike
from gemini2_core.corpus.item import Item, Source
from gemini2_core.errors import ConfigurationError, Gemini2Error, InvalidInputError
from gemini2_core.index import PointId
from gemini2_core.index.ids import point_id

__all__ = [
    "Broken",
    "CheckedSource",
    "Found",
    "Policy",
    "Problem",
    "ProblemKind",
    "Problems",
    "SkippedWarning",
    "derived_id",
    "id_key",
    "untold",
]

_Treatment: TypeAlias = Literal["error", "skip"]
#: Nothing to embed; an id that another item has; the same thing once more, where ids are made of
#: what a thing is; what can't be read.
ProblemKind: TypeAlias = Literal["empty", "duplicate", "repeated", "unreadable"]

_NAMESPACE = uuid.UUID("3c8d1f4e-93b0-5d0f-8a3a-6f7f4d5c2b11")
_EXAMPLES = 5
#: Pages of SQLite's that are kept in memory, kB; what is more goes to a temporary file.
_SEEN_CACHE = 8_000
_WORDS: dict[ProblemKind, str] = {
    "empty": "empty",
    "duplicate": "with an id that is taken",
    "repeated": "the same as one before",
    "unreadable": "unreadable",
}


@dataclass(frozen=True, slots=True)
class Policy:
    """What becomes of an item that can't be embedded: an error, or it is left out and counted.

    Attributes:
        empty: An item without a character or a medium.
        duplicate: An item whose id another one has; ``"skip"`` keeps the first.
        unreadable: A line, cell, file or point that can't be read.
    """

    empty: _Treatment = "skip"
    duplicate: _Treatment = "error"
    unreadable: _Treatment = "error"

    def __post_init__(self) -> None:
        for name in ("empty", "duplicate", "unreadable"):
            if getattr(self, name) not in get_args(_Treatment):
                raise ConfigurationError(
                    f"{name}={getattr(self, name)!r} of a policy must be 'error' or 'skip'"
                )

    @classmethod
    def lenient(cls) -> Policy:
        """Leave out whatever can't be embedded."""
        return cls("skip", "skip", "skip")

    def of(self, kind: ProblemKind) -> _Treatment:
        """How a kind of problem is treated; what is the same as one before is always left out."""
        match kind:
            case "empty":
                return self.empty
            case "duplicate":
                return self.duplicate
            case "unreadable":
                return self.unreadable
        return "skip"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that was left out: where it is, and why."""

    kind: ProblemKind
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


@dataclass(slots=True)
class Problems:
    """What a reading left out.

    Attributes:
        source: Name of the source.
        counts: How many, by kind.
        examples: The first few of each kind.
        passed_over: Files of folders that are of no kind that is read, by suffix; no problem, but
            not there either.
    """

    source: str
    counts: dict[ProblemKind, int] = field(default_factory=dict)
    examples: list[Problem] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)

    def add(self, problem: Problem) -> None:
        """Count one more."""
        count = self.counts.get(problem.kind, 0)
        self.counts[problem.kind] = count + 1
        if count < _EXAMPLES:
            self.examples.append(problem)

    @property
    def total(self) -> int:
        """How many were left out."""
        return sum(self.counts.values())

    def __bool__(self) -> bool:
        return bool(self.counts)

    def __str__(self) -> str:
        if not self.counts:
            return f"{self.source}: nothing left out"
        told = ", ".join(f"{count:,} {_WORDS[kind]}" for kind, count in self.counts.items())
        first = {problem.kind: problem for problem in reversed(self.examples)}
        shown = "; ".join(str(first[kind]) for kind in self.counts)
        return f"{self.source}: left out {self.total:,} ({told}); such as {shown}"


class SkippedWarning(UserWarning):
    """A reading has come to its end, and left out what the policy lets it."""


class Found(NamedTuple):
    """An item, and the number of its place in the source.

    ``derived`` says that its id is made of what it is, so that an equal id is the same thing.
    """

    place: int
    item: Item
    derived: bool = False


class Broken(NamedTuple):
    """What can't be read at a place, and why."""

    place: int
    message: str


class CheckedSource(ABC):
    """A source that says what it leaves out; each of ours is one.

    A subclass yields what it finds; here ids are checked, and what is empty or there twice is
    treated as the policy says. When a reading has come to its end, what was left out is warned of
    in one warning.

    Args:
        name: What messages and checkpoints call it.
        policy: What becomes of an item that can't be embedded.
    """

    #: False where the store itself keeps ids apart.
    _ids_may_repeat = True

    def __init__(self, name: str, policy: Policy | None) -> None:
        self._name = name
        self._policy = policy or Policy()
        self._problems = Problems(name)
        self._whole: int | None = None

    @property
    def name(self) -> str:
        """What messages and checkpoints call it; the same for the same source."""
        return self._name

    @property
    def problems(self) -> Problems:
        """What the latest reading left out, so far."""
        return self._problems

    def count(self) -> int | None:
        """How many items there are; None if only reading them all would tell.

        Before the first whole reading, what will be left out counts too.
        """
        return self._whole if self._whole is not None else self._counted()

    def __iter__(self) -> Iterator[Item]:
        """The items, from the first on; see ``read``."""
        return self.read()

    def read(self, *, warn: bool = True) -> Iterator[Item]:
        """The items, from the first on.

        Args:
            warn: Warn at the end of what was left out; False for who tells of ``problems``.

        Raises:
            InvalidInputError: One that the policy doesn't let pass; the message says where.
        """
        problems = self._problems = Problems(self._name)
        seen = _Seen() if self._ids_may_repeat else None
        total = 0
        try:
            for found in self._found():
                problem = self._problem(found, seen)
                if problem is not None:
                    if self._policy.of(problem.kind) == "error":
                        raise InvalidInputError(str(problem))
                    problems.add(problem)
                elif isinstance(found, Found):
                    total += 1
                    yield found.item
        finally:
            if seen is not None:
                seen.close()
        self._whole = total
        if problems and warn:
            warnings.warn(str(problems), SkippedWarning, stacklevel=2)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r})"

    @abstractmethod
    def _found(self) -> Iterator[Found | Broken]:
        """Everything there is, in order."""

    @abstractmethod
    def _where(self, place: int) -> str:
        """What a message calls a place."""

    def _counted(self) -> int | None:
        """How many places there are, if that can be had for much less than reading them."""
        return None

    def _problem(self, found: Found | Broken, seen: _Seen | None) -> Problem | None:
        if isinstance(found, Broken):
            return Problem("unreadable", self._where(found.place), found.message)
        place, item, derived = found
        try:
            # Any text with something in it is an id; the rest is looked at.
            if type(item.id) is not str or not item.id:
                point_id(item.id)
        except Gemini2Error as error:
            return Problem("unreadable", self._where(place), str(error))
        if _is_empty(item.content):
            return Problem("empty", self._where(place), "there is nothing to embed")
        before = None if seen is None else seen.put(item.id, place)
        if before is None:
            return None
        if derived:
            return Problem("repeated", self._where(place), f"the same as {self._where(before)}")
        return Problem(
            "duplicate",
            self._where(place),
            f"its id {str(item.id)[:80]!r} is that of {self._where(before)} already",
        )


@runtime_checkable
class _Telling(Protocol):
    """A source of ours, or a part of one."""

    @property
    def problems(self) -> Problems: ...

    def read(self, *, warn: bool = True) -> Iterator[Item]: ...


def untold(source: Source) -> Iterator[Item]:
    """The items of a source, without a warning at the end: its ``problems`` are told otherwise."""
    if not isinstance(source, _Telling):
        return iter(source)
    return source.read(warn=False)


class _Seen:
    """Ids that have been, on disk where they are many."""

    def __init__(self) -> None:
        self._ids = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._ids.execute(f"PRAGMA cache_size = -{_SEEN_CACHE}")
        self._ids.execute("PRAGMA journal_mode = OFF")
        self._ids.execute("PRAGMA synchronous = OFF")
        self._ids.execute("CREATE TABLE seen (id BLOB PRIMARY KEY, place INTEGER) WITHOUT ROWID")
        self._ids.execute("BEGIN")

    def put(self, own: PointId, place: int) -> int | None:
        """Remember an id; the place where it was before, if it was."""
        key = id_key(own)
        done = self._ids.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (key, place))
        if done.rowcount:
            return None
        row = self._ids.execute("SELECT place FROM seen WHERE id = ?", (key,)).fetchone()
        return int(row[0])

    def close(self) -> None:
        self._ids.close()


def id_key(own: PointId) -> bytes:
    """16 bytes that are the same for the same id, on every machine; 1 isn't ``"1"``."""
    sign = "i" if isinstance(own, int) else "s"
    return hashlib.blake2b(f"{sign}{own}".encode(), digest_size=16).digest()


def derived_id(*told: str) -> str:
    """A UUID (version 5) of what a thing is, for things that have no id of their own."""
    # Each with its length: ("ab", "c") isn't ("a", "bc").
    text = "".join(f"{len(one)}:{one}" for one in told)
    return str(uuid.uuid5(_NAMESPACE, hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()))


def _is_empty(content: ContentLike) -> bool:
    if isinstance(content, str):
        return not content.strip()
    if isinstance(content, Content):
        return content.is_empty
    if isinstance(content, list | tuple):
        return all(isinstance(part, str) and not part.strip() for part in content)
    return False
