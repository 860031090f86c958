"""How fast requests may leave, on a clock that jumps instead of waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from gemini2_core.embedding.pace import Pace


class JumpingLoop(asyncio.SelectorEventLoop):
    """Its time goes on at once to whatever is due next: an hour takes milliseconds."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        select = self._selector.select  # type: ignore[attr-defined]

        def jump(timeout: float | None = None) -> Any:
            if timeout:
                self.now += timeout
            return select(0)

        self._selector.select = jump  # type: ignore[attr-defined]

    def time(self) -> float:
        return self.now


def on_jumping_loop(work: Coroutine[Any, Any, None]) -> None:
    loop = JumpingLoop()
    try:
        loop.run_until_complete(asyncio.wait_for(work, 100_000))
    finally:
        loop.close()


def test_no_minute_holds_more_items_than_the_budget() -> None:
    async def work() -> None:
        pace, left = Pace(8, requests_per_minute=100), []
        for _ in range(50):
            left.append(await pace.enter(7, 0))
            pace.leave()
        for start in left:
            assert sum(7 for when in left if start <= when < start + 60) <= 100
        # 350 items at 98 a minute: the fourth minute has begun, no later.
        assert 180 <= left[-1] < 181

    on_jumping_loop(work())


def test_a_batch_larger_than_the_token_budget_leaves_in_an_empty_minute() -> None:
    async def work() -> None:
        pace = Pace(8, tokens_per_minute=1000)
        left = [await pace.enter(1, 5000) for _ in range(3)]
        assert left == pytest.approx([0, 60, 120])

    on_jumping_loop(work())


def test_a_429_pauses_everybody_for_as_long_as_it_says_and_halves_the_slots_once() -> None:
    async def work() -> None:
        pace = Pace(8)
        left = [await pace.enter(1, 0) for _ in range(4)]
        for when in left:
            pace.leave()
            pace.exceeded(when, 37.0, None, now=0.5)
        assert pace.concurrency == 4
        assert 37.5 <= await pace.enter(1, 0) <= 38.6

    on_jumping_loop(work())


def test_429s_without_a_hint_pause_longer_and_longer_and_success_ends_that() -> None:
    async def work() -> None:
        pace, pauses = Pace(8), []
        loop = asyncio.get_running_loop()
        for _ in range(4):
            before = await pace.enter(1, 0)
            pace.leave()
            pace.exceeded(before, None, None, loop.time())
            await pace.enter(1, 0)
            pace.leave()
            pauses.append(loop.time() - before)
            await asyncio.sleep(0.001)
        assert pauses == pytest.approx([0.5, 1, 2, 4], rel=0.06)
        pace.succeeded(1, 1.0)
        before = await pace.enter(1, 0)
        pace.leave()
        pace.exceeded(before, None, None, loop.time())
        assert (await pace.enter(1, 0)) - before < 1.2

    on_jumping_loop(work())


def test_slots_come_back_one_by_one_as_requests_succeed() -> None:
    async def work() -> None:
        pace = Pace(8)
        when = await pace.enter(1, 0)
        pace.exceeded(when, 0.0, None, now=1.0)
        assert pace.concurrency == 4
        for _ in range(5):
            pace.succeeded(1, 1.0)
        assert pace.concurrency == 5
        for _ in range(100):
            pace.succeeded(1, 1.0)
        assert pace.concurrency == 8

    on_jumping_loop(work())


async def meet_a_quota(pace: Pace, served: int, named: int) -> None:
    """Items are served, then a 429 names a quota."""
    now = asyncio.get_running_loop().time()
    pace.succeeded(served, now)
    when = await pace.enter(10, 0)
    pace.leave()
    pace.exceeded(when, 60.0, named, now=when)
    await asyncio.sleep(61)


def test_a_quota_that_was_met_twice_as_named_is_kept_from_then_on() -> None:
    async def work() -> None:
        pace = Pace(8)
        await meet_a_quota(pace, served=100, named=100)
        learnt = [pace.items_per_minute]
        await meet_a_quota(pace, served=90, named=100)
        assert [*learnt, pace.items_per_minute] == [None, 100]
        left = []
        for _ in range(3):
            left.append(await pace.enter(40, 0))
            pace.leave()
        assert left[2] - left[0] >= 60

    on_jumping_loop(work())


def test_a_quota_that_what_was_served_belies_is_not_believed() -> None:
    async def work() -> None:
        pace = Pace(8)
        for _ in range(5):
            await meet_a_quota(pace, served=10, named=100)  # others share it
            await meet_a_quota(pace, served=500, named=100)  # it isn't so
        assert pace.items_per_minute is None

    on_jumping_loop(work())


def test_slots_are_given_first_come_first_served() -> None:
    async def work() -> None:
        pace, order = Pace(1), []
        await pace.enter(1, 0)

        async def customer(name: int) -> None:
            await pace.enter(1, 0)
            order.append(name)
            pace.leave()

        waiting = [asyncio.ensure_future(customer(name)) for name in range(5)]
        await asyncio.sleep(0.01)
        assert order == []
        pace.leave()
        await asyncio.gather(*waiting)
        assert order == [0, 1, 2, 3, 4]

    on_jumping_loop(work())


def test_the_callers_limiter_is_asked_once_an_item() -> None:
    class Limiter:
        asked = 0

        def acquire(self) -> None:
            self.asked += 1

    async def work(limiter: Limiter) -> None:
        await Pace(8, rate_limiter=limiter).enter(40, 0)

    limiter = Limiter()
    asyncio.run(work(limiter))
    assert limiter.asked == 40
