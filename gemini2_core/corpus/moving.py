"""A corpus on its way: read, embedded and stored at once, page by page, noted at each step."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from gemini2_core.corpus.checkpoint import Checkpoint, PaidRows, item_key
from gemini2_core.corpus.failure import Failure
from gemini2_core.corpus.item import Source
from gemini2_core.corpus.pages import Entry, Page, read_pages
from gemini2_core.corpus.paying import Paid, pay
from gemini2_core.corpus.report import ReindexProgress
from gemini2_core.corpus.sources import sharded
from gemini2_core.embedding import Gemini2Embedder, Usage
from gemini2_core.errors import Gemini2Error, InvalidInputError
from gemini2_core.index import MatryoshkaCollection
from gemini2_core.model import Modality, Vectors

__all__ = ["Counts", "Move", "Settings"]

#: Pages that are embedded or stored at once; one more is read. Two keep the quota busy while a
#: third is being stored.
_PAGES_AT_ONCE = 3
#: What is in flight when a move has to stop gets this long to come in: it's paid for.
_GRACE = 2.0
#: Our count against the service's, before the first answer has shown how they compare.
_MARGIN = 1.1


@dataclass(frozen=True, slots=True)
class Settings:
    """How a move is done; ``reindex`` explains each."""

    shard: tuple[int, int] = (0, 1)
    page: int = 512
    max_dollars: float | None = None
    stop_on_failure: bool = False
    on_progress: Callable[[ReindexProgress], object] | None = None


@dataclass(slots=True)
class Counts:
    """What one run has done so far; ``ReindexReport`` explains each.

    Attributes:
        done: Items that are behind it, whatever became of them.
    """

    read: int = 0
    done: int = 0
    stored: int = 0
    unchanged: int = 0
    changed: int = 0
    payloads: int = 0
    repeated: int = 0
    failed: int = 0
    usage: Usage = field(default_factory=Usage)


class Move:
    """One run of a move, on the loop that calls ``go``.

    Args:
        source: Where the items come from.
        embedder: Who embeds them.
        target: Where they go; open.
        checkpoint: Where each step is noted.
        settings: How it is done.
        size: Numbers of a vector: the collection's largest tier.
        hybrid: Whether the collection takes the words of each item as well.
    """

    def __init__(
        self,
        source: Source,
        embedder: Gemini2Embedder,
        target: MatryoshkaCollection,
        checkpoint: Checkpoint,
        settings: Settings,
        *,
        size: int,
        hybrid: bool,
    ) -> None:
        self._source = source
        # A size that the model wasn't trained for is warned of here, and not at each page.
        self._embedder = embedder.keeping(PaidRows(checkpoint), dimensions=size)
        self._target = target
        self._checkpoint = checkpoint
        self._settings = settings
        self._size = size
        self._hybrid = hybrid
        self.counts = Counts()
        self.stopped = ""
        self._began = time.monotonic()
        self._total: int | None = None
        self._dollars = checkpoint.dollars
        self._reserved = self._told = self._foreseen = 0.0
        self._cut = False
        self._error: BaseException | None = None
        self._room = asyncio.Semaphore(_PAGES_AT_ONCE)
        self._storing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._kept: set[PaidRows] = set()

    @property
    def seconds(self) -> float:
        """How long this run has been at it."""
        return time.monotonic() - self._began

    async def go(self) -> bool:
        """Move what isn't there yet; whether the source came to its end.

        Raises:
            Gemini2Error: What ended the run: a quota, the service, the collection. What was
                paid for is kept, and the next run goes on.
        """
        reader = ThreadPoolExecutor(1, thread_name_prefix="gemini2-reading")
        loop = asyncio.get_running_loop()
        part = sharded(self._source, *self._settings.shard)
        pages = read_pages(part, self._embedder, self._checkpoint, self._settings.page)
        whole = False
        try:
            self._checkpoint.reading_begins()
            self._total = await loop.run_in_executor(reader, self._count)
            while not self.stopped and not self._cut:
                page = await loop.run_in_executor(reader, next, pages, None)
                if page is None:
                    whole = True
                    break
                await self._send(page)
            while self._tasks and not self._cut:
                await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self.stop("interrupted")
            raise
        finally:
            await self._wind_up()
            await loop.run_in_executor(reader, pages.close)
            reader.shutdown(wait=False)
        if self._error is not None:
            raise self._error
        return whole and not self._cut

    def stop(self, why: str) -> None:
        """Send nothing more; what is in flight comes in. To be called on the loop."""
        self.stopped = self.stopped or why
        self._cut_short()

    def _cut_short(self) -> None:
        self._cut = True
        for rows in self._kept:
            rows.ended = True
        self._room.release()  # whoever waits for room looks up

    async def _wind_up(self) -> None:
        """See the pages off that are on their way, when they are to be cut short."""
        if not self._tasks:
            return
        self._cut_short()
        _, late = await asyncio.wait(self._tasks, timeout=_GRACE)
        for task in late:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _count(self) -> int | None:
        total = self._source.count()
        return None if total is None else -(-total // self._settings.shard[1])

    # ---- a page: room, money, vectors, and into the collection

    async def _send(self, page: Page) -> None:
        """Start a page as soon as there is room for it, and money."""
        counts = self.counts
        counts.read += page.read
        counts.unchanged += page.unchanged
        counts.repeated += page.repeated
        counts.changed += page.changed
        counts.done += page.unchanged + page.repeated
        await self._refuse(page.failures)
        if page.entries or page.moved_on:
            await self._room.acquire()
            price = await self._afford(page)
            if not self._cut and (page.entries or page.moved_on):
                self._reserved += price
                task = asyncio.create_task(self._move(page, price))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                return
            self._room.release()
        self._tell()

    async def _afford(self, page: Page) -> float:
        """What a page will cost; it is cut to what there is money for."""
        limit = self._settings.max_dollars
        while True:
            prices = [self._price(entry) for entry in page.entries]
            if limit is None:
                return sum(prices)
            left = limit - self._dollars - self._reserved
            sums = np.cumsum(prices)
            fitting = int(np.searchsorted(sums, left, side="right"))
            if fitting == len(prices) or self._cut:
                return sum(prices)
            if not self._tasks:
                break
            # What is on its way may turn out cheaper than it was taken for.
            await asyncio.wait(self._tasks)
        del page.entries[fitting:]
        self.stopped = f"the next item would bring the cost above ${limit:,.2f}"
        return sum(prices[:fitting])

    def _price(self, entry: Entry) -> float:
        factor = max(1.0, self._told / self._foreseen) if self._foreseen else _MARGIN
        return factor * self._embedder.dollars(entry.tokens)

    async def _move(self, page: Page, price: float) -> None:
        rows = PaidRows(self._checkpoint)
        self._kept.add(rows)
        try:
            there = await self._stored_vectors(page)
            paid = await pay(self._embedder.keeping(rows, dimensions=self._size), page.entries)
            async with self._storing:
                await self._store(page, paid, there, rows)
        except Exception as error:  # noqa: BLE001 - it ends the whole run, which raises it
            if not rows.ended:
                self._error = self._error or error
                self._cut_short()
        finally:
            self._kept.discard(rows)
            self._reserved -= price
            self._room.release()
        self._tell()

    async def _stored_vectors(self, page: Page) -> dict[bytes, Vectors]:
        """The vectors of entries that only get a new payload; one without is embedded after all."""
        if not page.moved_on:
            return {}
        ids = [entry.id for entry in page.moved_on]
        records = await self._target.aget(ids, with_vectors=True)
        there = {item_key(one.id): one.vector for one in records if one.vector is not None}
        page.entries += [entry for entry in page.moved_on if entry.mark.key not in there]
        page.moved_on = [entry for entry in page.moved_on if entry.mark.key in there]
        return there

    async def _store(
        self, page: Page, paid: Paid, there: dict[bytes, Vectors], rows: PaidRows
    ) -> None:
        entries = [*paid.entries, *page.moved_on]
        if entries:
            vectors = [*paid.rows, *(there[entry.mark.key] for entry in page.moved_on)]
            await self._target.aadd(
                [entry.id for entry in entries],
                np.stack(vectors),
                [entry.payload for entry in entries],
                texts=[_words(entry) for entry in entries] if self._hybrid else None,
            )
        share = rows.recovered / max(1, len(rows.keys))
        recovered = _tokens(page.entries, share)
        dollars = self._embedder.dollars(recovered) + paid.usage.dollars
        await asyncio.to_thread(
            self._checkpoint.acknowledged,
            [entry.mark for entry in entries],
            paid=rows.keys,
            usage=paid.usage,
            recovered=recovered,
            dollars=dollars,
        )
        self._told += paid.usage.dollars
        self._foreseen += self._embedder.dollars(_tokens(page.entries, 1 - share))
        self._dollars += dollars
        self.counts.stored += len(paid.entries)
        self.counts.payloads += len(page.moved_on)
        self.counts.done += len(entries)
        self.counts.usage += paid.usage
        await self._refuse(paid.failures)

    async def _refuse(self, failures: Sequence[tuple[bytes, Failure]]) -> None:
        if not failures:
            return
        await asyncio.to_thread(self._checkpoint.refused, failures)
        self.counts.failed += len(failures)
        self.counts.done += len(failures)
        if self._settings.stop_on_failure and self._error is None:
            first = failures[0][1]
            self._error = InvalidInputError(f"item {first.id!r} can't be embedded: {first.reason}")
            self._cut_short()

    def _tell(self) -> None:
        on_progress = self._settings.on_progress
        if on_progress is None:
            return
        counts = self.counts
        try:
            on_progress(
                ReindexProgress(
                    read=counts.done,
                    total=self._total,
                    stored=counts.stored,
                    failed=counts.failed,
                    dollars=self._dollars,
                    seconds=self.seconds,
                )
            )
        except Exception as error:  # noqa: BLE001 - the caller's own
            told = Gemini2Error(f"on_progress raised {type(error).__name__}: {error}")
            told.__cause__ = error
            self._error = self._error or told
            self._cut_short()


def _words(entry: Entry) -> str:
    return "\n\n".join(entry.content.texts)


def _tokens(entries: Sequence[Entry], share: float) -> dict[Modality, int]:
    """A share of the tokens that entries were taken for."""
    tokens: dict[Modality, int] = {}
    for entry in entries:
        for modality, count in entry.tokens.items():
            tokens[modality] = tokens.get(modality, 0) + count
    return {kind: round(count * share) for kind, count in tokens.items() if round(count * share)}
