"""What goes wrong: survived where it can be, else one clear error and nothing lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from gemini2_core.emulator import Emulator, FailureKind
from gemini2_core.errors import (
    AuthenticationError,
    ClosedError,
    ConfigurationError,
    DailyQuotaError,
    InvalidInputError,
    LimitError,
    ServiceError,
)
from langchain_gemini2 import Gemini2Embeddings
from tests.wire import texts

Make = Callable[..., Gemini2Embeddings]
#: Its arguments unchecked, so that wrong ones can be passed.
new: Make = Gemini2Embeddings
TEXTS = [f"Paragraph {n} of the manual." for n in range(100)]
LONG = " ".join(f"Sentence number {n} is about valves." for n in range(2500))


# The rows of the comparison with other adapters: they lose the whole call, or cut in silence.


def test_an_empty_string_is_named_before_anything_is_sent(
    embeddings: Gemini2Embeddings, emulator: Emulator
) -> None:
    with pytest.raises(InvalidInputError, match=r"input 2: .*on_empty='zero'") as caught:
        embeddings.embed_documents(["a", "b", "  \n", "c"])
    assert caught.value.index == 2
    assert emulator.requests == []


def test_an_empty_string_becomes_zeros_if_asked_for(make: Make) -> None:
    vectors = make(on_empty="zero").embed_documents(["a", "", "c"])
    assert len(vectors) == 3
    assert set(vectors[1]) == {0.0}
    assert vectors[0] != vectors[2]


def test_an_over_long_text_is_embedded_whole_in_windows(
    embeddings: Gemini2Embeddings, emulator: Emulator
) -> None:
    before, over_long, after = embeddings.embed_documents(["before", LONG, "after"])
    assert sum(x * x for x in over_long) == pytest.approx(1, rel=1e-5)
    windows = [text for text in texts(emulator) if "Sentence" in text]
    assert len(windows) > 1
    prefix = "title: none | text: "
    assert all(window.startswith(prefix) for window in windows)
    joined = sorted((window.removeprefix(prefix) for window in windows), key=LONG.index)
    assert "".join(joined) == LONG
    assert [before] == embeddings.embed_documents(["before"])
    assert [after] == embeddings.embed_documents(["after"])


def test_an_over_long_text_is_an_error_or_cut_with_a_warning_if_asked_for(make: Make) -> None:
    with pytest.raises(LimitError, match="input 1"):
        make(on_overflow="error").embed_documents(["fine", LONG])
    with pytest.warns(UserWarning, match="input 1"):
        make(on_overflow="truncate").embed_documents(["fine", LONG])


@pytest.mark.parametrize("kind", ["500", "503", "drop", "429", "429_no_hint", "missing"])
def test_one_failure_in_the_middle_is_survived(
    make: Make, emulator: Emulator, kind: FailureKind
) -> None:
    expected = make().embed_documents(TEXTS)
    emulator.reset()
    emulator.configure(retry_delay=0.1)
    emulator.fail_next(None, kind)
    embeddings = make()
    assert embeddings.embed_documents(TEXTS) == expected
    assert embeddings.usage.retries >= 1


async def test_one_failure_in_the_middle_is_survived_awaited(
    make: Make, emulator: Emulator
) -> None:
    emulator.configure(retry_delay=0.1)
    emulator.fail_next(None, "429", "500")
    assert len(await make().aembed_documents(TEXTS)) == 100


def test_a_days_quota_ends_at_once_and_keeps_what_was_embedded(
    make: Make, emulator: Emulator
) -> None:
    emulator.configure(requests_per_day=60)
    embeddings = make(batch_size=20, max_concurrency=1)
    began = time.monotonic()
    with pytest.raises(DailyQuotaError) as caught:
        embeddings.embed_documents(TEXTS)
    assert time.monotonic() - began < 5
    assert caught.value.partial is not None
    assert caught.value.partial.indices.tolist() == list(range(60))


def test_one_bad_item_does_not_take_the_rest_with_it(make: Make, emulator: Emulator) -> None:
    emulator.configure(failure_rate=1, failures=("500",))
    with pytest.raises(ServiceError) as caught:
        make(retry_seconds=0.2).embed_documents(["a"])
    assert caught.value.partial is None


# Bad input: one clear error each, that says what to do.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"api_key": None}, "GEMINI_API_KEY"),
        ({"model": "gemini-embedding-3"}, "unknown model 'gemini-embedding-3'.*gemini-embedding-2"),
        ({"dimensions": 5}, "768, 1536, 3072"),
        ({"dimensions": "many"}, "dimensions|output_dimensionality"),
        ({"task_type": "SEARCH"}, "unknown task type 'SEARCH'"),
        ({"on_empty": "skip"}, "on_empty"),
        ({"on_overflow": "ignore"}, "on_overflow"),
        ({"media_root": "/no/such/folder"}, "media_root"),
        ({"batch_size": 101}, "batch_size"),
        ({"dimesions": 768}, "no argument 'dimesions': did you mean 'dimensions'"),
        ({"google_api_kye": "k"}, "did you mean 'google_api_key'"),
        ({"transport": "pigeon"}, "transport"),
        ({"request_options": {"timeout": "long"}}, "timeout"),
        ({"rate_limiter": object()}, "rate_limiter"),
    ],
)
def test_an_argument_that_cannot_work_is_one_clear_error(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        new(**{"api_key": "any", **arguments})
    assert "\n" not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__cause__ is None


def test_the_preview_is_deprecated_where_the_caller_wrote_it() -> None:
    with pytest.warns(DeprecationWarning, match="gemini-embedding-2'") as caught:
        new(model="gemini-embedding-2-preview", api_key="any")
    assert caught[0].filename == __file__


def test_a_bad_key_is_an_error_of_its_own(make: Make) -> None:
    with pytest.raises(AuthenticationError, match="key"):
        make(api_key="bad-key").embed_query("q")


@pytest.mark.parametrize(
    ("value", "message"),
    [(None, "input 1: None"), ("\ud800", "input 1: .*surrogate"), (7, "input 1: .*int")],
)
def test_an_input_that_is_no_text_is_named(
    embeddings: Gemini2Embeddings, emulator: Emulator, value: Any, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        embeddings.embed_documents(["fine", value])
    assert emulator.requests == []


def test_titles_must_be_as_many_as_texts(embeddings: Gemini2Embeddings) -> None:
    with pytest.raises(InvalidInputError, match="1 titles for 2 inputs"):
        embeddings.embed_documents(["a", "b"], titles=["T"])


def test_one_text_is_no_list_of_texts(embeddings: Gemini2Embeddings) -> None:
    with pytest.raises(InvalidInputError, match=r"\[ \]"):
        embeddings.embed_documents("a text")  # type: ignore[arg-type]


async def test_closed_embeddings_say_so(make: Make) -> None:
    with make() as embeddings:
        embeddings.embed_query("q")
    with pytest.raises(ClosedError):
        embeddings.embed_query("q")
    with pytest.raises(ClosedError):
        embeddings.embed_query("q", output_dimensionality=1536)
    async with make() as embeddings:
        await embeddings.aembed_query("q")
    with pytest.raises(ClosedError):
        await embeddings.aembed_query("q")
