"""Jobs of a batch run as they are kept: what is in each, and how far it is."""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import dataclass

from gemini2_core.embedding.batch.kept_lines import fail_line
from gemini2_core.embedding.batch.statefile import StateFile, pay
from gemini2_core.embedding.result import Usage

__all__ = ["Job", "KeptJobs"]


@dataclass(frozen=True, slots=True)
class Job:
    """A job as we know it.

    Attributes:
        id: Its number in this run, from 1.
        phase: ``filling``, ``packed``, ``creating``, ``running``, ``cancelling`` or ``closed``.
        lines: How many it was made of.
        size: Their bytes, about.
        tokens: Their tokens, as we estimate.
        done: How many of them came back with a vector.
        name: The service's name for it, or "".
        state: The service's word for how it is, or ours for what became of it.
        uploads: How often its files were prepared: part of their names.
        changed: Unix seconds of the last change of the phase.
        prepared: Unix seconds when its file was first to be uploaded, or None.
        started: Unix seconds of its creation at the service, or None.
        ended: Unix seconds when we saw its end, or None.
        refusals: How often the service had no room for it.
    """

    id: int
    phase: str
    lines: int
    size: int
    tokens: int
    done: int
    name: str
    state: str
    uploads: int
    changed: float
    prepared: float | None
    started: float | None
    ended: float | None
    refusals: int


_JOB = ", ".join(Job.__dataclass_fields__)
#: Lines that are packed in one transaction.
_PACKED = 10_000


class KeptJobs:
    """The jobs in a state file, and the files that they have at the service."""

    def __init__(self, file: StateFile) -> None:
        self._file = file

    def pack(self, lines: int, size: int, tokens: int | None, *, seal: bool) -> None:
        """Put free lines into jobs of at most so many lines, bytes and estimated tokens.

        Args:
            lines: Most lines of a job.
            size: Most bytes of its file.
            tokens: Most tokens, or None.
            seal: Close the last job too, though there is room in it.
        """
        while self._pack_some(lines, size, tokens, seal):
            pass

    def _pack_some(self, lines: int, size: int, tokens: int | None, seal: bool) -> bool:
        with self._file.change() as database:
            free = database.execute(
                "SELECT id, size, tokens FROM lines WHERE job IS NULL AND status = 0 "
                "ORDER BY id LIMIT ?",
                (_PACKED,),
            ).fetchall()
            found = database.execute(
                "SELECT id, lines, size, tokens FROM jobs WHERE phase = 'filling'"
            ).fetchone()
            job, count, bytes_, told = found or (None, 0, 0, 0)
            for line, line_size, estimate in free:
                line_tokens = sum(json.loads(estimate).values())
                full = count >= lines or bytes_ + line_size > size
                if tokens is not None and told + line_tokens > tokens:
                    full = True
                if job is not None and full and count:
                    _fill(database, job, "packed", count, bytes_, told)
                    job = None
                if job is None:
                    job = database.execute(
                        "INSERT INTO jobs (phase, changed) VALUES ('filling', ?)", (time.time(),)
                    ).lastrowid
                    count = bytes_ = told = 0
                database.execute("UPDATE lines SET job = ? WHERE id = ?", (job, line))
                count, bytes_, told = count + 1, bytes_ + line_size, told + line_tokens
            if job is not None:
                full = count >= lines or (tokens is not None and told >= tokens)
                phase = "packed" if full or (seal and len(free) < _PACKED) else "filling"
                _fill(database, job, phase, count, bytes_, told)
            return len(free) == _PACKED

    def all(self, *phases: str) -> list[Job]:
        """Jobs in any of the phases, or all."""
        where = f"WHERE phase IN ({','.join('?' * len(phases))})" if phases else ""
        rows = self._file.rows(f"SELECT {_JOB} FROM jobs {where} ORDER BY id", *phases)  # noqa: S608
        return [Job(*row) for row in rows]  # type: ignore[arg-type]  # as the schema has them

    def set_phase(self, job: int, phase: str) -> None:
        """A job is a step further."""
        with self._file.change() as database:
            database.execute(
                "UPDATE jobs SET phase = ?, changed = ? WHERE id = ?", (phase, time.time(), job)
            )

    def started(self, job: int, name: str, state: str) -> None:
        """The service has taken a job, and calls it so."""
        now = time.time()
        with self._file.change() as database:
            database.execute(
                "UPDATE jobs SET phase = 'running', name = ?, state = ?, changed = ?, started = ? "
                "WHERE id = ?",
                (name, state, now, now, job),
            )
            pay(database, Usage(requests=1))

    def set_state(self, job: int, state: str) -> None:
        """What the service says of a job."""
        with self._file.change() as database:
            database.execute("UPDATE jobs SET state = ? WHERE id = ?", (state, job))

    def refused(self, job: int) -> None:
        """The service had no room for a job: it waits."""
        with self._file.change() as database:
            database.execute(
                "UPDATE jobs SET phase = 'packed', changed = ?, "
                "refusals = refusals + 1 WHERE id = ?",
                (time.time(), job),
            )

    def prepare(self, job: int, uploads: int) -> None:
        """The job's files are going to be uploaded, under names with this number."""
        with self._file.change() as database:
            database.execute(
                "UPDATE jobs SET uploads = ?, prepared = ? WHERE id = ?",
                (uploads, time.time(), job),
            )

    def release(self, job: int) -> None:
        """Take a job apart that wasn't started: its lines are free, and weren't tried."""
        with self._file.change() as database:
            database.execute("UPDATE lines SET job = NULL WHERE job = ? AND status = 0", (job,))
            database.execute("DELETE FROM jobs WHERE id = ?", (job,))

    def end(self, job: int, state: str, missing: str, *, tries: int) -> None:
        """A job is over: what it still has is free for another, or given up.

        Args:
            job: Its number.
            state: What became of it.
            missing: What to say of the lines that it leaves.
            tries: How often a line is tried.
        """
        with self._file.change() as database:
            left = database.execute(
                "SELECT id FROM lines WHERE job = ? AND status = 0", (job,)
            ).fetchall()
            for (line,) in left:
                fail_line(database, line, missing, False, tries)
            database.execute(
                "UPDATE jobs SET phase = 'closed', state = ?, changed = ?, ended = ? WHERE id = ?",
                (state, time.time(), time.time(), job),
            )

    def name_file(self, name: str, job: int) -> None:
        """A file is about to be made: it's to be deleted, whatever comes between."""
        with self._file.change() as database:
            database.execute("INSERT OR IGNORE INTO files VALUES (?, ?)", (name, job))

    def files(self, job: int | None = None) -> list[str]:
        """Files of a job; without one, of all jobs that are over."""
        if job is None:
            query = (
                "SELECT f.name FROM files f LEFT JOIN jobs j ON j.id = f.job "
                "WHERE j.phase = 'closed' OR j.id IS NULL ORDER BY f.name"
            )
            return [str(name) for (name,) in self._file.rows(query)]
        query = "SELECT name FROM files WHERE job = ? ORDER BY name"
        return [str(name) for (name,) in self._file.rows(query, job)]

    def forget_file(self, name: str) -> None:
        """A file is gone."""
        with self._file.change() as database:
            database.execute("DELETE FROM files WHERE name = ?", (name,))


def _fill(
    database: sqlite3.Connection, job: int, phase: str, lines: int, size: int, tokens: int
) -> None:
    database.execute(
        "UPDATE jobs SET phase = ?, lines = ?, size = ?, tokens = ?, changed = ? WHERE id = ?",
        (phase, lines, size, tokens, time.time(), job),
    )
