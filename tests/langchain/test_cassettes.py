"""Recorded traffic, replayed with no server, for sync and async calls alike.

Record anew with ``GEMINI2_RECORD=1 pytest tests/langchain/test_cassettes.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from vcr.errors import (  # type: ignore[import-untyped]
    CannotOverwriteExistingCassetteException,
)

from gemini2_core.errors import Gemini2Error
from langchain_gemini2 import Gemini2Embeddings
from tests.cassettes import KEY_SHAPES, RECORDING, cassette
from tests.samples import png
from tests.wire import KEY

FOLDER = Path(__file__).parent / "cassettes"
CASSETTES = ["media", "texts"]

#: 128 dimensions keep the files small; the model wasn't trained for them, and it says so.
pytestmark = pytest.mark.filterwarnings("ignore:.*128 lies between:UserWarning")


def _texts(embeddings: Gemini2Embeddings) -> list[list[float]]:
    return [
        embeddings.embed_query("Which bolts hold the fuel pump?"),
        *embeddings.embed_documents(["Two bolts AN4-6A.", "Drain it."], titles=["Pump", None]),
    ]


async def _texts_awaited(embeddings: Gemini2Embeddings) -> list[list[float]]:
    return [
        await embeddings.aembed_query("Which bolts hold the fuel pump?"),
        *await embeddings.aembed_documents(
            ["Two bolts AN4-6A.", "Drain it."], titles=["Pump", None]
        ),
    ]


_CONTENT = ["A red square:", (png(255), "image/png")]


def _media(embeddings: Gemini2Embeddings) -> list[list[float]]:
    return [*embeddings.embed_contents([_CONTENT]), *embeddings.embed_image([png(255)])]


async def _media_awaited(embeddings: Gemini2Embeddings) -> list[list[float]]:
    return [
        *await embeddings.aembed_contents([_CONTENT]),
        *await embeddings.aembed_image([png(255)]),
    ]


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("texts", _texts),
        ("texts", lambda embeddings: asyncio.run(_texts_awaited(embeddings))),
        ("media", _media),
        ("media", lambda embeddings: asyncio.run(_media_awaited(embeddings))),
    ],
    ids=["texts-sync", "texts-async", "media-sync", "media-async"],
)
def test_a_cassette_is_played_to_its_end(
    name: str, call: Callable[[Gemini2Embeddings], list[list[float]]]
) -> None:
    with (
        cassette(FOLDER / f"{name}.yaml") as (played, arguments),
        Gemini2Embeddings(**arguments) as embeddings,
    ):
        vectors = call(embeddings)
        if not RECORDING:
            assert played.all_played, "a request of the recording was never made"
    assert all(len(vector) == 128 for vector in vectors)
    assert all(sum(x * x for x in vector) == pytest.approx(1, rel=1e-5) for vector in vectors)
    assert len({tuple(vector) for vector in vectors}) == len(vectors)
    assert embeddings.usage.total_tokens > 0


@pytest.mark.skipif(RECORDING, reason="recording")
def test_a_request_that_was_not_recorded_is_no_silent_success() -> None:
    with (
        cassette(FOLDER / "texts.yaml") as (_, arguments),
        Gemini2Embeddings(**arguments) as embeddings,
        pytest.raises((Gemini2Error, CannotOverwriteExistingCassetteException)),
    ):
        embeddings.embed_query("Something else altogether")


def test_there_is_nothing_secret_on_any_cassette() -> None:
    files = sorted(FOLDER.glob("*.yaml"))
    assert [path.stem for path in files] == CASSETTES
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert KEY_SHAPES.search(text) is None
        assert KEY not in text
        assert "127.0.0.1" not in text
