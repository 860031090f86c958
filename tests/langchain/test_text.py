"""Texts: what leaves, what comes back, in which order."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest

from gemini2_core.emulator import Emulator
from gemini2_core.model import EmbeddingSpace, Modality, TaskType
from langchain_gemini2 import Gemini2Embeddings
from tests.wire import items

Make = Callable[..., Gemini2Embeddings]
TEXTS = [f"Step {n}: check valve number {n}." for n in range(250)]


def item(text: str, dimensions: int = 768) -> dict[str, Any]:
    return {
        "model": "models/gemini-embedding-2",
        "content": {"parts": [{"text": text}]},
        "outputDimensionality": dimensions,
    }


def test_a_query_leaves_with_the_prefix_of_its_task(
    embeddings: Gemini2Embeddings, emulator: Emulator
) -> None:
    vector = embeddings.embed_query("Hello, world!")
    assert items(emulator) == [item("task: search result | query: Hello, world!")]
    assert type(vector) is list
    assert {type(number) for number in vector} == {float}
    assert len(vector) == 768
    assert math.isclose(sum(x * x for x in vector), 1, rel_tol=1e-5)


def test_documents_leave_with_the_prefix_of_the_document_side(
    embeddings: Gemini2Embeddings, emulator: Emulator
) -> None:
    embeddings.embed_documents(["one", "two"])
    assert items(emulator) == [item("title: none | text: one"), item("title: none | text: two")]


def test_each_document_is_told_its_own_title(
    embeddings: Gemini2Embeddings, emulator: Emulator
) -> None:
    embeddings.embed_documents(["one", "two"], titles=["First", None])
    assert items(emulator) == [item("title: First | text: one"), item("title: none | text: two")]


@pytest.mark.parametrize(
    ("task", "query", "document"),
    [
        ("CODE_RETRIEVAL_QUERY", "task: code retrieval | query: x", "title: none | text: x"),
        (TaskType.CLUSTERING, "task: clustering | query: x", "task: clustering | query: x"),
        (None, "x", "x"),
        ("TASK_TYPE_UNSPECIFIED", "x", "x"),
    ],
)
def test_both_sides_follow_from_the_task(
    make: Make, emulator: Emulator, task: TaskType | str | None, query: str, document: str
) -> None:
    embeddings = make(task_type=task)
    embeddings.embed_query("x")
    embeddings.embed_documents(["x"])
    assert items(emulator) == [item(query), item(document)]


def test_001_is_told_by_fields_and_not_by_prefixes(make: Make, emulator: Emulator) -> None:
    embeddings = make(model="models/gemini-embedding-001")
    embeddings.embed_query("q")
    embeddings.embed_documents(["d"], titles=["T"])
    about = {"model": "models/gemini-embedding-001", "outputDimensionality": 768}
    assert items(emulator) == [
        {**about, "content": {"parts": [{"text": "q"}]}, "taskType": "RETRIEVAL_QUERY"},
        {
            **about,
            "content": {"parts": [{"text": "d"}]},
            "taskType": "RETRIEVAL_DOCUMENT",
            "title": "T",
        },
    ]
    assert embeddings.space == EmbeddingSpace("gemini-embedding-001", "RETRIEVAL")


def test_250_texts_give_250_vectors_in_order(embeddings: Gemini2Embeddings) -> None:
    vectors = embeddings.embed_documents(TEXTS)
    assert len(vectors) == 250
    assert len({tuple(vector) for vector in vectors}) == 250
    for n in (0, 99, 100, 249):
        assert vectors[n] == embeddings.embed_documents([TEXTS[n]])[0]


async def test_250_texts_give_the_same_250_vectors_awaited(
    embeddings: Gemini2Embeddings,
) -> None:
    assert await embeddings.aembed_documents(TEXTS) == embeddings.embed_documents(TEXTS)
    assert await embeddings.aembed_query("q") == embeddings.embed_query("q")


def test_no_texts_give_no_vectors_and_no_request(
    embeddings: Gemini2Embeddings, emulator: Emulator
) -> None:
    assert embeddings.embed_documents([]) == []
    assert emulator.requests == []


@pytest.mark.parametrize(
    "name",
    [name.removeprefix("a") for name in vars(Gemini2Embeddings) if name.startswith("aembed_")],
)
def test_async_twins_are_coroutines_with_the_same_arguments(name: str) -> None:
    sync, twin = getattr(Gemini2Embeddings, name), getattr(Gemini2Embeddings, f"a{name}")
    assert inspect.iscoroutinefunction(twin)
    assert inspect.signature(sync) == inspect.signature(twin)


def test_usage_adds_up_over_calls(make: Make) -> None:
    embeddings = make()
    embeddings.embed_query("one two three")
    before = embeddings.usage
    embeddings.embed_documents(["four", "five"], output_dimensionality=1536)
    usage = embeddings.usage
    assert usage.items == 3
    assert usage.requests == 2
    assert usage.tokens[Modality.TEXT] > before.tokens[Modality.TEXT] > 0
    assert usage.dollars == pytest.approx(usage.total_tokens * 0.20 / 1e6)


def test_the_space_can_be_stored_with_an_index(make: Make) -> None:
    assert str(make().space) == "gemini-embedding-2/RETRIEVAL"
    assert str(make(task_type=None).space) == "gemini-embedding-2/NONE"


def test_a_cache_answers_the_second_time(make: Make, emulator: Emulator) -> None:
    from langchain_core.stores import InMemoryByteStore

    store = InMemoryByteStore()
    first = make(cache=store).embed_documents(["a", "b"])
    requests = len(emulator.requests)
    second = make(cache=store)
    assert second.embed_documents(["a", "b"]) == first
    assert len(emulator.requests) == requests
    assert second.usage.cached == 2
    second.embed_query("a")
    assert len(emulator.requests) == requests + 1, "a query isn't a document"


def test_langchains_rate_limiter_is_asked_once_an_item(make: Make) -> None:
    from langchain_core.rate_limiters import BaseRateLimiter

    class Counting(BaseRateLimiter):
        asked = 0

        def acquire(self, *, blocking: bool = True) -> bool:
            self.asked += 1
            return True

        async def aacquire(self, *, blocking: bool = True) -> bool:
            return self.acquire()

    limiter = Counting()
    make(rate_limiter=limiter).embed_documents(["a", "b", "c"])
    assert limiter.asked == 3


def test_progress_is_shown_and_told(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    told: list[tuple[int, int]] = []
    embeddings = make(
        show_progress=True, on_progress=lambda done, total: told.append((done, total))
    )
    embeddings.embed_documents(["a", "b", "c"])
    assert told[-1] == (3, 3)
    assert "3/3" in capsys.readouterr().err
