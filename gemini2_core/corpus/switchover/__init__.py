"""Sending everybody to the new collection: verified first, in one step, with the way back."""

from gemini2_core.corpus.switchover.catching_up import CaughtUp
from gemini2_core.corpus.switchover.side_by_side import QueryChange, collection_search
from gemini2_core.corpus.switchover.stored_search import StoredSearch
from gemini2_core.corpus.switchover.switching import (
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
from gemini2_core.corpus.switchover.verification import Difference, Verification
from gemini2_core.corpus.switchover.verifying import averify, verify

__all__ = [
    "CaughtUp",
    "Difference",
    "QueryChange",
    "StoredSearch",
    "Switched",
    "Verification",
    "adrop_old",
    "akept_old",
    "arollback",
    "aswitch",
    "averify",
    "collection_search",
    "drop_old",
    "kept_old",
    "rollback",
    "switch",
    "verify",
]
