"""``reindex(batch=…)``: the same collection for half the price, whatever becomes of the jobs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gemini2_core import Gemini2Embedder
from gemini2_core.corpus import Item, failures, reindex
from gemini2_core.corpus.filling import unfilled_shards
from gemini2_core.embedding.batch import BatchOptions
from gemini2_core.emulator import Emulator, serve
from gemini2_core.errors import ConfigurationError
from gemini2_core.index import MatryoshkaCollection
from tests.corpus.corpora import MadeUp
from tests.corpus.emulating import emulating
from tests.corpus.moving import SPACE, Task, check_whole, move_with_kills

JOBS: BatchOptions = {"lines_per_job": 40, "max_jobs": 2, "poll_seconds": 0.02}


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with serve() as emulator:
        yield emulator


@pytest.fixture
def embedder(emulator: Emulator) -> Iterator[Gemini2Embedder]:
    with Gemini2Embedder(api_key="any", base_url=emulator.base_url) as embedder:
        yield embedder


def collection(name: str = "new") -> MatryoshkaCollection:
    return MatryoshkaCollection(name, space=SPACE, tiers=(128, 768))


def test_jobs_make_the_collection_that_calls_make_for_half_the_price(
    emulator: Emulator, embedder: Gemini2Embedder, tmp_path: Path
) -> None:
    emulator.configure(batch_failing=0.1, batch_out_of_order=True, batch_seconds=0.05)
    online, jobs = collection("online"), collection("jobs")
    first = reindex(MadeUp(150), embedder, online, checkpoint=tmp_path / "a", page=30)
    second = reindex(MadeUp(150), embedder, jobs, checkpoint=tmp_path / "b", page=30, batch=JOBS)
    assert second.finished
    assert (second.stored, second.failed) == (150, 0)
    assert second.tokens == first.tokens
    assert second.dollars == pytest.approx(first.dollars / 2)
    assert second.usage.dollars == pytest.approx(second.dollars)
    assert unfilled_shards(jobs) == []
    for one, other in zip(
        online.scroll(with_vectors=True), jobs.scroll(with_vectors=True), strict=True
    ):
        assert (one.id, one.payload) == (other.id, other.payload)
        assert one.vector is not None
        assert other.vector is not None
        assert np.allclose(one.vector, other.vector, atol=1e-6)
    again = reindex(MadeUp(150), embedder, jobs, checkpoint=tmp_path / "b", batch=JOBS)
    assert (again.unchanged, again.stored, again.dollars) == (150, 0, second.dollars)


def test_what_fails_is_told_and_tried_again_by_the_next_run(
    emulator: Emulator, embedder: Gemini2Embedder, tmp_path: Path
) -> None:
    def bad(number: int, item: Item) -> Item:
        return dataclasses.replace(item, content="") if number == 3 else item

    emulator.configure(batch_failing=1.0)
    target, checkpoint = collection(), tmp_path / "c"
    jobs: BatchOptions = {**JOBS, "tries": 1}
    report = reindex(MadeUp(50, change=bad), embedder, target, checkpoint=checkpoint, batch=jobs)
    assert (report.stored, report.failed) == (0, 50)
    told = {one.id: one.reason for one in failures(checkpoint)}
    assert "empty" in told["doc-3"]
    assert "Internal error" in told["doc-4"]
    emulator.configure(batch_failing=0.0)
    report = reindex(MadeUp(50, change=bad), embedder, target, checkpoint=checkpoint, batch=jobs)
    assert (report.stored, report.failed) == (49, 1)
    assert target.count() == 49


def test_the_money_counts_what_is_still_with_the_service(
    embedder: Gemini2Embedder, tmp_path: Path
) -> None:
    target, checkpoint = collection(), tmp_path / "c"
    whole = reindex(MadeUp(100), embedder, target, checkpoint=checkpoint, dry_run=True, batch=True)
    limit = whole.dollars / 2
    report = reindex(
        MadeUp(100), embedder, target, checkpoint=checkpoint, batch=JOBS, max_dollars=limit, page=10
    )
    assert not report.finished
    assert limit * 0.6 < report.dollars <= limit, "before there are answers, we may be wrong"
    report = reindex(
        MadeUp(100), embedder, target, checkpoint=checkpoint, batch=JOBS, max_dollars=limit, page=10
    )
    assert limit * 0.9 < report.dollars <= limit
    report = reindex(MadeUp(100), embedder, target, checkpoint=checkpoint, batch=JOBS)
    assert report.finished
    assert target.count() == 100
    assert report.dollars == pytest.approx(whole.dollars)


def test_what_is_with_the_batch_api_isnt_paid_for_online_too(
    emulator: Emulator, embedder: Gemini2Embedder, tmp_path: Path
) -> None:
    emulator.configure(batch_outcome="stuck")
    target, checkpoint = collection(), tmp_path / "c"
    with pytest.raises(KeyboardInterrupt):
        reindex(
            MadeUp(50), embedder, target, checkpoint=checkpoint, batch=JOBS, on_progress=_interrupt
        )
    with pytest.raises(ConfigurationError, match=r"50 items are with the Batch API.*twice"):
        reindex(MadeUp(50), embedder, target, checkpoint=checkpoint)


def _interrupt(_: object) -> None:
    import signal
    import threading

    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def test_killed_at_its_jobs_every_document_is_there_once_and_paid_for_once(tmp_path: Path) -> None:
    pytest.importorskip("qdrant_edge")
    task = Task(250, tmp_path / "c.sqlite", path=tmp_path / "index", page=64, batch=25)
    settings = {"batch_failing": 0.05, "batch_out_of_order": True, "batch_seconds": 0.1, "seed": 4}
    with emulating(settings) as emulator:
        moved = move_with_kills(task, emulator, kills=3, seed=5)
    with task.collection() as target:
        check_whole(target, task.documents)
    assert len(moved.kills) == 3
    assert moved.tally.batch_tokens == task.need, "a job's results are kept until they are fetched"
