"""A process killed (kill -9) at any step: another goes on, and nothing is lost or paid twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gemini2_core import Gemini2Embedder
from gemini2_core.emulator import Emulator
from gemini2_core.errors import ConfigurationError, StateLockedError
from tests.embedding.batch.conftest import Open, files, jobs, paid
from tests.embedding.conftest import Make

KEYED = [(f"k{n}", f"text number {n}") for n in range(20)]
ROOT = Path(__file__).resolve().parents[3]

Kill = Callable[[str], int]


@pytest.fixture(scope="module")
def worker() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.embedding.batch.killed"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def kill(worker: subprocess.Popen[str], emulator: Emulator, path: Path) -> Kill:
    """Let another process work on the run until a moment; returns how it ended."""

    def order(moment: str) -> int:
        assert worker.stdin is not None
        assert worker.stdout is not None
        told = {"moment": moment, "base_url": emulator.base_url}
        print(
            json.dumps({**told, "path": str(path), "contents": KEYED}),
            file=worker.stdin,
            flush=True,
        )
        return int(worker.stdout.readline())

    return order


@pytest.mark.parametrize(
    "moment",
    [
        "after add",
        "before upload",
        "after upload",
        "after set_phase creating",
        "after create",
        "after started",
        "after download",
        "after keep",
        "before end",
        "after end",
        "after delete",
    ],
)
def test_killed_at(
    moment: str, kill: Kill, emulator: Emulator, embedder: Gemini2Embedder, open_run: Open
) -> None:
    assert kill(moment) == -signal.SIGKILL
    run = open_run(lines_per_job=10)
    run.submit(KEYED)
    assert run.wait(20).done == 20
    right = embedder.embed_documents([text for _, text in KEYED]).vectors
    for (key, _), row, got in zip(KEYED, right, run.collect(), strict=True):
        assert got.key == key
        assert got.vector is not None
        assert got.vector.tobytes() == row.tobytes()
    assert (paid(emulator), len(jobs(emulator)), run.usage.items) == (20, 2, 20)
    assert files(emulator) == []
    assert not list(run.path.parent.glob("*.part-*"))


def test_killed_again_and_again(kill: Kill, emulator: Emulator, open_run: Open) -> None:
    """One run, every moment of its life in turn."""
    emulator.configure(batch_outcomes=("succeed", "expire"), batch_failing=0.2)
    for moment in ("after upload", "after create", "after download", "after keep", "after delete"):
        assert kill(moment) == -signal.SIGKILL
    run = open_run(lines_per_job=10, tries=9)
    assert run.wait(20).done == 20
    assert paid(emulator) == run.usage.items == 20
    assert files(emulator) == []


def test_a_state_has_one_worker_and_many_readers(open_run: Open, make: Make, path: Path) -> None:
    run = open_run()
    run.submit(KEYED)
    other = make(dimensions=3072).batch(path)
    assert other.status().contents == 20
    for work in (other.poll, other.cancel, lambda: other.submit(KEYED)):
        with pytest.raises(StateLockedError, match="somebody is working on"):
            work()
    run.close()
    assert other.wait(10).done == 20
    other.close()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"dimensions": 768}, "dimensions 3072, not 768"),
        ({"model": "gemini-embedding-001"}, "model gemini-embedding-2, not gemini-embedding-001"),
        ({"task_type": "CLUSTERING"}, "space gemini-embedding-2/RETRIEVAL, not"),
    ],
)
def test_a_state_is_for_one_model_task_and_size(
    open_run: Open, make: Make, path: Path, options: dict[str, object], told: str
) -> None:
    open_run().close()
    size = options.pop("dimensions", None)
    with pytest.raises(ConfigurationError, match=told):
        make(**options).batch(path, dimensions=size)  # type: ignore[arg-type]  # an int or None


def test_what_was_put_elsewhere_can_be_forgotten(emulator: Emulator, open_run: Open) -> None:
    run = open_run(lines_per_job=5)
    run.submit(KEYED)
    run.wait(10)
    run.forget(["k0", "k1"])
    assert len(list(run.collect(forget=True))) == 18
    assert list(run.collect()) == []
    run = open_run()
    assert run.submit(KEYED) == 0  # the keys stay known
    assert run.wait(10).done == 20
    assert paid(emulator) == 20
