"""The bill of a corpus: tokens, dollars, storage and time, each with what it isn't sure of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import orjson

from gemini2_core.corpus.sources.reading import Problems
from gemini2_core.errors import ConfigurationError
from gemini2_core.model import (
    BATCH_TARGET_SECONDS,
    DEFAULT_MODEL,
    MAX_BATCH_JOBS,
    MAX_FILE_BYTES,
    Backend,
    Modality,
    ModelSpec,
    model_spec,
)

__all__ = ["Basis", "Estimate", "Finding", "FindingKind", "Interval", "Storage", "check_quotas"]

#: Where the tokens of texts come from: our own estimate of each; the service's count of each; ours
#: of a sample; ours of each, set right by the service's count of a sample; or they were given.
Basis: TypeAlias = Literal["local", "exact", "sample", "calibrated", "given"]
#: A text that is embedded in windows and averaged; one that is cut; what is refused.
FindingKind: TypeAlias = Literal["windows", "cut", "refused"]

_FLOAT32 = 4
#: JSON around a text of a batch job's file, and bytes of a token of text; to guess from counts.
_LINE_BYTES, _TOKEN_BYTES = 400, 4


def check_quotas(requests_per_minute: int | None, tokens_per_minute: int | None) -> None:
    """See that quotas are ones that something gets through.

    Raises:
        ConfigurationError: One is below 1.
    """
    for name, quota in (
        ("requests_per_minute", requests_per_minute),
        ("tokens_per_minute", tokens_per_minute),
    ):
        if quota is not None and quota < 1:
            raise ConfigurationError(f"{name}={quota} must be at least 1")


@dataclass(frozen=True, slots=True)
class Interval:
    """A number, and between what it lies; equal bounds say that it is certain."""

    value: float
    low: float
    high: float

    @classmethod
    def certain(cls, value: float) -> Interval:
        """A number that is known."""
        return cls(value, value, value)

    @classmethod
    def sum(cls, some: Iterable[Interval]) -> Interval:
        """All together; the bounds add up, as if every error went the same way."""
        total = cls.certain(0.0)
        for one in some:
            total = cls(total.value + one.value, total.low + one.low, total.high + one.high)
        return total

    @property
    def is_certain(self) -> bool:
        """True if the bounds are the number itself."""
        return self.low == self.high

    def times(self, factor: float) -> Interval:
        """Each of the three numbers, times a factor that isn't negative."""
        return Interval(self.value * factor, self.low * factor, self.high * factor)

    def to_list(self) -> list[float]:
        """``[low, value, high]``."""
        return [self.low, self.value, self.high]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that will happen to items on the way.

    Attributes:
        kind: What.
        count: To how many items; from a sample, to about how many.
        examples: Some of them, with the reason.
    """

    kind: FindingKind
    count: int
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Storage:
    """Bytes that the vectors of one size take, without graph and payload.

    Attributes:
        dimensions: The size.
        float32: As they are.
        int8: Quantized to a byte a number.
    """

    dimensions: int
    float32: int
    int8: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """What embedding a corpus takes; in a notebook it shows itself, ``str`` is a table.

    Attributes:
        source: Name of the corpus.
        model: The model that embeds it.
        items: Things in it.
        vectors: Those that get a vector: the items that aren't refused.
        contents: What is embedded and counts against a quota; an over-long text's windows are
            several.
        tokens: By modality, billed.
        basis: Where the tokens of texts come from.
        sampled: Items in the sample, or None without one.
        payload_bytes: What is stored beside the vectors, as JSON; None if that isn't known.
        request_bytes: Lines of a batch job's files, about.
        requests_per_minute: Your quota of items, or None.
        tokens_per_minute: Your quota of tokens, or None.
        backend: The service; only the Gemini API has a Batch API.
        findings: What will happen to items on the way.
        problems: What the source left out, or None.
    """

    source: str
    model: str
    items: int
    vectors: int
    contents: Interval
    tokens: Mapping[Modality, Interval]
    basis: Basis
    sampled: int | None = None
    payload_bytes: int | None = None
    request_bytes: int = 0
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    backend: Backend = Backend.GEMINI_API
    findings: tuple[Finding, ...] = ()
    problems: Problems | None = field(default=None, compare=False)

    @classmethod
    def of_counts(
        cls,
        items: int,
        tokens_per_item: float,
        *,
        modality: Modality = Modality.TEXT,
        model: str = DEFAULT_MODEL,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        backend: Backend = Backend.GEMINI_API,
    ) -> Estimate:
        """The bill of a corpus of which only the counts are known; nothing is read.

        Args:
            items: How many things.
            tokens_per_item: Tokens of each on average, the prompt's prefix included.
            modality: What they are made of.
            model: The model.
            requests_per_minute: Your quota of items.
            tokens_per_minute: Your quota of tokens.
            backend: The service.

        Raises:
            ConfigurationError: Counts or quotas that can't be, an unknown model, or one that
                doesn't read that.
        """
        spec = model_spec(model)
        check_quotas(requests_per_minute, tokens_per_minute)
        if items < 0 or not 0 <= tokens_per_item < math.inf:
            raise ConfigurationError("items and tokens_per_item are 0 or more")
        if modality not in spec.dollars_per_million:
            raise ConfigurationError(f"{spec.id} reads no {modality.lower()}")
        return cls(
            source=f"{items:,} items of {tokens_per_item:,g} tokens",
            model=spec.id,
            items=items,
            vectors=items,
            contents=Interval.certain(items),
            tokens={modality: Interval.certain(items * tokens_per_item)},
            basis="given",
            request_bytes=int(items * (_LINE_BYTES + _TOKEN_BYTES * tokens_per_item)),
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            backend=backend,
        )

    @property
    def total_tokens(self) -> Interval:
        """Tokens of all modalities together."""
        return Interval.sum(self.tokens.values())

    def price(self, modality: Modality, *, batch_api: bool = False) -> Interval:
        """US dollars for the tokens of one modality."""
        tokens = self.tokens.get(modality, Interval.certain(0.0))
        value, low, high = (
            self._spec.dollars({modality: round(count)}, batch_api=batch_api)
            for count in (tokens.value, tokens.low, tokens.high)
        )
        return Interval(value, low, high)

    @property
    def dollars(self) -> Interval:
        """US dollars, online."""
        return Interval.sum(self.price(modality) for modality in self.tokens)

    @property
    def batch_dollars(self) -> Interval | None:
        """US dollars by Batch API; None where there is none."""
        if self.backend is not Backend.GEMINI_API:
            return None
        return Interval.sum(self.price(modality, batch_api=True) for modality in self.tokens)

    @property
    def storage(self) -> tuple[Storage, ...]:
        """Bytes of the vectors at each size that the model was trained for, smallest first."""
        return tuple(
            Storage(size, self.vectors * size * _FLOAT32, self.vectors * size)
            for size in self._spec.tiers
        )

    @property
    def seconds(self) -> Interval | None:
        """The least time that the quotas allow; None if none is given."""
        found: list[Interval] = []
        if self.requests_per_minute:
            found.append(self.contents.times(60 / self.requests_per_minute))
        if self.tokens_per_minute:
            found.append(self.total_tokens.times(60 / self.tokens_per_minute))
        if not found:
            return None
        return Interval(
            max(one.value for one in found),
            max(one.low for one in found),
            max(one.high for one in found),
        )

    @property
    def batch_jobs(self) -> int:
        """Files of the Batch API that the corpus takes, at their greatest size; about."""
        return max(1, -(-self.request_bytes // MAX_FILE_BYTES)) if self.vectors else 0

    @property
    def batch_seconds(self) -> float | None:
        """In what time its jobs should end, by the service's target; None where it has none."""
        if self.backend is not Backend.GEMINI_API:
            return None
        return -(-self.batch_jobs // MAX_BATCH_JOBS) * float(BATCH_TARGET_SECONDS)

    @property
    def refused(self) -> int:
        """Items that can't be embedded; from a sample, about how many."""
        return sum(one.count for one in self.findings if one.kind == "refused")

    def __str__(self) -> str:
        from gemini2_core.corpus.billing.bill_table import bill_text

        return bill_text(self)

    def __repr__(self) -> str:
        return (
            f"<Estimate of {self.source!r}: {self.items:,} items, "
            f"{self.total_tokens.value:,.0f} tokens, ${self.dollars.value:,.2f}>"
        )

    def _repr_html_(self) -> str:
        from gemini2_core.corpus.billing.bill_table import bill_html

        return bill_html(self)

    def to_dict(self) -> dict[str, object]:
        """JSON values; an interval is ``[low, value, high]``."""
        batch, seconds = self.batch_dollars, self.seconds
        return {
            "source": self.source,
            "model": self.model,
            "backend": self.backend.value,
            "items": self.items,
            "vectors": self.vectors,
            "contents": self.contents.to_list(),
            "tokens": {kind.value: count.to_list() for kind, count in self.tokens.items()},
            "total_tokens": self.total_tokens.to_list(),
            "basis": self.basis,
            "sampled": self.sampled,
            "dollars": self.dollars.to_list(),
            "batch_dollars": None if batch is None else batch.to_list(),
            "storage": [
                {"dimensions": one.dimensions, "float32": one.float32, "int8": one.int8}
                for one in self.storage
            ],
            "payload_bytes": self.payload_bytes,
            "requests_per_minute": self.requests_per_minute,
            "tokens_per_minute": self.tokens_per_minute,
            "seconds": None if seconds is None else seconds.to_list(),
            "batch_jobs": self.batch_jobs,
            "batch_seconds": self.batch_seconds,
            "findings": [
                {"kind": one.kind, "count": one.count, "examples": list(one.examples)}
                for one in self.findings
            ],
            "left_out": dict(self.problems.counts) if self.problems else {},
            "left_out_examples": [str(one) for one in self.problems.examples]
            if self.problems
            else [],
            "passed_over": {} if self.problems is None else dict(self.problems.passed_over),
        }

    def to_json(self) -> str:
        """``to_dict`` as text."""
        return orjson.dumps(self.to_dict(), option=orjson.OPT_INDENT_2).decode()

    @property
    def _spec(self) -> ModelSpec:
        return model_spec(self.model)
