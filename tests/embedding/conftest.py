"""An emulator for the embedder's tests, and embedders that point at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gemini2_core import Gemini2Embedder
from gemini2_core.emulator import Emulator, serve

KEY = "test-key-that-must-not-leak"


@pytest.fixture(scope="session")
def running() -> Iterator[Emulator]:
    with serve() as emulator:
        yield emulator


@pytest.fixture
def emulator(running: Emulator) -> Iterator[Emulator]:
    before = running.settings
    running.reset()
    yield running
    running._state.configure(before)
    running.reset()


Make = Callable[..., Gemini2Embedder]


@pytest.fixture
def make(emulator: Emulator) -> Iterator[Make]:
    made: list[Gemini2Embedder] = []

    def embedder(*args: str, **options: object) -> Gemini2Embedder:
        options = {"api_key": KEY, "base_url": emulator.base_url, **options}
        made.append(Gemini2Embedder(*args, **options))  # type: ignore[arg-type]
        return made[-1]

    yield embedder
    for one in made:
        one.close()


def draw(path: Path, colour: str) -> Path:
    from PIL import Image

    picture = Image.new("RGB", (64, 48), colour)
    picture.save(path)
    return path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    return draw(tmp_path / "pump.png", "red")


@pytest.fixture
def other_picture(tmp_path: Path) -> Path:
    return draw(tmp_path / "filter.png", "blue")


@pytest.fixture
def vertex() -> dict[str, object]:
    """Arguments that make an embedder take Vertex's paths, with a token of no worth."""
    from google.oauth2.credentials import Credentials

    return {
        "api_key": None,
        "vertexai": True,
        "project": "test",
        "location": "eu",
        "credentials": Credentials(token="none"),  # type: ignore[no-untyped-call]
    }
