"""Moves that are killed, shared among processes, and watched for memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.corpus.emulating import emulating
from tests.corpus.moving import Task, check_whole, move_with_kills

FAULTS = ("429", "429_no_hint", "500", "503", "missing")


def test_killed_five_times_every_document_is_there_once_and_paid_for_once(tmp_path: Path) -> None:
    pytest.importorskip("qdrant_edge")
    task = Task(1500, tmp_path / "c.sqlite", path=tmp_path / "index", page=128, batch_size=4)
    settings = {
        "vectors": "pool",
        "failure_rate": 0.03,
        "failures": FAULTS,
        "retry_delay": 0.02,
        "seed": 7,
    }
    with emulating(settings) as emulator:
        moved = move_with_kills(task, emulator, kills=5, seed=11)
    assert len(moved.kills) == 5
    assert moved.tally.refused, "no failure was drawn: this proves less than it says"
    with task.collection() as collection:
        check_whole(collection, task.documents)
    # Lost at a kill is what was in flight; a "missing" vector is asked for again.
    most = moved.tally.refused + 5 * task.in_flight
    assert moved.tally.items <= task.documents + most
    assert moved.tally.tokens <= task.need * (1 + most / task.documents)
