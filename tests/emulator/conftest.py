"""One emulator for all tests here, each finding it as new."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from gemini2_core.emulator import Emulator, Settings, serve
from gemini2_core.emulator.fixtures import gemini2_emulator as shipped

__all__ = ["gemini2_emulator", "running", "shipped"]


@pytest.fixture(scope="session")
def running() -> Iterator[Emulator]:
    with serve() as emulator:
        yield emulator


@pytest.fixture
def gemini2_emulator(running: Emulator) -> Emulator:
    running.configure(**dataclasses.asdict(Settings()))
    running.reset()
    return running
