"""How far a batch run is: values that show themselves as a table."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import asdict, dataclass
from html import escape

from gemini2_core.embedding.result import Usage

__all__ = ["BatchStatus", "JobStatus"]

_UNDER_WAY = ("PENDING", "RUNNING", "CANCELLING")
#: Jobs of a table that is read at a glance.
_SCREEN = 20


@dataclass(frozen=True, slots=True)
class JobStatus:
    """One job.

    Attributes:
        number: Its number in the run, from 1.
        name: The service's name for it (``batches/…``), or "" before it has one.
        state: ``WAITING`` for its turn or for room; ``PENDING``, ``RUNNING`` or ``CANCELLING`` at
            the service; or how it ended: ``SUCCEEDED``, ``FAILED``, ``CANCELLED``, ``EXPIRED``,
            ``STUCK``.
        lines: Requests in it.
        done: How many of them came back with a vector.
        seconds: Since its start at the service, up to its end; None before it started.
    """

    number: int
    name: str
    state: str
    lines: int
    done: int
    seconds: float | None


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """A run at one moment.

    Attributes:
        contents: What was submitted.
        lines: Requests that these take: equal ones once, a window of an over-long text each.
        done: Lines with a vector.
        failed: Lines given up.
        refused: Contents that couldn't be embedded at all, and were to be reported.
        jobs: All jobs so far, the last one last.
        usage: What was paid so far, at the Batch API's price.
        estimated_dollars: What all lines together cost, about, by our own count of their tokens.
        cancelled: True if no new job will be started.
    """

    contents: int
    lines: int
    done: int
    failed: int
    refused: int
    jobs: tuple[JobStatus, ...]
    usage: Usage
    estimated_dollars: float
    cancelled: bool

    @property
    def open(self) -> int:
        """Lines of which nothing is known yet."""
        return self.lines - self.done - self.failed

    @property
    def running(self) -> int:
        """Jobs at the service."""
        return sum(job.state in _UNDER_WAY for job in self.jobs)

    @property
    def settled(self) -> bool:
        """True if nothing is to be waited for."""
        return not self.running and (self.cancelled or not self.open)

    def __str__(self) -> str:
        shown = self._shown()
        rows = [("job", "state", "lines", "done", "time", "name")]
        rows += [
            (str(j.number), j.state, f"{j.lines:,}", f"{j.done:,}", _span(j.seconds), j.name)
            for j in shown
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(6)]
        right = (True, False, True, True, True, False)
        table = "\n".join(
            "  ".join(
                cell.rjust(width) if to_right else cell.ljust(width)
                for cell, width, to_right in zip(row, widths, right, strict=True)
            ).rstrip()
            for row in rows
        )
        if others := Counter(job.state for job in self.jobs if job not in shown):
            told = ", ".join(f"{count:,} {state}" for state, count in others.items())
            table += f"\n… and {others.total():,} more: {told}"
        counts = [f"{self.done:,} of {self.lines:,} lines done"]
        if self.failed:
            counts.append(f"{self.failed:,} failed")
        if self.refused:
            counts.append(f"{self.refused:,} contents refused")
        if self.cancelled:
            counts.append("cancelled")
        told = f"{self.contents:,} contents, {', '.join(counts)}"
        tokens = self.usage.total_tokens
        paid = f"${self.usage.dollars:.6f} paid so far for {tokens:,} tokens"
        head = f"{told}\n{paid}; about ${self.estimated_dollars:.6f} in all"
        return f"{head}\n{table}" if self.jobs else head

    def _shown(self) -> tuple[JobStatus, ...]:
        """A screen of jobs at most: all, or those under way, or the last."""
        if len(self.jobs) <= _SCREEN:
            return self.jobs
        under_way = tuple(job for job in self.jobs if job.state in _UNDER_WAY)
        return (under_way or self.jobs)[-_SCREEN:]

    def to_json(self) -> str:
        """All of it as JSON."""
        told = {
            "contents": self.contents,
            "lines": self.lines,
            "done": self.done,
            "failed": self.failed,
            "refused": self.refused,
            "open": self.open,
            "settled": self.settled,
            "cancelled": self.cancelled,
            "tokens": dict(self.usage.tokens),
            "dollars": self.usage.dollars,
            "estimated_dollars": self.estimated_dollars,
            "jobs": [asdict(job) for job in self.jobs],
        }
        return json.dumps(told, indent=1)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


def _span(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return time.strftime("%H:%M:%S", time.gmtime(seconds)) if seconds < 86400 else _days(seconds)


def _days(seconds: float) -> str:
    days, rest = divmod(int(seconds), 86400)
    return f"{days} d {rest // 3600} h"
