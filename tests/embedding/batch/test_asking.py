"""How a run is asked: async twins, streams of contents, tables, files of vectors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import orjson
import pytest

from gemini2_core import Gemini2Embedder
from gemini2_core.embedding.batch import BatchRecord, KeyedContent
from gemini2_core.emulator import Emulator
from gemini2_core.errors import ClosedError, ConfigurationError
from gemini2_core.model import truncate
from tests.embedding.batch.conftest import Open, jobs, paid
from tests.embedding.conftest import Make

KEYED = [(f"k{n}", f"text number {n}") for n in range(6)]


async def test_async_twins(emulator: Emulator, embedder: Gemini2Embedder, path: Path) -> None:
    async def contents() -> AsyncIterator[KeyedContent]:
        for one in KEYED:
            await asyncio.sleep(0)
            yield one

    async with embedder.batch(path, poll_seconds=0.02, lines_per_job=4) as run:
        assert await run.asubmit(contents()) == 6
        assert await run.asubmit(iter(KEYED)) == 0
        assert (await run.apoll()).lines == 6
        assert (await run.await_(10)).done == 6
        got = [one.key async for one in run.acollect(forget=True)]
        assert got == [key for key, _ in KEYED]
        assert [one async for one in run.acollect()] == []
        result = await run.aembed(["text number 1", "another"], titles=[None, "A title"])
        right = await embedder.aembed_contents(
            ["text number 1", "another"], titles=[None, "A title"]
        )
        assert np.array_equal(result.vectors, right.vectors)
        assert (await run.acancel()).cancelled
    with pytest.raises(ClosedError):
        run.status()


async def test_nothing_blocks_the_loop_that_waits(
    emulator: Emulator, embedder: Gemini2Embedder, path: Path
) -> None:
    emulator.configure(batch_seconds=0.15)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.005)

    ticking = asyncio.create_task(tick())
    async with embedder.batch(path, poll_seconds=0.05) as run:
        await run.asubmit(KEYED)
        await run.await_(10)
    ticking.cancel()
    assert ticks > 5


def test_jobs_start_while_contents_are_still_read(
    emulator: Emulator, embedder: Gemini2Embedder, open_run: Open
) -> None:
    seen: list[int] = []

    def contents() -> Iterator[KeyedContent]:
        for n in range(600):
            if n == 300:
                seen.append(len(jobs(emulator)))
            yield f"k{n}", f"t{n % 3}"  # few lines, many contents
            if n < 250:
                yield f"l{n}", f"text {n}"

    run = open_run(lines_per_job=100, dimensions=768)
    assert run.submit(contents()) == 850
    assert seen == [2]
    assert run.wait(20).done == 253 == paid(emulator)


def test_a_run_tells_how_far_it_is(emulator: Emulator, make: Make, open_run: Open) -> None:
    told: list[tuple[int, int]] = []
    run = open_run(make(on_progress=lambda done, total: told.append((done, total))))
    run.submit([*KEYED, ("picture of", "a text"), ("again", "a text")])
    status = run.status()
    assert status.estimated_dollars > 0
    run.wait(10)
    assert told[-1] == (7, 7)
    done = run.status()
    assert done.usage.dollars == pytest.approx(status.estimated_dollars, rel=0.5)
    lines = str(done).splitlines()
    assert lines[0] == "8 contents, 7 of 7 lines done"
    assert lines[1].startswith(f"${done.usage.dollars:.6f} paid so far for ")
    assert lines[2].split() == ["job", "state", "lines", "done", "time", "name"]
    assert done._repr_html_() == f"<pre>{done}</pre>"
    assert lines[3].startswith("  1  SUCCEEDED      7     7   0 s  batches/")


def test_a_record_is_read_without_a_key(
    emulator: Emulator, open_run: Open, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_run()
    run.submit(KEYED)
    run.wait(10)
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with BatchRecord(path) as record:
        assert (record.model, record.task_type) == ("gemini-embedding-2", "RETRIEVAL_QUERY")
        assert str(record.space) == "gemini-embedding-2/RETRIEVAL"
        assert record.usage == run.usage
        assert [one.key for one in record.collect()] == [key for key, _ in KEYED]


@pytest.mark.parametrize("dimensions", [None, 128])
@pytest.mark.parametrize("kind", ["npz", "parquet", "jsonl"])
def test_vectors_are_saved(
    open_run: Open, tmp_path: Path, kind: str, dimensions: int | None
) -> None:
    run = open_run()
    run.submit([*KEYED, ("bad", "")], report_bad=True)
    run.wait(10)
    output = tmp_path / f"vectors.{kind}"
    saved = run.save(output, dimensions=dimensions)
    assert saved.vectors == 6
    assert list(saved.errors) == ["bad"]
    full = np.array([vector for _, vector, _ in run.collect() if vector is not None])
    right = full if dimensions is None else truncate(full, dimensions)
    match kind:
        case "npz":
            with np.load(output) as read:
                keys, vectors = read["keys"].tolist(), read["vectors"]
        case "parquet":
            import pyarrow.parquet as pq

            table = pq.read_table(output)
            keys, vectors = table["key"].to_pylist(), np.array(table["vector"].to_pylist())
        case _:
            lines = [orjson.loads(line) for line in output.read_bytes().splitlines()]
            keys = [line["key"] for line in lines]
            vectors = np.array([line["vector"] for line in lines])
    assert keys == [key for key, _ in KEYED]
    assert np.array_equal(vectors.astype(np.float32), right)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("vectors")] == [output.name]


def test_vectors_are_not_saved_as_anything_else(open_run: Open, tmp_path: Path) -> None:
    run = open_run(dimensions=768)
    with pytest.raises(ConfigurationError, match=r"\.npz, \.parquet, \.jsonl"):
        run.save(tmp_path / "vectors.pickle")
    with pytest.raises(ConfigurationError, match="have 768 numbers"):
        run.save(tmp_path / "vectors.npz", dimensions=3072)
