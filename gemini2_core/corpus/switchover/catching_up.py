"""Bringing the new side of a move to what was written meanwhile, whatever came in between."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gemini2_core.corpus.switchover.journal import Entry, Journal

__all__ = ["CaughtUp", "Sides", "catch_up"]

_PAGE = 64


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """What had to be done.

    Attributes:
        looked_at: Entries of the journal.
        written: Documents that the new side hadn't, or had otherwise.
        deleted: Documents that it had and the live side hasn't.
        unsure: Entries of a write that was broken off before the live side had answered, where
            that side can't be asked: nothing was done about them.
    """

    looked_at: int = 0
    written: int = 0
    deleted: int = 0
    unsure: int = 0

    def __str__(self) -> str:
        told = f"{self.looked_at:,} looked at, {self.written:,} written, {self.deleted:,} deleted"
        return f"{told}, {self.unsure:,} unsure" if self.unsure else told


class Sides(Protocol):
    """Both stores of a move, as a framework has them; documents are JSON."""

    def live(self, ids: Sequence[str]) -> Mapping[str, str] | None:
        """The live side's documents by id; None if it can't be asked for any."""

    def new(self, ids: Sequence[str]) -> Mapping[str, str]:
        """The new side's documents by id."""

    def same(self, one: str, other: str) -> bool:
        """Whether two documents say the same."""

    def matching(self, what: str) -> Iterable[str]:
        """Ids on the new side that a deletion matches, as ``Journal.delete_where`` was told it."""

    def write(self, documents: Mapping[str, str]) -> None:
        """Embed documents and store them on the new side."""

    def remove(self, ids: Sequence[str]) -> None:
        """Delete documents from the new side."""


def catch_up(journal: Journal, sides: Sides) -> CaughtUp:
    """Hold everything in the journal against both sides, and make the new one agree.

    The live side's word is the truth; where it can't be asked, the journal's. What is the same
    already costs a look. It may be interrupted and run again, while others go on writing.

    Raises:
        Gemini2Error: The new side still fails.
    """
    total = CaughtUp()
    for page in journal.pages(_PAGE):
        if page[0].kind == "where":
            done, settled = _matched(journal, sides, page[0])
        else:
            done, settled = _agreed(sides, page)
        journal.done(entry.number for entry in settled)
        total = CaughtUp(
            total.looked_at + done.looked_at,
            total.written + done.written,
            total.deleted + done.deleted,
            total.unsure + done.unsure,
        )
    return total


def _agreed(sides: Sides, page: Sequence[Entry]) -> tuple[CaughtUp, Sequence[Entry]]:
    """What was done about a page of documents, and which are settled."""
    live = sides.live([entry.own for entry in page])
    sure = [entry for entry in page if live is not None or entry.state != "begun"]
    there = sides.new([entry.own for entry in sure])
    write: dict[str, str] = {}
    remove: list[str] = []
    for entry in sure:
        truth = _truth(entry, live, sides)
        if truth is None:
            if entry.own in there:
                remove.append(entry.own)
        elif entry.own not in there or not sides.same(truth, there[entry.own]):
            write[entry.own] = truth
    if write:
        sides.write(write)
    if remove:
        sides.remove(remove)
    return CaughtUp(len(page), len(write), len(remove), len(page) - len(sure)), sure


def _truth(entry: Entry, live: Mapping[str, str] | None, sides: Sides) -> str | None:
    """The document as it should be; None if it shouldn't be there."""
    if live is None:
        return entry.body
    told = live.get(entry.own)
    if told is not None and entry.body is not None and sides.same(told, entry.body):
        return entry.body  # as it was given, where a store keeps less of it
    return told


def _matched(journal: Journal, sides: Sides, entry: Entry) -> tuple[CaughtUp, Sequence[Entry]]:
    """What was done about all that a deletion matches, and whether it is settled."""
    deleted = 0
    for ids in _pages(sides.matching(entry.own)):
        live = sides.live(ids)
        if live is None and entry.state == "begun":
            return CaughtUp(1, unsure=1), []
        if live is None:
            gone = [own for own in ids if not journal.put_after(own, entry.number)]
        else:
            gone = [own for own in ids if own not in live]
        if gone:
            sides.remove(gone)
            journal.void(gone, entry.number)
            deleted += len(gone)
    return CaughtUp(1, deleted=deleted), [entry]


def _pages(ids: Iterable[str]) -> Iterator[list[str]]:
    found = list(ids)
    return (found[start : start + _PAGE] for start in range(0, len(found), _PAGE))
