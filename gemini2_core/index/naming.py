"""A collection's other names and its neighbours, and the note beside its mark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gemini2_core.errors import ConfigurationError, IndexUnavailableError
from gemini2_core.index.mark import MARK_KEY, Mark
from gemini2_core.index.opening import Opening
from gemini2_core.index.operations import (
    Aliases,
    Collections,
    Describe,
    Drop,
    DropAlias,
    PointAlias,
)
from gemini2_core.index.points import plain_json
from gemini2_core.index.steps import Steps, ask

__all__ = [
    "drop_collection",
    "point_alias",
    "read_aliases",
    "read_marked",
    "read_names",
    "read_note",
    "take_alias",
    "write_note",
]


def read_aliases(opening: Opening) -> Steps[dict[str, str]]:
    """Every alias and what it names."""
    opening.check_open()
    return (yield from ask(Aliases()))


def read_names(opening: Opening) -> Steps[list[str]]:
    """Names of the collections at the address."""
    opening.check_open()
    return (yield from ask(Collections()))


def point_alias(opening: Opening, alias: str, *, unmarked: bool) -> Steps[str | None]:
    """Make an alias name this collection; what it named before."""
    if not alias:
        raise ConfigurationError("an alias needs a name")
    if unmarked:
        opening.check_open()
    else:
        yield from opening.opened()
    aliases = yield from ask(Aliases())
    names = yield from ask(Collections())
    own = aliases.get(opening.name, opening.name)
    # Looked for in the list: a folder that is in use elsewhere can't be opened for it.
    if own not in names:
        raise IndexUnavailableError(f"there is no {opening.place}", code=404)
    if alias not in aliases and alias in names:
        raise ConfigurationError(
            f"{alias!r} is the name of a collection at {opening.backend.where}, so no alias can "
            "have it: take another alias, or copy that collection to another name "
            "(copy_collection) and drop it first"
        )
    yield from ask(PointAlias(alias, own))
    return aliases.get(alias)


def take_alias(opening: Opening, alias: str) -> Steps[str | None]:
    """Take an alias away; what it named."""
    opening.check_open()
    aliases = yield from ask(Aliases())
    if alias in aliases:
        yield from ask(DropAlias(alias))
    return aliases.get(alias)


def drop_collection(opening: Opening, *, unmarked: bool) -> Steps[None]:
    """Delete the collection, if no alias names it."""
    if unmarked:
        opening.check_open()
        if (yield from ask(Describe())) is None:
            raise IndexUnavailableError(f"there is no {opening.place}", code=404)
    else:
        yield from opening.opened()
    aliases = yield from opening.aliases_if_told()
    own = aliases.get(opening.name, opening.name)
    if naming := sorted(alias for alias, name in aliases.items() if name == own):
        raise ConfigurationError(
            f"collection {own!r} at {opening.backend.where} is what alias {naming[0]!r} names: "
            f"point_alias on another collection, or drop_alias({naming[0]!r}), first"
        )
    yield from ask(Drop())
    opening.forget()


def read_marked(opening: Opening) -> Steps[bool]:
    """Whether a collection is there that carries a mark."""
    opening.check_open()
    found = yield from ask(Describe())
    return found is not None and MARK_KEY in (found.mark or {})


def read_note(opening: Opening) -> Steps[dict[str, object]]:
    """The note as it stands in the collection now."""
    yield from opening.opened()
    found = yield from ask(Describe())
    mark = Mark.from_json(found.mark, opening.name) if found else None
    return dict(mark.note) if mark else {}


def write_note(opening: Opening, note: Mapping[str, object]) -> Steps[None]:
    """Replace the note."""
    plain = plain_json(note, "the note")
    yield from opening.opened()
    yield from opening.changed(lambda mark: replace(mark, note=plain))
