"""Batch runs on the emulator: quick polls, a state file, and what the service says was paid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gemini2_core import Gemini2Embedder
from gemini2_core.embedding.batch import BatchRun
from gemini2_core.emulator import Emulator
from tests.embedding.conftest import KEY
from tests.emulator.talk import call

Open = Callable[..., BatchRun]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.sqlite"


@pytest.fixture(scope="session")
def shared(running: Emulator) -> Iterator[Gemini2Embedder]:
    with Gemini2Embedder(api_key=KEY, base_url=running.base_url, dimensions=3072) as one:
        yield one


@pytest.fixture
def embedder(shared: Gemini2Embedder, emulator: Emulator) -> Gemini2Embedder:
    """One for all tests, since it takes its time to open; each finds the emulator as new."""
    return shared


@pytest.fixture
def open_run(embedder: Gemini2Embedder, path: Path) -> Iterator[Open]:
    opened: list[BatchRun] = []

    def run(embedder: Gemini2Embedder = embedder, **options: Any) -> BatchRun:
        for one in opened:
            one.close()
        opened.append(embedder.batch(path, **{"poll_seconds": 0.02, **options}))
        return opened[-1]

    yield run
    for one in opened:
        one.close()


def jobs(emulator: Emulator) -> list[dict[str, Any]]:
    """The service's own account of its jobs, the first one first."""
    listed = call(emulator, "/v1beta/batches?pageSize=1000").json.get("operations", [])
    return [job["metadata"] for job in reversed(listed)]


def paid(emulator: Emulator) -> int:
    """Lines that the service has answered with a vector, in all jobs."""
    stats = [job["batchStats"] for job in jobs(emulator)]
    return sum(int(one.get("successfulRequestCount", 0)) for one in stats)


def files(emulator: Emulator) -> list[str]:
    """Files that are left at the service."""
    listed = call(emulator, "/v1beta/files?pageSize=1000").json.get("files", [])
    return [file["name"] for file in listed]


def states(run: BatchRun) -> list[str]:
    return [job.state for job in run.status().jobs]
