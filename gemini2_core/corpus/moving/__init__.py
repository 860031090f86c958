"""A corpus embedded into a new collection, through whatever interrupts it."""

from gemini2_core.corpus.moving.failure import Failure
from gemini2_core.corpus.moving.peeking import failures
from gemini2_core.corpus.moving.reindex import areindex, reindex
from gemini2_core.corpus.moving.report import ReindexProgress, ReindexReport

__all__ = [
    "Failure",
    "ReindexProgress",
    "ReindexReport",
    "areindex",
    "failures",
    "reindex",
]
