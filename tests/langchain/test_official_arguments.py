"""Arguments of ``GoogleGenerativeAIEmbeddings`` do here what they did there, or say why not."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from gemini2_core.emulator import Emulator
from gemini2_core.errors import ClosedError, ConfigurationError
from gemini2_core.model import Backend, TaskType
from langchain_gemini2 import Gemini2Embeddings
from tests.wire import KEY, items, texts

Make = Callable[..., Gemini2Embeddings]
#: Its arguments unchecked: the official names are no fields.
new: Make = Gemini2Embeddings


def test_a_call_as_it_is_written_for_the_official_class(emulator: Emulator) -> None:
    arguments: dict[str, Any] = {
        "model": "models/gemini-embedding-2",
        "google_api_key": KEY,
        "task_type": "retrieval_document",
        "output_dimensionality": 1536,
        "base_url": emulator.base_url,
        "client": None,
        "vertexai": False,
        "project": None,
        "location": None,
        "credentials": None,
        "additional_headers": {"x-team": "search"},
        "request_options": {"timeout": 10},
        "client_options": None,
        "transport": "rest",
        "api_version": "v1",
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        embeddings = Gemini2Embeddings(**arguments)
    with embeddings:
        assert len(embeddings.embed_query("q")) == 1536
    assert embeddings.model == "gemini-embedding-2"
    assert embeddings.dimensions == 1536
    assert embeddings.task_type is TaskType.RETRIEVAL_DOCUMENT
    assert texts(emulator) == ["task: search result | query: q"]
    (request,) = emulator.requests
    assert request.path.startswith("/v1/")
    assert request.headers["x-team"] == "search"


def test_both_names_of_an_argument_are_one_too_many(emulator: Emulator) -> None:
    with pytest.raises(ConfigurationError, match="'dimensions' is given twice"):
        new(api_key="any", dimensions=768, output_dimensionality=1536)


def test_no_size_means_the_default_one(make: Make) -> None:
    assert make(output_dimensionality=None).dimensions == 768


def test_a_size_of_ones_own_in_a_call(make: Make, emulator: Emulator) -> None:
    embeddings = make()
    assert len(embeddings.embed_documents(["d"], output_dimensionality=3072)[0]) == 3072
    assert len(embeddings.embed_query("q", output_dimensionality=1536)) == 1536
    assert len(embeddings.embed_query("q")) == 768
    assert [item.get("outputDimensionality") for item in items(emulator)] == [None, 1536, 768]


async def test_arguments_of_a_call_work_awaited(make: Make, emulator: Emulator) -> None:
    embeddings = make()
    (vector,) = await embeddings.aembed_documents(
        ["d"], titles=["T"], task_type="question_answering", output_dimensionality=1536
    )
    assert len(vector) == 1536
    await embeddings.aembed_query("q", task_type="FACT_VERIFICATION")
    assert texts(emulator) == ["title: T | text: d", "task: fact checking | query: q"]


def test_many_questions_embedded_as_documents_with_a_task_are_queries(
    make: Make, emulator: Emulator
) -> None:
    make().embed_documents(["q1", "q2"], task_type="RETRIEVAL_QUERY")
    assert texts(emulator) == ["task: search result | query: q1", "task: search result | query: q2"]


def test_a_query_embedded_with_the_documents_task_is_a_document(
    make: Make, emulator: Emulator
) -> None:
    make().embed_query("d", task_type=TaskType.RETRIEVAL_DOCUMENT, title="T")
    assert texts(emulator) == ["title: T | text: d"]


def test_a_title_of_a_query_has_no_meaning_and_says_so(make: Make, emulator: Emulator) -> None:
    with pytest.warns(UserWarning, match="title="):
        make().embed_query("q", title="T")
    assert texts(emulator) == ["task: search result | query: q"]


async def test_calls_of_their_own_share_connections_usage_and_end(
    make: Make, emulator: Emulator
) -> None:
    embeddings = make(requests_per_minute=6000)
    first, second = await asyncio.gather(
        embeddings.aembed_query("q", output_dimensionality=1536),
        embeddings.aembed_query("q", task_type="CLUSTERING"),
    )
    assert (len(first), len(second)) == (1536, 768)
    assert embeddings.usage.items == 2
    assert embeddings.dimensions == 768
    embeddings.close()
    with pytest.raises(ClosedError):
        await embeddings.aembed_query("q", output_dimensionality=1536)


def test_batch_size_of_a_call_bounds_its_requests(make: Make, emulator: Emulator) -> None:
    embeddings = make()
    embeddings.embed_documents([str(n) for n in range(9)], batch_size=2)
    assert sorted(request.items for request in emulator.requests) == [1, 2, 2, 2, 2]
    with pytest.raises(ConfigurationError, match="batch_size"):
        embeddings.embed_documents(["d"], batch_size=101)


@pytest.mark.parametrize(
    ("arguments", "environment", "backend"),
    [
        ({}, {}, Backend.GEMINI_API),
        ({"project": "p"}, {}, Backend.VERTEX),
        ({"credentials": "some"}, {"GOOGLE_CLOUD_PROJECT": "p"}, Backend.VERTEX),
        ({"project": "p", "vertexai": False}, {}, Backend.GEMINI_API),
        ({"project": "p"}, {"GOOGLE_GENAI_USE_VERTEXAI": "false"}, Backend.GEMINI_API),
        ({"project": "p"}, {"GOOGLE_GENAI_USE_VERTEXAI": "yes"}, Backend.VERTEX),
    ],
)
def test_vertex_is_told_as_the_official_class_tells_it(
    monkeypatch: pytest.MonkeyPatch,
    arguments: dict[str, Any],
    environment: dict[str, str],
    backend: Backend,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    embeddings = new(**{"google_api_key": "any", **arguments})
    assert embeddings.embedder.backend is backend


def test_vertex_sends_to_the_project_and_location(emulator: Emulator) -> None:
    from google.oauth2.credentials import Credentials

    with Gemini2Embeddings(
        project="my-project",
        location="eu",
        credentials=Credentials(token="any"),  # type: ignore[no-untyped-call]
        base_url=emulator.base_url,
    ) as embeddings:
        assert len(embeddings.embed_documents([str(n) for n in range(250)])) == 250
    assert all("/projects/my-project/locations/eu/" in r.path for r in emulator.requests)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"transport": "grpc"}, "REST"),
        ({"client_options": {"quota_project_id": "p"}}, "quota_project_id"),
        ({"request_options": {"retry": 3}}, "retry"),
    ],
)
def test_what_has_no_meaning_here_says_so(arguments: dict[str, Any], message: str) -> None:
    with pytest.warns(UserWarning, match=message) as caught:
        new(**{"google_api_key": "any", **arguments})
    assert caught[0].filename == __file__


def test_the_older_name_of_another_server(emulator: Emulator) -> None:
    with new(
        google_api_key="any", client_options={"api_endpoint": emulator.base_url}
    ) as embeddings:
        embeddings.embed_query("q")
    assert len(emulator.requests) == 1


def test_client_args_go_to_the_http_client(make: Make, emulator: Emulator) -> None:
    make(client_args={"headers": {"x-from": "client-args"}}).embed_query("q")
    assert emulator.requests[0].headers["x-from"] == "client-args"


def test_a_client_of_ones_own_is_used_and_left_open(emulator: Emulator) -> None:
    from google.genai import Client
    from google.genai.types import HttpOptions

    client = Client(api_key=KEY, http_options=HttpOptions(base_url=emulator.base_url))
    with Gemini2Embeddings(client=client) as embeddings:
        assert len(embeddings.embed_documents(["a", "b"])) == 2
    client.models.count_tokens(model="gemini-embedding-2", contents="still open")
    with pytest.raises(ConfigurationError, match="base_url"):
        Gemini2Embeddings(client=client, base_url=emulator.base_url)
