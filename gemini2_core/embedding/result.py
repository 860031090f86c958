"""What an embedding call returns: the vectors, which inputs they belong to, and what it cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gemini2_core.model import EmbeddingSpace, Modality, Vectors, truncate

__all__ = ["EmbeddingResult", "Usage"]


@dataclass(frozen=True, slots=True)
class Usage:
    """What was sent and billed; usages add up with ``+``.

    Attributes:
        tokens: Input tokens by modality, from the answers' own ``usageMetadata``.
        estimated_tokens: How many of them are our estimate, because an answer had no usage
            (``gemini-embedding-001`` never tells).
        items: Contents embedded by the service (windows and parts count apart).
        requests: HTTP requests sent, failed ones included.
        retries: How many of these repeated an earlier one.
        cached: Contents answered from the cache.
        duplicates: Contents that weren't sent, being equal to another of the call.
        dollars: Price of the tokens, US dollars: at online rates, or half by the Batch API.
    """

    tokens: Mapping[Modality, int] = field(default_factory=dict)
    estimated_tokens: int = 0
    items: int = 0
    requests: int = 0
    retries: int = 0
    cached: int = 0
    duplicates: int = 0
    dollars: float = 0.0

    @property
    def total_tokens(self) -> int:
        """Tokens of all modalities together."""
        return sum(self.tokens.values())

    def __add__(self, other: Usage) -> Usage:
        tokens = dict(self.tokens)
        for modality, count in other.tokens.items():
            tokens[modality] = tokens.get(modality, 0) + count
        return Usage(
            tokens=tokens,
            estimated_tokens=self.estimated_tokens + other.estimated_tokens,
            items=self.items + other.items,
            requests=self.requests + other.requests,
            retries=self.retries + other.retries,
            cached=self.cached + other.cached,
            duplicates=self.duplicates + other.duplicates,
            dollars=self.dollars + other.dollars,
        )

    def __str__(self) -> str:
        """As a person would say it: ``1,204 text + 516 image tokens, 3 requests, $0.000473``."""
        kinds = " + ".join(
            f"{self.tokens[kind]:,} {kind.value.lower()}"
            for kind in Modality
            if kind in self.tokens
        )
        said = [f"{kinds or 0} tokens", _times(self.requests, "request", "requests")]
        if self.estimated_tokens:
            said[0] += f" ({self.estimated_tokens:,} of them estimated)"
        said += [
            _times(count, one, many)
            for count, one, many in (
                (self.retries, "retry", "retries"),
                (self.cached, "from the cache", "from the cache"),
                (self.duplicates, "duplicate", "duplicates"),
            )
            if count
        ]
        return ", ".join([*said, f"${self.dollars:.6f}"])


def _times(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingResult:
    """Vectors of one call.

    Attributes:
        vectors: float32, shape (n, dimensions), unit length (a skipped-as-zero row is zeros).
        indices: int64, shape (n,): the input each row belongs to. ``0 … n-1`` unless inputs
            were skipped or the result is an error's ``partial``.
        usage: What the call sent and what it cost.
        space: The space the vectors live in.
    """

    vectors: Vectors
    indices: npt.NDArray[np.int64]
    usage: Usage
    space: EmbeddingSpace

    @property
    def dimensions(self) -> int:
        """Length of each vector."""
        return int(self.vectors.shape[1])

    def __len__(self) -> int:
        return len(self.vectors)

    def __iter__(self) -> Iterator[npt.NDArray[np.float32]]:
        return iter(self.vectors)

    def tolist(self) -> list[list[float]]:
        """The vectors as lists of Python floats, as the frameworks want them."""
        return self.vectors.tolist()  # type: ignore[no-any-return]  # numpy types it as Any

    def truncate(self, dimensions: int) -> EmbeddingResult:
        """The same result at a smaller size, normalized again; nothing is embedded anew."""
        return EmbeddingResult(
            truncate(self.vectors, dimensions), self.indices, self.usage, self.space
        )

    def __repr__(self) -> str:
        return (
            f"EmbeddingResult({len(self)} x {self.dimensions}, {self.space}, "
            f"{self.usage.total_tokens} tokens, ${self.usage.dollars:.6f})"
        )
