"""How fast requests may leave: slots, quota budgets, and one pause shared by all."""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from typing import Protocol

__all__ = ["Pace", "RateLimiter"]

_WINDOW = 60.0
#: Pause after a 429 that doesn't say how long: doubles with each in a row.
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 64.0


#: A quota named by a 429 is believed when this many pauses agree with what was really served.
_WITNESSES = 2


class RateLimiter(Protocol):
    """A limiter of LangChain or LlamaIndex: ``acquire`` blocks until one request may leave."""

    def acquire(self) -> object:
        """Block until one more item may leave."""


class _Budget:
    """At most ``limit`` units in any 60 seconds."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self._spent: deque[tuple[float, int]] = deque()
        self._sum = 0

    def wait(self, units: int, now: float) -> float:
        """Seconds until ``units`` more fit; more than the limit fit into an empty window."""
        self._forget(now)
        if self.limit is None:
            return 0.0
        excess = self._sum + min(units, self.limit) - self.limit
        if excess <= 0:
            return 0.0
        for when, spent in self._spent:
            excess -= spent
            if excess <= 0:
                return when + _WINDOW - now
        return 0.0

    def spend(self, units: int, now: float) -> None:
        self._forget(now)
        self._spent.append((now, units))
        self._sum += units

    def spent(self, now: float) -> int:
        """Units of the last 60 seconds."""
        self._forget(now)
        return self._sum

    def _forget(self, now: float) -> None:
        while self._spent and self._spent[0][0] <= now - _WINDOW:
            self._sum -= self._spent.popleft()[1]


class Pace:
    """Lets requests leave in the order they came, as fast as the service bears.

    Concurrency grows by additive increase and shrinks by multiplicative decrease: each success
    adds a fraction of a slot, a 429 halves them, once a pause. A quota that the service names in
    429s is kept from then on, if what was served before them bears it out. All methods run on
    the engine's loop.

    Args:
        max_concurrency: Most requests in flight.
        requests_per_minute: Items (not calls: that's what the quota counts) in 60 s, or None.
        tokens_per_minute: Tokens in 60 s, or None.
        rate_limiter: A limiter of the caller's framework, asked once an item.
    """

    def __init__(
        self,
        max_concurrency: int,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        rate_limiter: RateLimiter | None = None,
    ) -> None:
        self._max = max_concurrency
        self._slots = float(max_concurrency)
        self._in_flight = 0
        self._items = _Budget(requests_per_minute)
        self._tokens = _Budget(tokens_per_minute)
        self._served = _Budget(None)
        self._witnesses = 0
        self._limiter = rate_limiter
        self._door = asyncio.Lock()
        self._freed = asyncio.Event()
        self._paused_until = 0.0
        self._pauses_in_a_row = 0
        self._last_pause_began = -1.0
        self._last_success = -math.inf

    @property
    def last_success(self) -> float:
        """When the last request was answered (loop time), whoever's it was; -inf if none was."""
        return self._last_success

    @property
    def concurrency(self) -> int:
        """Requests that may be in flight now."""
        return max(1, int(self._slots))

    @property
    def items_per_minute(self) -> int | None:
        """The budget of items, given or learnt from a 429."""
        return self._items.limit

    async def enter(self, items: int, tokens: int) -> float:
        """Wait for a slot and for the budgets; return when the request left (loop time)."""
        loop = asyncio.get_running_loop()
        async with self._door:  # an asyncio.Lock is first come, first served
            while True:
                now = loop.time()
                delay = max(
                    self._paused_until - now,
                    self._items.wait(items, now),
                    self._tokens.wait(tokens, now),
                )
                if delay > 0:
                    await asyncio.sleep(delay)
                elif self._in_flight >= self.concurrency:
                    self._freed.clear()
                    await self._freed.wait()
                else:
                    break
            if self._limiter is not None:
                await asyncio.to_thread(_acquire, self._limiter, items)
            now = loop.time()
            self._in_flight += 1
            self._items.spend(items, now)
            self._tokens.spend(tokens, now)
            return now

    def leave(self) -> None:
        """Give the slot back, whatever became of the request."""
        self._in_flight -= 1
        self._freed.set()

    def succeeded(self, items: int, now: float) -> None:
        """A request was answered: a little more concurrency."""
        self._served.spend(items, now)
        self._last_success = now
        self._pauses_in_a_row = 0
        self._slots = min(self._max, self._slots + 1 / max(1.0, self._slots))

    def exceeded(
        self, left_at: float, wait: float | None, items_per_minute: int | None, now: float
    ) -> None:
        """A request that left at ``left_at`` met a quota: pause everybody, then go slower.

        Several requests in flight meet the same quota; only the first one halves the slots.
        """
        if left_at > self._last_pause_began:
            self._last_pause_began = now
            self._learn(items_per_minute, now)
            self._slots = max(1.0, self._slots / 2)
            self._pauses_in_a_row += 1
        if wait is None:
            wait = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (self._pauses_in_a_row - 1))
        # Jitter, so that many processes that share a quota don't come back at once.
        self._paused_until = max(
            self._paused_until, now + wait + random.uniform(0, min(1.0, wait / 20))
        )

    def _learn(self, items_per_minute: int | None, now: float) -> None:
        """Believe a quota only if we used it up ourselves: others may share it, or it may lie."""
        if items_per_minute is None or self._items.limit is not None:
            return
        served = self._served.spent(now)
        if served > 1.05 * items_per_minute:
            self._witnesses = 0
        elif served >= 0.5 * items_per_minute:
            self._witnesses += 1
            if self._witnesses >= _WITNESSES:
                self._items.limit = items_per_minute


def _acquire(limiter: RateLimiter, items: int) -> None:
    for _ in range(items):
        limiter.acquire()
