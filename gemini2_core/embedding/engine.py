"""What lives on the background loop for one embedder, and its work on a plan."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gemini2_core.embedding.cache import VectorCache
from gemini2_core.embedding.counting import count_texts
from gemini2_core.embedding.pace import Pace
from gemini2_core.embedding.plan import Item, OnOverflow, Plan
from gemini2_core.embedding.run import Limits, Progress, Run, Service
from gemini2_core.embedding.transport import Transport
from gemini2_core.model import ModelSpec

__all__ = ["Engine"]

#: Characters that are sent to be counted; a longer text is judged by its beginning.
_COUNTED_CHARACTERS = 60_000
_COUNTING_SECONDS = 10


class Engine:
    """Transport, pace and cache of one embedder; lives on the background loop."""

    def __init__(
        self,
        transport: Transport,
        spec: ModelSpec,
        limits: Limits,
        cache: VectorCache | None,
        secret: str | None,
    ) -> None:
        pace = Pace(
            limits.max_concurrency,
            limits.requests_per_minute,
            limits.tokens_per_minute,
            limits.rate_limiter,
        )
        self._service = Service(
            transport, spec, limits, pace, cache, secret, batches=transport.batches
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._service.transport.close()

    async def settle(self, plan: Plan, on_overflow: OnOverflow) -> None:
        """Have doubtful texts counted by the service, and cut the over-long ones in windows.

        Raises:
            LimitError: A text is over the limit and ``on_overflow`` is ``"error"``, or its title
                takes more than half of it.
        """
        doubtful = list(plan.doubtful())
        slots = asyncio.Semaphore(self._service.limits.max_concurrency)
        counts = await asyncio.gather(*(self._count(item, slots) for _, item in doubtful))
        for (position, item), counted in zip(doubtful, counts, strict=True):
            # Finding the windows of a book takes a second, which the loop has for others.
            await asyncio.to_thread(
                plan.settle, position, item, counted, self._service.spec, on_overflow
            )

    async def _count(self, item: Item, slots: asyncio.Semaphore) -> int | None:
        text = "".join(part for part in item.parts if isinstance(part, str))
        beginning = text[:_COUNTED_CHARACTERS]
        try:
            # The time runs from its turn on: how many others there are mustn't decide a vector.
            async with slots, asyncio.timeout(_COUNTING_SECONDS):
                counted = await self._service.transport.count_tokens(beginning)
        except Exception:  # noqa: BLE001 - whatever is wrong, the embedding itself will say it
            # Without a count the bound holds.
            return None
        return -(-counted * len(text) // len(beginning))

    async def count_tokens(
        self, texts: Sequence[str], progress: Progress | None = None
    ) -> list[int]:
        """Tokens of each text by the service's count; see ``count_texts``."""
        return await count_texts(self._service, texts, progress)

    def run(
        self,
        items: Sequence[Item],
        dimensions: int,
        progress: Progress | None = None,
        batch_size: int | None = None,
        kept: VectorCache | None = None,
    ) -> Run:
        """What gets every item a vector, or finds out why not; call it on the loop."""
        most = batch_size or self._service.limits.batch_size
        return Run(self._service, items, dimensions, progress, most, kept)
