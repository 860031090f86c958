"""An emulator for the whole run, and embeddings that talk to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from gemini2_core.emulator import Emulator, Settings, serve
from langchain_gemini2 import Gemini2Embeddings
from tests.wire import KEY

CORPUS = Path(__file__).resolve().parents[2] / "cookbooks" / "corpus"

Make: TypeAlias = "Callable[..., Gemini2Embeddings]"


def pytest_configure(config: pytest.Config) -> None:
    # langchain-tests marks its tests of chat models, which it imports along.
    for name in ("benchmark", "vcr"):
        config.addinivalue_line("markers", f"{name}: used by langchain-tests")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "GOOGLE_API_KEY",
        "GEMINI_API_KEY",
        "GOOGLE_GENAI_USE_VERTEXAI",
        "GOOGLE_CLOUD_PROJECT",
        "GOOGLE_CLOUD_LOCATION",
        "GOOGLE_GEMINI_BASE_URL",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def _server() -> Iterator[Emulator]:
    with serve() as emulator:
        yield emulator


@pytest.fixture
def emulator(_server: Emulator) -> Emulator:
    _server.reset()
    defaults = Settings()
    _server.configure(**{name: getattr(defaults, name) for name in Settings.__slots__})
    return _server


@pytest.fixture
def make(emulator: Emulator) -> Iterator[Make]:
    """Embeddings with the arguments given, at the emulator; closed after the test."""
    made: list[Gemini2Embeddings] = []

    def build(**arguments: Any) -> Gemini2Embeddings:
        arguments = {"api_key": KEY, "base_url": emulator.base_url, **arguments}
        made.append(Gemini2Embeddings(**arguments))
        return made[-1]

    yield build
    for embeddings in made:
        embeddings.close()


@pytest.fixture
def embeddings(make: Make) -> Gemini2Embeddings:
    return make()


@pytest.fixture
def corpus() -> Path:
    """The example corpus: a fuel-system chapter with figures, sounds, a film and a bulletin."""
    return CORPUS
