"""One call's requests on a clock that jumps: hours of quota and failures in milliseconds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gemini2_core.embedding.answer import Answer
from gemini2_core.embedding.pace import Pace
from gemini2_core.embedding.plan import Item
from gemini2_core.embedding.run import Limits, Outcome, Run, Service
from gemini2_core.embedding.transport import UploadedFile
from gemini2_core.embedding.wire import Json
from gemini2_core.errors import DailyQuotaError, QuotaError, ServiceError
from gemini2_core.model import Backend, Modality, Prompt, model_spec
from tests.embedding.test_pace import on_jumping_loop

Answering = Callable[[Sequence[str], float], Awaitable[Exception | None]]


class RefusedError(Exception):
    """An error as google-genai raises it."""

    def __init__(self, code: int, details: object = None, status: str = "") -> None:
        super().__init__(f"{code}")
        self.code, self.details, self.status, self.message = code, details, status, "no"


def daily() -> RefusedError:
    violation = {"quotaId": "EmbedRequestsPerDayPerProject", "quotaValue": "1000"}
    return RefusedError(429, {"error": {"details": [{"violations": [violation]}]}})


def hinted(seconds: int) -> RefusedError:
    return RefusedError(429, {"error": {"details": [{"retryDelay": f"{seconds}s"}]}})


class Scripted:
    """A service whose every answer the test decides; 0.1 s each."""

    backend, batches = Backend.GEMINI_API, True

    def __init__(self, answering: Answering) -> None:
        self.answering = answering
        self.sent: list[list[str]] = []

    async def embed(self, items: Sequence[dict[str, Json]]) -> Answer:
        bodies: Any = items
        texts = [body["content"]["parts"][0]["text"] for body in bodies]
        self.sent.append(texts)
        await asyncio.sleep(0.1)
        error = await self.answering(texts, asyncio.get_running_loop().time())
        if error is not None:
            raise error
        rows = [np.ones(768, np.float32) for _ in items]
        return Answer(list(rows), {Modality.TEXT: len(items)})

    async def count_tokens(self, text: str) -> int:
        return len(text)

    async def upload(self, source: Path | bytes, mime_type: str) -> UploadedFile:
        raise NotImplementedError

    async def file(self, name: str) -> UploadedFile:
        raise NotImplementedError

    async def delete(self, name: str) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        pass


def service(
    answering: Answering,
    *,
    retry_seconds: float = 300.0,
    max_concurrency: int = 8,
    requests_per_minute: int | None = None,
) -> Service:
    limits = Limits(max_concurrency, 40, requests_per_minute, None, None, retry_seconds)
    pace = Pace(max_concurrency, requests_per_minute)
    spec = model_spec("gemini-embedding-2")
    return Service(Scripted(answering), spec, limits, pace, None, None, batches=True)


def embed(one: Service, texts: Sequence[str], batch_size: int = 40) -> Coroutine[Any, Any, Outcome]:
    items = [Item((text,), Prompt()) for text in texts]
    return Run(one, items, 768, None, batch_size).go()


def test_a_failed_request_is_tried_again_before_those_that_were_not_tried() -> None:
    # 4,000 items at 100 a minute take 40 minutes; what fails at the start mustn't wait for them.
    failed: list[float] = []

    async def answering(texts: Sequence[str], now: float) -> Exception | None:
        if "text 0" in texts:
            failed.append(now)
            return RefusedError(503) if len(failed) < 3 else None
        return None

    async def work() -> None:
        outcome = await embed(
            service(answering, requests_per_minute=100), [f"text {n}" for n in range(4000)]
        )
        assert outcome.error is None
        assert outcome.done.all()
        assert failed[-1] < 1000

    on_jumping_loop(work())


def test_waiting_for_its_turn_is_not_failing() -> None:
    # 1 item a minute and 4 retries: 4 minutes of waiting, but no 10 s of failing.
    tries = 0

    async def answering(texts: Sequence[str], now: float) -> Exception | None:
        nonlocal tries
        tries += 1
        return RefusedError(503) if tries < 5 else None

    async def work() -> None:
        one = service(answering, retry_seconds=10, requests_per_minute=1)
        assert (await embed(one, ["text"])).error is None

    on_jumping_loop(work())


def test_a_request_that_keeps_failing_ends_within_the_budget() -> None:
    async def answering(texts: Sequence[str], now: float) -> Exception | None:
        return RefusedError(503)

    async def work() -> None:
        outcome = await embed(service(answering), ["text"])
        assert isinstance(outcome.error, ServiceError)
        assert 200 < asyncio.get_running_loop().time() <= 301

    on_jumping_loop(work())


@pytest.mark.parametrize("error", [RefusedError(429), hinted(1), RefusedError(503)])
def test_without_retry_seconds_nothing_is_repeated(error: RefusedError) -> None:
    async def answering(texts: Sequence[str], now: float) -> Exception | None:
        return error

    async def work() -> None:
        one = service(answering, retry_seconds=0)
        assert (await embed(one, ["text"])).error is not None
        assert len(one.transport.sent) == 1  # type: ignore[attr-defined]

    on_jumping_loop(work())


def test_many_calls_at_once_wait_for_the_quota_as_long_as_any_of_them_gets_on() -> None:
    # 900 calls at 100 a minute: the last waits 8 minutes, though no quota was used up for 300 s.
    served: list[float] = []

    async def answering(texts: Sequence[str], now: float) -> Exception | None:
        if sum(when > now - 60 for when in served) >= 100:
            return hinted(7)
        served.append(now)
        return None

    async def work() -> None:
        one = service(answering)
        outcomes = await asyncio.gather(*(embed(one, [f"query {n}"]) for n in range(900)))
        assert all(outcome.error is None for outcome in outcomes)

    on_jumping_loop(work())


def test_a_quota_that_stays_used_up_ends_the_call_and_the_next_one_begins_anew() -> None:
    calls = 0

    async def answering(texts: Sequence[str], now: float) -> Exception | None:
        nonlocal calls
        calls += 1
        return hinted(37) if now < 4000 else None

    async def work() -> None:
        one = service(answering)
        for _ in range(2):
            began, tried = asyncio.get_running_loop().time(), calls
            assert isinstance((await embed(one, ["text"])).error, QuotaError)
            assert 200 < asyncio.get_running_loop().time() - began <= 301
            assert calls - tried > 3
            await asyncio.sleep(1000)

    on_jumping_loop(work())


@pytest.mark.parametrize("error", [hinted(37), RefusedError(429)])
def test_a_batch_that_is_more_than_the_whole_quota_is_cut_down_to_it(error: RefusedError) -> None:
    # The free tier's 30,000 tokens a minute are fewer than 40 chunks of 1,000 tokens have.
    served: list[tuple[float, int]] = []

    async def answering(texts: Sequence[str], now: float) -> Exception | None:
        if len(texts) + sum(items for when, items in served if when > now - 60) > 10:
            return error
        served.append((now, len(texts)))
        return None

    async def work() -> None:
        one = service(answering)
        outcome = await embed(one, [f"text {n}" for n in range(400)])
        assert outcome.error is None
        assert outcome.done.all()

    on_jumping_loop(work())


def test_the_reason_of_a_stop_is_not_hidden_by_one_bad_input() -> None:
    async def answering(texts: Sequence[str], now: float) -> Exception | None:
        if "text 0" in texts:
            await asyncio.sleep(0.1)
            return RefusedError(400)
        return daily()

    async def work() -> None:
        outcome = await embed(service(answering), ["text 0", "text 1"], batch_size=1)
        assert isinstance(outcome.error, DailyQuotaError)
        assert outcome.place is None

    on_jumping_loop(work())


def test_what_was_served_long_ago_is_not_remembered() -> None:
    pace = Pace(8)
    for second in range(10_000):
        pace.succeeded(1, float(second))
    assert len(pace._served._spent) <= 61
