"""Recorded traffic, replayed with no server, for sync and async calls alike.

Record anew with ``GEMINI2_RECORD=1 pytest tests/llama_index/test_cassettes.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from llama_index.core.schema import Node, TextNode
from vcr.errors import (  # type: ignore[import-untyped]
    CannotOverwriteExistingCassetteException,
)

from gemini2_core.errors import Gemini2Error
from llama_index_gemini2 import Gemini2Embedding
from tests.cassettes import KEY_SHAPES, RECORDING, cassette
from tests.samples import png
from tests.wire import KEY

FOLDER = Path(__file__).parent / "cassettes"
CASSETTES = ["nodes", "texts"]
QUESTION = "Which bolts hold the fuel pump?"

pytestmark = pytest.mark.filterwarnings("ignore:.*128 lies between:UserWarning")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_GEMINI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def _texts(model: Gemini2Embedding) -> list[list[float]]:
    return [
        model.get_query_embedding(QUESTION),
        *model.get_text_embedding_batch(["Two bolts AN4-6A.", "Drain it."]),
    ]


async def _texts_awaited(model: Gemini2Embedding) -> list[list[float]]:
    return [
        await model.aget_query_embedding(QUESTION),
        *await model.aget_text_embedding_batch(["Two bolts AN4-6A.", "Drain it."]),
    ]


def _some_nodes() -> list[Node | TextNode]:
    return [
        TextNode(text="Two bolts AN4-6A.", metadata={"title": "Pump"}),
        Node.model_validate(
            {"text_resource": {"text": "A red square:"}, "image_resource": {"data": png(255)}}
        ),
    ]


def _nodes(model: Gemini2Embedding) -> list[list[float]]:
    return [node.get_embedding() for node in model(_some_nodes())]


async def _nodes_awaited(model: Gemini2Embedding) -> list[list[float]]:
    return [node.get_embedding() for node in await model.acall(_some_nodes())]


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("texts", _texts),
        ("texts", lambda model: asyncio.run(_texts_awaited(model))),
        ("nodes", _nodes),
        ("nodes", lambda model: asyncio.run(_nodes_awaited(model))),
    ],
    ids=["texts-sync", "texts-async", "nodes-sync", "nodes-async"],
)
def test_a_cassette_is_played_to_its_end(
    name: str, call: Callable[[Gemini2Embedding], list[list[float]]]
) -> None:
    with cassette(FOLDER / f"{name}.yaml") as (played, arguments):
        model = Gemini2Embedding(**arguments)
        vectors = call(model)
        if not RECORDING:
            assert played.all_played, "a request of the recording was never made"
        model.close()
    assert all(len(vector) == 128 for vector in vectors)
    assert all(sum(x * x for x in vector) == pytest.approx(1, rel=1e-5) for vector in vectors)
    assert len({tuple(vector) for vector in vectors}) == len(vectors)
    assert model.usage.total_tokens > 0


@pytest.mark.skipif(RECORDING, reason="recording")
def test_a_request_that_was_not_recorded_is_no_silent_success() -> None:
    with cassette(FOLDER / "texts.yaml") as (_, arguments):
        model = Gemini2Embedding(**arguments)
        with pytest.raises((Gemini2Error, CannotOverwriteExistingCassetteException)):
            model.get_query_embedding("Something else altogether")
        model.close()


def test_there_is_nothing_secret_on_any_cassette() -> None:
    files = sorted(FOLDER.glob("*.yaml"))
    assert [path.stem for path in files] == CASSETTES
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert KEY_SHAPES.search(text) is None
        assert KEY not in text
        assert "127.0.0.1" not in text
