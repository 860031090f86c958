"""What a batch run takes from the embedder that made it, and how it may be told to work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal, TypedDict, get_args

from gemini2_core.content import ContentLike
from gemini2_core.embedding.cache import VectorCache
from gemini2_core.embedding.engine import Engine
from gemini2_core.embedding.plan import Aggregate, OnOverflow, Plan
from gemini2_core.embedding.result import Usage
from gemini2_core.embedding.run import Progress
from gemini2_core.errors import ConfigurationError
from gemini2_core.model import (
    BATCH_EXPIRY_SECONDS,
    BATCH_TARGET_SECONDS,
    MAX_BATCH_JOBS,
    MAX_FILE_BYTES,
    EmbeddingSpace,
    ModelSpec,
    Side,
)

if TYPE_CHECKING:
    from google.genai import Client

__all__ = ["BatchOptions", "BatchSettings", "OnFailed", "Origin"]

OnFailed = Literal["retry", "online", "report"]
"""What to do about a line that comes back with an error.

"retry" puts it into another job, "online" embeds it at once at the online price, "report" gives
it up. Lines whose request is at fault are given up in any case.
"""

_Planner = Callable[
    [Sequence[ContentLike], Side, "Sequence[str | None] | None", Aggregate],
    Plan,
]


class BatchOptions(TypedDict, total=False):
    """The fields of ``BatchSettings``, as keyword arguments."""

    dimensions: int | None
    lines_per_job: int
    bytes_per_job: int
    tokens_per_job: int | None
    max_jobs: int
    job_seconds: float
    poll_seconds: float
    tries: int
    on_failed: OnFailed


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """How a run works.

    Attributes:
        dimensions: Size of the vectors that are fetched and kept; None for the model's full size,
            of which every smaller one is the normalised beginning.
        lines_per_job: Most requests of a job. 10,000 results of 3072 numbers are about 350 MB;
            the Files API keeps 20 GB for a project.
        bytes_per_job: Most bytes of a job's file.
        tokens_per_job: Most estimated tokens of a job, or None. Users report 2 million as what
            the first paid tier takes; a job that is refused again and again is halved.
        max_jobs: Most jobs with the service at once.
        job_seconds: A job that hasn't ended after so long is cancelled, and what it lacks is
            submitted again. The service means to take 24 h and gives up after 48 h.
        poll_seconds: Longest pause between two looks at the jobs.
        tries: How often a line is tried before it's given up.
        on_failed: What to do about a line that comes back with an error.

    Raises:
        ConfigurationError: A value is out of range.
    """

    dimensions: int | None = None
    lines_per_job: int = 10_000
    bytes_per_job: int = MAX_FILE_BYTES
    tokens_per_job: int | None = None
    max_jobs: int = 20
    job_seconds: float = (BATCH_TARGET_SECONDS + BATCH_EXPIRY_SECONDS) / 2
    poll_seconds: float = 60.0
    tries: int = 3
    on_failed: OnFailed = "retry"

    def __post_init__(self) -> None:
        most = {"bytes_per_job": MAX_FILE_BYTES, "max_jobs": MAX_BATCH_JOBS}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "on_failed":
                if value not in get_args(OnFailed):
                    allowed = ", ".join(map(repr, get_args(OnFailed)))
                    raise ConfigurationError(f"on_failed={value!r} must be one of {allowed}")
            elif value is not None and (not isinstance(value, int | float) or not value > 0):
                raise ConfigurationError(f"{field.name}={value!r} must be above 0")
            elif value is not None and value > most.get(field.name, value):
                raise ConfigurationError(
                    f"{field.name}={value!r} is over the service's {most[field.name]:,}"
                )


@dataclass(frozen=True, slots=True)
class Origin:
    """What a run takes from its embedder.

    Attributes:
        spec: The model.
        space: The space the vectors live in.
        task: Name of the task type, or "".
        dimensions: Size of the embedder's vectors.
        client: google-genai's client, opened when it's needed and closed with the embedder; the
            caller's own if there is one.
        secret: What mustn't be quoted, or None.
        cache: Vectors that were paid for before, or None.
        retry_seconds: How long a call may keep failing.
        on_overflow: What to do with a text over the limit.
        plan: Inputs, side, titles and aggregate to a plan.
        engine: What embeds online, opened when it's needed.
        spent: Told of every payment.
        on_progress: Called with (done, total) lines, or None.
        show_progress: Show a progress bar.
    """

    spec: ModelSpec
    space: EmbeddingSpace
    task: str
    dimensions: int
    client: Callable[[], Client]
    secret: str | None
    cache: VectorCache | None
    retry_seconds: float
    on_overflow: OnOverflow
    plan: _Planner
    engine: Callable[[], Awaitable[Engine]]
    spent: Callable[[Usage], None]
    on_progress: Progress | None
    show_progress: bool
