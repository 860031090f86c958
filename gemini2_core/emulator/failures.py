"""Which requests go wrong, and how: told one by one, or drawn by seed."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from dataclasses import dataclass, field

from gemini2_core.emulator.refusals import (
    Refusal,
    exhausted,
    internal,
    overloaded,
    quota_exceeded,
)
from gemini2_core.emulator.settings import FailureKind, Settings

__all__ = ["Failure", "Failures"]


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure: its kind, and a number that settles the rest (where, in which item)."""

    kind: FailureKind
    draw: int = 0

    def refusal(self, model: str, settings: Settings) -> Refusal | None:
        """The error body of the kinds that have one."""
        match self.kind:
            case "429":
                return quota_exceeded(
                    metric="embed_content_free_tier_requests",
                    quota_id="EmbedContentRequestsPerMinutePerUserPerProjectPerModel-FreeTier",
                    limit=settings.requests_per_minute or 100,
                    model=model,
                    delay=settings.retry_delay,
                    whole_seconds=float(settings.retry_delay).is_integer(),
                )
            case "429_no_hint":
                return exhausted()
            case "500":
                return internal()
            case "503":
                return overloaded()
            case _:
                return None


@dataclass(slots=True)
class Failures:
    """Draws failures. The same request at the same attempt always draws the same."""

    _told: deque[FailureKind | None] = field(default_factory=deque)
    _attempts: Counter[bytes] = field(default_factory=Counter)
    _count: int = 0

    def tell(self, kinds: tuple[FailureKind | None, ...]) -> None:
        """Fail the next requests in order of arrival; None lets one pass."""
        self._told.extend(kinds)

    def draw(self, path: str, body: bytes, settings: Settings) -> Failure | None:
        """The failure of a request, or None."""
        if self._told:
            kind = self._told.popleft()
            self._count += 1
            return Failure(kind, self._count) if kind else None
        if not settings.failure_rate or not settings.failures:
            return None
        request = hashlib.blake2b(path.encode() + b"\0" + body, digest_size=16).digest()
        self._attempts[request] += 1
        dice = hashlib.blake2b(
            request + f"{self._attempts[request]}/{settings.seed}".encode(), digest_size=16
        ).digest()
        if int.from_bytes(dice[:6]) >= settings.failure_rate * 2**48:
            return None
        kind = settings.failures[int.from_bytes(dice[6:10]) % len(settings.failures)]
        return Failure(kind, int.from_bytes(dice[10:14]))

    def reset(self) -> None:
        """Forget what was told and counted."""
        self._told.clear()
        self._attempts.clear()
