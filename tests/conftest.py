"""What holds for every test: property tests draw the same examples, what waits long goes first."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

# A test that fails today and not tomorrow helps nobody; to hunt for new examples set
# HYPOTHESIS_PROFILE=hunt.
if find_spec("hypothesis"):  # mteb's environment has no property tests
    from hypothesis import settings

    settings.register_profile("same", derandomize=True, deadline=None)
    settings.register_profile("hunt", max_examples=500, deadline=None)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Notebooks first: at the end, one worker would wait for them alone."""
    items.sort(key=lambda item: item.get_closest_marker("notebook") is None)
