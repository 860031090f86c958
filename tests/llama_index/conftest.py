"""An emulator, and models that talk to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gemini2_core.emulator import Emulator, serve
from llama_index_gemini2 import Gemini2Embedding
from tests.samples import png, wav
from tests.wire import KEY

Make = Callable[..., Gemini2Embedding]


@pytest.fixture(scope="module")
def _server() -> Iterator[Emulator]:
    with serve() as emulator:
        yield emulator


@pytest.fixture
def emulator(_server: Emulator) -> Emulator:
    _server.reset()
    return _server


@pytest.fixture
def make(emulator: Emulator) -> Iterator[Make]:
    """Build models against the emulator; they are closed when the test ends."""
    made: list[Gemini2Embedding] = []

    def build(**options: Any) -> Gemini2Embedding:
        model = Gemini2Embedding(**{"api_key": KEY, "base_url": emulator.base_url, **options})
        made.append(model)
        return model

    yield build
    for model in made:
        model.close()


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """A folder with two pictures and a sound."""
    (tmp_path / "red.png").write_bytes(png(255))
    (tmp_path / "blue.png").write_bytes(png(0, 0, 255))
    (tmp_path / "idle.wav").write_bytes(wav())
    return tmp_path
