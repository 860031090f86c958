"""Getting it embedded: planning, transport, engine, cache, usage."""

from gemini2_core.embedding.cache import SqliteCache, VectorCache
from gemini2_core.embedding.embedder import Gemini2Embedder
from gemini2_core.embedding.pace import RateLimiter
from gemini2_core.embedding.plan import Aggregate, OnEmpty, OnOverflow
from gemini2_core.embedding.result import EmbeddingResult, Usage
from gemini2_core.embedding.run import Progress

__all__ = [
    "Aggregate",
    "EmbeddingResult",
    "Gemini2Embedder",
    "OnEmpty",
    "OnOverflow",
    "Progress",
    "RateLimiter",
    "SqliteCache",
    "Usage",
    "VectorCache",
]
