"""BM25 as sparse vectors: term weights made here, their rarity (IDF) weighed in by Qdrant."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter

from gemini2_core.index.operations import Sparse

__all__ = ["document_terms", "query_terms"]

_WORD = re.compile(r"\w+")
_K, _B = 1.2, 0.75
_AVERAGE_WORDS = 256  # BM25's length norm; Qdrant's own default


def _words(text: str) -> list[str]:
    # No stemmer and no stop words: both belong to one language, and a stop word's IDF is near 0.
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def _index(word: str) -> int:
    return zlib.crc32(word.encode("utf-8", "surrogatepass"))


def document_terms(text: str) -> Sparse:
    """A stored text: each word's frequency, saturated and weighed by the text's length."""
    words = _words(text)
    norm = _K * (1 - _B + _B * len(words) / _AVERAGE_WORDS)
    counts = Counter(_index(word) for word in words)
    weights = {index: n * (_K + 1) / (n + norm) for index, n in sorted(counts.items())}
    return Sparse(list(weights), list(weights.values()))


def query_terms(text: str) -> Sparse:
    """A query: each of its words once, weight 1."""
    indices = sorted({_index(word) for word in _words(text)})
    return Sparse(indices, [1.0] * len(indices))
