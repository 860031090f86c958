"""Reading points: by id, page by page, and how many there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gemini2_core.errors import ConfigurationError
from gemini2_core.index.filters import FilterLike, read_filter
from gemini2_core.index.ids import PointId, point_id
from gemini2_core.index.mark import Mark
from gemini2_core.index.opening import Opening
from gemini2_core.index.operations import Count, Retrieve, Scroll
from gemini2_core.index.passes import whole_number, without_vector
from gemini2_core.index.points import to_record
from gemini2_core.index.results import Record
from gemini2_core.index.steps import Steps, ask

__all__ = ["count_points", "count_unfilled", "get_points", "read_page"]


def get_points(
    opening: Opening, ids: Iterable[PointId], *, with_vectors: bool, tier: int | None
) -> Steps[list[Record]]:
    """Points in the order of their ids."""
    mark = yield from opening.opened()
    wanted = [point_id(one) for one in ids]
    name = mark.largest if tier is None else _tier(opening, mark, tier)
    if not wanted:
        return []
    points = yield from ask(Retrieve(wanted, (name,) if with_vectors else ()))
    found = {point.id: point for point in points}
    return [to_record(found[one], name) for one in wanted if one in found]


def read_page(
    opening: Opening,
    where: FilterLike | None,
    page: int,
    offset: PointId | None,
    with_vectors: bool,
) -> Steps[tuple[list[Record], PointId | None]]:
    """One page of records, and where the next begins."""
    whole_number("page", page)
    mark = yield from opening.opened()
    names = (mark.largest,) if with_vectors else ()
    points, after = yield from ask(Scroll(page, offset, read_filter(where), names))
    return [to_record(point, mark.largest) for point in points], after


def count_points(opening: Opening, where: FilterLike | None) -> Steps[int]:
    """How many points a filter matches."""
    read = read_filter(where)
    yield from opening.opened()
    return (yield from ask(Count(read)))


def count_unfilled(opening: Opening, tier: int) -> Steps[int]:
    """Points without a vector at a tier."""
    mark = yield from opening.opened()
    return (yield from ask(Count(without_vector(_tier(opening, mark, tier)))))


def _tier(opening: Opening, mark: Mark, tier: int) -> str:
    if tier not in mark.tiers:
        raise ConfigurationError(f"{opening.place} has tiers {_listed(mark.sizes)}, not {tier}")
    return mark.tiers[tier]


def _listed(sizes: Sequence[int]) -> str:
    return " + ".join(str(size) for size in sizes)
