"""``gemini2 emulator``: the service's stand-in on loopback."""

from __future__ import annotations

import argparse
from contextlib import suppress
from typing import get_args

from gemini2_core.cli.command import Commands

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Add the command."""
    from gemini2_core.emulator.settings import BatchOutcome, FailureKind, Settings, VectorMode

    emulator = commands.add_parser(
        "emulator",
        help="serve the embedding API on loopback: its rules and shapes, not the model's vectors",
    )
    default = Settings()
    add = emulator.add_argument
    add("--port", type=int, default=8787, help="0 takes a free one (%(default)s)")
    add("--latency", type=float, default=default.latency, metavar="S", help="seconds a request")
    add("--requests-per-minute", type=int, metavar="N", help="quota of items a minute")
    add("--requests-per-day", type=int, metavar="N", help="quota of items a day")
    add("--tokens-per-minute", type=int, metavar="N", help="quota of tokens a minute")
    add("--failure-rate", type=float, default=0.0, metavar="P", help="share of failing requests")
    add(
        "--failures",
        nargs="+",
        choices=get_args(FailureKind),
        default=default.failures,
        metavar="KIND",
        help=f"kinds they are drawn from: {', '.join(default.failures)}",
    )
    add("--retry-delay", type=float, default=default.retry_delay, metavar="S", help="RetryInfo's")
    add("--seed", type=int, default=default.seed, help="which requests fail")
    add("--batch-seconds", type=float, default=0.0, metavar="S", help="length of a batch job")
    add(
        "--batch-outcomes",
        nargs="+",
        choices=get_args(BatchOutcome),
        default=default.batch_outcomes,
        metavar="END",
        help=f"how the first batch jobs end: {', '.join(get_args(BatchOutcome))}",
    )
    add("--batch-failing", type=float, default=0.0, metavar="P", help="share of failing lines")
    add(
        "--vectors",
        choices=get_args(VectorMode),
        default=default.vectors,
        help="'pool' takes prepared vectors, for benchmarks of clients",
    )
    add("--no-gzip", dest="gzip", action="store_false", help="never compress")
    add("--gzip-level", type=int, default=6, metavar="N", help="6 gives the service's size")
    add("--no-pretty", dest="pretty", action="store_false", help="don't indent answers")
    add("--no-vertex-batch", dest="vertex_batch", action="store_false", help="404 on that path")
    emulator.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from gemini2_core.emulator.runner import run
    from gemini2_core.emulator.settings import Settings

    told = vars(options)
    port = told.pop("port")
    # Nobody can read the log of another process.
    with suppress(KeyboardInterrupt):  # how it ends
        run(port, Settings(**told, log_requests=False), _announce)
    return 0


def _announce(base_url: str) -> None:
    print(f"The emulator of Gemini Embedding 2 serves on {base_url} (not the model).", flush=True)
