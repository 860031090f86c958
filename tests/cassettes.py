"""Recorded traffic for tests: replayed with no server, recorded against the emulator."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import vcr  # type: ignore[import-untyped]
from vcr.cassette import Cassette  # type: ignore[import-untyped]
from vcr.request import Request  # type: ignore[import-untyped]

from gemini2_core.emulator import serve
from tests.wire import KEY

__all__ = ["KEY_SHAPES", "RECORDING", "cassette"]

RECORDING = bool(os.environ.get("GEMINI2_RECORD"))
#: A key of Google's, a token in a header, an OAuth token; and headers that carry such.
KEY_SHAPES = re.compile(
    r"AIza|Bearer |ya29\.|x-goog-api-key|x-goog-user-project|authorization|set-cookie",
    re.IGNORECASE,
)
_GOOGLE = "https://generativelanguage.googleapis.com"
_LOOPBACK = re.compile(r"http://127\.0\.0\.1:\d+")
_KEPT_HEADERS = ("content-type",)


def _as_google(request: Request) -> Request:
    """The emulator's address is another one each time: the cassette has the service's."""
    request.uri = _LOOPBACK.sub(_GOOGLE, request.uri)
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
def cassette(path: Path) -> Iterator[tuple[Cassette, dict[str, Any]]]:
    """Play a cassette, or record it if ``GEMINI2_RECORD`` is set.

    Yields:
        The cassette, and the arguments of a model that plays it: its vectors have 128
        dimensions, which keeps the file small (and makes the model warn).
    """
    recorder = vcr.VCR(
        record_mode=vcr.mode.ALL if RECORDING else vcr.mode.NONE,
        match_on=["any_case_method", "uri", "body"],
        before_record_request=_as_google,
        before_record_response=_bare,
        decode_compressed_response=True,
        ignore_localhost=False,  # else the emulator's traffic goes past the cassette
    )
    recorder.register_matcher("any_case_method", _same_method)
    arguments: dict[str, Any] = {"api_key": KEY, "dimensions": 128, "retry_seconds": 0.5}
    if not RECORDING:
        with recorder.use_cassette(str(path)) as played:
            yield played, arguments
        return
    path.unlink(missing_ok=True)
    with (
        serve(gzip=False, pretty=False) as emulator,
        recorder.use_cassette(str(path)) as recorded,
    ):
        yield recorded, {**arguments, "base_url": emulator.base_url}
