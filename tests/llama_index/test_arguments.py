"""Arguments: ours, the official class's, wrong ones; and where a key must not show."""

from __future__ import annotations

import copy
import inspect
import json
import logging
import pickle
import subprocess
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import pytest
from google import genai
from google.genai import types
from llama_index.core import Settings, VectorStoreIndex
from llama_index.core.callbacks import CallbackManager
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.embeddings.utils import resolve_embed_model
from llama_index.core.rate_limiter import TokenBucketRateLimiter
from llama_index.core.schema import TextNode
from llama_index.core.storage.kvstore import SimpleKVStore
from pydantic import SecretStr, ValidationError

from gemini2_core.emulator import Emulator
from gemini2_core.errors import (
    AuthenticationError,
    ClosedError,
    ConfigurationError,
    Gemini2Error,
    LimitError,
)
from gemini2_core.model import TaskType
from llama_index_gemini2 import Gemini2Embedding
from llama_index_gemini2.arguments import VertexAIConfig
from tests.llama_index.conftest import Make
from tests.wire import KEY, items, texts


@pytest.fixture(autouse=True)
def _no_key_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY", "GOOGLE_GENAI_USE_VERTEXAI"):
        monkeypatch.delenv(name, raising=False)


# ---- the official class's


def test_embedding_config_is_read_in_both_its_forms(make: Make, emulator: Emulator) -> None:
    model = make(
        embedding_config=types.EmbedContentConfig(
            output_dimensionality=1536, task_type="CLUSTERING", auto_truncate=False
        )
    )
    assert model.dimensions == 1536
    assert model.task_type is TaskType.CLUSTERING
    assert model.on_overflow == "error"
    assert len(model.get_text_embedding("x")) == 1536
    assert texts(emulator) == ["task: clustering | query: x"]
    same = make(
        embedding_config={"outputDimensionality": 3072, "task_type": "CLUSTERING"},
        task_type="clustering",
    )
    assert (same.dimensions, same.task_type) == (3072, TaskType.CLUSTERING)
    assert make(embedding_config={}).dimensions == 768


@pytest.mark.parametrize("field", [{"title": "One for all"}, {"mime_type": "text/plain"}])
def test_a_config_that_can_t_be_kept_is_refused(make: Make, field: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(field))):
        make(embedding_config=field)


def test_every_argument_of_the_official_class_is_known() -> None:
    official = (  # llama-index-embeddings-google-genai 0.6.0
        "model_name api_key embedding_config vertexai_config http_options debug_config "
        "embed_batch_size callback_manager retries timeout retry_min_seconds retry_max_seconds "
        "retry_exponential_base"
    )
    ours = list(inspect.signature(Gemini2Embedding).parameters)
    assert set(official.split()) <= set(ours)
    assert ours[:2] == official.split()[:2], "what is given by position"


def test_a_contradiction_is_refused(make: Make) -> None:
    with pytest.raises(ConfigurationError, match="dimensions=768, but embedding_config says 3072"):
        make(dimensions=768, embedding_config={"output_dimensionality": 3072})
    assert (
        make(dimensions=3072, embedding_config={"output_dimensionality": 3072}).dimensions == 3072
    )


async def test_vertexai_config_leads_to_vertex(emulator: Emulator) -> None:
    from google.oauth2.credentials import Credentials

    where: VertexAIConfig = {
        "project": "p",
        "location": "us",
        "credentials": Credentials("ya29.token-of-the-tests"),  # type: ignore[no-untyped-call]
    }
    model = Gemini2Embedding(vertexai_config=where, base_url=emulator.base_url)
    vectors = await model.aget_text_embedding_batch(["a", "b"])
    assert [len(vector) for vector in vectors] == [768, 768]
    assert "/projects/p/locations/us/" in emulator.requests[0].path
    assert sorted(texts(emulator)) == ["title: none | text: a", "title: none | text: b"]
    assert "ya29" not in repr(model) + str(model.to_dict())


def test_http_options_and_a_client_of_one_s_own(emulator: Emulator) -> None:
    options = types.HttpOptions(base_url=emulator.base_url)
    one = Gemini2Embedding(api_key=KEY, http_options=options)
    client = genai.Client(api_key=KEY, http_options=options)
    two = Gemini2Embedding(client=client)
    assert one.get_query_embedding("q") == two.get_query_embedding("q")
    for model in (one, two):
        with pytest.raises(ConfigurationError, match="another process"):
            pickle.dumps(model)
        model.close()


def test_retries_are_told_off_or_turned_off(make: Make, emulator: Emulator) -> None:
    with pytest.warns(UserWarning, match=r"retries=5, retry_max_seconds=20 not used"):
        model = make(retries=5, retry_max_seconds=20)
    assert model.retry_seconds == 300
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(retries=3, timeout=30, retry_min_seconds=1)
    assert make(retries=1).retry_seconds == 0
    assert make(retries=1, retry_seconds=20).retry_seconds == 20


def test_what_can_t_work_is_refused_with_the_way_that_does(make: Make) -> None:
    with pytest.raises(ConfigurationError, match=r"client=genai\.Client"):
        make(debug_config=object())
    with pytest.raises(ConfigurationError, match=r"cache='vectors\.sqlite'"):
        make(embeddings_cache=SimpleKVStore())


def test_num_workers_is_how_many_requests_are_in_flight(make: Make) -> None:
    assert make(num_workers=3).max_concurrency == 3
    assert make(num_workers=3, max_concurrency=5).max_concurrency == 5


def test_an_embed_batch_size_beyond_the_service_s_is_cut_to_it(
    make: Make, emulator: Emulator
) -> None:
    make(embed_batch_size=2048, max_concurrency=1).get_text_embedding_batch(
        [str(n) for n in range(150)]
    )
    assert max(request.items for request in emulator.requests) == 100


# ---- wrong ones


def test_a_misspelt_argument_is_an_error_that_keeps_its_value_to_itself() -> None:
    with pytest.raises(
        ConfigurationError, match="no argument 'apikey'; did you mean 'api_key'"
    ) as e:
        Gemini2Embedding(apikey=KEY)
    assert KEY not in str(e.value)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"dimensions": 5}, "dimensions=5 is out of range"),
        ({"dimensions": 0}, "dimensions=0 is out of range"),
        ({"max_concurrency": 0}, "max_concurrency=0"),
        ({"model_name": "gemini-embedding-3"}, "unknown model"),
        ({"task_type": "SEARCH"}, "unknown task type"),
        ({"media_root": "/nowhere"}, "no folder"),
        ({"on_empty": "ignore"}, "on_empty: Input should be 'error', 'zero' or 'skip'"),
        ({"embed_batch_size": 0}, "embed_batch_size: Input should be greater than 0"),
        ({"requests_per_minute": 0}, "requests_per_minute"),
        ({"base_url": None}, "key"),
    ],
)
def test_a_wrong_argument_is_one_clear_error(
    emulator: Emulator, arguments: dict[str, Any], told: str
) -> None:
    key = {} if told == "key" else {"api_key": KEY}
    with pytest.raises(ConfigurationError, match=told):
        Gemini2Embedding(**{**key, **arguments})


def test_a_model_s_arguments_can_t_be_changed_under_it(make: Make) -> None:
    model = make()
    with pytest.raises(ValidationError, match="frozen"):
        model.dimensions = 3072  # type: ignore[misc]
    model.callback_manager = CallbackManager([])  # the framework does this
    assert resolve_embed_model(model) is model


def test_a_closed_model_says_so(make: Make) -> None:
    model = make()
    model.close()
    with pytest.raises(ClosedError):
        model.get_query_embedding("q")


def test_seven_pictures_in_one_content_name_the_limit(make: Make, media: Path) -> None:
    with pytest.raises(LimitError, match="6"):
        make().get_content_embedding([media / "red.png"] * 7)


# ---- the key


@pytest.mark.parametrize("name", ["GOOGLE_API_KEY", "GEMINI_API_KEY"])
def test_the_key_comes_from_the_environment(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, KEY)
    model = Gemini2Embedding(base_url=emulator.base_url)
    assert len(model.get_query_embedding("q")) == 768
    model.close()


def test_the_key_is_nowhere_to_be_seen(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for key in (KEY, SecretStr(KEY)):
        model = Gemini2Embedding(api_key=key, base_url=emulator.base_url)
        model.get_text_embedding("x")
        shown = [
            repr(model),
            str(model),
            str(model.to_dict()),
            model.to_json(),
            str(model.to_payload()),
            str(model.model_dump()),
            str(model.model_json_schema()),
            repr(model.embedder),
            pickle.dumps(model).decode("latin-1") if _with_key(monkeypatch) else "",
            caplog.text,
        ]
        assert [text for text in shown if KEY in text] == []
        model.close()


def _with_key(monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setenv("GOOGLE_API_KEY", "AIza-another-key-of-another-process")
    return True


@pytest.mark.parametrize("failure", ["bad key", "500", "closed port"])
def test_the_key_is_in_no_error(make: Make, emulator: Emulator, failure: str) -> None:
    key = KEY
    options: dict[str, Any] = {"retry_seconds": 0.0}
    if failure == "bad key":
        options["api_key"] = key = "bad-key"
    elif failure == "500":
        emulator.fail_next("500", "500", "500")
    else:
        options["base_url"] = "http://127.0.0.1:9"
    with pytest.raises(Gemini2Error) as caught:
        make(**options).get_query_embedding("q")
    if failure == "bad key":
        assert isinstance(caught.value, AuthenticationError)
    told = "".join(traceback.format_exception(caught.value, chain=True))
    assert key not in told.replace('"bad key"', "").replace("api_key", "")


def test_to_dict_goes_round(make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = make(
        dimensions=1536,
        task_type="QUESTION_ANSWERING",
        media_root=tmp_path,
        cache=tmp_path / "vectors.sqlite",
        on_empty="zero",
        title_metadata_keys=["heading"],
        rate_limiter=TokenBucketRateLimiter(requests_per_minute=1000),
    )
    monkeypatch.setenv("GOOGLE_API_KEY", KEY)
    data = json.loads(model.to_json())
    assert data["class_name"] == "Gemini2Embedding" == Gemini2Embedding.class_name()
    again = Gemini2Embedding.from_dict(data)
    strip = ("cache_salt",)
    assert {k: v for k, v in again.to_dict().items() if k not in strip} == {
        k: v for k, v in model.to_dict().items() if k not in strip
    }
    assert again.task_type is TaskType.QUESTION_ANSWERING
    assert again.get_query_embedding("q") == model.get_query_embedding("q")
    assert Gemini2Embedding.from_dict(data, api_key=KEY).dimensions == 1536
    again.close()


def test_a_pickle_reads_its_key_on_the_other_side(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = make(dimensions=1536, rate_limiter=TokenBucketRateLimiter(requests_per_minute=1000))
    data = pickle.dumps(model)
    assert "rate_limiter can't be pickled" in caplog.text
    again = pickle.loads(data)
    with pytest.raises(ConfigurationError, match="GEMINI_API_KEY") as error:
        again.get_text_embedding("x")
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)
    again.close()
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    again = pickle.loads(data)
    assert again.get_text_embedding("x") == model.get_text_embedding("x")
    assert len(again.get_text_embedding("x")) == 1536
    again.close()


def test_a_copy_in_the_process_keeps_working(make: Make) -> None:
    model = make(rate_limiter=TokenBucketRateLimiter(requests_per_minute=1000))
    for again in (copy.copy(model), copy.deepcopy(model), model.model_copy(deep=True)):
        assert again.get_text_embedding("x") == model.get_text_embedding("x")
        assert again.rate_limiter is model.rate_limiter
    with pytest.raises(ConfigurationError, match="another dimensions"):
        model.model_copy(update={"dimensions": 3072})


def test_without_llama_index_the_import_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['llama_index'] = None\n"
        "try:\n import llama_index_gemini2\n"
        "except ImportError as error:\n print(type(error).__name__, error)"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert "MissingExtraError" in done.stdout
    assert "gemini2-embeddings[llama-index]" in done.stdout


def test_it_is_settings_embed_model(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make()
    Settings.embed_model = model
    try:
        index = VectorStoreIndex([TextNode(text="the pump")])
        assert index.as_retriever().retrieve("pump")[0].node.get_content() == "the pump"
    finally:
        Settings.embed_model = MockEmbedding(8)


def test_001_is_told_its_task_in_the_field(make: Make, emulator: Emulator) -> None:
    make(model_name="gemini-embedding-001").get_query_embedding("q")
    (item,) = items(emulator)
    assert item["taskType"] == "RETRIEVAL_QUERY"
    assert item["content"] == {"parts": [{"text": "q"}]}
