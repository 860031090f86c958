"""What embedding a corpus will take, said before anything is sent."""

from gemini2_core.corpus.billing.bill import Estimate, Finding, Interval, Storage
from gemini2_core.corpus.billing.estimating import aestimate, estimate

__all__ = [
    "Estimate",
    "Finding",
    "Interval",
    "Storage",
    "aestimate",
    "estimate",
]
