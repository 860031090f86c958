"""What a collection's note says of its verification, and what speaks against switching to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gemini2_core.corpus.filling import VERIFIED_KEY, unfilled_in
from gemini2_core.corpus.switchover.verification import Verification
from gemini2_core.index import MatryoshkaCollection

__all__ = ["note_verification", "objection"]


def note_verification(collection: MatryoshkaCollection, found: Verification) -> None:
    """Note with the collection that it passed, or that nothing is known of it."""
    collection.write_note({**collection.note(), VERIFIED_KEY: _told(found)})


def objection(
    note: Mapping[str, object],
    verification: Verification | None,
    *,
    name: str,
    space: str,
    tiers: Sequence[int],
    points: int,
    force: bool,
) -> str | None:
    """Why no alias may name a collection now; None if one may.

    Args:
        note: The collection's own.
        verification: What a verification found; None takes what the note says of one.
        name: What the collection is called.
        space: The space of its vectors.
        tiers: Its sizes.
        points: How many it holds now.
        force: Whether it needn't have been verified; that it isn't being filled, it must.
    """
    if shards := unfilled_in(note):
        return (
            f"it is still being filled (shard {', '.join(shards)}): let the re-embedding finish, "
            "or start it again if it was interrupted"
        )
    if not points:
        return "it is empty"
    if force:
        return None
    if verification is not None:
        if not verification.passed:
            return f"it didn't pass: {'; '.join(verification.reasons)}"
        if verification.collection != name:
            return f"the verification is of {verification.collection!r}"
    told = _told(verification) if verification is not None else note.get(VERIFIED_KEY)
    if not isinstance(told, Mapping):
        return "nobody has verified it: verify it first, or say force"
    if told.get("space") != space or told.get("tiers") != list(tiers):
        return (
            f"when it was verified it held {told.get('space')} at {told.get('tiers')}, and now "
            f"{space} at {list(tiers)}: verify it again"
        )
    # More of them is what is written during a move; fewer is a loss until somebody looks.
    if points < int(str(told.get("points"))):
        return f"it held {told['points']:,} points when it was verified, and holds {points:,} now"
    return None


def _told(found: Verification) -> dict[str, object] | None:
    if not found.passed:
        return None
    return {
        "points": found.points,
        "space": found.space,
        "tiers": list(found.tiers),
        "sampled": found.sampled,
        "at": found.at,
    }
