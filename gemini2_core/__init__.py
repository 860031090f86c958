"""Gemini Embedding 2 without a framework: the model, contents, the embedder."""

from gemini2_core.content import Content, Fragment, Media
from gemini2_core.embedding import EmbeddingResult, Gemini2Embedder, SqliteCache, Usage
from gemini2_core.errors import Gemini2Error
from gemini2_core.model import (
    Backend,
    EmbeddingSpace,
    Modality,
    TaskType,
    average,
    normalize,
    truncate,
)

__all__ = [
    "Backend",
    "Content",
    "EmbeddingResult",
    "EmbeddingSpace",
    "Fragment",
    "Gemini2Embedder",
    "Gemini2Error",
    "Media",
    "Modality",
    "SqliteCache",
    "TaskType",
    "Usage",
    "average",
    "normalize",
    "truncate",
]
