"""A batch run: contents submitted by key, looked after over hours, and their vectors collected."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from gemini2_core.content import ContentLike
from gemini2_core.embedding import loop
from gemini2_core.embedding.answer import Row
from gemini2_core.embedding.batch.origin import BatchSettings, Origin
from gemini2_core.embedding.batch.record import BatchRecord
from gemini2_core.embedding.batch.service import JobService
from gemini2_core.embedding.batch.state import State
from gemini2_core.embedding.batch.status import BatchStatus
from gemini2_core.embedding.batch.submission import Entry, KeyedContent, Submission
from gemini2_core.embedding.batch.work import Work
from gemini2_core.embedding.plan import Aggregate
from gemini2_core.embedding.progress import progress_bar
from gemini2_core.embedding.result import EmbeddingResult
from gemini2_core.errors import Gemini2Error, InvalidInputError, ServiceTimeoutError
from gemini2_core.model import Side

__all__ = ["BatchRun"]

#: Contents that are planned and kept at a time.
_SOME = 256
_FIRST_PAUSE = 2.0


class BatchRun(BatchRecord):
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
        dimensions = settings.dimensions or origin.spec.full_dimensions
        facts = {
            "model": origin.spec.id,
            "space": str(origin.space),
            "dimensions": str(dimensions),
        }
        state = State(path, facts, {"task": origin.task})
        self._hold(state, origin.spec, dimensions)
        self._origin = origin
        self._settings = settings
        self._service = JobService(origin.client, origin.spec, origin.secret, origin.retry_seconds)
        self._work = Work(state, self._service, origin, settings)

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
        crash the same can be submitted again; what was given up is then tried anew, unless its
        request is at fault.

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
        submission = self._submission(side, aggregate, report_bad)
        source, new = iter(contents), 0
        loop.run(self._begin())
        try:
            while some := list(itertools.islice(source, _SOME)):
                new += loop.run(self._keep(submission, submission.plan(some)))
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
        submission = self._submission(side, aggregate, report_bad)
        new = 0
        await loop.run_async(self._begin())
        try:
            async for some in _chunks(contents):
                entries = await asyncio.to_thread(submission.plan, some)
                new += await loop.run_async(self._keep(submission, entries))
        finally:
            self._work.filling = False
        await loop.run_async(self._work.advance())
        return new

    def _submission(self, side: Side, aggregate: Aggregate, report_bad: bool) -> Submission:
        return Submission(
            self._state,
            self._origin,
            self._dimensions,
            side=side,
            aggregate=aggregate,
            report_bad=report_bad,
        )

    async def _begin(self) -> None:
        await asyncio.to_thread(self._state.file.own)
        await asyncio.to_thread(self._state.file.set_fact, "cancelled", "no")
        self._work.filling = True

    async def _keep(self, submission: Submission, entries: Sequence[Entry]) -> int:
        new = await submission.keep(entries)
        await self._work.start_full()
        return new

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
            settled, after = self._state.contents.settled(after, _SOME)
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
        super().close()
        self._service.close()

    async def aclose(self) -> None:
        """``close``, awaited."""
        await asyncio.to_thread(self.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


def _numbered(
    contents: Sequence[ContentLike], titles: Sequence[str | None] | None
) -> Iterator[KeyedContent]:
    if titles is not None and len(titles) != len(contents):
        raise InvalidInputError(f"{len(titles)} titles for {len(contents)} inputs")
    for index, content in enumerate(contents):
        yield str(index), content, titles[index] if titles is not None else None


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
