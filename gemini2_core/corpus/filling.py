"""Whether a collection is whole: who fills it says so in its note, at the start and at the end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from time import sleep

from gemini2_core.index import MatryoshkaCollection

__all__ = [
    "VERIFIED_KEY",
    "amark_filled",
    "amark_filling",
    "aunfilled_shards",
    "mark_filled",
    "mark_filling",
    "unfilled_in",
    "unfilled_shards",
]

VERIFIED_KEY = "verified"
"""Where a note says what a verification found; filling a collection anew takes it back."""

_KEY = "filling"
# Looked at again after writing: others write to the same note.
_TRIES = 5
#: After so long others have written what they were about to; no two shards wait equally long.
_SECONDS = (0.1, 0.4)


def mark_filling(collection: MatryoshkaCollection, *, shard: tuple[int, int] = (0, 1)) -> None:
    """Say that a collection is being filled: no alias is switched to it until it is filled.

    To be called before the first point is written; again after a crash, or by other shards, is
    right too. It takes back what an earlier verification said.

    Args:
        collection: The one that is filled; opened if it isn't.
        shard: Which part of the corpus this is, and of how many: (0, 2) and (1, 2).
    """
    for _ in range(_TRIES):
        changed = _begun(collection.note(), *shard)
        if changed is None:
            return
        collection.write_note(changed)


async def amark_filling(
    collection: MatryoshkaCollection, *, shard: tuple[int, int] = (0, 1)
) -> None:
    """Say that a collection is being filled; see ``mark_filling``."""
    for _ in range(_TRIES):
        changed = _begun(await collection.anote(), *shard)
        if changed is None:
            return
        await collection.awrite_note(changed)


def mark_filled(collection: MatryoshkaCollection, *, shard: tuple[int, int] = (0, 1)) -> None:
    """Say that the last point of a shard is stored; with the last shard the collection is whole.

    Shards that end in the same moment can write over each other's word, so each looks again after
    a while. If one's word should get lost all the same, it counts as unfinished, nothing is
    switched, and running that one again (there is nothing left to do for it) says it anew.

    Args:
        collection: The one that was filled.
        shard: As it was given to ``mark_filling``.
    """
    for _ in range(_TRIES):
        changed = _ended(collection.note(), *shard)
        if changed is None:
            return
        collection.write_note(changed)
        if shard[1] > 1:
            sleep(random.uniform(*_SECONDS))


async def amark_filled(
    collection: MatryoshkaCollection, *, shard: tuple[int, int] = (0, 1)
) -> None:
    """Say that the last point of a shard is stored; see ``mark_filled``."""
    for _ in range(_TRIES):
        changed = _ended(await collection.anote(), *shard)
        if changed is None:
            return
        await collection.awrite_note(changed)
        if shard[1] > 1:
            await asyncio.sleep(random.uniform(*_SECONDS))


def unfilled_shards(collection: MatryoshkaCollection) -> list[str]:
    """Shards that haven't said they are filled, as ``"1/2"``; empty for a whole collection.

    A collection that was filled by other means, without a word in its note, counts as whole.
    """
    return unfilled_in(collection.note())


async def aunfilled_shards(collection: MatryoshkaCollection) -> list[str]:
    """Shards that haven't said they are filled; see ``unfilled_shards``."""
    return unfilled_in(await collection.anote())


def unfilled_in(note: Mapping[str, object]) -> list[str]:
    """``unfilled_shards`` of a collection's note."""
    state = _state(note)
    if state is None:
        return []
    of, done = state
    return [f"{shard}/{of}" for shard in range(of) if shard not in done]


def _state(note: Mapping[str, object]) -> tuple[int, set[int]] | None:
    """How many shards, and which are done."""
    match note.get(_KEY):
        case {"of": int(of), "done": list(done)}:
            return of, {int(one) for one in done}
    return None


def _begun(note: Mapping[str, object], shard: int, of: int) -> dict[str, object] | None:
    state = _state(note)
    # Another division of the corpus starts from nothing.
    done = state[1] - {shard} if state is not None and state[0] == of else set()
    if state == (of, done) and note.get(VERIFIED_KEY) is None:
        return None
    return {**note, _KEY: {"of": of, "done": sorted(done)}, VERIFIED_KEY: None}


def _ended(note: Mapping[str, object], shard: int, of: int) -> dict[str, object] | None:
    state = _state(note)
    done = state[1] if state is not None and state[0] == of else set()
    if shard in done:
        return None
    return {**note, _KEY: {"of": of, "done": sorted({*done, shard})}}
