"""The embedder over HTTP: what leaves, what comes back, what it costs."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gemini2_core import Gemini2Embedder, Media, Modality, SqliteCache, TaskType, truncate
from gemini2_core.emulator import Emulator
from gemini2_core.errors import (
    AuthenticationError,
    ClosedError,
    ConfigurationError,
    Gemini2Error,
    InvalidInputError,
    ServiceError,
)
from tests.embedding.conftest import KEY, Make

TEXTS = [
    f"text {number} about {'fuel pumps' if number % 2 else 'filters'}" for number in range(250)
]


def sent(emulator: Emulator) -> list[dict[str, Any]]:
    """Every item that was sent to be embedded, in order within each request."""
    found: list[dict[str, Any]] = []
    for request in emulator.requests:
        body: Any = request.body or {}
        found += body.get("requests", [body])
    return [item for item in found if "content" in item]


def texts_sent(emulator: Emulator) -> list[str]:
    return [item["content"]["parts"][0]["text"] for item in sent(emulator)]


def test_a_query_leaves_with_its_task_told(make: Make, emulator: Emulator) -> None:
    make().embed_queries(["Hello, world!"])
    (request,) = emulator.requests
    assert request.path == "/v1beta/models/gemini-embedding-2:batchEmbedContents"
    assert request.body == {
        "requests": [
            {
                "model": "models/gemini-embedding-2",
                "content": {"parts": [{"text": "task: search result | query: Hello, world!"}]},
                "outputDimensionality": 768,
            }
        ]
    }


def test_titles_stand_in_the_documents_prompts(make: Make, emulator: Emulator) -> None:
    make().embed_documents(["a", "b"], titles=["Pumps", None])
    assert texts_sent(emulator) == ["title: Pumps | text: a", "title: none | text: b"]


def test_001_gets_fields_and_bare_texts(make: Make, emulator: Emulator) -> None:
    embedder = make("gemini-embedding-001")
    embedder.embed_documents(["a"], titles=["Pumps"])
    embedder.embed_queries(["a"])
    document, query = sent(emulator)
    assert document["content"]["parts"] == query["content"]["parts"] == [{"text": "a"}]
    assert (document["taskType"], document["title"]) == ("RETRIEVAL_DOCUMENT", "Pumps")
    assert query["taskType"] == "RETRIEVAL_QUERY"
    assert "title" not in query


def test_250_texts_give_250_vectors_in_order_sync_and_async(make: Make) -> None:
    embedder = make()
    result = embedder.embed_documents(TEXTS)
    assert result.vectors.shape == (250, 768)
    assert result.vectors.dtype == np.float32
    assert result.indices.tolist() == list(range(250))
    assert np.allclose(np.linalg.norm(result.vectors, axis=1), 1, atol=1e-6)
    awaited = asyncio.run(embedder.aembed_documents(TEXTS))
    assert (awaited.vectors == result.vectors).all()
    for number in (0, 31, 32, 249):
        alone = embedder.embed_documents([TEXTS[number]])
        assert (alone.vectors[0] == result.vectors[number]).all()


def test_a_batch_is_spread_over_the_slots_and_never_over_its_limits(
    make: Make, emulator: Emulator
) -> None:
    make().embed_documents(TEXTS)
    assert sorted(request.items for request in emulator.requests) == [26] + [32] * 7
    emulator.reset()
    make(batch_size=100, max_concurrency=1).embed_documents(TEXTS)
    assert [request.items for request in emulator.requests] == [100, 100, 50]


def test_few_texts_go_in_one_request(make: Make, emulator: Emulator) -> None:
    make().embed_documents(TEXTS[:16])
    assert [request.items for request in emulator.requests] == [16]


def test_equal_inputs_are_sent_once(make: Make, emulator: Emulator) -> None:
    result = make().embed_documents(["a", "b", "a", "a"], titles=[None, None, None, "T"])
    assert len(sent(emulator)) == 3
    assert (result.vectors[0] == result.vectors[2]).all()
    assert (result.vectors[0] != result.vectors[3]).any()
    assert result.usage.duplicates == 1


@pytest.mark.parametrize("dimensions", [768, 1536, 3072])
def test_the_full_size_is_asked_for_by_not_asking_and_sizes_nest(
    make: Make, emulator: Emulator, dimensions: int
) -> None:
    result = make(dimensions=dimensions).embed_documents(["a"])
    assert sent(emulator)[0].get("outputDimensionality", 3072) == dimensions
    full = make(dimensions=3072).embed_documents(["a"])
    assert "outputDimensionality" not in sent(emulator)[1]
    assert np.allclose(full.truncate(dimensions).vectors, result.vectors, atol=1e-6)


def test_vectors_of_001_are_normalized_at_every_size(make: Make) -> None:
    result = make("gemini-embedding-001", dimensions=768).embed_documents(["some text"])
    assert np.linalg.norm(result.vectors[0]) == pytest.approx(1, abs=1e-6)


def test_usage_tells_tokens_requests_and_dollars(make: Make) -> None:
    embedder = make()
    result = embedder.embed_queries(["Hello, world!"])
    assert result.usage.tokens == {Modality.TEXT: 11}
    assert (result.usage.items, result.usage.requests, result.usage.retries) == (1, 1, 0)
    assert result.usage.dollars == pytest.approx(11 * 0.20 / 1e6)
    assert result.usage.estimated_tokens == 0
    embedder.embed_queries(["Hello, world!"])
    assert embedder.usage.total_tokens == 22


def test_usage_is_told_as_a_person_would_say_it(make: Make, picture: Path) -> None:
    usage = make().embed_contents([["the pump", picture], ["the pump", picture]]).usage
    assert str(usage) == (
        f"8 text + 258 image tokens, 1 request, 1 duplicate, ${(8 * 0.2 + 258 * 0.45) / 1e6:.6f}"
    )
    assert str(make("gemini-embedding-001").embed_documents(["a b"]).usage) == (
        "2 text tokens (2 of them estimated), 1 request, $0.000000"
    )


def test_a_text_that_is_the_name_of_a_file_is_warned_of(
    make: Make, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(picture.parent)
    with pytest.warns(UserWarning, match=r"input 1: 'pump.png' is embedded as text"):
        make().embed_documents(["a", "pump.png", "not there.png"])


def test_001_tells_no_usage_so_it_is_estimated_and_said_so(make: Make) -> None:
    usage = make("gemini-embedding-001").embed_documents(["Some text goes here"]).usage
    assert usage.total_tokens == usage.estimated_tokens == 4
    assert usage.dollars == pytest.approx(4 * 0.15 / 1e6)


def test_a_picture_and_its_text_become_one_vector(
    make: Make, emulator: Emulator, picture: Path
) -> None:
    embedder = make()
    both = embedder.embed_contents([["the pump", picture], picture, "the pump"])
    assert both.vectors.shape == (3, 768)
    parts = [list(part) for part in sent(emulator)[0]["content"]["parts"]]
    assert parts == [["text"], ["inline_data"]]
    assert sent(emulator)[0]["content"]["parts"][0]["text"] == "title: none | text: the pump"
    assert [list(part) for part in sent(emulator)[1]["content"]["parts"]] == [["inline_data"]]
    mean = embedder.embed_contents([["the pump", picture]], aggregate="mean").vectors[0]
    apart = both.vectors[1:].sum(axis=0)
    assert np.allclose(mean, apart / np.linalg.norm(apart), atol=1e-6)
    assert 0.5 < float(mean @ both.vectors[0]) < 0.99
    assert both.usage.tokens[Modality.IMAGE] == 2 * 258


def test_markdown_is_read_from_media_root_in_documents_and_not_in_queries(
    make: Make, emulator: Emulator, picture: Path
) -> None:
    text = f"See ![the pump]({picture.name}) here"
    plain = make()
    rooted = make(media_root=picture.parent)
    plain.embed_documents([text])
    rooted.embed_queries([text])
    rooted.embed_documents([text])
    make(media_root=picture.parent, media_in_queries=True).embed_queries([text])
    kinds = [[next(iter(part)) for part in item["content"]["parts"]] for item in sent(emulator)]
    assert kinds == [["text"], ["text"], *[["text", "inline_data", "text"]] * 2]


def test_a_request_of_megabytes_leaves_without_a_warning(make: Make, emulator: Emulator) -> None:
    texts = [f"{number} {'strainer ' * 7000}" for number in range(20)]
    assert len(make(batch_size=20, max_concurrency=1).embed_documents(texts)) == 20
    sent = [record for record in emulator.requests if record.path.endswith("batchEmbedContents")]
    assert [record.items for record in sent] == [20]


def test_a_large_medium_goes_through_the_files_api_once_and_is_deleted(
    make: Make, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Path
) -> None:
    monkeypatch.setattr("gemini2_core.embedding.run.FILES_API_BYTES", 50)
    result = make().embed_contents([["one", picture], ["two", picture]])
    assert len(result) == 2
    parts = [item["content"]["parts"][1] for item in sent(emulator)]
    assert len({part["file_data"]["file_uri"] for part in parts}) == 1
    assert [r.path.split("/")[1:3] for r in emulator.requests if r.method == "DELETE"] == [
        ["v1beta", "files"]
    ]
    monkeypatch.undo()
    inline = make().embed_contents([["one", picture]])
    assert np.allclose(inline.vectors[0], result.vectors[0], atol=1e-6)


def test_over_long_text_is_embedded_in_windows_with_the_prefix_on_each(
    make: Make, emulator: Emulator
) -> None:
    text = " ".join(f"Sentence number {n} is about fuel." for n in range(3000))
    result = make().embed_documents([text, "short"])
    assert result.vectors.shape == (2, 768)
    windows = [text for text in texts_sent(emulator) if len(text) > 100]
    assert len(windows) >= 3
    assert all(window.startswith("title: none | text: ") for window in windows)
    assert "".join(window.removeprefix("title: none | text: ") for window in windows) == text
    assert np.linalg.norm(result.vectors[0]) == pytest.approx(1, abs=1e-6)


def test_over_long_text_is_an_error_or_truncated_if_asked(make: Make, emulator: Emulator) -> None:
    text = "fuel pump. " * 4000
    with pytest.raises(InvalidInputError, match=r"input 1: .*8192") as caught:
        make(on_overflow="error").embed_documents(["a", text])
    assert caught.value.index == 1
    assert not any(request.path.endswith("EmbedContents") for request in emulator.requests)
    with pytest.warns(UserWarning, match="input 0"):
        result = make(on_overflow="truncate").embed_documents([text])
    assert len(result) == 1
    assert max(result.usage.tokens.values()) <= 8192


def test_a_long_text_that_the_service_counts_as_fitting_is_left_whole(
    make: Make, emulator: Emulator
) -> None:
    text = "international " * 1500  # the bound is over the limit, the count isn't
    make().embed_documents([text])
    assert [request.path.rpartition(":")[2] for request in emulator.requests] == [
        "countTokens",
        "batchEmbedContents",
    ]
    assert len(sent(emulator)) == 1


def test_an_empty_text_is_named_and_nothing_is_sent(make: Make, emulator: Emulator) -> None:
    for empty in ("", "  \n "):
        with pytest.raises(InvalidInputError, match="input 2: the text is empty") as caught:
            make().embed_documents(["a", "b", empty])
        assert caught.value.index == 2
    assert emulator.requests == []


def test_an_empty_text_gets_zeros_or_no_row_if_asked(make: Make) -> None:
    zero = make(on_empty="zero").embed_documents(["a", "", "b"])
    assert zero.vectors.shape == (3, 768)
    assert not zero.vectors[1].any()
    skipped = make(on_empty="skip").embed_documents(["a", "", "b"])
    assert skipped.indices.tolist() == [0, 2]
    assert (skipped.vectors == zero.vectors[[0, 2]]).all()
    assert len(make(on_empty="zero").embed_documents([""])) == 1


def test_no_inputs_give_no_rows_and_no_request(make: Make, emulator: Emulator) -> None:
    result = make().embed_documents([])
    assert result.vectors.shape == (0, 768)
    assert result.tolist() == []
    assert emulator.requests == []


def test_a_cached_vector_is_not_paid_for_again_at_any_size(
    make: Make, emulator: Emulator, tmp_path: Path
) -> None:
    path = tmp_path / "vectors.sqlite"
    first = make(cache=path).embed_documents(TEXTS[:50])
    requests = len(emulator.requests)
    again = make(cache=path).embed_documents(TEXTS[:50])
    larger = make(cache=str(path), dimensions=3072).embed_documents(TEXTS[:50])
    assert len(emulator.requests) == requests
    assert (again.vectors == first.vectors).all()
    assert np.allclose(truncate(larger.vectors, 768), first.vectors, atol=1e-6)
    assert (again.usage.cached, again.usage.dollars) == (50, 0.0)
    assert np.allclose(make().embed_documents(TEXTS[:50]).vectors, first.vectors, atol=1e-6)


def test_the_cache_tells_sides_tasks_titles_models_and_pictures_apart(
    make: Make, emulator: Emulator, tmp_path: Path, picture: Path, other_picture: Path
) -> None:
    cache = SqliteCache(tmp_path / "c.sqlite")
    embedder = make(cache=cache)
    embedder.embed_documents(["x"])
    embedder.embed_queries(["x"])
    embedder.embed_documents(["x"], titles=["T"])
    make(cache=cache, task_type="CLUSTERING").embed_documents(["x"])
    make("gemini-embedding-001", cache=cache).embed_documents(["x"])
    make("gemini-embedding-001", cache=cache).embed_queries(["x"])
    embedder.embed_contents([["x", picture]])
    embedder.embed_contents([["x", other_picture]])
    assert len(cache) == 8
    moved = tmp_path / "moved.png"
    moved.write_bytes(picture.read_bytes())
    before = len(emulator.requests)
    embedder.embed_contents([["x", moved]])
    assert len(emulator.requests) == before  # the bytes count, not the name
    cache.close()


def test_a_callers_own_store_is_a_cache(make: Make, emulator: Emulator) -> None:
    class Store:
        def __init__(self) -> None:
            self.data: dict[str, bytes] = {}

        def mget(self, keys: Any) -> list[bytes | None]:
            return [self.data.get(key) for key in keys]

        def mset(self, pairs: Any) -> None:
            self.data.update(pairs)

    store = Store()
    make(cache=store).embed_documents(["a"])
    make(cache=store).embed_documents(["a", "b"])
    assert [item["content"]["parts"][0]["text"][-1] for item in sent(emulator)] == ["a", "b"]


def test_progress_is_told_up_to_the_end(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    told: list[tuple[int, int]] = []
    make(on_progress=lambda done, total: told.append((done, total))).embed_documents(TEXTS)
    assert told[0] == (0, 250)
    assert told[-1] == (250, 250)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    make(show_progress=True).embed_documents(TEXTS)
    assert "250/250" in capsys.readouterr().err


def test_many_threads_and_loops_share_one_embedder(make: Make) -> None:
    embedder, results = make(), {}

    def work(number: int) -> None:
        if number % 2:
            results[number] = embedder.embed_documents([f"t{number}"])
        else:
            results[number] = asyncio.run(embedder.aembed_documents([f"t{number}"]))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, result in results.items():
        assert (result.vectors == embedder.embed_documents([f"t{number}"]).vectors).all()
    assert len(results) == 16


def test_an_async_call_leaves_the_callers_loop_free(make: Make, emulator: Emulator) -> None:
    emulator.configure(latency=0.3)

    async def work() -> float:
        embedder, longest = make(), 0.0
        task = asyncio.ensure_future(embedder.aembed_documents(TEXTS))
        loop = asyncio.get_running_loop()
        while not task.done():
            before = loop.time()
            await asyncio.sleep(0.001)
            longest = max(longest, loop.time() - before)
        await task
        return longest

    # A busy machine makes pauses of its own; a call that holds the loop makes one each time.
    assert any(asyncio.run(work()) < 0.25 for _ in range(3))


def test_a_cancelled_call_stops_sending(make: Make, emulator: Emulator) -> None:
    emulator.configure(latency=0.5)

    async def work() -> None:
        embedder = make(max_concurrency=2, batch_size=1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(embedder.aembed_documents(TEXTS), 0.3)
        await asyncio.sleep(0.6)
        before = len(emulator.requests)
        await asyncio.sleep(0.6)
        assert len(emulator.requests) == before

    asyncio.run(work())


def test_a_copy_keeps_the_key_and_a_pickle_does_not(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = make(dimensions=1536)
    assert copy.deepcopy(embedder).embed_queries(["a"]).dimensions == 1536
    data = pickle.dumps(embedder)
    assert KEY.encode() not in data
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="no API key"):
        pickle.loads(data)
    monkeypatch.setenv("GEMINI_API_KEY", "another")
    with pickle.loads(data) as loaded:
        assert loaded.embed_queries(["a"]).dimensions == 1536


def test_a_closed_embedder_says_so(make: Make) -> None:
    with make() as embedder:
        embedder.embed_queries(["a"])
    with pytest.raises(ClosedError, match="new one"):
        embedder.embed_queries(["a"])
    with pytest.raises(ClosedError):
        asyncio.run(embedder.aembed_queries(["a"]))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"model": "gemini-embedding-3"}, "unknown model"),
        ({"dimensions": 5}, "out of range"),
        ({"task_type": "SEARCH"}, "unknown task type"),
        ({"batch_size": 101}, "from 1 to 100"),
        ({"max_concurrency": 0}, "at least 1"),
        ({"requests_per_minute": 0}, "at least 1"),
        ({"timeout": 0}, "positive"),
        ({"on_empty": "ignore"}, "on_empty"),
        ({"on_overflow": "cut"}, "on_overflow"),
        ({"media_root": "not/there"}, "no folder"),
        ({"vertexai": True, "api_key": None}, "project"),
        ({"vertexai": True, "project": "p", "location": "mars"}, "global, us, eu"),
    ],
)
def test_arguments_that_cannot_work_are_refused_at_once(
    make: Make, options: dict[str, Any], word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)
    with pytest.raises(ConfigurationError, match=word):
        make(**options)


def test_without_a_key_there_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match="GEMINI_API_KEY"):
        Gemini2Embedder()


def test_a_bad_key_is_told_as_such_and_not_shown(make: Make) -> None:
    with pytest.raises(AuthenticationError) as caught:
        make(api_key="bad-key").embed_documents(TEXTS)
    assert "bad-key" not in str(caught.value)
    assert caught.value.partial is None


@pytest.mark.parametrize(
    ("inputs", "index", "word"),
    [
        (["a", None], 1, "None"),
        (["a", "\ud800"], 1, "surrogate"),
        (["a", b"\x00\x01\x02 no known type"], 1, "type"),
        (["a", Path("not/there.png")], 1, "not/there.png|there.png"),
        (["a", ["b", None]], 1, "None"),
        (["a", object()], 1, "object"),
    ],
)
def test_bad_inputs_are_named_before_anything_is_sent(
    make: Make, emulator: Emulator, inputs: list[Any], index: int, word: str
) -> None:
    with pytest.raises(InvalidInputError, match=word) as caught:
        make().embed_contents(inputs)
    assert caught.value.index == index
    assert str(caught.value).startswith(f"input {index}: ")
    assert emulator.requests == []


def test_one_text_instead_of_a_list_is_an_error(make: Make) -> None:
    with pytest.raises(InvalidInputError, match=r"\[ \]"):
        make().embed_documents("text")
    with pytest.raises(InvalidInputError, match="2 titles for 1"):
        make().embed_documents(["a"], titles=["b", "c"])


def test_a_server_that_is_not_there_is_told(make: Make) -> None:
    with pytest.raises(ServiceError, match="connection"):
        make(base_url="http://127.0.0.1:9", retry_seconds=0.5).embed_queries(["a"])


def test_a_synchronous_call_from_a_callback_is_refused_instead_of_hanging(make: Make) -> None:
    other, caught = make(), []

    def tell(done: int, total: int) -> None:
        try:
            other.embed_queries(["x"])
        except RuntimeError as error:
            caught.append(str(error))

    make(on_progress=tell).embed_queries(["a"])
    assert "async twin" in caught[0]


def test_a_repr_shows_no_key(make: Make) -> None:
    embedder = make(task_type=TaskType.CLUSTERING)
    assert repr(embedder) == (
        "Gemini2Embedder('gemini-embedding-2', dimensions=768, task_type='CLUSTERING', "
        "backend='gemini')"
    )
    assert KEY not in repr(embedder._connection)


def test_media_held_as_bytes_need_no_file(make: Make, picture: Path) -> None:
    embedder = make()
    data = picture.read_bytes()
    rows = embedder.embed_contents([picture, data, (data, "image/png"), Media.from_bytes(data)])
    assert (rows.vectors == rows.vectors[0]).all()


def test_a_cancelled_call_is_in_the_usage(make: Make, emulator: Emulator) -> None:
    emulator.configure(latency=0.2)

    async def work() -> None:
        embedder = make(max_concurrency=1, batch_size=1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(embedder.aembed_documents(TEXTS), 0.9)
        await asyncio.sleep(0.1)
        assert embedder.usage.items >= 2
        assert embedder.usage.dollars > 0

    asyncio.run(work())


def test_an_error_of_on_progress_keeps_what_was_embedded(make: Make) -> None:
    def tell(done: int, total: int) -> None:
        if done >= 32:
            raise KeyError("no such bar")

    embedder = make(max_concurrency=1, batch_size=16, on_progress=tell)
    with pytest.raises(Gemini2Error, match=r"on_progress.*no such bar") as caught:
        embedder.embed_documents(TEXTS)
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.partial is not None
    assert len(caught.value.partial) == 32
    assert embedder.usage.items == 32


def test_media_of_markdown_are_not_read_on_the_callers_loop(
    make: Make, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned: list[bool] = []
    measure = Media.from_path

    def noted(*args: Any, **options: Any) -> Media:
        planned.append(threading.current_thread() is threading.main_thread())
        return measure(*args, **options)

    monkeypatch.setattr(Media, "from_path", noted)
    embedder = make(media_root=picture.parent)
    asyncio.run(embedder.aembed_documents(["a ![pump](pump.png)"]))
    assert planned == [False]


@pytest.mark.parametrize("text", ["x" * 300 + ".png", "a\0b.png"])
def test_a_text_that_can_be_no_files_name_is_just_text(make: Make, text: str) -> None:
    assert len(make().embed_documents([text])) == 1


def test_a_title_that_is_no_text_is_named(make: Make) -> None:
    with pytest.raises(InvalidInputError, match=r"input 1: .*title.*int"):
        make().embed_documents(["a", "b"], titles=[None, 5])  # type: ignore[list-item]


@pytest.mark.parametrize(
    "argument",
    [
        {"retry_seconds": -1},
        {"retry_seconds": "300"},
        {"retry_seconds": float("nan")},
        {"timeout": None},
        {"max_concurrency": "8"},
        {"max_concurrency": 1.5},
        {"dimensions": 768.0},
        {"dimensions": "768"},
    ],
)
def test_an_argument_of_the_wrong_type_is_refused_at_once(argument: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"{next(iter(argument))}="):
        Gemini2Embedder(api_key=KEY, **argument)


def test_a_pickle_never_silently_leaves_out_which_service_is_asked(make: Make) -> None:
    from google.genai import Client

    client = Client(api_key=KEY)
    for argument in ({"client": client}, {"http_options": {"headers": {"x-token": KEY}}}):
        with pytest.raises(ConfigurationError, match=r"pickled.*secrets") as caught:
            pickle.dumps(make(**argument))
        assert KEY not in str(caught.value)
    client.close()


def test_media_that_are_too_much_together_go_through_the_files_api(
    make: Make,
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    picture: Path,
    other_picture: Path,
) -> None:
    # Each fits into a request, both don't; beside a small one the limit stays what it is.
    sizes = [path.stat().st_size for path in (picture, other_picture)]
    monkeypatch.setattr("gemini2_core.embedding.run.FILES_API_BYTES", sum(sizes) - 1)
    make(batch_size=1).embed_contents([[picture, other_picture], [picture, "text"]])
    contents = [item["content"]["parts"] for item in sent(emulator)]
    (both,) = (parts for parts in contents if "text" not in parts[1])
    (one,) = (parts for parts in contents if "text" in parts[1])
    assert any("file_data" in part for part in both)
    assert "inline_data" in one[0]
