"""Recorded traffic, replayed with no server, for sync and async calls alike.

Record anew with ``GEMINI2_RECORD=1 pytest tests/langchain/test_cassettes.py``.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import vcr  # type: ignore[import-untyped]
from vcr.cassette import Cassette  # type: ignore[import-untyped]
from vcr.errors import (  # type: ignore[import-untyped]
    CannotOverwriteExistingCassetteException,
)
from vcr.request import Request  # type: ignore[import-untyped]

from gemini2_core.emulator import serve
from gemini2_core.errors import Gemini2Error
from langchain_gemini2 import Gemini2Embeddings
from tests.samples import png
from tests.wire import KEY

FOLDER = Path(__file__).parent / "cassettes"
RECORDING = bool(os.environ.get("GEMINI2_RECORD"))
GOOGLE = "https://generativelanguage.googleapis.com"
_LOOPBACK = re.compile(r"http://127\.0\.0\.1:\d+")
_SECRET_HEADERS = ["x-goog-api-key", "authorization", "x-goog-user-project", "cookie"]
_KEPT_HEADERS = ("content-type",)
#: A key of Google's, a token in a header, an OAuth token.
_KEY_SHAPES = re.compile(r"AIza|Bearer |ya29\.|x-goog-api-key|set-cookie", re.IGNORECASE)

#: 128 dimensions keep the files small; the model wasn't trained for them, and it says so.
pytestmark = pytest.mark.filterwarnings("ignore:.*128 lies between:UserWarning")

CASSETTES = ["texts", "media"]


def _as_google(request: Request) -> Request:
    """The emulator's address is another one each time: the cassette has the service's."""
    request.uri = _LOOPBACK.sub(GOOGLE, request.uri)
    request.headers = {
        name: value for name, value in request.headers.items() if name.lower() in _KEPT_HEADERS
    }
    return request


def _bare(response: dict[str, Any]) -> dict[str, Any]:
    response["headers"] = {
        name: value for name, value in response["headers"].items() if name.lower() in _KEPT_HEADERS
    }
    return response


def _same_method(one: Request, other: Request) -> None:
    assert one.method.upper() == other.method.upper()  # aiohttp has it as it was written


@contextmanager
def _cassette(name: str) -> Iterator[tuple[Cassette, dict[str, Any]]]:
    """A cassette, and the arguments of embeddings that play it (or record it)."""
    recorder = vcr.VCR(
        cassette_library_dir=str(FOLDER),
        record_mode=vcr.mode.ALL if RECORDING else vcr.mode.NONE,
        match_on=["any_case_method", "uri", "body"],
        filter_headers=_SECRET_HEADERS,
        before_record_request=_as_google,
        before_record_response=_bare,
        decode_compressed_response=True,
        ignore_localhost=False,  # else the emulator's traffic goes past the cassette
    )
    recorder.register_matcher("any_case_method", _same_method)
    arguments: dict[str, Any] = {"api_key": KEY, "dimensions": 128, "retry_seconds": 0.5}
    if not RECORDING:
        with recorder.use_cassette(f"{name}.yaml") as cassette:
            yield cassette, arguments
        return
    (FOLDER / f"{name}.yaml").unlink(missing_ok=True)
    with (
        serve(gzip=False, pretty=False) as emulator,
        recorder.use_cassette(f"{name}.yaml") as cassette,
    ):
        yield cassette, {**arguments, "base_url": emulator.base_url}


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
    with _cassette(name) as (cassette, arguments), Gemini2Embeddings(**arguments) as embeddings:
        vectors = call(embeddings)
        if not RECORDING:
            assert cassette.all_played, "a request of the recording was never made"
    assert all(len(vector) == 128 for vector in vectors)
    assert all(sum(x * x for x in vector) == pytest.approx(1, rel=1e-5) for vector in vectors)
    assert len({tuple(vector) for vector in vectors}) == len(vectors)
    assert embeddings.usage.total_tokens > 0


@pytest.mark.skipif(RECORDING, reason="recording")
def test_a_request_that_was_not_recorded_is_no_silent_success() -> None:
    with (
        _cassette("texts") as (_, arguments),
        Gemini2Embeddings(**arguments) as embeddings,
        pytest.raises((Gemini2Error, CannotOverwriteExistingCassetteException)),
    ):
        embeddings.embed_query("Something else altogether")


def test_there_is_nothing_secret_on_any_cassette() -> None:
    files = sorted(FOLDER.glob("*.yaml"))
    assert [path.stem for path in files] == sorted(CASSETTES)
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert _KEY_SHAPES.search(text) is None
        assert KEY not in text
        assert "127.0.0.1" not in text
