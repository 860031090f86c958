"""Faults of the service, over HTTP: what is retried, what is narrowed down, what is kept."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
import pytest

from gemini2_core import Gemini2Embedder, Media
from gemini2_core.emulator import Emulator
from gemini2_core.errors import (
    BadResponseError,
    ClosedError,
    DailyQuotaError,
    InvalidInputError,
    QuotaError,
    ServiceError,
    ServiceTimeoutError,
)
from tests.embedding.conftest import KEY, Make

TEXTS = [f"text {number} about fuel" for number in range(2000)]


def expected(make: Make, texts: list[str]) -> Any:
    return make().embed_documents(texts).vectors


def test_2000_texts_survive_every_kind_of_fault_in_a_fifth_of_the_requests(
    make: Make, emulator: Emulator
) -> None:
    right = expected(make, TEXTS)
    emulator.reset()
    emulator.configure(failure_rate=0.2, retry_delay=0.1, slow_seconds=0.2)
    result = make(batch_size=20).embed_documents(TEXTS)
    assert (result.vectors == right).all()
    assert result.indices.tolist() == list(range(2000))
    failed = {request.failure for request in emulator.requests}
    assert failed >= {"429", "429_no_hint", "500", "503", "drop", "slow", "missing"}
    assert result.usage.retries > 10
    assert result.usage.requests == len(emulator.requests)


@pytest.mark.parametrize("kind", ["429", "429_no_hint", "500", "503", "drop", "missing"])
def test_one_fault_costs_one_retry_and_nothing_else(
    make: Make, emulator: Emulator, kind: Any
) -> None:
    embedder = make()
    right = embedder.embed_documents(TEXTS[:5]).vectors
    emulator.configure(retry_delay=0.05)
    emulator.fail_next(kind)
    result = embedder.embed_documents(TEXTS[:5])
    assert (result.vectors == right).all()
    assert result.usage.retries == 1


def test_a_slow_answer_is_given_up_and_asked_for_again(make: Make, emulator: Emulator) -> None:
    emulator.configure(slow_seconds=10.0)
    emulator.fail_next("slow")
    start = time.monotonic()
    result = make(timeout=0.5).embed_documents(TEXTS[:5])
    assert len(result) == 5
    assert result.usage.retries == 1
    assert time.monotonic() - start < 8


def test_a_429_waits_as_long_as_it_says(make: Make, emulator: Emulator) -> None:
    emulator.configure(retry_delay=1.2)
    emulator.fail_next("429")
    start = time.monotonic()
    make().embed_documents(["a"])
    assert 1.2 <= time.monotonic() - start < 8


def test_a_429_in_the_middle_loses_nothing(make: Make, emulator: Emulator) -> None:
    right = expected(make, TEXTS[:200])
    emulator.reset()
    emulator.configure(retry_delay=0.1)
    emulator.fail_next(None, "429", None, "429")
    result = make(batch_size=20, max_concurrency=2).embed_documents(TEXTS[:200])
    assert (result.vectors == right).all()
    # What was embedded before the 429 isn't sent again: 10 requests and the two repeated ones.
    assert len(emulator.requests) == 12


def test_a_minutes_quota_is_waited_for(make: Make, emulator: Emulator) -> None:
    emulator.configure(requests_per_minute=50, minute_seconds=1.0)
    result = make(batch_size=10).embed_documents(TEXTS[:150])
    assert len(result) == 150


def test_a_daily_quota_stops_within_a_second_and_keeps_what_was_embedded(
    make: Make, emulator: Emulator
) -> None:
    right = expected(make, TEXTS[:300])
    emulator.reset()
    emulator.configure(requests_per_day=120, latency=0.05)
    served_before = time.monotonic()
    with pytest.raises(DailyQuotaError, match="tomorrow") as caught:
        make(batch_size=20, max_concurrency=2).embed_documents(TEXTS[:300])
    assert time.monotonic() - served_before < 0.05 * 6 + 4.0
    partial = caught.value.partial
    assert partial is not None
    assert len(partial) == 120
    assert (partial.vectors == right[partial.indices]).all()
    assert partial.usage.items == 120


def test_a_quota_that_stays_used_up_ends_the_call_with_what_it_has(
    make: Make, emulator: Emulator
) -> None:
    emulator.configure(requests_per_minute=40, minute_seconds=600.0)
    with pytest.raises((QuotaError, ServiceError)) as caught:
        make(batch_size=20, max_concurrency=1, retry_seconds=1.0).embed_documents(TEXTS[:100])
    assert caught.value.partial is not None
    assert caught.value.partial.indices.tolist() == list(range(40))


def test_a_service_that_stays_down_ends_the_call_within_its_budget(
    make: Make, emulator: Emulator
) -> None:
    emulator.configure(failure_rate=1.0, failures=("503",))
    start = time.monotonic()
    with pytest.raises(ServiceError, match="503") as caught:
        make(retry_seconds=1.5).embed_documents(["a"])
    assert time.monotonic() - start < 3
    assert caught.value.code == 503


def test_a_request_that_never_ends_times_out_within_the_budget(
    make: Make, emulator: Emulator
) -> None:
    emulator.configure(latency=5.0)
    with pytest.raises(ServiceTimeoutError):
        make(timeout=0.2, retry_seconds=0.5).embed_documents(["a"])


def test_a_bad_item_is_found_in_its_batch_and_the_rest_is_kept(
    make: Make, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The embedder refuses what the service would; here one item slips through all the same.
    monkeypatch.setattr("gemini2_core.embedding.run.text_part", _without_marked_text)
    texts = TEXTS[:40]
    texts[17] = "EMPTY"
    with pytest.raises(InvalidInputError, match=r"input 17: .*empty Part") as caught:
        make(batch_size=40, max_concurrency=1).embed_documents(texts)
    assert caught.value.index == 17
    assert caught.value.partial is not None
    assert caught.value.partial.indices.tolist() == [n for n in range(40) if n != 17]
    assert len(emulator.requests) <= 1 + 2 * 6


def _without_marked_text(text: str) -> dict[str, Any]:
    return {"text": "" if text.endswith("EMPTY") else text}


def test_a_vector_that_never_comes_fails_its_own_input_only(make: Make, emulator: Emulator) -> None:
    emulator.configure(failure_rate=1.0, failures=("missing",))
    with pytest.raises(BadResponseError, match=r"input .* 0 numbers") as caught:
        make().embed_documents(TEXTS[:3])
    assert caught.value.index is not None
    partial = caught.value.partial
    assert partial is None or caught.value.index not in partial.indices


def test_a_budget_of_items_avoids_429s_altogether(make: Make, emulator: Emulator) -> None:
    emulator.configure(requests_per_minute=100)
    embedder = make(requests_per_minute=100, batch_size=25)
    start = time.monotonic()
    result = embedder.embed_documents(TEXTS[:100])
    assert time.monotonic() - start < 5
    assert (result.usage.retries, len(result)) == (0, 100)


@pytest.mark.parametrize("batch", [True, False])
def test_vertex_works_with_and_without_its_batch_method(
    make: Make, emulator: Emulator, batch: bool, vertex: dict[str, Any]
) -> None:
    emulator.configure(vertex_batch=batch)
    embedder = make(**vertex)
    right = expected(make, TEXTS[:250])
    result = embedder.embed_documents(TEXTS[:250])
    assert (result.vectors == right).all()
    assert result.usage.total_tokens > 0
    assert (asyncio.run(embedder.aembed_documents(TEXTS[:250])).vectors == right).all()
    paths = {request.path for request in emulator.requests if "projects" in request.path}
    assert all("/projects/test/locations/eu/publishers/google/models/" in path for path in paths)


def test_an_input_that_vertex_says_it_cut_is_warned_of(
    make: Make, vertex: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def miscounted(self: object, text: str) -> int:
        return 1

    monkeypatch.setattr(
        "gemini2_core.embedding.transport._HookedTransport.count_tokens", miscounted
    )
    with pytest.warns(UserWarning, match="cut an input to the 8192 tokens"):
        make(**vertex).embed_documents(["fuel pump. " * 4000])


def test_a_callers_own_client_is_used_and_left_open(make: Make, emulator: Emulator) -> None:
    from google.genai import Client
    from google.genai.types import HttpOptions

    client = Client(api_key="mine", http_options=HttpOptions(base_url=emulator.base_url))
    with make(client=client) as embedder:
        right = expected(make, TEXTS[:250])
        assert np.allclose(embedder.embed_documents(TEXTS[:250]).vectors, right, atol=1e-6)
        awaited = asyncio.run(embedder.aembed_documents(TEXTS[:250]))
        assert np.allclose(awaited.vectors, right, atol=1e-6)
        emulator.fail_next("drop", "500")
        assert len(embedder.embed_documents(TEXTS[250:260])) == 10
    assert client.models.embed_content(model="gemini-embedding-2", contents="x").embeddings
    client.close()
    with make(client=client) as embedder, pytest.raises(Exception, match="closed"):
        embedder.embed_documents(["a"])


def test_http_clients_in_http_options_are_used(make: Make, emulator: Emulator) -> None:
    embedder = make(http_options={"client_args": {"headers": {"x-mine": "yes"}}})
    assert len(embedder.embed_documents(["a", "b"])) == 2
    assert emulator.requests[0].headers["x-mine"] == "yes"


def test_an_async_http_client_that_cannot_be_used_is_warned_of(
    make: Make, emulator: Emulator
) -> None:
    import httpx

    client = httpx.AsyncClient()
    with pytest.warns(UserWarning, match="httpx_async_client isn't used"):
        make(http_options={"httpx_async_client": client}).embed_documents(["a"])
    assert len(emulator.requests) == 1
    asyncio.run(client.aclose())


def test_an_embedder_works_in_a_forked_child(make: Make) -> None:
    import os

    embedder = make()
    embedder.embed_queries(["before"])
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            length = len(embedder.embed_queries(["in the child"]))
            os.write(write, b"%d" % length)
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        assert answer.read() == b"1"
    os.waitpid(child, 0)
    assert isinstance(embedder, Gemini2Embedder)


def test_a_file_that_the_service_has_no_more_fails_alone(make: Make) -> None:
    lost = Media.from_uri("files/abc123", "image/png")
    with pytest.raises(InvalidInputError, match=r"input 1: .*file.*403") as caught:
        make().embed_contents(["one", lost, "two", "three"])
    assert caught.value.partial is not None
    assert caught.value.partial.indices.tolist() == [0, 2, 3]


def test_closing_during_a_call_through_a_callers_client_says_so(
    make: Make, emulator: Emulator
) -> None:
    from google.genai import Client

    emulator.configure(latency=0.3)
    client = Client(api_key=KEY, http_options={"base_url": emulator.base_url})
    embedder = Gemini2Embedder(client=client, max_concurrency=1, batch_size=1)

    async def work() -> None:
        call = asyncio.create_task(embedder.aembed_documents(TEXTS[:50]))
        await asyncio.sleep(0.5)
        embedder.close()
        with pytest.raises(ClosedError):
            await call

    asyncio.run(work())
    client.close()
