"""Tokens of texts by the service's own count, at the pace and with the retries of embedding."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from gemini2_core.embedding.faults import Fault, Remedy, read_fault
from gemini2_core.embedding.run import Progress, Service
from gemini2_core.model import COUNT_TOKENS_EXTRA

__all__ = ["count_texts"]

_FIRST_WAIT, _LONGEST_WAIT = 0.25, 30.0


async def count_texts(
    service: Service, texts: Sequence[str], progress: Progress | None = None
) -> list[int]:
    """Tokens of each text, as embedding bills them; call it on the engine's loop.

    A call counts as one item against the budgets: whether the service has a quota apart for
    ``countTokens`` isn't established.

    Args:
        service: The service.
        texts: The texts as they would be sent, the prompt's prefix in them.
        progress: Called with (done, total), or None.

    Raises:
        ServiceError: The service kept failing.
    """
    waiting = iter(range(len(texts)))
    counts = [0] * len(texts)
    done = 0

    async def work() -> None:
        nonlocal done
        for place in waiting:
            counts[place] = await _count(service, texts[place])
            done += 1
            if progress is not None:
                progress(done, len(texts))

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(len(texts), service.limits.max_concurrency)):
                group.create_task(work())
    except* Exception as errors:  # noqa: BLE001 - one of them says it
        raise errors.exceptions[0] from errors.exceptions[0].__cause__
    return counts


async def _count(service: Service, text: str) -> int:
    loop = asyncio.get_running_loop()
    failing_since: float | None = None
    failures = 0
    while True:
        left_at = await service.pace.enter(1, 0)
        try:
            counted = await service.transport.count_tokens(text)
        except Exception as error:  # noqa: BLE001 - read_fault sorts them, bugs too
            fault = read_fault(error, service.secret)
        else:
            service.pace.succeeded(1, loop.time())
            return max(0, counted - COUNT_TOKENS_EXTRA)
        finally:
            service.pace.leave()
        now = loop.time()
        if failing_since is None or (
            fault.remedy is Remedy.WAIT and failing_since < service.pace.last_success
        ):
            failing_since = left_at
        wait = _wait(service, fault, left_at, failures)
        failures += 1
        if now + max(wait, fault.wait or 0.0) - failing_since > service.limits.retry_seconds:
            raise fault.error
        await asyncio.sleep(wait)


def _wait(service: Service, fault: Fault, left_at: float, failures: int) -> float:
    """Seconds before the next try; a quota pauses everybody in the pace itself.

    Raises:
        ServiceError: Trying again doesn't help.
    """
    if fault.remedy is Remedy.WAIT:
        now = asyncio.get_running_loop().time()
        service.pace.exceeded(left_at, fault.wait, fault.items_per_minute, now)
        return 0.0
    if fault.remedy is not Remedy.RETRY:
        raise fault.error
    if fault.wait is not None:
        return fault.wait
    return min(_LONGEST_WAIT, _FIRST_WAIT * 2.0**failures) * random.uniform(0.5, 1.0)
