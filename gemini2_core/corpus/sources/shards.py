"""A part of a source for one of several machines: every item is in exactly one part."""

from __future__ import annotations

from collections.abc import Iterator

from gemini2_core.corpus.item import Item, Source
from gemini2_core.corpus.sources.reading import Problems, id_key, untold
from gemini2_core.errors import ConfigurationError
from gemini2_core.index import PointId

__all__ = ["Shard", "shard_of", "sharded"]


class Shard:
    """The items of a source that fall to shard ``number`` of ``shards``; see ``sharded``."""

    def __init__(self, source: Source, number: int, shards: int) -> None:
        if shards < 1 or not 0 <= number < shards:
            raise ConfigurationError(
                f"shard {number}/{shards}: shards are numbered from 0 to one below their number"
            )
        self._source = source
        self._number = number
        self._shards = shards

    @property
    def name(self) -> str:
        """The source's name, and which part this is."""
        if self._shards == 1:
            return self._source.name
        return f"{self._source.name}, shard {self._number}/{self._shards}"

    @property
    def problems(self) -> Problems:
        """What the latest reading left out, of the whole source."""
        found = getattr(self._source, "problems", None)
        return found if isinstance(found, Problems) else Problems(self.name)

    def __iter__(self) -> Iterator[Item]:
        return self._of(iter(self._source))

    def read(self, *, warn: bool = True) -> Iterator[Item]:
        """The items; ``warn`` is for the whole source."""
        return self._of(iter(self._source) if warn else untold(self._source))

    def _of(self, items: Iterator[Item]) -> Iterator[Item]:
        for item in items:
            if shard_of(item.id, self._shards) == self._number:
                yield item

    def count(self) -> int | None:
        """None: only reading them all would tell; with one shard the source's own count."""
        return self._source.count() if self._shards == 1 else None

    def __repr__(self) -> str:
        return f"Shard({self._source!r}, {self._number}, {self._shards})"


def sharded(source: Source, number: int, shards: int) -> Shard:
    """The part of a source that one of several machines works on.

    An item's id alone decides, the same on every machine; so the shards of one source have
    each item once, in the source's order, and about as many each.

    Args:
        source: The source; every machine reads all of it.
        number: Which part, from 0.
        shards: How many parts there are.

    Raises:
        ConfigurationError: There is no such part.
    """
    return Shard(source, number, shards)


def shard_of(own: PointId, shards: int) -> int:
    """The shard that an id falls to, from 0."""
    return int.from_bytes(id_key(own)[:8], "big") % shards
