"""The mark a collection carries: the space of its vectors, its tiers and what they are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import index

from gemini2_core.errors import ConfigurationError, IndexMismatchError
from gemini2_core.index.operations import Description
from gemini2_core.model import DEFAULT_DIMENSIONS, DEFAULT_MODEL, MODELS, EmbeddingSpace

__all__ = ["DEFAULT_TIERS", "MARK_KEY", "SPARSE_NAME", "Mark", "check_tiers"]

DEFAULT_TIERS = (DEFAULT_DIMENSIONS, MODELS[DEFAULT_MODEL].full_dimensions)
MARK_KEY = "gemini2_embeddings"
SPARSE_NAME = "bm25"
_VERSION = 1
_MAX_SIZE = 65536  # Qdrant's
# Both give the same order on vectors of length 1.
_DISTANCES = {"cosine", "dot"}


def check_tiers(tiers: Sequence[int]) -> tuple[int, ...]:
    """Tiers, the smallest first.

    Raises:
        ConfigurationError: None at all, one twice, or a size that Qdrant doesn't have.
    """
    try:
        found = tuple(sorted(index(size) for size in tiers))
    except TypeError:
        found = ()
    if not found or found[0] < 1 or found[-1] > _MAX_SIZE or len(set(found)) != len(found):
        raise ConfigurationError(f"tiers are different sizes such as (768, 3072), not {tiers!r}")
    return found


@dataclass(frozen=True, slots=True)
class Mark:
    """What stands in a collection's metadata.

    Attributes:
        space: The space of the vectors.
        tiers: Vector name by size, the smallest first; these are searched and written.
        sparse: Name of the sparse BM25 vector of a hybrid collection, else None.
        adding: Sizes of tiers that ``add_tier`` hasn't filled yet: written, not searched.
        note: What callers keep with the collection, JSON values.
    """

    space: EmbeddingSpace
    tiers: Mapping[int, str]
    sparse: str | None = None
    adding: tuple[int, ...] = ()
    note: Mapping[str, object] = field(default_factory=dict)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The tiers that are searched, the smallest first."""
        return tuple(size for size in self.tiers if size not in self.adding)

    @property
    def largest(self) -> str:
        """Name of the largest vector that is searched."""
        return self.tiers[self.sizes[-1]]

    def to_json(self) -> dict[str, object]:
        """The mark as a collection's metadata holds it."""
        own: dict[str, object] = {
            "version": _VERSION,
            "space": str(self.space),
            "tiers": {str(size): name for size, name in self.tiers.items()},
        }
        if self.sparse:
            own["sparse"] = self.sparse
        if self.adding:
            own["adding"] = list(self.adding)
        if self.note:
            own["note"] = dict(self.note)
        return {MARK_KEY: own}

    @classmethod
    def from_json(cls, metadata: Mapping[str, object] | None, name: str) -> Mark | None:
        """Read a collection's metadata; None if there is no mark in it.

        Raises:
            IndexMismatchError: A mark that this version doesn't understand.
        """
        own = (metadata or {}).get(MARK_KEY)
        if own is None:
            return None
        try:
            assert isinstance(own, Mapping)
            if own["version"] != _VERSION:
                raise IndexMismatchError(
                    f"collection {name!r} was written by another version of gemini2-embeddings "
                    f"(mark {own['version']}, this one reads {_VERSION})"
                )
            tiers = sorted((int(size), str(vector)) for size, vector in own["tiers"].items())
            sparse = own.get("sparse")
            return cls(
                EmbeddingSpace.parse(own["space"]),
                dict(tiers),
                str(sparse) if sparse else None,
                tuple(int(size) for size in own.get("adding", ())),
                dict(own.get("note") or {}),
            )
        except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, IndexMismatchError):
                raise
            raise IndexMismatchError(f"the mark of collection {name!r} can't be read") from error

    @classmethod
    def adopt(
        cls, found: Description, space: EmbeddingSpace, tiers: Sequence[int], name: str
    ) -> Mark:
        """The mark for a collection that others made: a vector of the right size for each tier.

        Raises:
            IndexMismatchError: A tier without a vector of its size, with more than one, or with
                a distance that isn't cosine or dot.
        """
        names: dict[int, str] = {}
        for tier in tiers:
            fitting = [
                vector
                for vector, (size, distance) in found.vectors.items()
                if size == tier and distance.lower() in _DISTANCES
            ]
            # A tier of our own name wins, whatever else has its size.
            fitting = [str(tier)] if str(tier) in fitting else fitting
            if len(fitting) != 1 or not fitting[0]:
                has = ", ".join(
                    f"{vector or '(unnamed)'}: {size} {distance.lower()}"
                    for vector, (size, distance) in sorted(found.vectors.items())
                )
                raise IndexMismatchError(
                    f"collection {name!r} can't be adopted: tier {tier} needs exactly one named "
                    f"vector of that size with cosine or dot distance, and it has {has or 'none'}. "
                    "Adopt the tiers that are there and use add_tier, or make a new collection"
                )
            names[tier] = fitting[0]
        sparse = SPARSE_NAME if SPARSE_NAME in found.sparse else None
        return cls(space, names, sparse)

    def check(self, found: Description, name: str) -> None:
        """See that the collection has the vectors its mark tells of.

        Raises:
            IndexMismatchError: A vector is missing or has another size.
        """
        for size, vector in self.tiers.items():
            there = found.vectors.get(vector)
            if there is None or there[0] != size:
                raise IndexMismatchError(
                    f"collection {name!r} says it has tier {size} as vector {vector!r}, but "
                    + ("that vector is missing" if there is None else f"that has {there[0]}")
                )
        if self.sparse and self.sparse not in found.sparse:
            raise IndexMismatchError(
                f"collection {name!r} says it is hybrid, but vector {self.sparse!r} is missing"
            )

    def with_tier(self, size: int) -> Mark:
        """The mark while a tier is being added: written from now on, not searched yet."""
        tiers = dict(sorted([*self.tiers.items(), (size, self.tiers.get(size, str(size)))]))
        return replace(self, tiers=tiers, adding=tuple(sorted({*self.adding, size})))

    def tier_filled(self, size: int) -> Mark:
        """The mark once every point has the tier."""
        return replace(self, adding=tuple(one for one in self.adding if one != size))
