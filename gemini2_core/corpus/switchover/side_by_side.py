"""The same queries asked of two collections: what both find, what moved, what is new or gone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gemini2_core.content import ContentLike
from gemini2_core.embedding import Gemini2Embedder
from gemini2_core.errors import IndexMismatchError
from gemini2_core.index import MatryoshkaCollection, PointId, VectorsLike

__all__ = [
    "QueryChange",
    "QueryVector",
    "Search",
    "collection_search",
    "compare_queries",
    "query_vector",
    "sized_for",
]

Search = Callable[[ContentLike, int], Sequence[PointId]]
"""Ids of the ``k`` best for a query, the best first: of any index, by any model."""

QueryVector = Callable[[ContentLike], VectorsLike]
"""The vector of a query, shape (d,) or (1, d), as a collection's own model makes it."""

_BATCH = 40


@dataclass(frozen=True, slots=True)
class QueryChange:
    """What one query finds before and after.

    Attributes:
        query: Its text.
        before: Ids that the live collection finds, the best first.
        after: Ids that the new one finds.
        texts: The beginning of what is found, by id as a string.
    """

    query: str
    before: tuple[PointId, ...]
    after: tuple[PointId, ...]
    texts: Mapping[str, str] = field(default_factory=dict)

    @property
    def overlap(self) -> float:
        """The share of the longer list that both have, 0 to 1; 1 if neither found anything."""
        longer = max(len(self.before), len(self.after))
        both = set(map(str, self.before)) & set(map(str, self.after))
        return len(both) / longer if longer else 1.0

    @property
    def same_first(self) -> bool:
        """Whether both find the same thing first."""
        return [str(one) for one in self.before[:1]] == [str(one) for one in self.after[:1]]

    @property
    def moves(self) -> dict[PointId, int]:
        """Places up (above 0) or down (below 0) of everything that both find, in the new order."""
        places = {str(one): place for place, one in enumerate(self.before)}
        return {
            one: places[str(one)] - place
            for place, one in enumerate(self.after)
            if str(one) in places
        }

    @property
    def new(self) -> tuple[PointId, ...]:
        """What only the new collection finds."""
        before = set(map(str, self.before))
        return tuple(one for one in self.after if str(one) not in before)

    @property
    def gone(self) -> tuple[PointId, ...]:
        """What only the live collection finds."""
        after = set(map(str, self.after))
        return tuple(one for one in self.before if str(one) not in after)


def collection_search(
    collection: MatryoshkaCollection, embed: Gemini2Embedder | QueryVector
) -> Search:
    """The search of a collection with the model that its vectors are of."""
    vector = query_vector(embed, collection)

    def search(query: ContentLike, k: int) -> list[PointId]:
        return [hit.id for hit in collection.search(vector(query), k)]

    return search


def query_vector(
    embed: Gemini2Embedder | QueryVector, collection: MatryoshkaCollection | None = None
) -> QueryVector:
    """A query's vector by an embedder, at a collection's size; another function as it is."""
    if not isinstance(embed, Gemini2Embedder):
        return embed
    sized = embed if collection is None else sized_for(embed, collection)
    return lambda query: sized.embed_queries([query])


def sized_for(embedder: Gemini2Embedder, collection: MatryoshkaCollection) -> Gemini2Embedder:
    """The embedder at a collection's largest tier.

    Raises:
        IndexMismatchError: The collection holds vectors of another space.
    """
    if embedder.space != collection.space:
        raise IndexMismatchError(
            f"collection {collection.name!r} holds vectors of {collection.space}, and the embedder "
            f"makes {embedder.space}: they can't be compared"
        )
    size = collection.dimensions
    if embedder.dimensions == size:
        return embedder
    return embedder.variant(dimensions=size, task_type=embedder.task_type, batch_size=_BATCH)


def compare_queries(
    queries: Iterable[ContentLike],
    before: Search,
    after: Search,
    k: int,
    texts_of: Callable[[Sequence[PointId]], Mapping[str, str]],
) -> list[QueryChange]:
    """Ask both for the ``k`` best of each query.

    Args:
        queries: Texts or contents.
        before: The live collection's search.
        after: The new one's.
        k: How many each is asked for.
        texts_of: The beginning of what is found, by id as a string.
    """
    changes = []
    for query in queries:
        was, now = tuple(before(query, k)), tuple(after(query, k))
        both = {str(one): one for one in (*was, *now)}
        changes.append(QueryChange(_told(query), was, now, texts_of(list(both.values()))))
    return changes


def _told(query: ContentLike) -> str:
    return query if isinstance(query, str) else str(query)
