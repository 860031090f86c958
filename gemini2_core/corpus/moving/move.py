"""What every move does with a page: count it, tell of it, store it, refuse what it must."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from gemini2_core.corpus.item import Source
from gemini2_core.corpus.moving.checkpoint import Checkpoint
from gemini2_core.corpus.moving.failure import Failure
from gemini2_core.corpus.moving.marks import item_key
from gemini2_core.corpus.moving.pages import Entry, Page, read_pages
from gemini2_core.corpus.moving.paid_rows import PaidRows
from gemini2_core.corpus.moving.report import ReindexProgress
from gemini2_core.corpus.sources import sharded
from gemini2_core.embedding import Gemini2Embedder, Usage
from gemini2_core.errors import Gemini2Error, InvalidInputError
from gemini2_core.index import MatryoshkaCollection, Payload, PointId
from gemini2_core.model import Vectors

__all__ = ["Counts", "Move", "Point", "Reading", "Settings"]

_T = TypeVar("_T")
#: Our count of tokens against the service's, before its answers have shown how they compare: other
#: tokenizers say up to 1 / 0.71 of it (``estimate``).
_MARGIN = 1.45


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


@dataclass(frozen=True, slots=True)
class Point:
    """What is stored of an item.

    Attributes:
        id: Its id.
        payload: What stands beside its vectors.
        vector: Its largest vector.
        words: Its words, for a hybrid collection.
    """

    id: PointId
    payload: Payload
    vector: Vectors
    words: str


class Move(ABC):
    """One run of a move, on the loop that calls ``go``; how items get their vectors is to be added.

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
        self._foreseen = checkpoint.foreseen
        self._cut = False
        self._error: BaseException | None = None

    @property
    def seconds(self) -> float:
        """How long this run has been at it."""
        return time.monotonic() - self._began

    @abstractmethod
    async def go(self) -> bool:
        """Move what isn't there yet; whether the source came to its end.

        Raises:
            Gemini2Error: What ended the run: a quota, the service, the collection. What was
                paid for is kept, and the next run goes on.
        """

    def stop(self, why: str) -> None:
        """Send nothing more. To be called on the loop."""
        self.stopped = self.stopped or why
        self._cut_short()

    def _cut_short(self) -> None:
        self._cut = True

    def _failed(self, error: BaseException) -> None:
        """End the run; the first thing that went wrong is what it raises."""
        self._error = self._error or error
        self._cut_short()

    @property
    def _factor(self) -> float:
        """What an item may cost in place of a dollar that we expect of it."""
        if not self._foreseen:
            return _MARGIN
        return min(_MARGIN, max(1.0, self._dollars / self._foreseen))

    # ---- reading

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Reading]:
        """The source, a page at a time, in a thread of its own."""
        part = sharded(self._source, *self._settings.shard)
        pages = read_pages(part, self._embedder, self._checkpoint, self._settings.page)
        self._checkpoint.reading_begins()
        thread = ThreadPoolExecutor(1, thread_name_prefix="gemini2-reading")
        reading = Reading(pages, thread)
        try:
            yield reading
        finally:
            await reading.run(pages.close)
            thread.shutdown(wait=False)

    async def _expect(self, reading: Reading) -> None:
        """Find out how much there is, as far as the source knows."""
        total = await reading.run(self._source.count)
        if total is not None:
            self._total = -(-total // self._settings.shard[1])

    async def _take(self, page: Page) -> None:
        """Count a page that was read."""
        counts = self.counts
        counts.read += page.read
        counts.unchanged += page.unchanged
        counts.repeated += page.repeated
        counts.changed += page.changed
        counts.done += page.unchanged + page.repeated
        await self._refuse(page.failures)

    async def _refuse(self, failures: Sequence[tuple[bytes, Failure]]) -> None:
        if not failures:
            return
        await asyncio.to_thread(self._checkpoint.refused, failures)
        self.counts.failed += len(failures)
        self.counts.done += len(failures)
        if self._settings.stop_on_failure:
            first = failures[0][1]
            self._failed(InvalidInputError(f"item {first.id!r} can't be embedded: {first.reason}"))

    # ---- storing

    async def _with_vectors(self, page: Page) -> list[tuple[Entry, Vectors]]:
        """Entries that only get a new payload, with their vectors; the others are embedded."""
        if not page.moved_on:
            return []
        ids = [entry.id for entry in page.moved_on]
        records = await self._target.aget(ids, with_vectors=True)
        there = {item_key(one.id): one.vector for one in records if one.vector is not None}
        page.entries += [entry for entry in page.moved_on if entry.mark.key not in there]
        return [
            (entry, there[entry.mark.key]) for entry in page.moved_on if entry.mark.key in there
        ]

    async def _put(self, points: Sequence[Point]) -> None:
        """Store points in the collection; acknowledged when it returns."""
        if points:
            await self._target.aadd(
                [point.id for point in points],
                np.stack([point.vector for point in points]),
                [point.payload for point in points],
                texts=[point.words for point in points] if self._hybrid else None,
            )

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
            self._failed(told)


class Reading:
    """A source being read."""

    def __init__(self, pages: Generator[Page, None, None], thread: ThreadPoolExecutor) -> None:
        self._pages = pages
        self._thread = thread

    async def run(self, call: Callable[[], _T]) -> _T:
        """Do something in the thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    async def page(self) -> Page | None:
        """The next page, or None at the end."""
        return await self.run(lambda: next(self._pages, None))
