"""A pytest fixture: ``from gemini2_core.emulator.fixtures import gemini2_emulator`` in conftest.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gemini2_core.emulator.serve import Emulator, serve

__all__ = ["gemini2_emulator"]


@pytest.fixture
def gemini2_emulator() -> Iterator[Emulator]:
    """A running emulator with a log, quotas and files of its own; ``configure`` changes it."""
    with serve() as emulator:
        yield emulator
