"""Held against what the real service answered: status, shape, sizes, token usage, error bodies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import orjson
import pytest

from gemini2_core.emulator import Emulator, serve
from tests.emulator.talk import BATCH, EMBED, VERTEX, batch, call, content

RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "recordings"
# Named here, not listed, so that a missing recording fails instead of being skipped.
EXCHANGES = [
    "audio_only_3072",
    "count_tokens",
    "gemini_001_text_3072",
    "gemini_001_text_768",
    "image_only_3072",
    "preview_query_tasktype_3072",
    "seven_images_in_one_content_400",
    "seven_images_in_seven_contents_128",
    "text_and_image_one_content_3072",
    "text_bare_3072",
    "text_bare_768",
    "text_clustering_3072",
    "text_document_with_title_3072",
    "text_documents_no_title_3072",
    "text_query_prefix_3072",
    "unknown_model_404",
    "vertex_text_question_3072",
]
# What the recordings say in short, for where their folder is absent: text, prompt tokens.
TOKENS = [
    ("Some text goes here", 4),
    ("task: clustering | query: hello", 7),
    ("title: Greeting | text: hello", 7),
    ("title: none | text: hello", 7),
    ("task: search result | query: Hello, world!", 11),
    ("task: question answering | query: Hello, world!", 11),
]


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with serve() as running:
        yield running


def shape(value: Any) -> Any:
    """A body's shape: keys, types, and how many numbers a list holds."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        if value and all(isinstance(inner, int | float) for inner in value):
            return f"{len(value)} numbers"
        return [shape(inner) for inner in value]
    return type(value).__name__


def without_vectors(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_vectors(v) for key, v in value.items() if key != "values"}
    if isinstance(value, list):
        return [without_vectors(inner) for inner in value]
    return value


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="../shared/recordings isn't here")
@pytest.mark.parametrize("name", EXCHANGES)
def test_every_recorded_request_is_answered_as_recorded(emulator: Emulator, name: str) -> None:
    recorded = orjson.loads((RECORDINGS / f"{name}.json").read_bytes())
    reply = call(emulator, urlsplit(recorded["uri"]).path, recorded["request"])
    assert reply.status == recorded["status"]
    assert shape(reply.json) == shape(recorded["response"])
    # Everything but the vectors themselves is equal: messages, usage by modality, its order.
    assert without_vectors(reply.json) == without_vectors(recorded["response"])
    assert reply.headers["content-type"] == recorded["headers"]["content-type"][0]
    assert reply.headers["server"] == "gemini2-emulator"


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="../shared/recordings isn't here")
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("429_gemini-embedding-2_per_minute", {"requests_per_minute": 100}),
        ("429_gemini-embedding-2_per_day.secondhand", {"requests_per_day": 1000}),
    ],
)
def test_quota_errors_have_the_recorded_body(
    emulator: Emulator, name: str, settings: dict[str, Any]
) -> None:
    recorded = orjson.loads((RECORDINGS / "errors" / f"{name}.json").read_bytes())["body"]["error"]
    emulator.reset()
    emulator.configure(requests_per_minute=None, requests_per_day=None)
    emulator.configure(**settings)
    for _ in range(1000 // 100 if "day" in name else 1):
        assert call(emulator, BATCH, batch(*["a"] * 100)).status == 200
    error = call(emulator, BATCH, batch("a")).error
    emulator.configure(requests_per_minute=None, requests_per_day=None)
    assert error["details"][:2] == recorded["details"][:2]
    assert error["details"][2].keys() == recorded["details"][2].keys()
    before, after = recorded["message"].rsplit("Please retry in ", 1)
    assert error["message"].startswith(before + "Please retry in ")
    assert len(error["message"].rsplit(".", 2)[1]) == len(after.rsplit(".", 2)[1])
    assert error["details"][2]["retryDelay"][-1] == "s"
    assert error["details"][2]["retryDelay"][:-1].isdecimal()


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="../shared/recordings isn't here")
def test_batch_over_100_has_the_recorded_body(emulator: Emulator) -> None:
    recorded = orjson.loads((RECORDINGS / "errors" / "400_batch_over_100.json").read_bytes())
    reply = call(emulator, BATCH, batch(*["a"] * 101))
    assert (reply.status, reply.json) == (recorded["status"], recorded["body"])


@pytest.mark.parametrize(("text", "tokens"), TOKENS)
def test_text_tokens_are_the_recorded_ones(emulator: Emulator, text: str, tokens: int) -> None:
    usage = call(emulator, BATCH, batch(text)).json["usageMetadata"]
    assert usage == {
        "promptTokenCount": tokens,
        "promptTokenDetails": [{"modality": "TEXT", "tokenCount": tokens}],
    }


def test_vertex_has_its_own_usage(emulator: Emulator) -> None:
    reply = call(emulator, VERTEX + "gemini-embedding-2:embedContent", {"content": content("a b")})
    assert without_vectors(reply.json) == {
        "embedding": {},
        "usageMetadata": {
            "promptTokenCount": 2,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 2}],
            "totalTokenCount": 2,
        },
    }


@pytest.mark.parametrize("model", ["gemini-embedding-001", "gemini-embedding-2-preview"])
def test_001_and_the_preview_say_nothing_of_usage(emulator: Emulator, model: str) -> None:
    reply = call(emulator, f"/v1beta/models/{model}:batchEmbedContents", batch("a", model=model))
    assert reply.json.keys() == {"embeddings"}


def test_count_tokens_answers_one_more_than_is_billed(emulator: Emulator) -> None:
    path = "/v1/models/gemini-embedding-2:countTokens"
    reply = call(emulator, path, {"contents": [content("Hello, world!")]})
    assert reply.json == {
        "totalTokens": 5,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 5}],
    }


def test_an_empty_part_is_refused_in_the_recorded_words(emulator: Emulator) -> None:
    for path, body in ((EMBED, {"content": content("")}), (BATCH, batch("a", ""))):
        reply = call(emulator, path, body)
        assert reply.status == 400
        assert reply.error["message"] == "EmbedContentRequest.content contains an empty Part."


def test_an_unknown_model_is_refused_in_the_recorded_words(emulator: Emulator) -> None:
    reply = call(
        emulator,
        "/v1beta/models/nonexistent-model:batchEmbedContents",
        batch("Hello, world!", model="nonexistent-model", taskType="RETRIEVAL_QUERY"),
    )
    assert (reply.status, reply.error["status"]) == (404, "NOT_FOUND")
    assert reply.error["message"] == (
        "models/nonexistent-model is not found for API version v1beta, or is not supported for "
        "embedContent. Call ListModels to see the list of available models and their supported "
        "methods."
    )


def test_a_prefix_of_a_vector_is_the_smaller_vector(emulator: Emulator) -> None:
    whole = np.array(
        call(emulator, EMBED, {"content": content("Some text")}).json["embedding"]["values"]
    )
    body = {"content": content("Some text"), "outputDimensionality": 768}
    small = np.array(call(emulator, EMBED, body).json["embedding"]["values"])
    assert np.linalg.norm(whole) == pytest.approx(1, abs=1e-6)
    assert np.abs(small - whole[:768] / np.linalg.norm(whole[:768])).max() < 1e-7
    # The recorded prefix holds 0.31 to 0.32 of the energy.
    assert (whole[:768] ** 2).sum() == pytest.approx(0.32, abs=0.03)


def test_001_gives_the_raw_prefix(emulator: Emulator) -> None:
    path = "/v1beta/models/gemini-embedding-001:batchEmbedContents"
    model = "gemini-embedding-001"
    (whole,) = call(emulator, path, batch("Some text", model=model)).json["embeddings"]
    (small,) = call(emulator, path, batch("Some text", model=model, outputDimensionality=768)).json[
        "embeddings"
    ]
    assert small["values"] == whole["values"][:768]
    assert np.linalg.norm(small["values"]) == pytest.approx(0.568, abs=0.03)
