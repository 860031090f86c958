"""A batch run: contents submitted by key, looked after over hours, and their vectors collected."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np

from gemini2_core.content import ContentLike
from gemini2_core.embedding import loop
from gemini2_core.embedding.answer import Row
from gemini2_core.embedding.assembly import combine_rows, fit_rows
from gemini2_core.embedding.batch.lines import Line, make_line
from gemini2_core.embedding.batch.origin import BatchSettings, Origin
from gemini2_core.embedding.batch.service import JobService
from gemini2_core.embedding.batch.state import (
    Job,
    NewContent,
    Outcome,
    Settled,
    State,
    content_digest,
)
from gemini2_core.embedding.batch.status import BatchStatus, JobStatus
from gemini2_core.embedding.batch.work import Work
from gemini2_core.embedding.cache import unpack_row
from gemini2_core.embedding.engine import Engine
from gemini2_core.embedding.plan import Aggregate, Plan
from gemini2_core.embedding.progress import progress_bar
from gemini2_core.embedding.result import EmbeddingResult, Usage
from gemini2_core.errors import (
    Gemini2Error,
    InvalidInputError,
    ServiceError,
    ServiceTimeoutError,
)
from gemini2_core.model import Side, Vectors

__all__ = ["BatchRun", "BatchVector", "KeyedContent"]

KeyedContent = tuple[str, ContentLike] | tuple[str, ContentLike, str | None]
"""A key of the caller's, a content, and its title if it has one."""

#: Contents that are planned, kept or given out at a time.
_SOME = 256
_FIRST_PAUSE = 2.0
_STATES = {
    "filling": "WAITING",
    "packed": "WAITING",
    "creating": "WAITING",
    "cancelling": "CANCELLING",
}


class BatchVector(NamedTuple):
    """What became of one content: a vector, or why there is none.

    Attributes:
        key: The caller's.
        vector: float32, shape (dimensions,), unit length; None if there is an error.
        error: Why there is no vector; None if there is one.
    """

    key: str
    vector: Row | None
    error: Gemini2Error | None


class BatchRun:
    """A run of the Batch API, kept in a file: any process that opens it goes on with it.

    ``embedder.batch(state)`` makes one. ``submit`` as often as you like, ``wait`` (or ``poll`` now
    and then), ``collect``. A kill at any moment loses nothing: submitting the same again, waiting
    and collecting can all be repeated, and what was paid for isn't paid for again.

    Args:
        path: The state file; made if it isn't there. Until a content's vector has come, its text
            and media are kept there too.
        origin: What the embedder gave.
        settings: How to work.

    Raises:
        ConfigurationError: The file can't be opened, or holds a run for another model, task or
            size.
    """

    def __init__(self, path: Path, origin: Origin, settings: BatchSettings) -> None:
        self._origin = origin
        self._settings = settings
        self._dimensions = settings.dimensions or origin.spec.full_dimensions
        facts = {
            "model": origin.spec.id,
            "space": str(origin.space),
            "dimensions": str(self._dimensions),
        }
        self._state = State(path, facts)
        self._service = JobService(
            origin.connection, origin.spec, origin.secret, origin.retry_seconds
        )
        self._work = Work(self._state, self._service, origin, settings)

    @property
    def path(self) -> Path:
        """The state file."""
        return self._state.path

    @property
    def dimensions(self) -> int:
        """Length of the vectors that are kept and collected."""
        return self._dimensions

    @property
    def usage(self) -> Usage:
        """What was paid so far, by this and earlier processes, at the Batch API's price.

        ``requests`` are jobs.
        """
        return self._state.usage

    # Submitting

    def submit(
        self,
        contents: Iterable[KeyedContent],
        *,
        side: Side = "document",
        aggregate: Aggregate = "joint",
        report_bad: bool = False,
    ) -> int:
        """Add contents, and start as many jobs as the service takes now.

        The contents may be a generator of any length: a few hundred are in memory at a time, and
        a job starts as soon as it's full. A key that is known is passed over, so that after a
        crash the same can be submitted again.

        Args:
            contents: Key, content and (if it has one) title of each.
            side: Which side of the task they are.
            aggregate: How the parts of a content make one vector, as in ``embed_contents``.
            report_bad: Collect a content that can't be embedded as an error, instead of raising.

        Returns:
            How many contents were new.

        Raises:
            InvalidInputError: A content can't be embedded, or a key stands for two contents; what
                came before it is submitted.
            StateLockedError: Another process is working on the file.
        """
        source, new = iter(contents), 0
        loop.run(self._begin())
        try:
            while some := list(itertools.islice(source, _SOME)):
                planned = self._planned(some, side, aggregate, report_bad)
                new += loop.run(self._add(planned))
        finally:
            self._work.filling = False
        loop.run(self._work.advance())
        return new

    async def asubmit(
        self,
        contents: Iterable[KeyedContent] | AsyncIterable[KeyedContent],
        *,
        side: Side = "document",
        aggregate: Aggregate = "joint",
        report_bad: bool = False,
    ) -> int:
        """``submit``, awaited; an async iterable is taken too."""
        new = 0
        await loop.run_async(self._begin())
        try:
            async for some in _chunks(contents):
                planned = await asyncio.to_thread(self._planned, some, side, aggregate, report_bad)
                new += await loop.run_async(self._add(planned))
        finally:
            self._work.filling = False
        await loop.run_async(self._work.advance())
        return new

    async def _begin(self) -> None:
        await asyncio.to_thread(self._state.own)
        await asyncio.to_thread(self._state.set_fact, "cancelled", "no")
        self._work.filling = True

    def _planned(
        self, some: Sequence[KeyedContent], side: Side, aggregate: Aggregate, report_bad: bool
    ) -> _Planned:
        """A plan for each key, and the error that ends it, if one does."""
        planned = _Planned(report_bad)
        for entry in some:
            try:
                key, content, title = _entry(entry)
            except InvalidInputError as error:
                planned.bad = error
                return planned
            try:
                plan = self._origin.plan([content], side, [title], aggregate)
                digest = content_digest(
                    item.cache_key(self._origin.spec.space) or repr(item.identity)
                    for pieces in plan.pieces
                    for item, _ in pieces
                )
            except InvalidInputError as error:
                _about(error, key)
                if not report_bad:
                    planned.bad = error
                    return planned
                planned.entries.append(_Entry(key, repr(content)[:200], error=error))
            else:
                planned.entries.append(_Entry(key, digest, plan))
        return planned

    async def _add(self, planned: _Planned) -> int:
        entries = await asyncio.to_thread(self._unknown, planned.entries)
        doubtful = [e for e in entries if e.plan is not None and any(e.plan.doubtful())]
        if doubtful:
            engine = await self._origin.engine()
            settled = (self._settle(engine, entry, planned.report_bad) for entry in doubtful)
            await asyncio.gather(*settled)
        await asyncio.to_thread(self._keep, entries, planned.report_bad)
        await self._work.start_full()
        if planned.bad is not None:
            raise planned.bad
        return len(entries)

    def _unknown(self, entries: Sequence[_Entry]) -> list[_Entry]:
        """Those whose keys aren't known yet; a key mustn't stand for two contents."""
        known = self._state.digests([entry.key for entry in entries])
        new: list[_Entry] = []
        for entry in entries:
            digest = known.setdefault(entry.key, "")
            if not digest:
                known[entry.key] = entry.digest
                new.append(entry)
            elif digest != entry.digest:
                raise InvalidInputError(
                    f"the key {entry.key!r} was submitted with another content: keys are for good "
                    "in a run, so give the changed content a new one"
                )
        return new

    async def _settle(self, engine: Engine, entry: _Entry, report_bad: bool) -> None:
        assert entry.plan is not None
        try:
            await engine.settle(entry.plan, self._origin.on_overflow)
        except InvalidInputError as error:
            _about(error, entry.key)
            if not report_bad:
                raise
            entry.plan, entry.error = None, error

    def _keep(self, entries: Sequence[_Entry], report_bad: bool) -> None:
        kept = []
        for entry in entries:
            try:
                kept.append(self._new_content(entry))
            except InvalidInputError as error:
                _about(error, entry.key)
                if not report_bad:
                    self._add_kept(kept)
                    raise
                kept.append(NewContent(entry.key, entry.digest, error=str(error)))
        self._add_kept(kept)

    def _new_content(self, entry: _Entry) -> NewContent:
        if entry.plan is None:
            return NewContent(entry.key, entry.digest, error=str(entry.error))
        pieces: list[tuple[Line, float]] = [
            (make_line(item, self._origin.spec.space, self._dimensions), weight)
            for some in entry.plan.pieces
            for item, weight in some
        ]
        skipped = not entry.plan.indices
        return NewContent(entry.key, entry.digest, pieces, forgotten=skipped)

    def _add_kept(self, contents: Sequence[NewContent]) -> None:
        lines = self._state.add(contents)
        cache = self._origin.cache
        if cache is None or not lines:
            return
        outcomes = []
        for (line, _), data in zip(lines, cache.mget([key for _, key in lines]), strict=True):
            row = unpack_row(data, self._origin.spec.full_dimensions)
            if row is not None:
                outcomes.append(Outcome(line, self._work.fit(row)))
        if outcomes:
            usage = Usage(cached=len(outcomes))
            self._state.keep(outcomes, usage, tries=self._work.tries)
            self._origin.spent(usage)

    # Looking after it

    def poll(self) -> BatchStatus:
        """Look once: keep what has ended, start what waits or is missing.

        Raises:
            ServiceError: The service kept failing; what is known stays known.
            StateLockedError: Another process is working on the file.
        """
        return loop.run(self._poll())

    async def apoll(self) -> BatchStatus:
        """``poll``, awaited."""
        return await loop.run_async(self._poll())

    async def _poll(self) -> BatchStatus:
        await self._work.advance()
        return await asyncio.to_thread(self.status)

    def wait(self, deadline: float | None = None) -> BatchStatus:
        """Poll until nothing is to be waited for, with growing pauses.

        Args:
            deadline: Most seconds to wait; None waits for as long as it takes.

        Raises:
            ServiceTimeoutError: The deadline has passed; the jobs go on, and so can another call.
            ServiceError: The service kept failing; likewise.
            StateLockedError: Another process is working on the file.
        """
        return loop.run(self._wait(deadline))

    async def await_(self, deadline: float | None = None) -> BatchStatus:
        """``wait``, awaited."""
        return await loop.run_async(self._wait(deadline))

    async def _wait(self, deadline: float | None) -> BatchStatus:
        until = None if deadline is None else time.monotonic() + deadline
        first = pause = min(_FIRST_PAUSE, self._settings.poll_seconds)
        known = -1
        with progress_bar(self._origin.show_progress, self._origin.on_progress) as tell:
            while True:
                status = await self._poll()
                settled = status.done + status.failed
                if tell is not None and settled != known:
                    tell(settled, status.lines)
                if status.settled:
                    return status
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    raise ServiceTimeoutError(
                        f"{status.open:,} of {status.lines:,} lines not done in {deadline:g} s: "
                        f"the jobs go on, and {self.path} knows them: wait again, or cancel()"
                    )
                pause = first if settled != known else min(1.5 * pause, self._settings.poll_seconds)
                known = settled
                await asyncio.sleep(pause if left is None else min(pause, left))

    def cancel(self) -> BatchStatus:
        """End the jobs that are under way, keep what they brought, delete their files.

        No new job is started until something is submitted again, be it the same.
        """
        return loop.run(self._cancel())

    async def acancel(self) -> BatchStatus:
        """``cancel``, awaited."""
        return await loop.run_async(self._cancel())

    async def _cancel(self) -> BatchStatus:
        await self._work.cancel()
        return await asyncio.to_thread(self.status)

    def status(self) -> BatchStatus:
        """How far it is, as of the last look; nothing is sent. Other processes may ask too."""
        counts = self._state.counts()
        jobs = tuple(_job_status(job) for job in self._state.jobs())
        return BatchStatus(
            contents=counts["contents"],
            lines=counts["lines"],
            done=counts["done"],
            failed=counts["failed"],
            refused=counts["refused"],
            jobs=jobs,
            usage=self._state.usage,
            cancelled=self._state.cancelled,
        )

    # What came of it

    def collect(self, *, forget: bool = False) -> Iterator[BatchVector]:
        """What is known by now, in the order of submission; a few hundred are in memory at a time.

        Collecting changes nothing and can be repeated, unless ``forget`` is set.

        Args:
            forget: Drop what was given out from the file, some hundred at a time, when the next
                is asked for: after a crash, those whose successor was never asked for come again.
        """
        after: int | None = 0
        while after is not None:
            settled, after = self._state.settled(after, _SOME)
            yield from self._vectors(settled, self._dimensions)
            if forget and settled:
                self.forget([one.key for one in settled])

    async def acollect(self, *, forget: bool = False) -> AsyncIterator[BatchVector]:
        """``collect``, for ``async for``."""
        after: int | None = 0
        while after is not None:
            settled, after = await asyncio.to_thread(self._state.settled, after, _SOME)
            for one in await asyncio.to_thread(self._vectors, settled, self._dimensions):
                yield one
            if forget and settled:
                await asyncio.to_thread(self.forget, [one.key for one in settled])

    def forget(self, keys: Sequence[str]) -> None:
        """Drop the vectors of contents that you have put elsewhere; their keys stay known.

        Raises:
            InvalidInputError: A key isn't known.
            StateLockedError: Another process is working on the file.
        """
        self._state.own()
        self._state.forget(keys)

    def _vectors(self, settled: Sequence[Settled], dimensions: int) -> list[BatchVector]:
        good = [one for one in settled if one.error is None]
        numbers = sorted({line for one in good for line, _ in one.pieces})
        places = {line: place for place, line in enumerate(numbers)}
        known = self._state.vectors(numbers, self._dimensions)
        rows: Vectors = np.zeros((len(numbers), self._dimensions), np.float32)
        for line, row in known.items():
            rows[places[line]] = row
        done = np.array([line in known for line in numbers], np.bool_)
        pieces = [[(places[line], weight) for line, weight in one.pieces] for one in good]
        vectors, whole = combine_rows(fit_rows(rows, dimensions, self._origin.spec), done, pieces)
        lost = [one.key for one, is_whole in zip(good, whole, strict=True) if not is_whole]
        if lost:
            raise Gemini2Error(f"{self.path} lacks vectors it had, of {lost[0]!r}: it was damaged")
        found = {one.id: vector for one, vector in zip(good, vectors, strict=True)}
        return [BatchVector(one.key, found.get(one.id), _error(one)) for one in settled]

    # All at once

    def embed(
        self,
        contents: Sequence[ContentLike],
        *,
        titles: Sequence[str | None] | None = None,
        side: Side = "document",
        aggregate: Aggregate = "joint",
        deadline: float | None = None,
    ) -> EmbeddingResult:
        """Submit, wait, collect: as ``embed_contents``, for half the price and in hours.

        After a crash or a deadline, call it again with the same contents.

        Args:
            contents: Each a text, a medium, or a list of both.
            titles: One a content.
            side: Which side of the task they are.
            aggregate: How the parts of a content make one vector.
            deadline: Most seconds to wait.

        Returns:
            One row a content, in order, of the embedder's size; its usage is the whole run's.

        Raises:
            InvalidInputError: A content can't be embedded; ``.index`` says which.
            ServiceError: Lines were given up; ``.partial`` holds what was embedded.
            ServiceTimeoutError: The deadline has passed; the jobs go on.
        """
        self.submit(_numbered(contents, titles), side=side, aggregate=aggregate)
        self.wait(deadline)
        return self._result(len(contents))

    async def aembed(
        self,
        contents: Sequence[ContentLike],
        *,
        titles: Sequence[str | None] | None = None,
        side: Side = "document",
        aggregate: Aggregate = "joint",
        deadline: float | None = None,
    ) -> EmbeddingResult:
        """``embed``, awaited."""
        await self.asubmit(_numbered(contents, titles), side=side, aggregate=aggregate)
        await self.await_(deadline)
        return await asyncio.to_thread(self._result, len(contents))

    def _result(self, count: int) -> EmbeddingResult:
        """The result of the contents that ``embed`` has submitted, whatever else is there."""
        wanted = {str(index): index for index in range(count)}
        dimensions = min(self._origin.dimensions, self._dimensions)
        rows: dict[int, Row] = {}
        errors: dict[int, Gemini2Error] = {}
        after: int | None = 0
        while after is not None:
            settled, after = self._state.settled(after, _SOME)
            ours = [one for one in settled if one.key in wanted]
            for key, vector, error in self._vectors(ours, dimensions):
                if vector is not None:
                    rows[wanted[key]] = vector
                elif error is not None:
                    errors[wanted[key]] = error
        indices = sorted(rows)
        vectors = np.array([rows[index] for index in indices], np.float32)
        result = EmbeddingResult(
            vectors.reshape(len(indices), dimensions),
            np.array(indices, np.int64),
            self.usage,
            self._origin.space,
        )
        if errors:
            index = min(errors)
            errors[index].at(index)
            errors[index].partial = result if len(result) else None
            raise errors[index]
        return result

    # Its end

    def close(self) -> None:
        """Let go of the file; the jobs at the service go on."""
        self._state.close()
        self._service.close()

    async def aclose(self) -> None:
        """``close``, awaited."""
        await asyncio.to_thread(self.close)

    def __enter__(self) -> BatchRun:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> BatchRun:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"BatchRun({str(self.path)!r}, {self._origin.spec.id!r}, {self._dimensions})"


@dataclass(slots=True)
class _Entry:
    """A content on its way into the state: its plan, or why it has none."""

    key: str
    digest: str
    plan: Plan | None = None
    error: InvalidInputError | None = None


@dataclass(slots=True)
class _Planned:
    """Some contents, and the error that is raised once they are kept."""

    report_bad: bool
    entries: list[_Entry] = field(default_factory=list)
    bad: InvalidInputError | None = None


def _entry(entry: object) -> tuple[str, ContentLike, str | None]:
    if not isinstance(entry, tuple) or len(entry) not in (2, 3) or not isinstance(entry[0], str):
        raise InvalidInputError(
            f"a (key, content) or (key, content, title) with a str as key is wanted, not "
            f"{entry!r:.80}"
        )
    return entry[0], entry[1], entry[2] if len(entry) == 3 else None


def _numbered(
    contents: Sequence[ContentLike], titles: Sequence[str | None] | None
) -> Iterator[KeyedContent]:
    if titles is not None and len(titles) != len(contents):
        raise InvalidInputError(f"{len(titles)} titles for {len(contents)} inputs")
    for index, content in enumerate(contents):
        yield str(index), content, titles[index] if titles is not None else None


def _about(error: Gemini2Error, key: str) -> None:
    """An error of one content says which: by its key, not by its place in a list of one."""
    error.message = f"content {key!r}: {error.message.removeprefix('input 0: ')}"
    error.index = int(key) if key.isdecimal() else None


def _error(one: Settled) -> Gemini2Error | None:
    if one.error is None:
        return None
    return InvalidInputError(one.error) if one.permanent else ServiceError(one.error)


def _job_status(job: Job) -> JobStatus:
    state = _STATES.get(job.phase, job.state)
    if job.phase == "running":  # what ended and isn't kept yet is still to be waited for
        state = "PENDING" if job.state == "PENDING" else "RUNNING"
    ended = job.ended or time.time()
    seconds = None if job.started is None else ended - job.started
    return JobStatus(job.id, job.name, state, job.lines, job.done, seconds)


async def _chunks(
    contents: Iterable[KeyedContent] | AsyncIterable[KeyedContent],
) -> AsyncIterator[list[KeyedContent]]:
    if isinstance(contents, AsyncIterable):
        some: list[KeyedContent] = []
        async for one in contents:
            some.append(one)
            if len(some) == _SOME:
                yield some
                some = []
        if some:
            yield some
        return
    source = iter(contents)
    while got := await asyncio.to_thread(lambda: list(itertools.islice(source, _SOME))):
        yield got
