"""A corpus moved while it is killed and refused: what is there in the end, and what it cost."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cookbooks.qdrant_on_loopback import serve
from tests.corpus.emulating import emulating
from tests.corpus.moving import Moved, Task, check_whole, move_once, move_with_kills

FAULTS = ("429", "429_no_hint", "500", "503", "drop", "missing")


def main(arguments: Sequence[str] | None = None) -> int:
    """Move, check, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--documents", type=int, default=20_000)
    add("--words", type=int, default=60, help="of a document")
    add("--kills", type=int, default=5)
    add("--seed", type=int, default=1, help="of the moments")
    add("--failure-rate", type=float, default=0.02)
    add("--batch-size", type=int, default=40, help="documents in a request")
    add("--max-concurrency", type=int, default=8, help="requests in flight")
    add("--batch", metavar="LINES", type=int, default=0, help="by jobs of so many lines")
    add("--tiers", default="768,3072")
    add("--folder", type=Path, default=Path(tempfile.gettempdir()), help="for the collection")
    add("--memory", metavar="N", type=int, nargs="+", help="measure memory, with so many documents")
    add("--json", action="store_true")
    options = parser.parse_args(arguments)
    if options.memory:
        return _memory(options.memory, options.words)
    home = Path(tempfile.mkdtemp(prefix="moving-", dir=options.folder))
    try:
        task = Task(
            options.documents,
            home / "checkpoint.sqlite",
            words=options.words,
            tiers=tuple(map(int, options.tiers.split(","))),
            path=home / "index",
            batch_size=options.batch_size,
            max_concurrency=options.max_concurrency,
            page=512,
            batch=options.batch,
        )
        settings = {
            "vectors": "pool",
            "failure_rate": options.failure_rate,
            "failures": FAULTS,
            "retry_delay": 0.1,
            "slow_seconds": 0.1,
            "seed": options.seed,
            "batch_failing": options.failure_rate,
            "batch_out_of_order": True,
            "batch_seconds": 0.5,
        }
        with emulating(settings) as emulator:
            moved = move_with_kills(task, emulator, options.kills, options.seed)
        with task.collection() as collection:
            check_whole(collection, task.documents, task.words)
        figures = _figures(task, moved)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    if options.json:
        print(json.dumps(figures, indent=1))
    else:
        for what, value in figures.items():
            print(f"{what:44} {value}")
    return 0 if float(str(figures["tokens served / need"])) <= 1.01 else 1


def _memory(sizes: Sequence[int], words: int) -> int:
    """Peak memory of a process that moves so many documents to a server that keeps none."""
    print(
        f"{'documents':>10} {'peak RSS, MB':>13} {'documents a second':>19} {'checkpoint, MB':>15}"
    )
    for documents in sizes:
        with (
            tempfile.TemporaryDirectory(prefix="moving-") as folder,
            emulating({"vectors": "pool", "log_requests": False}) as emulator,
            serve() as server,
        ):
            # What a server keeps isn't the move's memory.
            server.collections.local.upsert = lambda *_, **__: None  # type: ignore[method-assign, assignment]
            task = Task(
                documents,
                Path(folder) / "checkpoint.sqlite",
                words=words,
                tiers=(768,),
                url=str(server),
                batch_size=40,
                max_concurrency=8,
                page=512,
            )
            told = move_once(task, emulator.base_url)
            kept = sum(path.stat().st_size for path in Path(folder).iterdir())
        assert told["stored"] == documents
        rate = documents / told["seconds"]
        print(f"{documents:10,} {told['peak_kb'] / 1024:13.1f} {rate:9,.0f} {kept / 1e6:15.1f}")
    return 0


def _figures(task: Task, moved: Moved) -> dict[str, object]:
    need, tally = task.need, moved.tally
    served = tally.tokens + tally.batch_tokens
    return {
        "documents, each there exactly once": task.documents,
        "killed when so many had been served": ", ".join(map(str, moved.kills)),
        "runs": moved.runs,
        "seconds in all": round(moved.seconds, 1),
        "requests refused or failed": tally.refused,
        "lines of jobs served": tally.batch_lines,
        "tokens needed": need,
        "tokens served": served,
        "tokens of answers lost on the way (drop)": tally.dropped_tokens,
        "tokens served / need": f"{served / need:.5f}",
        "the same, lost answers counted as paid": f"{(served + tally.dropped_tokens) / need:.5f}",
        "documents that may be in flight at a kill": task.in_flight,
    }


if __name__ == "__main__":
    sys.exit(main())
