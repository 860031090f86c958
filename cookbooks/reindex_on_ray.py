r"""A corpus re-embedded on Ray Data: one task a shard, all of them into one Qdrant collection.

    python cookbooks/reindex_on_ray.py corpus.jsonl --to manuals-2 --url http://qdrant:6333 \
        --checkpoints /shared/move --shards 64 --at-once 16 --requests-per-minute 30000

Every item is in exactly one shard, by its id. A shard is an ordinary ``reindex`` with a checkpoint
of its own; so a task that Ray begins again, on whatever machine, goes on where the last one was
stopped, and so does the whole command. ``--checkpoints`` is a folder that all machines see; each
file in it is open in one process at a time.

The quota is the project's: each of the tasks that run at once gets its part of it. The key is in
``GEMINI_API_KEY`` on every machine. A collection in a folder has one writer: Ray needs a server.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray
import ray.data

from gemini2_core import Gemini2Embedder
from gemini2_core.corpus import Policy, open_source, reindex
from gemini2_core.index import MatryoshkaCollection

__all__ = ["Job", "main", "move", "run"]

Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """What every task has to know; plain values, which go to any machine.

    Attributes:
        corpus: What ``open_source`` takes, at the same path on every machine.
        collection: Name of the collection.
        url: The Qdrant server.
        checkpoints: A folder that all machines see.
        shards: In how many parts the corpus is moved.
        requests_per_minute: A task's part of the quota, in items; None doesn't pace.
        base_url: Another service, such as the emulator's.
        tiers: Sizes of a new collection.
    """

    corpus: str
    collection: str
    url: str
    checkpoints: str
    shards: int
    requests_per_minute: int | None = None
    base_url: str | None = None
    tiers: tuple[int, ...] | None = None


def move(row: Row, job: Job) -> Row:
    """Move one shard: a task, wherever it runs and however often it is begun."""
    shard = int(row["id"])
    source = open_source(job.corpus, policy=Policy.lenient())
    with (
        Gemini2Embedder(
            base_url=job.base_url, requests_per_minute=job.requests_per_minute
        ) as embedder,
        MatryoshkaCollection(
            job.collection,
            space=embedder.space,
            tiers=job.tiers,
            url=job.url,
            api_key=os.environ.get("QDRANT_API_KEY"),
        ) as target,
    ):
        report = reindex(
            source,
            embedder,
            target,
            checkpoint=Path(job.checkpoints) / f"{shard}-of-{job.shards}.sqlite",
            shard=(shard, job.shards),
        )
    return {
        "shard": shard,
        "stored": report.stored,
        "unchanged": report.unchanged,
        "failed": report.failed,
        "dollars": report.dollars,
        "seconds": report.seconds,
    }


def run(job: Job, at_once: int) -> list[Row]:
    """Move all shards, so many at once; what became of each."""
    parts = ray.data.range(job.shards, override_num_blocks=job.shards)
    moved = parts.map(partial(move, job=job), concurrency=at_once, num_cpus=1)
    rows: list[Row] = moved.take_all()
    return sorted(rows, key=lambda row: row["shard"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, move, print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("corpus", help="BEIR's corpus.jsonl, or a folder; for tables change open_source here")
    add("--to", required=True, metavar="NAME", help="the collection")
    add("--url", required=True, help="the Qdrant server")
    add("--checkpoints", required=True, metavar="DIR", help="a folder that all machines see")
    add("--shards", type=int, default=8, help="parts of the corpus (%(default)s)")
    add("--at-once", type=int, default=4, help="tasks at once (%(default)s)")
    add("--requests-per-minute", type=int, metavar="N", help="the project's quota, in items")
    add("--tiers", type=lambda told: tuple(map(int, told.split(","))), metavar="N,N")
    add("--base-url", help="another service, such as the emulator's")
    add("--local", action="store_true", help="Ray's engine in this machine alone, kept small")
    options = parser.parse_args(arguments)
    if options.local:
        ray.init(
            num_cpus=options.at_once,
            include_dashboard=False,
            object_store_memory=100_000_000,
            log_to_driver=False,
            _temp_dir=os.environ.get("RAY_TMPDIR"),
        )
    else:
        ray.init()
    quota = options.requests_per_minute
    job = Job(
        corpus=str(Path(options.corpus).resolve()),
        collection=options.to,
        url=options.url,
        checkpoints=str(Path(options.checkpoints).resolve()),
        shards=options.shards,
        requests_per_minute=None if quota is None else max(1, quota // options.at_once),
        base_url=options.base_url,
        tiers=options.tiers,
    )
    try:
        rows = run(job, options.at_once)
    finally:
        ray.shutdown()
    for row in rows:
        print(
            f"shard {row['shard']:>4}  {row['stored']:>10,} stored  {row['unchanged']:>10,} there "
            f"already  {row['failed']:>6,} failed  ${row['dollars']:,.4f}"
        )
    print(f"{len(rows)} shards, ${sum(float(row['dollars']) for row in rows):,.4f} in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
