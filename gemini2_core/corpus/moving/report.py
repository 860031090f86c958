"""How far a move is, and what became of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from gemini2_core.corpus.moving.failure import Failure
from gemini2_core.embedding import Usage
from gemini2_core.index import PointId
from gemini2_core.model import Modality

__all__ = ["ReindexProgress", "ReindexReport", "money"]


@dataclass(frozen=True, slots=True)
class ReindexProgress:
    """How far a move is.

    Attributes:
        read: Items of the source that this run is done with.
        total: Items that it will be done with in the end, about; None if nobody knows.
        stored: Items that this run embedded and stored.
        failed: Items that couldn't be embedded.
        dollars: What all runs so far paid, US dollars.
        seconds: How long this run has been at it.
    """

    read: int
    total: int | None
    stored: int
    failed: int
    dollars: float
    seconds: float

    @property
    def rate(self) -> float:
        """Items a second that this run embeds and stores."""
        return self.stored / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """How long it still takes at this pace; None if nobody knows.

        What an earlier run stored is passed over in no time, and says nothing of the pace.
        """
        worked = self.stored + self.failed or self.read
        if self.total is None or not worked:
            return None
        return max(0, self.total - self.read) * self.seconds / worked


@dataclass(frozen=True, slots=True)
class ReindexReport:
    """What became of a move; of the latest run, where nothing else is said.

    Attributes:
        source: Name of the source.
        target: Name and place of the collection.
        shard: Which part of the source, and of how many.
        read: Items that were read.
        stored: Items that were embedded and stored.
        unchanged: Items that were stored already.
        changed: How many of ``stored`` replaced another content under the same id.
        payloads: Items that got a new payload and kept their vectors.
        repeated: Items left out because their id came before; the first one counts.
        left_out: Items that the source itself left out (``source.problems``).
        failed: Items that can't be embedded.
        failures: The first of them; ``failures(checkpoint)`` gives all.
        removed: Stored items that the source has no more.
        removed_ids: The first of them.
        deleted: Whether they were deleted from the collection too.
        usage: What this run sent and paid.
        tokens: Tokens that all runs together paid for (in a dry run: would take), by modality.
        dollars: What all runs together paid (in a dry run: would), US dollars.
        seconds: How long this run took.
        finished: Whether the whole source is in the collection, failed items apart.
        stopped: Why it isn't, if this run was asked to stop.
        dry_run: Whether nothing was sent and stored.
    """

    source: str
    target: str
    shard: tuple[int, int] = (0, 1)
    read: int = 0
    stored: int = 0
    unchanged: int = 0
    changed: int = 0
    payloads: int = 0
    repeated: int = 0
    left_out: int = 0
    failed: int = 0
    failures: tuple[Failure, ...] = ()
    removed: int = 0
    removed_ids: tuple[PointId, ...] = ()
    deleted: bool = False
    usage: Usage = field(default_factory=Usage)
    tokens: Mapping[Modality, int] = field(default_factory=dict)
    dollars: float = 0.0
    seconds: float = 0.0
    finished: bool = False
    stopped: str = ""
    dry_run: bool = False

    def __str__(self) -> str:
        """A small table."""
        number, of = self.shard
        part = f", shard {number}/{of}" if of > 1 else ""
        lines = [f"{self.source} → {self.target}{part}"]
        lines += [f"  {count:>12,}  {what}" for count, what in self._counts() if count]
        tokens = sum(self.tokens.values())
        would = "would take" if self.dry_run else "paid for in all"
        lines.append(f"  {tokens:>12,}  tokens {would}: {money(self.dollars)}")
        lines += [f"  failed: {one}" for one in self.failures[:10]]
        if self.failed > len(self.failures[:10]) > 0:
            lines.append(f"  … and {self.failed - len(self.failures[:10]):,} more")
        if self.removed_ids and not self.deleted:
            shown = ", ".join(map(str, self.removed_ids[:5]))
            lines.append(f"  no longer in the source: {shown}{' …' if self.removed > 5 else ''}")
        if self.stopped:
            lines.append(f"  stopped: {self.stopped}; the same call goes on from there")
        return "\n".join(lines)

    def to_json(self) -> str:
        """All of it as JSON."""
        return json.dumps(asdict(self), indent=1, default=dict)

    def _counts(self) -> list[tuple[int, str]]:
        gone = "deleted, being no longer in the source" if self.deleted else "removed at the source"
        return [
            (self.read, "read"),
            (self.unchanged, "stored already"),
            (self.stored, "would be embedded" if self.dry_run else "embedded and stored"),
            (self.changed, "of them changed since"),
            (self.payloads, "got a new payload alone"),
            (self.repeated, "left out: their id came before"),
            (self.left_out, "left out by the source"),
            (self.failed, "can't be embedded"),
            (self.removed, gone),
        ]


def money(dollars: float) -> str:
    """Dollars as a person would write them; parts of a cent where that is all there is."""
    return f"${dollars:,.2f}" if dollars >= 1 or not dollars else f"${dollars:.5f}"
