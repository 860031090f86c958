"""Quotas of items a minute and a day and of tokens a minute, for each model."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from gemini2_core.emulator.refusals import quota_exceeded
from gemini2_core.emulator.settings import Settings

__all__ = ["Quota"]

_REQUESTS = "embed_content_free_tier_requests"
_TOKENS = "embed_content_free_tier_input_token_count"
_PER_MINUTE = "EmbedContentRequestsPerMinutePerUserPerProjectPerModel-FreeTier"
_PER_DAY = "EmbedContentRequestsPerDayPerProjectPerModel-FreeTier"
# Second-hand: named in public test helpers, not seen as raw bytes.
_TOKENS_PER_MINUTE = "EmbedContentInputTokensPerMinutePerProjectPerModel-FreeTier"


@dataclass(slots=True)
class _Window:
    """What was spent in the last minute."""

    spent: deque[tuple[float, int]] = field(default_factory=deque)
    total: int = 0

    def wait(self, amount: int, limit: int, now: float, length: float) -> float:
        """Seconds until ``amount`` fits, or 0; a whole window if it never does."""
        while self.spent and self.spent[0][0] <= now - length:
            self.total -= self.spent.popleft()[1]
        excess = self.total + amount - limit
        if excess <= 0:
            return 0.0
        for when, some in self.spent:
            excess -= some
            if excess <= 0:
                return when + length - now
        return length

    def add(self, amount: int, now: float) -> None:
        self.spent.append((now, amount))
        self.total += amount


@dataclass(slots=True)
class Quota:
    """What each model has left. A refused request spends nothing.

    The real service's way of refilling isn't known; this one looks back over a sliding minute.
    """

    clock: Callable[[], float] = time.monotonic
    _items: defaultdict[str, _Window] = field(default_factory=lambda: defaultdict(_Window))
    _tokens: defaultdict[str, _Window] = field(default_factory=lambda: defaultdict(_Window))
    _day: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    def spend(self, model: str, items: int, tokens: int, settings: Settings) -> None:
        """Take items and tokens off the quotas.

        Raises:
            Refusal: 429 with the recorded body; nothing is taken.
        """
        now = self.clock()
        minute = settings.minute_seconds
        whole = minute >= 60
        daily = settings.requests_per_day
        if daily is not None and self._day[model] + items > daily:
            # The service gives a short wait here too, though only the next day helps.
            raise quota_exceeded(
                metric=_REQUESTS,
                quota_id=_PER_DAY,
                limit=daily,
                model=model,
                delay=minute - now % minute,
                whole_seconds=whole,
            )
        for windows, limit, amount, metric, quota_id in (
            (self._items, settings.requests_per_minute, items, _REQUESTS, _PER_MINUTE),
            (self._tokens, settings.tokens_per_minute, tokens, _TOKENS, _TOKENS_PER_MINUTE),
        ):
            if limit is None:
                continue
            delay = windows[model].wait(amount, limit, now, minute)
            if delay > 0:
                raise quota_exceeded(
                    metric=metric,
                    quota_id=quota_id,
                    limit=limit,
                    model=model,
                    delay=delay,
                    whole_seconds=whole,
                )
        if daily is not None:
            self._day[model] += items
        if settings.requests_per_minute is not None:
            self._items[model].add(items, now)
        if settings.tokens_per_minute is not None:
            self._tokens[model].add(tokens, now)

    def reset(self) -> None:
        """Give everything back."""
        self._items.clear()
        self._tokens.clear()
        self._day.clear()
