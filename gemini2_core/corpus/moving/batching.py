"""A move by the Batch API: items are submitted by the job, and stored when their vectors come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

from gemini2_core.content import Content
from gemini2_core.corpus.item import Source
from gemini2_core.corpus.moving.checkpoint import Checkpoint
from gemini2_core.corpus.moving.failure import Failure
from gemini2_core.corpus.moving.move import Move, Point, Reading, Settings
from gemini2_core.corpus.moving.pages import Entry, Page, reason
from gemini2_core.corpus.moving.report import money
from gemini2_core.corpus.moving.waiting import Waiting, WaitingItems
from gemini2_core.embedding import Gemini2Embedder, Usage
from gemini2_core.embedding.batch import BatchOptions, BatchRun, BatchSettings, BatchVector
from gemini2_core.errors import Gemini2Error
from gemini2_core.index import MatryoshkaCollection
from gemini2_core.model import Vectors

__all__ = ["BatchMove", "batch_state"]

_SOME = 256
_FIRST_PAUSE = 2.0


class BatchMove(Move):
    """A move whose vectors come from jobs, in hours, for half the price.

    As many items are with the service as its jobs hold; when half of them have come and are
    stored, more are read. The jobs' state is a file beside the checkpoint.

    Args:
        source: Where the items come from.
        embedder: Who embeds them.
        target: Where they go; open.
        checkpoint: Where each step is noted.
        settings: How it is done.
        size: Numbers of a vector.
        hybrid: Whether the collection takes the words of each item as well.
        options: How the jobs are done; see ``BatchSettings``.
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
        options: BatchOptions,
    ) -> None:
        super().__init__(source, embedder, target, checkpoint, settings, size=size, hybrid=hybrid)
        options = {**options, "dimensions": size}
        self._batch = BatchSettings(**options)
        self._run: BatchRun = embedder.batch(batch_state(checkpoint.path), **options)
        self._waiting = WaitingItems(checkpoint)
        self._most = self._batch.max_jobs * self._batch.lines_per_job
        self._before = Usage()
        self._whole = False

    async def go(self) -> bool:
        """Move what isn't there yet; see ``Move.go``."""
        try:
            self._before = self._run.usage
            # What came while nobody looked: then what was paid is what was foreseen for it.
            await self._collect()
            self._pay()
            async with self._reading() as reading:
                await self._expect(reading)
                while not self._all_read():
                    await self._run.asubmit(self._submitted(reading), report_bad=True)
                    await self._drain(0 if self._all_read() else self._most // 2)
            if self._error is not None:
                raise self._error
            return await self._ended()
        except asyncio.CancelledError:
            self.stop("interrupted")
            raise
        finally:
            await self._run.aclose()

    def _all_read(self) -> bool:
        """Whether nothing more is to be submitted."""
        return self._whole or bool(self.stopped) or self._cut

    async def _ended(self) -> bool:
        left = await asyncio.to_thread(self._waiting.count)
        if left and self._run.status().cancelled:
            self.stopped = self.stopped or "the batch run was cancelled"
        elif left:
            # Its state file was lost, or there was nothing to embed. The next run tries them anew.
            lost = await asyncio.to_thread(self._waiting.some, left)
            why = "no vector came back for it"
            await self._refuse([(one.mark.key, Failure(one.id, why)) for one in lost])
            await asyncio.to_thread(self._waiting.remove, [one.key for one in lost])
        return self._whole and not self.stopped and not self._cut

    # ---- there

    async def _submitted(self, reading: Reading) -> AsyncIterator[tuple[str, Content]]:
        """Items to submit, until enough are with the service, or the money is spoken for."""
        while not self.stopped and not self._cut:
            if await asyncio.to_thread(self._waiting.count) >= self._most:
                return
            page = await reading.page()
            if page is None:
                self._whole = True
                return
            await self._take(page)
            moved_on = await self._with_vectors(page)
            await self._store_payloads(moved_on)
            await self._afford(page)
            items = [self._item(entry) for entry in page.entries]
            for entry, key in zip(
                page.entries, await asyncio.to_thread(self._waiting.keep, items), strict=True
            ):
                yield key, entry.content
            self._tell()

    def _item(self, entry: Entry) -> Waiting:
        # A key is for good in a batch run: an item that failed in an earlier run gets a new one.
        key = f"{entry.mark.key.hex()}-{entry.mark.content.hex()}-{self._checkpoint.run}"
        dollars = self._embedder.dollars(entry.tokens, batch_api=True)
        words = entry.words if self._hybrid else ""
        return Waiting(key, entry.mark, entry.id, entry.payload, words, dollars)

    async def _store_payloads(self, moved_on: Sequence[tuple[Entry, Vectors]]) -> None:
        if not moved_on:
            return
        await self._put(
            [Point(entry.id, entry.payload, row, entry.words) for entry, row in moved_on]
        )
        marks = [entry.mark for entry, _ in moved_on]
        await asyncio.to_thread(self._checkpoint.acknowledged, marks)
        self.counts.payloads += len(marks)
        self.counts.done += len(marks)

    async def _afford(self, page: Page) -> None:
        """Cut a page to what there is money for."""
        limit = self._settings.max_dollars
        if limit is None:
            return
        factor = self._factor
        left = limit - self._dollars
        left -= factor * await asyncio.to_thread(self._waiting.dollars)
        known = await asyncio.to_thread(self._waiting.known, [e.mark for e in page.entries])
        for place, entry in enumerate(page.entries):
            if entry.mark.key not in known:
                left -= factor * self._embedder.dollars(entry.tokens, batch_api=True)
            if left < 0:
                del page.entries[place:]
                self.stopped = f"the next item would bring the cost above {money(limit)}"
                return

    # ---- and back

    async def _drain(self, until: int) -> None:
        """Store what comes, until no more than so many items are with the service."""
        pause = first = min(_FIRST_PAUSE, self._batch.poll_seconds)
        while not self._cut:
            status = await self._run.apoll()
            came = await self._collect()
            left = await asyncio.to_thread(self._waiting.count)
            if left <= until or status.settled:
                return
            pause = first if came else min(1.5 * pause, self._batch.poll_seconds)
            await asyncio.sleep(pause)

    async def _collect(self) -> int:
        """Store what has come by now; how much it was."""
        came, some = 0, list[BatchVector]()
        async for one in self._run.acollect():
            some.append(one)
            if len(some) == _SOME:
                came += await self._store(some)
                some = []
            if self._cut:
                return came
        return came + (await self._store(some) if some else 0)

    async def _store(self, some: Sequence[BatchVector]) -> int:
        known = await asyncio.to_thread(self._waiting.get, [one.key for one in some])
        good = [(known[o.key], o.vector) for o in some if o.key in known and o.vector is not None]
        await self._put([Point(one.id, one.payload, row, one.words) for one, row in good])
        self._pay()
        foreseen = sum(one.dollars for one, _ in good)
        await asyncio.to_thread(
            self._checkpoint.acknowledged, [one.mark for one, _ in good], foreseen=foreseen
        )
        bad = [(known[o.key], o.error) for o in some if o.key in known and o.vector is None]
        await self._refuse([(one.mark.key, Failure(one.id, _why(e))) for one, e in bad])
        await asyncio.to_thread(self._waiting.remove, list(known))
        # Last of all: until then they come again, and are stored again under the same ids.
        await asyncio.to_thread(self._run.forget, [one.key for one in some])
        self._foreseen += foreseen
        self.counts.stored += len(good)
        self.counts.done += len(good)
        self._tell()
        return len(some)

    def _pay(self) -> None:
        """Take note of what the batch run has paid, by this and earlier processes."""
        usage = self._run.usage
        self._checkpoint.paid_to_batch(usage)
        self._dollars = self._checkpoint.dollars
        self.counts.usage = _less(usage, self._before)


def batch_state(checkpoint: Path) -> Path:
    """The file of a checkpoint's batch run: what ``gemini2 batch`` takes."""
    return checkpoint.with_name(f"{checkpoint.name}.batch")


def _why(error: Gemini2Error | None) -> str:
    return "there is nothing to embed" if error is None else reason(error)


def _less(usage: Usage, before: Usage) -> Usage:
    """What was sent and paid since."""
    tokens = {
        kind: count - before.tokens.get(kind, 0)
        for kind, count in usage.tokens.items()
        if count > before.tokens.get(kind, 0)
    }
    return replace(
        usage,
        tokens=tokens,
        estimated_tokens=usage.estimated_tokens - before.estimated_tokens,
        items=usage.items - before.items,
        requests=usage.requests - before.requests,
        retries=usage.retries - before.retries,
        cached=usage.cached - before.cached,
        duplicates=usage.duplicates - before.duplicates,
        dollars=usage.dollars - before.dollars,
    )
