"""The Batch API: a corpus embedded for half the price, by jobs that outlive the process."""

from gemini2_core.embedding.batch.origin import BatchOptions, BatchSettings, OnFailed, Origin
from gemini2_core.embedding.batch.record import BatchRecord
from gemini2_core.embedding.batch.run import BatchRun
from gemini2_core.embedding.batch.status import BatchStatus, JobStatus
from gemini2_core.embedding.batch.submission import KeyedContent
from gemini2_core.embedding.batch.vector_files import BatchVector, Saved

__all__ = [
    "BatchOptions",
    "BatchRecord",
    "BatchRun",
    "BatchSettings",
    "BatchStatus",
    "BatchVector",
    "JobStatus",
    "KeyedContent",
    "OnFailed",
    "Origin",
    "Saved",
]
