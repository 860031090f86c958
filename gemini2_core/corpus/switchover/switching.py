"""Sending everybody to a new collection by one alias in one step, and back, and clearing up."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar, cast

from gemini2_core.corpus.filling import unfilled_in
from gemini2_core.corpus.switchover.seen import objection
from gemini2_core.corpus.switchover.verification import Verification
from gemini2_core.errors import (
    IndexLockedError,
    IndexMismatchError,
    SwitchRefusedError,
)
from gemini2_core.index import MatryoshkaCollection

__all__ = [
    "Switched",
    "adrop_old",
    "akept_old",
    "arollback",
    "aswitch",
    "drop_old",
    "kept_old",
    "rollback",
    "switch",
]

_T = TypeVar("_T")
_REPLACED = "replaced"


@dataclass(frozen=True, slots=True)
class Switched:
    """What an alias names now.

    Attributes:
        alias: The alias.
        before: The collection that it named before, or None. It is still there.
        now: The collection that it names.
        kept: The collection that ``rollback`` would go back to, or None.
    """

    alias: str
    before: str | None
    now: str
    kept: str | None = None

    def __str__(self) -> str:
        if self.before == self.now:
            told = f"{self.alias} names {self.now} already"
        else:
            told = f"{self.alias} names {self.now} now, and named {self.before or 'nothing'}"
        return f"{told}; {self.kept} is kept" if self.kept else told


def switch(
    alias: str,
    new: MatryoshkaCollection,
    *,
    verification: Verification | None = None,
    force: bool = False,
) -> Switched:
    """Make an alias name a new collection, in one atomic step, and keep the old one.

    It is refused unless the collection was verified as it is now: it passed, its space and tiers
    are the same, no points have gone since, and nobody is filling it. Interrupted anywhere, the
    alias names the old collection or the new one, and the same call again does what is left.

    Args:
        alias: The name that production opens. It is made if it isn't there.
        new: The collection it shall name.
        verification: What ``verify`` returned; None takes what it noted with the collection.
        force: Switch without a verification; a new alias can thus name what others made, so that
            production opens that by an alias. A collection that is being filled is refused even
            so.

    Raises:
        SwitchRefusedError: The collection isn't whole or wasn't verified, or a collection has
            the alias's name.
        IndexUnavailableError: The database failed; the same call again is harmless.
    """
    return _taken(_switching(alias, new, verification, force))


async def aswitch(
    alias: str,
    new: MatryoshkaCollection,
    *,
    verification: Verification | None = None,
    force: bool = False,
) -> Switched:
    """``switch``, awaited."""
    return await _ataken(_switching(alias, new, verification, force))


def rollback(alias: str, at: MatryoshkaCollection) -> Switched:
    """Make an alias name the collection it named before the last switch, in one atomic step.

    The other one stays too; ``switch`` goes to it again. It goes back one step and no further:
    called again, it refuses.

    Args:
        alias: The alias.
        at: Any collection at the same address, such as the one it names.

    Raises:
        SwitchRefusedError: There is no such alias, or nothing to go back to.
    """
    return _taken(_rolling_back(alias, at))


async def arollback(alias: str, at: MatryoshkaCollection) -> Switched:
    """``rollback``, awaited."""
    return await _ataken(_rolling_back(alias, at))


def kept_old(alias: str, at: MatryoshkaCollection) -> str | None:
    """The collection that ``rollback`` goes back to and ``drop_old`` deletes, or None.

    Args:
        alias: The alias.
        at: Any collection at the same address, such as the one it names.

    Raises:
        SwitchRefusedError: There is no such alias.
    """
    return _taken(_looking(alias, at))


async def akept_old(alias: str, at: MatryoshkaCollection) -> str | None:
    """``kept_old``, awaited."""
    return await _ataken(_looking(alias, at))


def drop_old(alias: str, at: MatryoshkaCollection) -> str | None:
    """Delete the collection that an alias named before the last switch; there is no way back.

    Args:
        alias: The alias.
        at: Any collection at the same address, such as the one it names.

    Returns:
        The name of what was deleted, or None if nothing was kept.

    Raises:
        SwitchRefusedError: There is no such alias, another alias names the old collection, or
            the new one is being filled again.
    """
    return _taken(_dropping_old(alias, at))


async def adrop_old(alias: str, at: MatryoshkaCollection) -> str | None:
    """``drop_old``, awaited."""
    return await _ataken(_dropping_old(alias, at))


# ---- the steps

#: A method of a collection, its arguments, each answered by what it returns.
_Asked: TypeAlias = tuple[MatryoshkaCollection, str, tuple[object, ...], dict[str, object]]
_Steps: TypeAlias = Generator[_Asked, Any, _T]


def _switching(
    alias: str, new: MatryoshkaCollection, verification: Verification | None, force: bool
) -> _Steps[Switched]:
    aliases = yield from _aliases(new)
    names = yield from _names(new)
    name = aliases.get(new.name, new.name)
    if alias in names and alias not in aliases:
        raise SwitchRefusedError(
            f"{alias!r} is a collection at {new.where} and no alias, so it can't be switched. "
            f"Take another name for the alias (switch {alias}_live to {name!r}) and let production "
            f"open that; {alias!r} itself stays as it is until you drop it"
        )
    if name not in names:
        raise SwitchRefusedError(f"there is no collection {name!r} at {new.where}")
    before = aliases.get(alias)
    if not (yield _ask(new, "marked")):
        return (yield from _naming(alias, new, name, before, force))
    yield _ask(new, "open")
    note = yield from _note(new)
    if before == name:
        return Switched(alias, name, name, _kept(note, alias, names))
    points: int = yield _ask(new, "count")
    reason = objection(
        note,
        verification,
        name=name,
        space=str(new.space),
        tiers=new.tiers,
        points=points,
        force=force,
    )
    if reason:
        raise SwitchRefusedError(f"{alias!r} isn't switched to {name!r}: {reason}")
    # First what it replaces, then the step: killed in between, the alias names the old one still.
    yield from _remember(new, alias, before)
    was: str | None = yield _ask(new, "point_alias", alias)
    if was != before:
        yield from _remember(new, alias, was)
    return Switched(alias, was, name, was)


def _naming(
    alias: str, others: MatryoshkaCollection, name: str, before: str | None, force: bool
) -> _Steps[Switched]:
    """Give what others made its first alias: nothing can be noted with it, such as a way back."""
    if before is None and force:
        yield _ask(others, "point_alias", alias, unmarked=True)
    elif before != name:
        raise SwitchRefusedError(
            f"{alias!r} isn't switched to {name!r}: others made it, and nothing can be noted with "
            "it, neither a verification nor the way back. A new alias can name it by force; where "
            "an alias has left it, rollback goes back to it"
        )
    return Switched(alias, before, name)


def _rolling_back(alias: str, at: MatryoshkaCollection) -> _Steps[Switched]:
    current, note = yield from _named(alias, at)
    now = (yield from _aliases(at))[alias]
    yield from _let_go(current, at)
    names = yield from _names(at)
    old = _kept(note, alias, names)
    if old is None:
        told = _replaced(note).get(alias)
        gone = f" ({told!r} was deleted)" if told else ""
        raise SwitchRefusedError(
            f"there is nothing to go back to: {alias!r} names {now!r}, and nothing is kept from "
            f"before{gone}"
        )
    there = at.beside(old)
    try:
        # Others made it, or it is in use: the way back must work all the same.
        with suppress(IndexMismatchError, IndexLockedError):
            # What that one once replaced is two steps back.
            yield from _remember(there, alias, None)
        yield _ask(there, "point_alias", alias, unmarked=True)
    finally:
        yield _ask(there, "close")
    return Switched(alias, now, old)


def _looking(alias: str, at: MatryoshkaCollection) -> _Steps[str | None]:
    current, note = yield from _named(alias, at)
    yield from _let_go(current, at)
    return _kept(note, alias, (yield from _names(at)))


def _dropping_old(alias: str, at: MatryoshkaCollection) -> _Steps[str | None]:
    current, note = yield from _named(alias, at)
    try:
        return (yield from _dropping(alias, current, note))
    finally:
        yield from _let_go(current, at)


def _dropping(
    alias: str, current: MatryoshkaCollection, note: Mapping[str, object]
) -> _Steps[str | None]:
    aliases = yield from _aliases(current)
    now = aliases.get(alias)
    old = _replaced(note).get(alias)
    if old is None:
        return None
    if shards := unfilled_in(note):
        raise SwitchRefusedError(
            f"{old!r} is kept: {now!r} is being filled again (shard {', '.join(shards)})"
        )
    if others := sorted(one for one, named in aliases.items() if named == old):
        raise SwitchRefusedError(f"{old!r} is kept: alias {others[0]!r} names it")
    names = yield from _names(current)
    if old in names:
        there = current.beside(old)
        try:
            yield _ask(there, "drop", unmarked=True)
        finally:
            yield _ask(there, "close")
    yield from _remember(current, alias, None)
    return old


def _named(
    alias: str, at: MatryoshkaCollection
) -> _Steps[tuple[MatryoshkaCollection, dict[str, object]]]:
    """What an alias names, and its note; an empty one if others made it."""
    aliases = yield from _aliases(at)
    if alias not in aliases:
        told = ", ".join(aliases) or "none"
        raise SwitchRefusedError(f"there is no alias {alias!r} at {at.where}: there is {told}")
    name = aliases[alias]
    # A folder has one writer: what is open here can't be opened beside.
    current = at if name in {at.name, aliases.get(at.name)} else at.beside(name)
    try:
        return current, (yield from _note(current))
    except IndexMismatchError:
        return current, {}


def _let_go(one: MatryoshkaCollection, at: MatryoshkaCollection) -> _Steps[None]:
    if one is not at:
        yield _ask(one, "close")


def _remember(new: MatryoshkaCollection, alias: str, old: str | None) -> _Steps[None]:
    note = yield from _note(new)
    replaced = _replaced(note)
    if replaced.get(alias) != old:
        told = {**note, _REPLACED: {**replaced, alias: old}}
        yield _ask(new, "write_note", told)


def _replaced(note: Mapping[str, object]) -> dict[str, str | None]:
    told = note.get(_REPLACED)
    return dict(told) if isinstance(told, Mapping) else {}


def _kept(note: Mapping[str, object], alias: str, names: list[str]) -> str | None:
    old = _replaced(note).get(alias)
    return old if old in names else None


def _aliases(at: MatryoshkaCollection) -> _Steps[dict[str, str]]:
    return cast("dict[str, str]", (yield _ask(at, "aliases")))


def _names(at: MatryoshkaCollection) -> _Steps[list[str]]:
    return cast("list[str]", (yield _ask(at, "collections")))


def _note(at: MatryoshkaCollection) -> _Steps[dict[str, object]]:
    return cast("dict[str, object]", (yield _ask(at, "note")))


# ---- who takes them


def _ask(
    collection: MatryoshkaCollection, method: str, *arguments: object, **more: object
) -> _Asked:
    return collection, method, arguments, more


def _taken(steps: _Steps[_T]) -> _T:
    try:
        asked = next(steps)
        while True:
            collection, method, arguments, more = asked
            try:
                answer = getattr(collection, method)(*arguments, **more)
            except BaseException as error:  # noqa: BLE001  # the steps see it, and let go
                asked = steps.throw(error)
            else:
                asked = steps.send(answer)
    except StopIteration as done:
        return cast("_T", done.value)


async def _ataken(steps: _Steps[_T]) -> _T:
    try:
        asked = next(steps)
        while True:
            collection, method, arguments, more = asked
            try:
                answer = await getattr(collection, f"a{method}")(*arguments, **more)
            except BaseException as error:  # noqa: BLE001  # the steps see it, and let go
                asked = steps.throw(error)
            else:
                asked = steps.send(answer)
    except StopIteration as done:
        return cast("_T", done.value)
