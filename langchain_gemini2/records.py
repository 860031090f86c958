"""Documents out of a collection's records: text, metadata, scores, and how unlike they are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from langchain_core.documents import Document
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from gemini2_core.embedding import EmbeddingResult
from gemini2_core.index import FilterLike, Record, Results, VectorsLike, read_filter

__all__ = [
    "METADATA",
    "TEXT",
    "field_path",
    "metadata_filter",
    "relevance",
    "to_document",
    "to_documents",
    "to_scored",
    "various",
]

#: Where a payload holds a document; langchain-qdrant's keys, so its collections can be adopted.
TEXT = "page_content"
METADATA = "metadata"


def field_path(field: str) -> str:
    """The payload's path of a field of the metadata."""
    return field if field.startswith(f"{METADATA}.") else f"{METADATA}.{field}"


def metadata_filter(given: FilterLike | None) -> FilterLike | None:
    """A filter whose plain fields are those of the metadata."""
    return read_filter(given, prefix=METADATA)


def to_document(record: Record) -> Document:
    """The document that a point holds."""
    text, metadata = record.payload.get(TEXT), record.payload.get(METADATA)
    return Document(
        text if isinstance(text, str) else "",
        id=str(record.id),
        metadata=dict(metadata) if isinstance(metadata, Mapping) else {},
    )


def to_documents(found: Results) -> list[Document]:
    """The documents found."""
    return [to_document(hit) for hit in found]


def to_scored(found: Results) -> list[tuple[Document, float]]:
    """The documents found, each with its score."""
    return [(to_document(hit), hit.score) for hit in found]


def various(query: VectorsLike, found: Results, k: int, lambda_mult: float) -> list[Document]:
    """Of the documents found, with vectors, ``k`` that are near and unlike each other."""
    rows = [(hit, hit.vector) for hit in found if hit.vector is not None]
    if not rows:
        return []
    numbers = query.vectors if isinstance(query, EmbeddingResult) else query
    size = len(rows[0][1])
    vector: npt.NDArray[np.float32] = np.asarray(numbers, dtype=np.float32).reshape(-1)[:size]
    chosen = maximal_marginal_relevance(
        vector, [row.tolist() for _, row in rows], lambda_mult=lambda_mult, k=k
    )
    return [to_document(rows[at][0]) for at in chosen]


def relevance(score: float) -> float:
    """A cosine as LangChain's relevance: 0 for the opposite, 1 for the same."""
    return min(max((score + 1.0) / 2.0, 0.0), 1.0)
