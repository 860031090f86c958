"""How an emulator behaves: speed, quotas, failures, keys, batch jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from gemini2_core.errors import ConfigurationError

__all__ = ["BatchOutcome", "FailureKind", "Settings", "VectorMode"]

FailureKind = Literal["429", "429_no_hint", "500", "503", "drop", "slow", "missing"]
"""What can go wrong with a request.

"429" carries RetryInfo, "429_no_hint" no details; "drop" closes the connection, before the answer
or in the middle of it; "slow" pauses in the middle; "missing" leaves one embedding without values.
"""

BatchOutcome = Literal["succeed", "fail", "expire", "cancel", "stuck", "fail_lines"]
"""How a batch job ends.

"cancel" is cancelled by somebody else; "stuck" stays RUNNING until it's cancelled; "fail_lines"
succeeds as a job, with an error for each line.
"""

VectorMode = Literal["features", "pool"]
"""Where vectors come from.

"features" hashes words and n-grams; "pool" takes one of 64 prepared vectors by the text's digest:
for benchmarks of clients, where the server's time must not count.
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything an emulator can be told. Times are in seconds.

    Attributes:
        latency: Time the service takes for each request, computing included.
        requests_per_minute: Quota of items (not calls) a minute and model, or None.
        requests_per_day: Quota of items a day and model, or None; renewed by ``reset``.
        tokens_per_minute: Quota of input tokens a minute and model, or None.
        minute_seconds: Length of a "minute" of the quotas, so that tests needn't wait for one.
        failure_rate: Share of requests that fail, from 0 to 1.
        failures: Kinds of failure they are drawn from.
        retry_delay: The wait that an injected "429" asks for.
        slow_seconds: The pause of an injected "slow".
        seed: Which requests fail, how batch results are shuffled. Which request fails hangs on
            its bytes and on how often they came, not on the order of arrival.
        api_keys: Keys that are accepted; None takes any but ``"bad-key"``.
        gzip: Compress answers for clients that accept it.
        gzip_level: How hard vectors are compressed, 1 to 9: 6 gives the service's size (16.4 kB
            for 3072 numbers), 2 a tenth more in a fifth of the time, once a vector.
        pretty: Indent answers, as the service does; ``?prettyPrint=`` wins.
        vertex_batch: Serve ``:batchEmbedContents`` on Vertex's paths; False answers 404.
        vectors: Where vectors come from.
        cache_bytes: Memory for encoded vectors.
        log_requests: Keep a record of each request.
        batch_seconds: Time from a batch job's creation to its end.
        batch_outcome: How jobs end.
        batch_outcomes: How the first jobs end, one after the other; later ones take
            ``batch_outcome``.
        batch_tokens: Quota of input tokens in jobs that haven't ended, or None; a job beyond it
            is refused by a 429 without details, as users report.
        batch_failing: Share of a job's lines that come back as an error.
        batch_out_of_order: Shuffle inline results, as users saw it with more than 1,000.
        file_processing_seconds: Time an uploaded file is PROCESSING before it's ACTIVE.
        file_lifetime: Time after which an uploaded file is gone.

    Raises:
        ConfigurationError: A value is out of range.
    """

    latency: float = 0.0
    requests_per_minute: int | None = None
    requests_per_day: int | None = None
    tokens_per_minute: int | None = None
    minute_seconds: float = 60.0
    failure_rate: float = 0.0
    failures: tuple[FailureKind, ...] = get_args(FailureKind)
    retry_delay: float = 1.0
    slow_seconds: float = 1.0
    seed: int = 0
    api_keys: frozenset[str] | None = None
    gzip: bool = True
    gzip_level: int = 2
    pretty: bool = True
    vertex_batch: bool = True
    vectors: VectorMode = "features"
    cache_bytes: int = 256_000_000
    log_requests: bool = True
    batch_seconds: float = 0.0
    batch_outcome: BatchOutcome = "succeed"
    batch_outcomes: tuple[BatchOutcome, ...] = ()
    batch_tokens: int | None = None
    batch_failing: float = 0.0
    batch_out_of_order: bool = False
    file_processing_seconds: float = 0.0
    file_lifetime: float = 48 * 3600.0

    def __post_init__(self) -> None:
        for name in ("failure_rate", "batch_failing"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigurationError(f"{name} must be between 0 and 1")
        for name in ("latency", "retry_delay", "slow_seconds", "batch_seconds"):
            if getattr(self, name) < 0:
                raise ConfigurationError(f"{name} must not be negative")
        if self.minute_seconds <= 0:
            raise ConfigurationError("minute_seconds must be positive")
        for name in (
            "requests_per_minute",
            "requests_per_day",
            "tokens_per_minute",
            "batch_tokens",
        ):
            quota = getattr(self, name)
            if quota is not None and quota < 0:
                raise ConfigurationError(f"{name} must not be negative")
        if not 1 <= self.gzip_level <= 9:
            raise ConfigurationError("gzip_level must be between 1 and 9")
        object.__setattr__(self, "failures", tuple(self.failures))
        if unknown := set(self.failures) - set(get_args(FailureKind)):
            raise ConfigurationError(f"unknown failures: {', '.join(sorted(unknown))}")
        if self.api_keys is not None:
            object.__setattr__(self, "api_keys", frozenset(self.api_keys))
        object.__setattr__(self, "batch_outcomes", tuple(self.batch_outcomes))
        for outcome in (self.batch_outcome, *self.batch_outcomes):
            if outcome not in get_args(BatchOutcome):
                raise ConfigurationError(f"unknown batch_outcome {outcome!r}")
        if self.vectors not in get_args(VectorMode):
            raise ConfigurationError(f"unknown vectors {self.vectors!r}")
