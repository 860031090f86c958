"""The Batch API: a corpus embedded for half the price, by jobs that outlive the process."""

from gemini2_core.embedding.batch.origin import BatchOptions, BatchSettings, OnFailed, Origin
from gemini2_core.embedding.batch.run import BatchRun, BatchVector, KeyedContent
from gemini2_core.embedding.batch.status import BatchStatus, JobStatus

__all__ = [
    "BatchOptions",
    "BatchRun",
    "BatchSettings",
    "BatchStatus",
    "BatchVector",
    "JobStatus",
    "KeyedContent",
    "OnFailed",
    "Origin",
]
