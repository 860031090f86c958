"""The body of an answer: JSON straight to float32 rows and token counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypedDict, cast

import numpy as np
import numpy.typing as npt
import orjson

from gemini2_core.errors import BadResponseError
from gemini2_core.model import Modality

__all__ = ["Answer", "Row", "decode_answer", "tokens_by_modality"]

Row = npt.NDArray[np.float32]
_MODALITIES = {modality.value: modality for modality in Modality}


@dataclass(slots=True)
class Answer:
    """One answer of the service.

    Attributes:
        rows: One vector an item, in order; None where the service sent no values.
        tokens: Tokens by modality; empty if the answer doesn't say.
        truncated: True if the service says that it cut an input (Vertex does).
    """

    rows: list[Row | None]
    tokens: dict[Modality, int] = field(default_factory=dict)
    truncated: bool = False


class _Embedding(TypedDict, total=False):
    values: list[float]


class _Detail(TypedDict, total=False):
    modality: str
    tokenCount: int | str


class _Usage(TypedDict, total=False):
    promptTokenCount: int | str
    promptTokenDetails: list[_Detail]
    promptTokensDetails: list[_Detail]


class _Document(TypedDict, total=False):
    embeddings: list[_Embedding]
    embedding: _Embedding
    usageMetadata: _Usage
    truncated: bool


def decode_answer(body: bytes) -> Answer:
    """Read the body of an embedding answer, of either API.

    The Gemini API says ``embeddings``, Vertex's single call ``embedding``
    (recordings/vertex_text_question_3072).

    Raises:
        BadResponseError: Not JSON, or no embedding in it.
    """
    try:
        return _decode(body)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadResponseError(
            f"the service's answer can't be read ({type(error).__name__}: {error})"
        ) from error


def _decode_with_orjson(body: bytes) -> Answer:
    document: _Document = orjson.loads(body)
    embeddings = document["embeddings"] if "embeddings" in document else [document["embedding"]]
    rows = [
        np.array(values, dtype=np.float32) if (values := embedding.get("values")) else None
        for embedding in embeddings
    ]
    tokens = tokens_by_modality(document.get("usageMetadata"))
    return Answer(rows, tokens, bool(document.get("truncated")))


def _decoder() -> Callable[[bytes], Answer]:
    """The quicker decoder if the extra ``fast`` is installed: it skips the list of floats."""
    try:
        import simdjson
    except ImportError:
        return _decode_with_orjson

    def row(embedding: object) -> Row | None:
        values = embedding.get("values") if isinstance(embedding, simdjson.Object) else None
        if not isinstance(values, simdjson.Array) or not len(values):
            return None
        return np.frombuffer(values.as_buffer(of_type="d"), np.float64).astype(np.float32)

    def decode(body: bytes) -> Answer:
        # A parser can't be used again while anything it parsed is alive, and a new one is cheap.
        document = simdjson.Parser().parse(body)
        if not isinstance(document, simdjson.Object):
            raise TypeError("not an object")
        found = document["embeddings"] if "embeddings" in document else [document["embedding"]]
        if not isinstance(found, (simdjson.Array, list)):
            raise TypeError("embeddings is no list")
        usage = document.get("usageMetadata")
        counted = cast("_Usage", usage.as_dict()) if isinstance(usage, simdjson.Object) else None
        rows = [row(embedding) for embedding in found]
        return Answer(rows, tokens_by_modality(counted), bool(document.get("truncated")))

    return decode


def tokens_by_modality(usage: _Usage | None) -> dict[Modality, int]:
    """Token counts of a ``usageMetadata``, of either API; empty if it says nothing."""
    if not usage:
        return {}
    details = usage.get("promptTokenDetails") or usage.get("promptTokensDetails") or []
    tokens: dict[Modality, int] = {}
    for detail in details:
        name = detail.get("modality", "TEXT")
        # A modality newer than this library is counted, and billed, as text.
        modality = _MODALITIES.get(name, Modality.TEXT)
        tokens[modality] = tokens.get(modality, 0) + int(detail.get("tokenCount", 0))
    if not tokens and "promptTokenCount" in usage:
        tokens[Modality.TEXT] = int(usage["promptTokenCount"])
    return tokens


_decode = _decoder()
