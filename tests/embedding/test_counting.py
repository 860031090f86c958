"""Tokens by the service's own count: in order, as billed, through quotas and failures."""

from __future__ import annotations

import pytest

from gemini2_core.emulator import Emulator
from gemini2_core.errors import AuthenticationError, ServiceError
from gemini2_core.model import count_tokens
from tests.embedding.conftest import Make

TEXTS = [f"{'word ' * n}end" for n in range(30)]


def test_counts_are_in_order_and_as_embedding_bills(make: Make) -> None:
    embedder = make(task_type=None)
    assert embedder.count_tokens(TEXTS) == [count_tokens(text) for text in TEXTS]
    assert sum(embedder.count_tokens(TEXTS)) == embedder.embed_documents(TEXTS).usage.total_tokens


async def test_counting_is_awaited_too(make: Make) -> None:
    assert await make().acount_tokens(["Hello, world!"]) == [4]


def test_failures_are_retried_and_nothing_is_lost(make: Make, emulator: Emulator) -> None:
    emulator.configure(failure_rate=0.3, failures=("500", "429"), retry_delay=0.05, seed=4)
    assert make().count_tokens(TEXTS) == [count_tokens(text) for text in TEXTS]


def test_a_service_that_keeps_failing_ends_the_call(make: Make, emulator: Emulator) -> None:
    emulator.configure(failure_rate=1.0, failures=("500",))
    with pytest.raises(ServiceError):
        make(retry_seconds=0.5).count_tokens(["a"])


def test_a_refused_key_ends_the_call_at_once(make: Make, emulator: Emulator) -> None:
    emulator.configure(api_keys=frozenset({"another"}))
    with pytest.raises(AuthenticationError):
        make().count_tokens(["a"])


def test_a_quota_is_waited_out_by_all_at_once(make: Make, emulator: Emulator) -> None:
    emulator.fail_next("429", "429")
    emulator.configure(retry_delay=0.2)
    assert make(max_concurrency=4).count_tokens(TEXTS[:8]) == [*map(count_tokens, TEXTS[:8])]
