"""Options of the Batch API's jobs, for the commands that start and collect them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, get_args

if TYPE_CHECKING:
    from gemini2_core.embedding.batch import BatchOptions

__all__ = ["add_jobs", "jobs"]


def add_jobs(parser: argparse._ActionsContainer, *, new: bool) -> None:
    """Options of jobs; ``jobs`` reads them.

    Args:
        parser: A parser, or a group of options.
        new: Whether contents are put into new jobs, which have a size.
    """
    from gemini2_core.embedding.batch import BatchSettings, OnFailed

    default = BatchSettings()
    add = parser.add_argument
    add(
        "--max-jobs",
        type=int,
        default=default.max_jobs,
        metavar="N",
        help="most jobs at once (%(default)s)",
    )
    add(
        "--job-hours",
        type=float,
        default=default.job_seconds / 3600,
        metavar="H",
        help="then a job is stuck: it's cancelled, and what it lacks is started anew (%(default)g)",
    )
    add(
        "--on-failed",
        choices=get_args(OnFailed),
        default=default.on_failed,
        help="what to do about a request that failed (%(default)s)",
    )
    if new:
        add(
            "--lines-per-job",
            type=int,
            default=default.lines_per_job,
            metavar="N",
            help="most requests of a job (%(default)s)",
        )
        add("--tokens-per-job", type=int, metavar="N", help="most tokens of a job, by our count")


def jobs(options: argparse.Namespace) -> BatchOptions:
    """How jobs are done, as the options of ``add_jobs`` say."""
    told: BatchOptions = {
        "max_jobs": options.max_jobs,
        "job_seconds": options.job_hours * 3600,
        "on_failed": options.on_failed,
    }
    if "lines_per_job" in options:
        told["lines_per_job"] = options.lines_per_job
        told["tokens_per_job"] = options.tokens_per_job
    return told
