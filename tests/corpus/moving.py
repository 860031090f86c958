"""A process that moves a made-up corpus into a folder or a server, to be killed and begun again."""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gemini2_core import Gemini2Embedder
from gemini2_core.corpus import reindex
from gemini2_core.embedding.batch import BatchOptions
from gemini2_core.index import MatryoshkaCollection, PointId
from gemini2_core.model import count_tokens
from tests.corpus.corpora import MadeUp, made_up
from tests.corpus.emulating import ROOT, Emulating, Tally
from tests.corpus.starting import starter

SPACE = "gemini-embedding-2/RETRIEVAL"
_PREFIX = "title: none | text: "


@dataclass(frozen=True)
class Task:
    """What is moved, and how.

    Attributes:
        documents: How many.
        words: Words of a document.
        tiers: Sizes of the collection.
        path: A folder, or None.
        url: A server, or None.
        checkpoint: The checkpoint.
        batch_size: Items in a request.
        max_concurrency: Requests in flight.
        page: Items of a page.
        shard: Which part, ``"0/1"`` for all.
        name: The collection's.
        batch: Requests of a job of the Batch API; 0 goes online.
    """

    documents: int
    checkpoint: Path
    words: int = 12
    tiers: tuple[int, ...] = (128, 768)
    path: Path | None = None
    url: str | None = None
    batch_size: int = 8
    max_concurrency: int = 4
    page: int = 256
    shard: str = "0/1"
    name: str = "moved"
    batch: int = 0

    @property
    def in_flight(self) -> int:
        """Documents that may be in flight at once."""
        most = max(24, self.documents // 1000)
        return min(self.batch_size, most // self.max_concurrency) * self.max_concurrency

    @property
    def need(self) -> int:
        """Tokens that the whole corpus takes, each document once."""
        return sum(self.tokens(number) for number in range(self.documents))

    def tokens(self, number: int) -> int:
        """Tokens of one document, as it is sent."""
        return count_tokens(_PREFIX + str(made_up(number, self.words).content))

    def collection(self) -> MatryoshkaCollection:
        """Where it goes."""
        return MatryoshkaCollection(
            self.name, space=SPACE, tiers=self.tiers, path=self.path, url=self.url
        )

    def arguments(self, base_url: str) -> list[str]:
        """What ``main`` is told to do it."""
        told: dict[str, object] = {
            "documents": self.documents,
            "words": self.words,
            "tiers": ",".join(map(str, self.tiers)),
            "checkpoint": self.checkpoint,
            "batch-size": self.batch_size,
            "max-concurrency": self.max_concurrency,
            "page": self.page,
            "shard": self.shard,
            "name": self.name,
            "batch": self.batch,
            "base-url": base_url,
        }
        told |= {"path": self.path} if self.path else {"url": self.url}
        return [str(word) for name, value in told.items() for word in (f"--{name}", value)]


@dataclass
class Moved:
    """What became of it.

    Attributes:
        kills: Documents that had been served at each kill.
        runs: How often the process was begun.
        seconds: From the first beginning to the end.
        tally: What the emulator served.
    """

    kills: list[int]
    runs: int
    seconds: float
    tally: Tally


def move_with_kills(task: Task, emulator: Emulating, kills: int, seed: int) -> Moved:
    """Run the move, kill it at so many moments drawn by seed, begin again, to the end.

    Raises:
        AssertionError: A run that wasn't killed failed.
    """
    draw = random.Random(seed)
    moments = sorted(draw.sample(range(task.documents // 20, task.documents * 19 // 20), kills))
    done = Moved([], 0, 0.0, emulator.tally())
    began = time.monotonic()
    with starter("tests.corpus.moving") as process:
        for moment in [*moments, None]:
            done.runs += 1
            child = process.start(task.arguments(emulator.base_url))
            while moment is not None and process.running(child):
                if (served := emulator.tally().served) >= moment:
                    os.kill(child, signal.SIGKILL)
                    done.kills.append(served)
                    break
                time.sleep(0.005)
            assert process.wait(child) == (0 if moment is None else -signal.SIGKILL)
    done.seconds = time.monotonic() - began
    done.tally = emulator.tally()
    return done


def move_once(task: Task, base_url: str) -> dict[str, float]:
    """Run the move in a process of its own: items stored, seconds, and the peak of its memory.

    Raises:
        CalledProcessError: It failed.
    """
    command = [sys.executable, "-m", "tests.corpus.moving", *task.arguments(base_url)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    told: dict[str, float] = json.loads(done.stdout)
    return told


def everything(
    collection: MatryoshkaCollection,
) -> Mapping[PointId, tuple[object, tuple[float, ...]]]:
    """Payload and vector of each point."""
    found = {}
    for record in collection.scroll(with_vectors=True):
        assert record.vector is not None
        found[record.id] = (record.payload, tuple(record.vector.tolist()))
    return found


def check_whole(collection: MatryoshkaCollection, documents: int, words: int = 12) -> None:
    """See that each document is in the collection exactly once, with its payload and a vector.

    Raises:
        AssertionError: It isn't so.
    """
    seen: set[object] = set()
    for record in collection.scroll(with_vectors=True):
        assert record.id not in seen, f"{record.id} is there twice"
        seen.add(record.id)
        number = int(str(record.id).removeprefix("doc-"))
        assert record.payload == made_up(number, words).payload
        assert record.vector is not None
        assert abs(float(np.linalg.norm(record.vector)) - 1) < 1e-5
    assert len(seen) == documents == collection.count()


def main(arguments: Sequence[str] | None = None) -> None:
    """Move it, once."""
    parser = argparse.ArgumentParser()
    for name in ("documents", "words", "batch-size", "max-concurrency", "page", "batch"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("tiers", "checkpoint", "shard", "name", "base-url"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--path", type=Path)
    parser.add_argument("--url")
    told = parser.parse_args(arguments)
    number, of = map(int, told.shard.split("/"))
    jobs: BatchOptions = {"lines_per_job": told.batch, "max_jobs": 5, "poll_seconds": 0.05}
    embedder = Gemini2Embedder(
        api_key="any",
        base_url=told.base_url,
        batch_size=told.batch_size,
        max_concurrency=told.max_concurrency,
    )
    tiers = tuple(map(int, told.tiers.split(",")))
    with (
        embedder,
        MatryoshkaCollection(
            told.name, space=SPACE, tiers=tiers, path=told.path, url=told.url
        ) as target,
    ):
        report = reindex(
            MadeUp(told.documents, words=told.words),
            embedder,
            target,
            checkpoint=told.checkpoint,
            shard=(number, of),
            batch=jobs if told.batch else False,
            page=told.page,
        )
    assert report.finished, report
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"stored": report.stored, "seconds": report.seconds, "peak_kb": peak}))


if __name__ == "__main__":
    main()
