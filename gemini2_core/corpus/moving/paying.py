"""One page embedded: what can be is, and what can't is found out one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from gemini2_core.corpus.moving.failure import Failure
from gemini2_core.corpus.moving.pages import Entry, reason
from gemini2_core.embedding import EmbeddingResult, Gemini2Embedder, Usage
from gemini2_core.errors import Gemini2Error
from gemini2_core.model import Vectors

__all__ = ["Paid", "pay"]


@dataclass(slots=True)
class Paid:
    """What came of a page.

    Attributes:
        entries: Those that have a vector.
        rows: Their vectors, one each.
        failures: Those that can't have one, by key.
        usage: What was sent and paid.
    """

    entries: list[Entry] = field(default_factory=list)
    rows: list[Vectors] = field(default_factory=list)
    failures: list[tuple[bytes, Failure]] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)

    @property
    def vectors(self) -> Vectors:
        """Shape (n, d), one row for each of ``entries``."""
        return np.stack(self.rows)

    def take(self, entries: Sequence[Entry], result: EmbeddingResult | None) -> set[int]:
        """Take what came; the places of those it came for."""
        if result is None:
            return set()
        places = result.indices.tolist()
        self.entries += [entries[place] for place in places]
        self.rows += list(result.vectors)
        self.usage += result.usage
        return set(places)

    def fail(self, entry: Entry, why: str) -> None:
        """One can't be embedded."""
        self.failures.append((entry.mark.key, Failure(entry.id, why)))


async def pay(embedder: Gemini2Embedder, entries: Sequence[Entry]) -> Paid:
    """Embed entries; those that can't be are told with their reasons, the others go on.

    Raises:
        Gemini2Error: Something that isn't about one of them: a quota, the key, the connection.
    """
    paid = Paid()
    if entries:
        await _pay(paid, embedder, entries)
    return paid


async def _pay(paid: Paid, embedder: Gemini2Embedder, entries: Sequence[Entry]) -> None:
    try:
        result = await embedder.aembed_contents([entry.content for entry in entries])
    except Gemini2Error as error:
        if error.index is None:
            raise
        done = paid.take(entries, error.partial)
        paid.fail(entries[error.index], reason(error))
        rest = [n for n in range(len(entries)) if n not in done and n != error.index]
        # A call names one bad input only. Halves find the others without asking for each.
        middle = -(-len(rest) // 2)
        halves = [[entries[n] for n in half] for half in (rest[:middle], rest[middle:]) if half]
        outcomes = await asyncio.gather(
            *(_pay(paid, embedder, half) for half in halves), return_exceptions=True
        )
        for outcome in outcomes:
            if outcome is not None:
                raise outcome from None
    else:
        done = paid.take(entries, result)
        for place, entry in enumerate(entries):
            if place not in done:
                paid.fail(entry, "there is nothing to embed")
