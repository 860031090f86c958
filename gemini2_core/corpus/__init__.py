"""Moving a whole corpus: what is in it, what it costs, embedding it anew, switching over."""

from gemini2_core.corpus.bill import Estimate, Finding, Interval, Storage
from gemini2_core.corpus.catching_up import CaughtUp
from gemini2_core.corpus.estimating import aestimate, estimate
from gemini2_core.corpus.failure import Failure
from gemini2_core.corpus.filling import (
    amark_filled,
    amark_filling,
    aunfilled_shards,
    mark_filled,
    mark_filling,
    unfilled_shards,
)
from gemini2_core.corpus.item import Item, Source
from gemini2_core.corpus.peeking import failures
from gemini2_core.corpus.reindex import areindex, reindex
from gemini2_core.corpus.report import ReindexProgress, ReindexReport
from gemini2_core.corpus.side_by_side import QueryChange, collection_search
from gemini2_core.corpus.sources import (
    BeirSource,
    CollectionSource,
    DocumentsSource,
    FilesSource,
    Policy,
    Problem,
    Problems,
    TableSource,
    open_source,
    sharded,
)
from gemini2_core.corpus.stored_search import StoredSearch
from gemini2_core.corpus.switching import (
    Switched,
    adrop_old,
    akept_old,
    arollback,
    aswitch,
    drop_old,
    kept_old,
    rollback,
    switch,
)
from gemini2_core.corpus.verification import Difference, Verification
from gemini2_core.corpus.verifying import averify, verify

__all__ = [
    "BeirSource",
    "CaughtUp",
    "CollectionSource",
    "Difference",
    "DocumentsSource",
    "Estimate",
    "Failure",
    "FilesSource",
    "Finding",
    "Interval",
    "Item",
    "Policy",
    "Problem",
    "Problems",
    "QueryChange",
    "ReindexProgress",
    "ReindexReport",
    "Source",
    "Storage",
    "StoredSearch",
    "Switched",
    "TableSource",
    "Verification",
    "adrop_old",
    "aestimate",
    "akept_old",
    "amark_filled",
    "amark_filling",
    "areindex",
    "arollback",
    "aswitch",
    "aunfilled_shards",
    "averify",
    "collection_search",
    "drop_old",
    "estimate",
    "failures",
    "kept_old",
    "mark_filled",
    "mark_filling",
    "open_source",
    "reindex",
    "rollback",
    "sharded",
    "switch",
    "unfilled_shards",
    "verify",
]
