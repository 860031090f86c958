"""A pytest fixture: import ``gemini2_emulator`` from here in a ``conftest.py``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gemini2_core.emulator.runner import Emulator, serve

__all__ = ["gemini2_emulator"]


@pytest.fixture
def gemini2_emulator() -> Iterator[Emulator]:
    """A running emulator with a log, quotas and files of its own; ``configure`` changes it."""
    with serve() as emulator:
        yield emulator
