"""One call on the loop: its requests are sent, repeated, narrowed down, and what comes is kept."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from gemini2_core.content import Media
from gemini2_core.embedding.answer import Answer
from gemini2_core.embedding.cache import VectorCache, pack_row, unpack_row
from gemini2_core.embedding.faults import Fault, Remedy, read_fault
from gemini2_core.embedding.pace import Pace, RateLimiter
from gemini2_core.embedding.plan import Item, make_batches
from gemini2_core.embedding.result import Usage
from gemini2_core.embedding.transport import Transport
from gemini2_core.embedding.uploads import Uploads
from gemini2_core.embedding.wire import Json, bytes_part, file_part, request_item, text_part
from gemini2_core.errors import BadResponseError, Gemini2Error, InvalidInputError
from gemini2_core.model import FILES_API_BYTES, Backend, Modality, ModelSpec, Vectors, truncate

__all__ = ["Limits", "Outcome", "Progress", "Run", "Service"]

Progress = Callable[[int, int], object]

#: Answers in a row that lack vectors before an item is given up: trying again is likely to help,
#: but nothing says that it must.
_BAD_ANSWERS = 5
_FIRST_WAIT, _LONGEST_WAIT = 0.25, 30.0
#: What was in flight when a run has to stop gets this long to come in: it's paid for.
_GRACE = 0.5
#: A quota's minute: if a batch is refused for longer, it may be more than the quota by itself.
_MINUTE = 60.0
#: More items than this are packed into requests in a thread.
_PACKED_INLINE = 10_000


@dataclass(frozen=True, slots=True)
class Limits:
    """How hard to try, and how fast.

    Attributes:
        max_concurrency: Most requests in flight.
        batch_size: Most items in a request.
        requests_per_minute: Items in 60 s, or None.
        tokens_per_minute: Tokens in 60 s, or None.
        rate_limiter: A limiter of the caller's framework, or None.
        retry_seconds: How long a request may keep failing, or a quota stay used up, before the
            call ends with an error.
    """

    max_concurrency: int
    batch_size: int
    requests_per_minute: int | None
    tokens_per_minute: int | None
    rate_limiter: RateLimiter | None
    retry_seconds: float


@dataclass(slots=True)
class Service:
    """The service as one embedder's calls share it.

    Attributes:
        transport: The way there.
        spec: The model.
        limits: How hard to try.
        pace: When a request may leave.
        cache: Vectors that were paid for before, or None.
        secret: What mustn't be quoted, or None.
        batches: Whether several items may go in one request.
        batches_proven: Whether such a request has been answered.
    """

    transport: Transport
    spec: ModelSpec
    limits: Limits
    pace: Pace
    cache: VectorCache | None
    secret: str | None
    batches: bool
    batches_proven: bool = False


@dataclass(slots=True)
class Outcome:
    """What became of the unique items of a plan.

    Attributes:
        rows: float32 (items, dimensions), as the service sent them.
        done: bool (items,): which rows are filled.
        error: Why rows are missing; None if none is.
        place: The item the error is about, or None if it isn't about one.
        refused: Why each item can't be embedded that can't, by its place.
    """

    rows: Vectors
    done: npt.NDArray[np.bool_]
    error: Gemini2Error | None = None
    place: int | None = None
    refused: dict[int, Gemini2Error] = field(default_factory=dict)


@dataclass(slots=True)
class _Job:
    """Items that go in one request, and what has happened to it."""

    places: list[int]
    failures: int = 0
    failing_since: float | None = None
    bad_answers: int = 0


class Run:
    """The jobs, rows and usage of one call.

    Args:
        service: What the embedder's calls share.
        items: What to embed, no two equal.
        dimensions: Size of the vectors that are wanted; with a cache the rows are full ones.
        progress: Called with (done, total), or None.
        batch_size: Most items in a request.
        kept: Where rows are kept instead of the service's cache, or None.
    """

    def __init__(
        self,
        service: Service,
        items: Sequence[Item],
        dimensions: int,
        progress: Progress | None,
        batch_size: int,
        kept: VectorCache | None = None,
    ) -> None:
        self.service = service
        self.cache = service.cache if kept is None else kept
        self.batch_size = batch_size
        self.items = items
        self.progress = progress
        spec = service.spec
        # A cached row serves every smaller size, so with a cache the full one is fetched.
        self.size = dimensions if service.cache is None else spec.full_dimensions
        self.wanted_dimensions = None if self.size == spec.full_dimensions else self.size
        self.outcome = Outcome(
            np.zeros((len(items), self.size), np.float32), np.zeros(len(items), np.bool_)
        )
        self.keys: list[str | None] = []
        self.uploads = Uploads(service.transport, service.secret)
        self.ready: deque[_Job] = deque()
        self.later: list[tuple[float, int, _Job]] = []
        self.order = itertools.count()
        self.running = 0
        self.changed = asyncio.Event()
        self.refused_since: float | None = None
        self.most = batch_size
        self.stopped = False
        self.tokens: dict[Modality, int] = {}
        self.estimated = self.sent = self.requests = self.retries = self.cached = 0

    async def go(self) -> Outcome:
        """Get every item a row, or find out why not; never raises for a failed request."""
        if self.cache is not None:
            try:
                await asyncio.to_thread(self._read_cache, self.cache)
            except Exception as error:  # noqa: BLE001 - a store of the caller's may raise anything
                self._stop(_cache_error("read", error))
                return self.outcome
        todo = np.flatnonzero(~self.outcome.done).tolist()
        limits = self.service.limits
        batch_size = self.batch_size if self.service.batches else 1
        if limits.requests_per_minute:
            batch_size = min(batch_size, limits.requests_per_minute)
        pack = partial(
            make_batches,
            self.items,
            todo,
            batch_size=batch_size,
            max_concurrency=limits.max_concurrency,
            max_tokens=limits.tokens_per_minute,
        )
        # The size of a page or a span of time is known when it's cut out.
        slow = len(todo) > _PACKED_INLINE or any(item.media for item in self.items)
        for places in await asyncio.to_thread(pack) if slow else pack():
            self._push(_Job(places))
        self._report()
        try:
            workers = min(len(self.ready), limits.max_concurrency)
            if workers == 1:
                await self._work()
            elif workers:
                await self._work_together(workers)
        finally:
            await self.uploads.clean_up()
        return self.outcome

    @property
    def usage(self) -> Usage:
        """What was sent and billed so far."""
        return Usage(
            tokens=self.tokens,
            estimated_tokens=self.estimated,
            items=self.sent,
            requests=self.requests,
            retries=self.retries,
            cached=self.cached,
            dollars=self.service.spec.dollars(self.tokens),
        )

    async def _work_together(self, workers: int) -> None:
        loop = asyncio.get_running_loop()
        tasks = {asyncio.create_task(self._work()) for _ in range(workers)}
        deadline: float | None = None
        try:
            while tasks and (deadline is None or loop.time() < deadline):
                done, tasks = await asyncio.wait(
                    tasks,
                    timeout=None if deadline is None else deadline - loop.time(),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for task in done:
                    task.result()  # a bug is raised, not swallowed
                if self.stopped and deadline is None:
                    deadline = loop.time() + _GRACE
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self) -> None:
        """Take one job after the other, until there are none."""
        while not self.stopped:
            job, wait = self._next()
            if job is None:
                if wait is None and not self.running:
                    break
                await self._wait_for_change(wait)
                continue
            self.running += 1
            try:
                await self._try(job)
            finally:
                self.running -= 1
                self.changed.set()

    def _next(self) -> tuple[_Job | None, float | None]:
        """The job whose turn it is; or None, and in how many seconds one is due.

        One that failed goes before those that weren't tried: the time that it may keep failing
        runs already, and a night may pass before the last of the others has left.
        """
        now = asyncio.get_running_loop().time()
        if self.later and self.later[0][0] <= now:
            return heapq.heappop(self.later)[2], None
        if self.ready:
            return self.ready.popleft(), None
        return None, self.later[0][0] - now if self.later else None

    async def _wait_for_change(self, seconds: float | None) -> None:
        self.changed.clear()
        try:
            async with asyncio.timeout(seconds):
                await self.changed.wait()
        except TimeoutError:
            pass

    def _push(self, job: _Job, wait: float = 0.0) -> None:
        if wait:
            due = asyncio.get_running_loop().time() + wait
            heapq.heappush(self.later, (due, next(self.order), job))
        else:
            self.ready.append(job)
        self.changed.set()

    def _halve(self, job: _Job) -> None:
        """Put the job back as two, before all others."""
        middle = len(job.places) // 2
        for places in (job.places[middle:], job.places[:middle]):
            self.ready.appendleft(_Job(places, job.failures))
        self.changed.set()

    async def _try(self, job: _Job) -> None:
        service = self.service
        asked_at = left_at = asyncio.get_running_loop().time()
        entered = False
        try:
            bodies = await self._bodies(job)
            if not bodies:
                return
            items = [self.items[place] for place in job.places]
            left_at = await service.pace.enter(len(items), self._tokens_of(items))
            entered = True
            if self.stopped:
                return
            if job.failing_since is not None:
                # What it waited for its turn, it didn't fail.
                job.failing_since += left_at - asked_at
            if len(items) > self.most:
                self._halve(job)
                return
            self.requests += 1
            self.retries += bool(job.failures)
            answer = await service.transport.embed(bodies)
            if len(answer.rows) != len(items):
                raise BadResponseError(
                    f"{len(answer.rows)} vectors came back for {len(items)} inputs"
                )
        except Exception as error:  # noqa: BLE001 - read_fault sorts them, bugs too
            self._fail(job, read_fault(error, service.secret), left_at)
        else:
            service.pace.succeeded(len(items), asyncio.get_running_loop().time())
            await self._keep(job, items, answer)
        finally:
            if entered:
                service.pace.leave()

    def _tokens_of(self, items: Sequence[Item]) -> int:
        if self.service.limits.tokens_per_minute is None:
            return 0
        return sum(sum(item.tokens.values()) for item in items)

    async def _bodies(self, job: _Job) -> list[dict[str, Json]]:
        """Build the request items; an input whose medium can't be read leaves the job."""
        bodies: list[dict[str, Json]] = []
        readable: list[int] = []
        for place in job.places:
            try:
                bodies.append(await self._body(self.items[place]))
            except InvalidInputError as error:
                self._give_up(error, place)
            except OSError as error:
                if isinstance(error, Gemini2Error):
                    raise
                unreadable = InvalidInputError(f"a medium can't be read: {error}")
                unreadable.__cause__ = error
                self._give_up(unreadable, place)
            else:
                readable.append(place)
        job.places = readable
        return bodies

    async def _body(self, item: Item) -> dict[str, Json]:
        inline = await self._inline_bytes(item)
        return request_item(
            self.service.spec.id,
            [
                text_part(part) if isinstance(part, str) else await self._media_part(part, inline)
                for part in item.parts
            ],
            dimensions=self.wanted_dimensions,
            task_field=item.prompt.field,
            title=item.prompt.title,
        )

    async def _inline_bytes(self, item: Item) -> int:
        """Bytes above which a medium of the item goes through the Files API."""
        held = [part for part in item.parts if not isinstance(part, str) and not part.by_service]
        if len(held) < 2 or self.service.transport.backend is Backend.VERTEX:
            return FILES_API_BYTES
        sizes = await asyncio.to_thread(lambda: [media.size() for media in held])
        # Each may fit where all together don't.
        return FILES_API_BYTES if sum(sizes) <= FILES_API_BYTES else FILES_API_BYTES // len(held)

    async def _media_part(self, media: Media, inline: int) -> dict[str, Json]:
        if media.by_service:
            return file_part(str(media.source), media.mime_type)
        data = await asyncio.to_thread(media.read)
        if len(data) > inline:
            return file_part(await self.uploads.uri(media, data), media.mime_type)
        return bytes_part(data, media.mime_type)

    async def _keep(self, job: _Job, items: Sequence[Item], answer: Answer) -> None:
        """Write the rows that came; what came without a vector goes back into the queue."""
        self.service.batches_proven |= len(items) > 1
        self._count(items, answer)
        if answer.truncated:
            # Texts are counted before they leave; mixed contents are only estimated.
            warnings.warn(
                f"the service cut an input to the {self.service.spec.max_input_tokens} tokens of "
                f"{self.service.spec.id}: what was beyond them isn't in its vector",
                UserWarning,
                stacklevel=2,
            )
        missing: list[int] = []
        kept: list[int] = []
        for place, row in zip(job.places, answer.rows, strict=True):
            # A server that ignores the size and sends the full one is no worse: sizes nest.
            if row is None or len(row) not in (self.size, self.service.spec.full_dimensions):
                missing.append(place)
            else:
                self.outcome.rows[place] = (
                    row if len(row) == self.size else truncate(row[None, :], self.size)[0]
                )
                self.outcome.done[place] = True
                kept.append(place)
        if self.cache is not None and kept:
            try:
                await asyncio.to_thread(self._write_cache, self.cache, kept)
            except Exception as broken:  # noqa: BLE001 - as above
                # To go on would be to pay for vectors that the next call pays for again.
                self._stop(_cache_error("written", broken))
        self._report()
        if missing:
            lengths = {0 if row is None else len(row) for row in answer.rows} - {self.size}
            error = BadResponseError(
                f"the service sent a vector of {max(lengths)} numbers instead of {self.size}"
            )
            self._bad_answer(_Job(missing, job.failures, None, job.bad_answers), error)
        else:
            # Decoding holds the loop for some ms; others get their turn before the next answer.
            await asyncio.sleep(0)

    def _count(self, items: Sequence[Item], answer: Answer) -> None:
        self.sent += len(items)
        tokens = answer.tokens
        if not tokens:
            tokens = {}
            for item in items:
                for modality, count in item.tokens.items():
                    tokens[modality] = tokens.get(modality, 0) + count
            self.estimated += sum(tokens.values())
        for modality, count in tokens.items():
            self.tokens[modality] = self.tokens.get(modality, 0) + count

    def _fail(self, job: _Job, fault: Fault, left_at: float) -> None:
        service, now = self.service, asyncio.get_running_loop().time()
        if (
            fault.method_missing
            and service.transport.backend is Backend.VERTEX
            and len(job.places) > 1
            and not service.batches_proven
        ):
            # Whether a region has the batch method isn't established: then it's one a request.
            service.batches = False
            for place in job.places:
                self._push(_Job([place]))
            return
        if isinstance(fault.error, BadResponseError):
            self._bad_answer(job, fault.error)
        elif fault.remedy is Remedy.NARROW or self._file_refused(job, fault):
            if len(job.places) == 1:
                error = fault.error
                if fault.remedy is not Remedy.NARROW:
                    error = InvalidInputError(
                        "the service can't read the file that this input refers to, or not with "
                        f"these credentials: {error.message}"
                    )
                    error.__cause__ = fault.error.__cause__
                self._give_up(error, job.places[0])
                return
            middle = len(job.places) // 2
            self._push(_Job(job.places[:middle]))
            self._push(_Job(job.places[middle:]))
        elif fault.remedy is Remedy.STOP:
            self._stop(fault.error)
        elif fault.remedy is Remedy.WAIT:
            service.pace.exceeded(left_at, fault.wait, fault.items_per_minute, now)
            job.failures += 1
            if self.refused_since is None or self.refused_since < service.pace.last_success:
                self.refused_since = left_at
            refused = now - self.refused_since
            # A wait that the budget doesn't allow needn't be begun.
            if refused + (fault.wait or 0.0) > service.limits.retry_seconds:
                self._stop(fault.error)
            else:
                if refused >= _MINUTE:
                    self.most = max(1, min(self.most, len(job.places) // 2))
                self.ready.appendleft(job)
                self.changed.set()
        else:
            self._retry(job, fault)

    def _file_refused(self, job: _Job, fault: Fault) -> bool:
        """Whether it may be about a file that an item refers to.

        The service says the same of one that has expired as of a key without rights.
        """
        return getattr(fault.error, "code", None) in (403, 404) and any(
            not isinstance(part, str) and part.by_service
            for place in job.places
            for part in self.items[place].parts
        )

    def _retry(self, job: _Job, fault: Fault) -> None:
        now = asyncio.get_running_loop().time()
        job.failing_since = job.failing_since or now
        wait = fault.wait
        if wait is None:
            wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2**job.failures) * random.uniform(0.5, 1.0)
        job.failures += 1
        if now + wait - job.failing_since > self.service.limits.retry_seconds:
            self._stop(fault.error)
        else:
            self._push(job, wait)

    def _bad_answer(self, job: _Job, error: BadResponseError) -> None:
        job.bad_answers += 1
        job.failures += 1
        if job.bad_answers < _BAD_ANSWERS:
            self._push(job, _FIRST_WAIT * job.bad_answers)
        elif len(job.places) > 1:
            for place in job.places:  # perhaps only one of them is at fault
                self._push(_Job([place], bad_answers=_BAD_ANSWERS - 1))
        else:
            self._give_up(error, job.places[0])

    def _give_up(self, error: Gemini2Error, place: int) -> None:
        """This item can't be embedded; the others go on. The first one is reported."""
        self.outcome.refused[place] = error
        if self.stopped:
            return  # that is why the most rows are missing
        if self.outcome.place is None or place < self.outcome.place:
            self.outcome.error, self.outcome.place = error, place

    def _stop(self, error: Gemini2Error) -> None:
        if not self.stopped:
            self.outcome.error, self.outcome.place = error, None
        self.stopped = True
        self.changed.set()

    def _report(self) -> None:
        if self.progress is None:
            return
        try:
            self.progress(int(self.outcome.done.sum()), len(self.items))
        except Exception as error:  # noqa: BLE001 - the caller's own
            told = Gemini2Error(f"on_progress raised {type(error).__name__}: {error}")
            told.__cause__ = error
            self._stop(told)

    def _read_cache(self, cache: VectorCache) -> None:
        self.keys = [self._key(item) for item in self.items]
        known = [(place, key) for place, key in enumerate(self.keys) if key is not None]
        rows = cache.mget([key for _, key in known])
        for (place, _), data in zip(known, rows, strict=True):
            row = unpack_row(data, self.size)
            if row is not None:
                self.outcome.rows[place] = row
                self.outcome.done[place] = True
                self.cached += 1

    def _write_cache(self, cache: VectorCache, places: Sequence[int]) -> None:
        cache.mset(
            [
                (key, pack_row(self.outcome.rows[place]))
                for place in places
                if (key := self.keys[place]) is not None and self._still(place, key)
            ]
        )

    def _still(self, place: int, key: str) -> bool:
        """Whether an item is what it was when its key was made: a file may change in a night."""
        return not self.items[place].media or self._key(self.items[place]) == key

    def _key(self, item: Item) -> str | None:
        try:
            return item.cache_key(self.service.spec.space)
        except InvalidInputError:
            return None  # a medium that can't be read: told when it is to be sent


def _cache_error(what: str, error: Exception) -> Gemini2Error:
    told = Gemini2Error(f"the cache can't be {what} ({type(error).__name__}: {error})")
    told.__cause__ = error
    return told
