"""``gemini2 batch``: a corpus embedded by the Batch API, for half the price and in hours."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gemini2_core.cli.command import Commands, Run
from gemini2_core.cli.jobs import add_jobs, jobs
from gemini2_core.cli.options import add_embedding, embedder
from gemini2_core.cli.sources import add_source, source

if TYPE_CHECKING:
    from gemini2_core.corpus import Source
    from gemini2_core.embedding import Gemini2Embedder
    from gemini2_core.embedding.batch import BatchOptions, BatchRun, BatchStatus, KeyedContent

__all__ = ["add"]

#: Something is missing: it failed, or isn't done.
_UNFINISHED = 3
_SHOWN = 20


def add(commands: Commands) -> None:
    """Add the command."""
    batch = commands.add_parser(
        "batch",
        help="embed a corpus by the Batch API: half the price, in hours",
        description="Embed a corpus by the Batch API of the Gemini API: half the price, in hours. "
        "All is kept in a state file; any process goes on with it, after a crash too.",
    )
    actions = batch.add_subparsers(dest="action", required=True)
    _add_submit(actions)
    status = actions.add_parser("status", help="look at the jobs, and start what waits or failed")
    _add_state(status)
    status.add_argument(
        "--offline", action="store_true", help="as of the last look: nothing is sent, no key needed"
    )
    status.add_argument("--json", action="store_true", help="JSON instead of a table")
    status.set_defaults(run=_status)
    collect = actions.add_parser("collect", help="wait for the jobs, and write the vectors")
    _add_state(collect)
    add = collect.add_argument
    add(
        "--output", required=True, metavar="FILE", help="vectors.npz, .parquet or .jsonl, with keys"
    )
    add("--dimensions", type=int, metavar="N", help="size in the file, up to what was fetched")
    add("--no-wait", action="store_true", help="write what has come, and send nothing")
    add("--deadline", type=float, metavar="S", help="wait so long at most")
    collect.set_defaults(run=_resumable(_collect))
    cancel = actions.add_parser("cancel", help="end the jobs; what they brought is kept")
    _add_state(cancel)
    cancel.set_defaults(run=_cancel)


def _add_submit(actions: Commands) -> None:
    submit = actions.add_parser(
        "submit",
        help="start jobs for a corpus",
        description="Start jobs for a corpus. Interrupted, the same command goes on; what was "
        "given up meanwhile is tried again. Exit status: 3 if some of it can't be embedded.",
    )
    add_source(submit, lenient=True)
    group = submit.add_argument_group("the jobs")
    option = group.add_argument
    option("--state", required=True, metavar="FILE", help="where the run is kept")
    option(
        "--dimensions", type=int, metavar="N", help="size of the vectors (the model's full size)"
    )
    option(
        "--side",
        choices=("document", "query"),
        default="document",
        help="which side of the task it is (%(default)s)",
    )
    add_jobs(group, new=True)
    add_embedding(submit)
    submit.set_defaults(run=_resumable(_submit))


def _add_state(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", required=True, metavar="FILE", help="where the run is kept")
    parser.add_argument("--base-url", metavar="URL", help="another server, such as the emulator's")
    parser.add_argument("--cache", metavar="FILE", help="put the vectors there as well")
    add_jobs(parser, new=False)


def _resumable(run: Run) -> Run:
    """A command that says what Ctrl-C leaves."""

    def told(options: argparse.Namespace) -> int:
        try:
            return run(options)
        except KeyboardInterrupt:
            print("gemini2: stopped; the jobs go on, and so does the same command", file=sys.stderr)
            raise

    return told


def _submit(options: argparse.Namespace) -> int:
    corpus = source(options)
    told: BatchOptions = {**jobs(options), "dimensions": options.dimensions}
    with (
        embedder(options, dimensions=options.dimensions or 768) as embedding,
        embedding.batch(options.state, **told) as run,
    ):
        new = run.submit(_keyed(corpus), side=options.side, report_bad=True)
        status = run.status()
    print(f"{new:,} new contents from {corpus.name}")
    return _show(status)


def _keyed(corpus: Source) -> Iterator[KeyedContent]:
    from tqdm import tqdm

    items = tqdm(
        corpus, total=corpus.count(), desc="submitting", unit="item", disable=not _watched()
    )
    for item in items:
        yield str(item.id), item.content, item.title


def _status(options: argparse.Namespace) -> int:
    if options.offline:
        from gemini2_core.embedding.batch import BatchRecord

        with BatchRecord(options.state) as record:
            return _show(record.status(), as_json=options.json)
    with _embedder(options) as embedding, _open(embedding, options) as run:
        return _show(run.poll(), as_json=options.json)


def _collect(options: argparse.Namespace) -> int:
    from gemini2_core.embedding.batch import BatchRecord

    with BatchRecord(options.state) as record:
        record.check_output(options.output, dimensions=options.dimensions)
    if not options.no_wait:
        with _embedder(options) as embedding, _open(embedding, options) as run:
            run.wait(options.deadline)
    with BatchRecord(options.state) as record:
        status = record.status()
        saved = record.save(options.output, dimensions=options.dimensions)
    print(f"{saved.vectors:,} vectors in {options.output}")
    for key, error in list(saved.errors.items())[:_SHOWN]:
        print(f"{key}: {error}", file=sys.stderr)
    if len(saved.errors) > _SHOWN:
        print(f"… and {len(saved.errors) - _SHOWN:,} more without a vector", file=sys.stderr)
    shown = _show(status)
    return _UNFINISHED if saved.errors or status.open else shown


def _cancel(options: argparse.Namespace) -> int:
    with _embedder(options) as embedding, _open(embedding, options) as run:
        return _show(run.cancel())


def _embedder(options: argparse.Namespace) -> Gemini2Embedder:
    """An embedder for the run in the state file: its model and task."""
    from gemini2_core.embedding import Gemini2Embedder
    from gemini2_core.embedding.batch import BatchRecord

    with BatchRecord(options.state) as record:
        return Gemini2Embedder(
            record.model,
            base_url=options.base_url,
            task_type=record.task_type,
            cache=options.cache,
            show_progress=_watched(),
        )


def _open(embedding: Gemini2Embedder, options: argparse.Namespace) -> BatchRun:
    from gemini2_core.embedding.batch import BatchRecord

    with BatchRecord(options.state) as record:
        told: BatchOptions = {**jobs(options), "dimensions": record.dimensions}
    return embedding.batch(options.state, **told)


def _show(status: BatchStatus, *, as_json: bool = False) -> int:
    print(status.to_json() if as_json else status)
    return _UNFINISHED if status.failed or status.refused else 0


def _watched() -> bool:
    return sys.stderr.isatty()
