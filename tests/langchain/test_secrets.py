"""The key shows nowhere, and leaves the process only in the header that is meant for it."""

from __future__ import annotations

import copy
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.load import dumpd, dumps
from langchain_core.runnables import RunnableLambda
from pydantic import BaseModel

from gemini2_core.emulator import Emulator
from gemini2_core.errors import ConfigurationError, Gemini2Error
from langchain_gemini2 import Gemini2Embeddings
from tests.wire import KEY

Make = Callable[..., Gemini2Embeddings]
#: Its arguments unchecked, so that wrong ones can be passed.
new: Make = Gemini2Embeddings
TOKEN = "Bearer ya29." + "tests-only"


@pytest.fixture
def secretive(make: Make) -> Gemini2Embeddings:
    return make(additional_headers={"authorization": TOKEN}, client_args={"proxy": None})


def _forms(embeddings: Gemini2Embeddings) -> Iterator[str]:
    yield repr(embeddings)
    yield str(embeddings)
    yield f"{embeddings.embedder!r}"
    yield repr(embeddings.model_dump())
    yield repr(embeddings.model_dump(mode="json"))
    yield embeddings.model_dump_json()
    yield dumps(embeddings)
    yield repr(dumpd(embeddings))
    yield dumps(RunnableLambda(lambda text: embeddings.embed_query(text)))
    yield repr(embeddings.__repr_args__())


def test_no_form_of_it_tells_the_key(make: Make, secretive: Gemini2Embeddings) -> None:
    for embeddings in (make(), secretive):
        for form in _forms(embeddings):
            assert KEY not in form
            assert TOKEN not in form


def test_a_pickle_leaves_the_key_out_and_reads_it_again(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    embeddings = make(dimensions=1536, task_type="CLUSTERING", on_progress=print)
    data = pickle.dumps(embeddings)
    assert KEY.encode() not in data
    with (
        pickle.loads(data) as keyless,
        pytest.raises(ConfigurationError, match="GEMINI_API_KEY") as error,
    ):
        keyless.embed_query("q")
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)
    assert (keyless.dimensions, keyless.task_type) == (1536, "CLUSTERING")
    assert pickle.loads(pickle.dumps(keyless)).dimensions == 1536
    monkeypatch.setenv("GEMINI_API_KEY", "another")
    with pickle.loads(data) as again:
        assert again.api_key.get_secret_value() == "another"
        assert again.embed_query("q") == embeddings.embed_query("q")


def test_what_may_hold_secrets_and_cannot_be_read_again_is_not_pickled(
    secretive: Gemini2Embeddings,
) -> None:
    with pytest.raises(ConfigurationError, match="additional_headers") as caught:
        pickle.dumps(secretive)
    assert TOKEN not in str(caught.value)


def test_copies_within_the_process_keep_the_key(make: Make, emulator: Emulator) -> None:
    embeddings = make(dimensions=1536)
    for copied in (
        copy.copy(embeddings),
        copy.deepcopy(embeddings),
        embeddings.model_copy(),
        embeddings.model_copy(deep=True),
    ):
        with copied:
            assert len(copied.embed_query("q")) == 1536
    embeddings.embed_query("the original is still open")


def test_a_changed_copy_is_checked_and_changed_all_through(make: Make) -> None:
    embeddings = make()
    with embeddings.model_copy(update={"dimensions": 3072}) as larger:
        assert len(larger.embed_query("q")) == 3072
    with pytest.raises(ConfigurationError, match="dimensions"):
        embeddings.model_copy(update={"dimensions": 5})


def test_an_instance_cannot_be_changed_halfway(make: Make) -> None:
    with pytest.raises(ValueError, match="frozen"):
        make().dimensions = 1536  # type: ignore[misc]


@pytest.mark.parametrize(
    "arguments",
    [
        {"api_kye": KEY},
        {"api_key": KEY, "model": "gemini-embedding-9"},
        {"api_key": KEY, "dimensions": 5},
        {"api_key": KEY, "dimensions": "many"},
        {"api_key": [KEY]},
        {"api_key": KEY, "google_api_key": KEY},
        {"api_key": KEY, "project": "p", "location": "us-central1"},
    ],
)
def test_no_error_of_an_argument_tells_the_key(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        new(**arguments)
    _assert_silent(caught.value)


@pytest.mark.parametrize("kind", ["400", "429", "500"])
def test_no_error_of_a_call_tells_the_key(
    make: Make, emulator: Emulator, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    if kind == "400":
        emulator.configure(api_keys=frozenset({"another"}))
    elif kind == "429":
        emulator.configure(requests_per_day=0)
    else:
        emulator.configure(failure_rate=1, failures=("500",))
    embeddings = make(retry_seconds=0.2)
    with pytest.raises(Gemini2Error) as caught:
        embeddings.embed_query("q")
    _assert_silent(caught.value)
    assert KEY not in caplog.text


def test_an_error_inside_another_model_tells_no_key() -> None:
    class Settings(BaseModel):
        embeddings: Gemini2Embeddings

    with pytest.raises(ValueError, match="api_kye") as caught:
        Settings.model_validate({"embeddings": new(api_kye=KEY)})
    _assert_silent(caught.value)


def _assert_silent(error: BaseException) -> None:
    told = "".join(traceback.format_exception(error)) + repr(error) + str(error.__dict__)
    assert KEY not in told
    seen: BaseException | None = error
    while seen is not None:
        assert KEY not in f"{seen}{seen.args}"
        assert not isinstance(seen, BaseModel)
        seen = seen.__cause__ or seen.__context__
