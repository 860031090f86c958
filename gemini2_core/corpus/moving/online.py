"""A move online: pages are read, embedded and stored side by side, as fast as the quota lets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from gemini2_core.corpus.item import Source
from gemini2_core.corpus.moving.checkpoint import Checkpoint
from gemini2_core.corpus.moving.move import Move, Point, Settings
from gemini2_core.corpus.moving.pages import Entry, Page
from gemini2_core.corpus.moving.paid_rows import PaidRows
from gemini2_core.corpus.moving.paying import Paid, pay
from gemini2_core.corpus.moving.report import money
from gemini2_core.embedding import Gemini2Embedder
from gemini2_core.index import MatryoshkaCollection
from gemini2_core.model import Modality, Vectors

__all__ = ["OnlineMove"]

#: Pages that are embedded or stored at once; one more is read. Two keep the quota busy while a
#: third is being stored.
_PAGES_AT_ONCE = 3
#: What is in flight when a move has to stop gets this long to come in: it's paid for.
_GRACE = 2.0
#: The part of a corpus that may be in flight: what a kill can cost. It makes the requests for a
#: small one smaller, and never fewer than so many items are in flight.
_PART_IN_FLIGHT, _LEAST_IN_FLIGHT = 1 / 1000, 24


class OnlineMove(Move):
    """A move whose vectors come at once, from ``embed_contents``."""

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
        super().__init__(source, embedder, target, checkpoint, settings, size=size, hybrid=hybrid)
        self._batch_size = embedder.batch_size
        self._reserved = 0.0
        self._room = asyncio.Semaphore(_PAGES_AT_ONCE)
        self._storing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._kept: set[PaidRows] = set()

    async def go(self) -> bool:
        """Move what isn't there yet; see ``Move.go``."""
        whole = False
        async with self._reading() as reading:
            try:
                await self._expect(reading)
                self._batch_size = self._bearable()
                while not self._all_sent():
                    page = await reading.page()
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
        if self._error is not None:
            raise self._error
        return whole and not self._cut

    def _bearable(self) -> int:
        """Items of a request, so that a kill in the middle of all of them costs little."""
        most = self._embedder.batch_size
        if self._total is None:
            return most
        in_flight = max(_LEAST_IN_FLIGHT, int(self._total * _PART_IN_FLIGHT))
        return max(1, min(most, in_flight // self._embedder.max_concurrency))

    def _cut_short(self) -> None:
        super()._cut_short()
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

    async def _send(self, page: Page) -> None:
        """Start a page as soon as there is room for it, and money: in parts, if that is short."""
        await self._take(page)
        sent = False
        while (page.entries or page.moved_on) and not self._all_sent():
            await self._room.acquire()
            fitting, rest, price = await self._affordable(page.entries)
            page.entries = fitting
            if self._cut or not (fitting or page.moved_on):
                self._room.release()
                break
            self._reserved += price
            task = asyncio.create_task(self._move(page, price))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            page, sent = Page(entries=rest), True
        if not sent:
            self._tell()

    def _all_sent(self) -> bool:
        """Whether nothing more is to be sent."""
        return self._cut or bool(self.stopped)

    async def _affordable(self, entries: list[Entry]) -> tuple[list[Entry], list[Entry], float]:
        """Entries that there is money for, the others, and the most that the first may cost."""
        limit = self._settings.max_dollars
        while True:
            measured = self._foreseen > 0
            prices = [self._factor * self._embedder.dollars(entry.tokens) for entry in entries]
            if limit is None:
                return entries, [], sum(prices)
            left = limit - self._dollars - self._reserved
            fitting = int(np.searchsorted(np.cumsum(prices), left, side="right"))
            if fitting == len(prices) or self._cut:
                return entries, [], sum(prices)
            if not self._tasks:
                break
            # What is on its way may turn out cheaper than it was taken for.
            await asyncio.wait(self._tasks)
        if measured or not fitting:
            # Else what these cost will show how much the others may.
            self.stopped = f"the next item would bring the cost above {money(limit)}"
        return entries[:fitting], entries[fitting:], sum(prices[:fitting])

    async def _move(self, page: Page, price: float) -> None:
        rows = PaidRows(self._checkpoint)
        self._kept.add(rows)
        try:
            moved_on = await self._with_vectors(page)
            keeping = self._embedder.keeping(
                rows, dimensions=self._size, batch_size=self._batch_size
            )
            paid = await pay(keeping, page.entries)
            async with self._storing:
                await self._store(page, paid, moved_on, rows)
        except Exception as error:  # noqa: BLE001 - it ends the whole run, which raises it
            if not rows.ended:
                self._failed(error)
        finally:
            self._kept.discard(rows)
            self._reserved -= price
            self._room.release()
        self._tell()

    async def _store(
        self,
        page: Page,
        paid: Paid,
        moved_on: Sequence[tuple[Entry, Vectors]],
        rows: PaidRows,
    ) -> None:
        there = [*zip(paid.entries, paid.rows, strict=True), *moved_on]
        await self._put([Point(entry.id, entry.payload, row, entry.words) for entry, row in there])
        share = rows.recovered / max(1, len(rows.keys))
        recovered = _tokens(page.entries, share)
        dollars = self._embedder.dollars(recovered) + paid.usage.dollars
        foreseen = self._embedder.dollars(_tokens(page.entries, 1.0))
        await asyncio.to_thread(
            self._checkpoint.acknowledged,
            [entry.mark for entry, _ in there],
            paid=rows.keys,
            usage=paid.usage,
            recovered=recovered,
            dollars=dollars,
            foreseen=foreseen,
        )
        self._foreseen += foreseen
        self._dollars += dollars
        self.counts.stored += len(paid.entries)
        self.counts.payloads += len(moved_on)
        self.counts.done += len(there)
        self.counts.usage += paid.usage
        await self._refuse(paid.failures)


def _tokens(entries: Sequence[Entry], share: float) -> dict[Modality, int]:
    """A share of the tokens that entries were taken for."""
    tokens: dict[Modality, int] = {}
    for entry in entries:
        for modality, count in entry.tokens.items():
            tokens[modality] = tokens.get(modality, 0) + count
    return {kind: round(count * share) for kind, count in tokens.items() if round(count * share)}
