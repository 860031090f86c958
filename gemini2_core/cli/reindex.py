"""``gemini2 reindex``: a corpus into a new collection, to be interrupted and gone on with."""

from __future__ import annotations

import argparse
import sys

from gemini2_core.cli.command import Commands
from gemini2_core.cli.jobs import add_jobs, jobs
from gemini2_core.cli.options import add_address, add_embedding, address, embedder
from gemini2_core.cli.sources import add_source, source

__all__ = ["add"]

#: Stopped as it was told to, with something left to do.
_UNFINISHED = 3


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "reindex",
        help="embed a corpus into a new collection, resumably",
        description="Embed a corpus into a collection: files, tables, BEIR's corpus.jsonl, or a "
        "collection that is there, whoever made it. Interrupted anywhere, the same command goes "
        "on. Exit status: 0 when all of it is stored, 3 when --max-cost stopped it or some of it "
        "can't be embedded.",
    )
    add_source(parser, "from-", lenient=True)
    group = parser.add_argument_group("the move")
    option = group.add_argument
    option("--to", required=True, metavar="NAME", help="the collection, made if it isn't there")
    option(
        "--checkpoint",
        required=True,
        metavar="FILE",
        help="where it is noted how far it is; one for each shard",
    )
    option("--tiers", metavar="N,N", help="sizes of a new collection (768,3072)", type=_tiers)
    option("--hybrid", action="store_true", help="a new collection gets BM25 vectors as well")
    option(
        "--shard",
        type=_shard,
        default=(0, 1),
        metavar="I/N",
        help="move one of N parts: 0/2 here and 1/2 on another machine",
    )
    option("--batch", action="store_true", help="by the Batch API: half the price, in hours")
    option(
        "--max-cost",
        type=float,
        metavar="DOLLARS",
        help="stop before all runs together have paid more",
    )
    option("--delete-removed", action="store_true", help="delete what the source has no more")
    option("--stop-on-failure", action="store_true", help="end at an item that can't be embedded")
    option("--page", type=int, default=512, metavar="N", help="items at a time (%(default)s)")
    option("--dry-run", action="store_true", help="read and count; send and write nothing")
    option("--json", action="store_true", help="JSON instead of a table")
    option("--quiet", action="store_true", help="no progress bar")
    add_jobs(parser.add_argument_group("with --batch"), new=True)
    add_address(parser)
    add_embedding(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from gemini2_core.corpus import reindex
    from gemini2_core.index import MatryoshkaCollection

    tiers: tuple[int, ...] | None = options.tiers
    corpus = source(options, "from-")
    with embedder(options, dimensions=max(tiers) if tiers else 768) as embedding:
        target = MatryoshkaCollection(
            options.to,
            space=embedding.space,
            tiers=tiers,
            hybrid=options.hybrid,
            **address(options),
        )
        try:
            report = reindex(
                corpus,
                embedding,
                target,
                checkpoint=options.checkpoint,
                shard=options.shard,
                batch=jobs(options) if options.batch else False,
                max_dollars=options.max_cost,
                page=options.page,
                delete_removed=options.delete_removed,
                stop_on_failure=options.stop_on_failure,
                show_progress=not options.quiet,
                dry_run=options.dry_run,
            )
        except KeyboardInterrupt:
            print(
                "gemini2: stopped; what was paid for is kept, and the same command goes on",
                file=sys.stderr,
            )
            raise
        finally:
            target.close()
    print(report.to_json() if options.json else report)
    whole = report.dry_run or (report.finished and not report.failed)
    return 0 if whole else _UNFINISHED


def _tiers(told: str) -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in told.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"sizes such as 768,3072, not {told!r}") from None


def _shard(told: str) -> tuple[int, int]:
    number, slash, of = told.partition("/")
    if not (slash and number.isdecimal() and of.isdecimal()):
        raise argparse.ArgumentTypeError(f"a part such as 0/2 or 1/2, not {told!r}")
    return int(number), int(of)
