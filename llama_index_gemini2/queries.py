"""LlamaIndex's queries as searches of a collection: the modes, the options, the filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from llama_index.core.indices.query.embedding_utils import get_top_k_mmr_embeddings
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode

from gemini2_core.errors import ConfigurationError, InvalidInputError
from gemini2_core.index import FilterLike, Results, Shortlist, read_filter
from llama_index_gemini2.filters import REF_DOC, all_of, has_id, read_filters

__all__ = ["WORDS_ALONE", "SearchOptions", "chosen", "read_mode", "to_search"]


class SearchOptions(TypedDict, total=False):
    """What a query takes beside LlamaIndex's own, as ``vector_store_kwargs`` of a retriever.

    Attributes:
        shortlist: How many nodes the largest tier re-scores, 50 if not said.
        filter: Which nodes count, beside the ``MetadataFilters``: a dict over their metadata
            (``{"page": {"gte": 3}}``, a list is any of it), or a ``qdrant_client.models.Filter``.
        node_ids: Only these nodes count.
        exact: One pass over everything at the largest tier, to compare with.
        ef: Candidates of the graph search.
        fetch_k: How many nodes mode ``mmr`` chooses from; four times as many as it returns, and
            at least 20, if not said.
        mmr_threshold: 1 for the nearest alone, 0 for the most various; 0.5 if not said.
    """

    shortlist: Shortlist
    filter: FilterLike | None
    node_ids: Sequence[str] | None
    exact: bool
    ef: int | None
    fetch_k: int | None
    mmr_threshold: float | None


WORDS_ALONE = {VectorStoreQueryMode.SPARSE, VectorStoreQueryMode.TEXT_SEARCH}
"""The modes that need no vector."""

_MODES = {
    VectorStoreQueryMode.DEFAULT,
    VectorStoreQueryMode.HYBRID,
    VectorStoreQueryMode.MMR,
    *WORDS_ALONE,
}
_LEAST, _TIMES = 20, 4
_MMR = {"fetch_k", "mmr_threshold"}


def to_search(query: VectorStoreQuery, given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of ``MatryoshkaCollection.search`` for a query and its ``SearchOptions``.

    Raises:
        ConfigurationError: A mode or an option that isn't there.
        InvalidInputError: A query without what its mode needs, a filter that can't be read.
    """
    if unknown := given.keys() - SearchOptions.__annotations__.keys():
        raise ConfigurationError(
            f"a query has no option {', '.join(sorted(unknown))}; "
            f"there are {', '.join(SearchOptions.__annotations__)}"
        )
    more = {name: value for name, value in given.items() if name not in _MMR}
    conditions = [read_filter(more.pop("filter", None)), read_filters(query.filters)]
    if query.doc_ids is not None:
        conditions.append(read_filter({REF_DOC: query.doc_ids}))
    if (node_ids := more.pop("node_ids", None)) is not None:
        conditions.append(has_id(node_ids))
    mode = read_mode(query.mode)
    vector, text = _asked(query, mode)
    k = query.similarity_top_k
    if mode is VectorStoreQueryMode.HYBRID:
        k = query.hybrid_top_k or k
    various = mode is VectorStoreQueryMode.MMR
    if various:
        k = max(given.get("fetch_k") or max(_LEAST, _TIMES * k), k)
    return {
        "vector": vector,
        "k": k,
        "text": text,
        "with_vectors": various,
        "filter": all_of(conditions),
        **more,
    }


def chosen(found: Results, query: VectorStoreQuery, given: Mapping[str, Any]) -> Results:
    """What a query gets of the hits: all, or in mode ``mmr`` those unlike each other."""
    vectors = [hit.vector.tolist() for hit in found if hit.vector is not None]
    various = read_mode(query.mode) is VectorStoreQueryMode.MMR
    if not various or not vectors or query.query_embedding is None:
        return found
    threshold = given.get("mmr_threshold")
    _, places = get_top_k_mmr_embeddings(
        query.query_embedding[: len(vectors[0])],
        vectors,
        similarity_top_k=query.similarity_top_k,
        mmr_threshold=query.mmr_threshold if threshold is None else threshold,
    )
    return Results(found[place] for place in places)


def read_mode(given: VectorStoreQueryMode | str) -> VectorStoreQueryMode:
    """A mode of a query, by its name too.

    Raises:
        ConfigurationError: There is no such mode here.
    """
    if given not in _MODES:
        raise ConfigurationError(
            f"query mode {getattr(given, 'value', given)!r} isn't there; "
            f"there are {', '.join(sorted(mode.value for mode in _MODES))}"
        )
    return VectorStoreQueryMode(given)


def _asked(
    query: VectorStoreQuery, mode: VectorStoreQueryMode
) -> tuple[list[float] | None, str | None]:
    """The vector and the words of a query, as far as its mode uses them."""
    for name in ("alpha", "sparse_top_k"):
        if getattr(query, name) is not None:
            raise ConfigurationError(
                f"{name} has no effect here: words and vectors are fused by rank, as many of each "
                "as the short list is long"
            )
    words = (query.query_str or "").strip()
    if mode in WORDS_ALONE:
        if not words:
            raise InvalidInputError(f"a query of mode {mode.value!r} needs words")
        return None, words
    if query.query_embedding is None:
        raise InvalidInputError("a query needs its embedding")
    # A picture alone has no words, and is searched by its vector.
    return query.query_embedding, words if mode is VectorStoreQueryMode.HYBRID else None
