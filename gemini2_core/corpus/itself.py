"""Whether a collection would be its own source, which an alias can hide."""

from __future__ import annotations

from collections.abc import Mapping

from gemini2_core.corpus.sources import CollectionSource
from gemini2_core.errors import ConfigurationError
from gemini2_core.index import MatryoshkaCollection

__all__ = ["refuse_itself"]


def refuse_itself(
    collection: MatryoshkaCollection, source: object, aliases: Mapping[str, str]
) -> None:
    """See that the source is another collection; after a switch the live alias names this one.

    Args:
        collection: The new collection.
        source: What it is filled from or held against; anything but a collection is another.
        aliases: The aliases at its address.

    Raises:
        ConfigurationError: It is the same.
    """
    if isinstance(source, MatryoshkaCollection):
        name, where = source.name, source.where
    elif isinstance(source, CollectionSource):
        name, where = source.collection, source.backend.where
    else:
        return
    # One memory isn't told from another by its address.
    same_place = where != ":memory:" and collection.beside(name).where == where
    same_name = aliases.get(name, name) == aliases.get(collection.name, collection.name)
    if source is collection or (same_place and same_name):
        raise ConfigurationError(
            f"{collection.name!r} would be its own source, by its name {name!r}: name what it is "
            "made from"
        )
