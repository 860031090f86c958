"""One search: its passes made, asked for in one call, and what came back."""

from __future__ import annotations

from dataclasses import dataclass

from gemini2_core.errors import ConfigurationError, IndexUnavailableError, InvalidInputError
from gemini2_core.index.filters import FilterLike, read_filter
from gemini2_core.index.mark import Mark
from gemini2_core.index.opening import Opening
from gemini2_core.index.operations import Numbers, Pass, Query
from gemini2_core.index.passes import (
    Shortlist,
    dense_passes,
    exact_pass,
    fused,
    shortlists,
    whole_number,
    words_pass,
)
from gemini2_core.index.points import to_hit
from gemini2_core.index.results import Results
from gemini2_core.index.rows import VectorsLike, one_row
from gemini2_core.index.sparse import query_terms
from gemini2_core.index.steps import Steps, ask
from gemini2_core.model import truncate

__all__ = ["Search", "search_points"]


@dataclass(frozen=True, slots=True)
class Search:
    """What ``MatryoshkaCollection.search`` was told; it explains each."""

    vector: VectorsLike | None
    k: int
    shortlist: Shortlist
    filter: FilterLike | None
    text: str | None
    with_vectors: bool
    first_scores: bool
    exact: bool
    ef: int | None


def search_points(opening: Opening, search: Search) -> Steps[Results]:
    """All passes of one search; of the collection that an alias names when they are done."""
    while True:
        mark = yield from opening.opened()
        try:
            found = yield from _searched(opening.name, mark, search, opening.points)
        except IndexUnavailableError:
            # Tiers that an alias's collection of before had: an error of the server.
            if not (yield from opening.followed(mark)):
                raise
        else:
            if not (yield from opening.followed(mark)):
                return found


def _searched(name: str, mark: Mark, search: Search, points: int) -> Steps[Results]:
    if search.text is not None and mark.sparse is None:
        raise ConfigurationError("text= is for a collection made with hybrid=True")
    if search.vector is None:
        row, last = None, _words_alone(mark, search)
    else:
        row = one_row(search.vector, space=mark.space, largest=mark.sizes[-1], name=name)
        last = _with_words(mark, search, _dense(mark, search, row, points))
    if last is None:
        return Results()
    smallest, largest = mark.tiers[mark.sizes[0]], mark.largest
    first = row is not None and search.first_scores
    names = [largest] if search.with_vectors else []
    if first and smallest != largest:
        names.append(smallest)
    scored = yield from ask(Query(last, tuple(names)))
    cut = truncate(row[None, :], mark.sizes[0])[0] if row is not None and first else None
    return Results(to_hit(one, largest, smallest, cut) for one in scored)


def _dense(mark: Mark, search: Search, row: Numbers, points: int) -> Pass:
    tiers = {size: mark.tiers[size] for size in mark.sizes}
    where = read_filter(search.filter)
    if search.exact:
        return exact_pass(row, mark.sizes[-1], mark.largest, k=search.k, filter=where)
    return dense_passes(
        row,
        tiers,
        k=search.k,
        shortlist=search.shortlist,
        filter=where,
        ef=search.ef,
        points=points,
    )


def _with_words(mark: Mark, search: Search, dense: Pass) -> Pass:
    # Told even where it isn't used: a short list that can't be is an error everywhere.
    limits = shortlists(search.shortlist, len(mark.sizes), search.k)
    if search.ef is not None:
        whole_number("ef", search.ef)
    if search.text is None or mark.sparse is None:
        return dense
    terms = query_terms(search.text)
    if not terms.indices:
        return dense
    limit = max(limits[-1] if limits else search.k, search.k)
    return fused(dense, terms, mark.sparse, k=search.k, limit=limit)


def _words_alone(mark: Mark, search: Search) -> Pass | None:
    """BM25 alone; None where no word is left to look for."""
    if search.text is None or mark.sparse is None:
        raise InvalidInputError("a search needs a vector, or text= for BM25 alone")
    whole_number("k", search.k)
    terms = query_terms(search.text)
    where = read_filter(search.filter)
    return words_pass(terms, mark.sparse, k=search.k, filter=where) if terms.indices else None
