"""Moves that are killed, shared among processes, and watched for memory."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cookbooks.qdrant_on_loopback import serve as serve_qdrant
from gemini2_core import Gemini2Embedder
from gemini2_core.corpus import Item, reindex
from gemini2_core.corpus.filling import unfilled_shards
from gemini2_core.emulator import serve
from gemini2_core.index import MatryoshkaCollection, PointId
from tests.corpus.corpora import MadeUp
from tests.corpus.emulating import emulating
from tests.corpus.moving import SPACE, Task, check_whole, everything, move_with_kills
from tests.corpus.starting import starter

FAULTS = ("429", "429_no_hint", "500", "503", "missing")


def test_killed_five_times_every_document_is_there_once_and_paid_for_once(tmp_path: Path) -> None:
    pytest.importorskip("qdrant_edge")
    task = Task(1000, tmp_path / "c.sqlite", path=tmp_path / "index", page=128, batch_size=4)
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


def test_two_processes_with_a_shard_each_make_the_collection_of_one(tmp_path: Path) -> None:
    with serve(vectors="pool") as emulator, serve_qdrant() as server:
        whole = Task(200, tmp_path / "c", url=str(server), batch_size=40, page=64)
        parts = [
            replace(whole, shard=f"{n}/2", checkpoint=tmp_path / f"c{n}", name="parts")
            for n in range(2)
        ]
        with starter("tests.corpus.moving") as processes:
            both = [processes.start(part.arguments(emulator.base_url)) for part in parts]
            assert [processes.wait(one) for one in both] == [0, 0]
        with (
            Gemini2Embedder(api_key="any", base_url=emulator.base_url) as embedder,
            whole.collection() as one,
        ):
            reindex(MadeUp(200), embedder, one, checkpoint=whole.checkpoint)
            wanted = everything(one)
        with parts[0].collection() as shared:
            assert unfilled_shards(shared) == []
            assert everything(shared) == wanted
    assert sum(record.items for record in emulator.requests) == 400, "each document once a move"


class Watched(dict[str, object]):
    """A payload whose end can be seen."""

    __hash__ = object.__hash__  # type: ignore[assignment]  # known by itself, not by what it holds


def test_no_more_than_a_few_pages_are_in_memory_however_slow_the_collection(
    tmp_path: Path,
) -> None:
    page, alive, most = 20, weakref.WeakSet[Watched](), 0

    class Counted(MadeUp):
        def __iter__(self) -> Iterator[Item]:
            nonlocal most
            for number, item in enumerate(super().__iter__()):
                payload = Watched(n=number)
                alive.add(payload)
                most = max(most, len(alive))
                yield replace(item, payload=payload)

    class Slow(MatryoshkaCollection):
        async def aadd(self, *arguments: object, **options: object) -> list[PointId]:
            await asyncio.sleep(0.02)
            return await super().aadd(*arguments, **options)  # type: ignore[arg-type]

    with (
        serve(vectors="pool") as emulator,
        Gemini2Embedder(api_key="any", base_url=emulator.base_url) as embedder,
        Slow("slow", space=SPACE, tiers=(768,)) as target,
    ):
        report = reindex(Counted(1000), embedder, target, checkpoint=tmp_path / "c", page=page)
    assert report.stored == 1000
    assert most <= 7 * page
