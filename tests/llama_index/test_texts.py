"""Texts and queries: what is sent, what comes back, and how the framework is told of it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
import pytest
from llama_index.core.base.embeddings.base import SimilarityMode
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.callbacks.schema import EventPayload
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.embedding import (
    EmbeddingEndEvent,
    EmbeddingStartEvent,
)
from llama_index.core.rate_limiter import BaseRateLimiter
from llama_index_instrumentation import get_dispatcher

from gemini2_core.emulator import Emulator
from gemini2_core.errors import DailyQuotaError, InvalidInputError, LimitError
from llama_index_gemini2 import Gemini2Embedding
from tests.llama_index.conftest import Make
from tests.wire import items, texts

MANY = [f"Part {n} of the fuel system" for n in range(250)]


def test_a_query_leaves_as_the_model_wants_it(make: Make, emulator: Emulator) -> None:
    vector = make().get_query_embedding("Hello, world!")
    assert items(emulator) == [
        {
            "model": "models/gemini-embedding-2",
            "content": {"parts": [{"text": "task: search result | query: Hello, world!"}]},
            "outputDimensionality": 768,
        }
    ]
    assert len(vector) == 768
    assert all(type(number) is float for number in vector)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_a_text_leaves_as_a_document(make: Make, emulator: Emulator) -> None:
    make().get_text_embedding("hello")
    assert texts(emulator) == ["title: none | text: hello"]


async def test_the_async_twins_send_and_return_the_same(make: Make, emulator: Emulator) -> None:
    model = make()
    now = [
        model.get_query_embedding("a"),
        model.get_text_embedding("b"),
        *model.get_text_embedding_batch(["c", "d"]),
        model.get_agg_embedding_from_queries(["e", "f"]),
    ]
    before = items(emulator)
    emulator.reset()
    later = [
        await model.aget_query_embedding("a"),
        await model.aget_text_embedding("b"),
        *await model.aget_text_embedding_batch(["c", "d"]),
        await model.aget_agg_embedding_from_queries(["e", "f"]),
    ]
    assert later == now
    assert items(emulator) == before


@pytest.mark.parametrize(
    ("task", "query", "document"),
    [
        ("RETRIEVAL_QUERY", "task: search result | query: x", "title: none | text: x"),
        ("question_answering", "task: question answering | query: x", "title: none | text: x"),
        ("CLUSTERING", "task: clustering | query: x", "task: clustering | query: x"),
        (None, "x", "x"),
    ],
)
def test_both_sides_of_a_task(
    make: Make, emulator: Emulator, task: str | None, query: str, document: str
) -> None:
    model = make(task_type=task)
    model.get_query_embedding("x")
    model.get_text_embedding("x")
    assert texts(emulator) == [query, document]


def test_250_texts_give_250_vectors_in_order(make: Make) -> None:
    model = make()
    vectors = model.get_text_embedding_batch(MANY)
    assert len(vectors) == 250
    assert [vectors[n] for n in (0, 117, 249)] == [
        model.get_text_embedding(MANY[n]) for n in (0, 117, 249)
    ]
    assert len({tuple(vector) for vector in vectors}) == 250


async def test_250_texts_give_250_vectors_in_order_async(make: Make) -> None:
    model = make()
    vectors = await model.aget_text_embedding_batch(MANY)
    assert vectors == model.get_text_embedding_batch(MANY)


def test_a_list_is_sent_at_once_whatever_the_batch_size(make: Make, emulator: Emulator) -> None:
    model = make(embed_batch_size=25)
    model.get_query_embedding("warm up")
    emulator.reset()
    emulator.configure(latency=0.2)
    try:
        begun = time.perf_counter()
        model.get_text_embedding_batch(MANY)
        taken = time.perf_counter() - begun
    finally:
        emulator.configure(latency=0.0)
    assert max(request.items for request in emulator.requests) <= 25
    # 10 requests one after another would be 2 s; 8 at a time are two rounds.
    assert taken < 1.2


def test_an_empty_list_sends_nothing(make: Make, emulator: Emulator) -> None:
    assert make().get_text_embedding_batch([]) == []
    assert emulator.requests == []


def test_sync_calls_work_inside_a_running_loop(make: Make) -> None:
    model = make()

    async def notebook_cell() -> list[float]:
        return model.get_query_embedding("pump")

    assert asyncio.run(notebook_cell()) == model.get_query_embedding("pump")


def test_words_in_common_bring_texts_together(make: Make) -> None:
    model = make()
    pump, same, other = model.get_text_embedding_batch(
        ["the fuel pump is noisy", "a noisy fuel pump", "invoice of the hotel"]
    )
    assert model.similarity(pump, same) > model.similarity(pump, other)
    assert model.similarity(pump, pump, SimilarityMode.DOT_PRODUCT) == pytest.approx(1, abs=1e-5)


# ---- the rows of the comparison with other adapters


def test_an_empty_string_names_itself_and_sends_nothing(make: Make, emulator: Emulator) -> None:
    with pytest.raises(InvalidInputError, match="input 1: the text is empty") as caught:
        make().get_text_embedding_batch(["one", " ", "three"])
    assert caught.value.index == 1
    assert emulator.requests == []


def test_an_empty_string_can_be_a_vector_of_zeros(make: Make) -> None:
    model = make(on_empty="zero")
    one, nothing, three = model.get_text_embedding_batch(["one", "", "three"])
    assert nothing == [0.0] * 768
    assert [one, three] == model.get_text_embedding_batch(["one", "three"])


def test_a_list_of_texts_has_no_place_for_a_skipped_one(make: Make) -> None:
    with pytest.raises(InvalidInputError, match="needs a vector each") as caught:
        make(on_empty="skip").get_text_embedding_batch(["one", "", "three"])
    assert caught.value.index == 1
    assert caught.value.partial is not None
    assert caught.value.partial.indices.tolist() == [0, 2]


def test_an_over_long_text_is_embedded_whole_in_windows(make: Make, emulator: Emulator) -> None:
    text = " ".join(f"Pump {n} feeds the engine." for n in range(3000))
    vector = make().get_text_embedding(text)
    windows = texts(emulator)
    prefix = "title: none | text: "
    assert len(windows) > 1
    assert all(window.startswith(prefix) for window in windows)
    assert "".join(window.removeprefix(prefix) for window in windows) == text
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    with pytest.raises(LimitError, match="input 0"):
        make(on_overflow="error").get_text_embedding(text)


def test_one_500_is_repeated(make: Make, emulator: Emulator) -> None:
    emulator.fail_next("500")
    model = make()
    assert len(model.get_text_embedding_batch(["a", "b"])) == 2
    assert [request.status for request in emulator.requests] == [500, 200]
    assert model.usage.retries == 1


def test_a_429_in_the_middle_loses_nothing(make: Make, emulator: Emulator) -> None:
    emulator.configure(retry_delay=0.2)
    emulator.fail_next(None, "429", None, "429_no_hint")
    vectors = make(embed_batch_size=20, max_concurrency=2).get_text_embedding_batch(MANY[:100])
    emulator.configure(retry_delay=1.0)
    assert vectors == make().get_text_embedding_batch(MANY[:100])
    assert sum(request.status == 429 for request in emulator.requests) == 2


def test_a_daily_quota_stops_at_once_and_keeps_what_was_embedded(
    make: Make, emulator: Emulator
) -> None:
    emulator.configure(requests_per_day=100)
    try:
        begun = time.perf_counter()
        with pytest.raises(DailyQuotaError) as caught:
            make(embed_batch_size=25, max_concurrency=2).get_text_embedding_batch(MANY)
    finally:
        emulator.configure(requests_per_day=None)
    assert time.perf_counter() - begun < 5
    assert caught.value.partial is not None
    assert len(caught.value.partial) == 100


# ---- what the framework is told


class _Recorder(BaseEventHandler):
    events: list[BaseEvent] = []  # noqa: RUF012  # pydantic copies it

    def handle(self, event: BaseEvent, **_: Any) -> None:
        self.events.append(event)


@pytest.fixture
def recorder() -> Any:
    recorder = _Recorder()
    dispatcher = get_dispatcher()
    dispatcher.add_event_handler(recorder)
    yield recorder
    dispatcher.event_handlers.remove(recorder)


async def test_events_and_callbacks_tell_texts_vectors_and_the_model(
    make: Make, recorder: _Recorder
) -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    model = make(callback_manager=CallbackManager([debug]))
    vectors = model.get_text_embedding_batch(["a", "b"])
    vectors += [await model.aget_query_embedding("c")]
    (_, first), (_, second) = debug.get_event_pairs(CBEventType.EMBEDDING)
    assert first.payload is not None
    assert second.payload is not None
    assert first.payload[EventPayload.CHUNKS] == ["a", "b"]
    assert first.payload[EventPayload.EMBEDDINGS] == vectors[:2]
    assert second.payload[EventPayload.CHUNKS] == ["c"]
    starts = [event for event in recorder.events if isinstance(event, EmbeddingStartEvent)]
    ends = [event for event in recorder.events if isinstance(event, EmbeddingEndEvent)]
    assert [end.chunks for end in ends] == [["a", "b"], ["c"]]
    assert [vector for end in ends for vector in end.embeddings] == vectors
    assert starts[0].model_dict == {
        "class_name": "Gemini2Embedding",
        "model_name": "gemini-embedding-2",
        "embed_batch_size": 40,
        "dimensions": 768,
        "task_type": "RETRIEVAL_QUERY",
    }
    assert ends[0].model_dump()["chunks"] == ["a", "b"]


def test_a_failed_call_still_ends_its_callback(make: Make) -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    model = make(callback_manager=CallbackManager([debug]))
    with pytest.raises(InvalidInputError):
        model.get_text_embedding("")
    (pair,) = debug.get_event_pairs(CBEventType.EMBEDDING)
    assert len(pair) == 2


class _Counter(BaseRateLimiter):
    def __init__(self) -> None:
        self.acquired = 0

    def acquire(self, num_tokens: int = 0) -> None:
        self.acquired += 1

    async def async_acquire(self, num_tokens: int = 0) -> None:
        self.acquired += 1


async def test_the_framework_s_rate_limiter_is_asked_once_an_item(make: Make) -> None:
    limiter = _Counter()
    model = make(rate_limiter=limiter)
    model.get_text_embedding_batch(MANY[:50])
    assert limiter.acquired == 50
    await model.aget_text_embedding_batch(MANY[50:60])
    model.get_query_embedding("q")
    assert limiter.acquired == 61
    assert model.rate_limiter is limiter


def test_show_progress_shows_a_bar_for_this_call_alone(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make()
    model.get_text_embedding_batch(MANY[:50])
    assert "50" not in capsys.readouterr().err
    model.get_text_embedding_batch(MANY[50:100], show_progress=True)
    assert "50/50" in capsys.readouterr().err


def test_a_cache_serves_what_was_paid_for(make: Make, emulator: Emulator, tmp_path: Any) -> None:
    path = tmp_path / "vectors.sqlite"
    before = make(cache=path).get_text_embedding_batch(["a", "b"])
    emulator.reset()
    again = make(cache=path, dimensions=1536)
    assert [len(vector) for vector in again.get_text_embedding_batch(["a", "b"])] == [1536, 1536]
    after = make(cache=path).get_text_embedding_batch(["a", "b"])
    np.testing.assert_allclose(after, before, atol=1e-7)
    assert emulator.requests == []
    again.get_query_embedding("a")  # the other side of the task is another vector
    assert texts(emulator) == ["task: search result | query: a"]


def test_the_core_is_within_reach(make: Make) -> None:
    model = make()
    model.get_text_embedding("pump")
    assert str(model.space) == "gemini-embedding-2/RETRIEVAL"
    assert model.usage.items == 1
    assert model.embedder.dimensions == 768
    assert isinstance(model, Gemini2Embedding)
