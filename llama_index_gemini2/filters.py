"""LlamaIndex's metadata filters, and which nodes they stand for, in Qdrant's form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)

from gemini2_core.errors import InvalidInputError
from gemini2_core.index import FilterLike, read_filter
from gemini2_core.index.ids import point_id

__all__ = ["ANY_NODE", "REF_DOC", "all_of", "field_is", "has_id", "read_filters", "which_nodes"]

REF_DOC = "doc_id"
"""Where ``node_to_metadata_dict`` puts the id of the document that a node was cut from."""

ANY_NODE: FilterLike = {"must_not": [{"is_empty": {"key": REF_DOC}}]}
"""Whatever is a node."""

_OPERATORS: Mapping[FilterOperator, str] = {
    FilterOperator.EQ: "eq",
    FilterOperator.NE: "ne",
    FilterOperator.GT: "gt",
    FilterOperator.GTE: "gte",
    FilterOperator.LT: "lt",
    FilterOperator.LTE: "lte",
    FilterOperator.IN: "in",
    FilterOperator.NIN: "nin",
    FilterOperator.ANY: "in",  # Qdrant compares each member of an array
    FilterOperator.CONTAINS: "eq",
    FilterOperator.TEXT_MATCH: "text",
}


def field_is(key: str, value: object) -> FilterLike:
    """A field of the payload has this value."""
    return {"must": [{"key": key, "match": {"value": value}}]}


def has_id(ids: Iterable[str]) -> dict[str, object]:
    """One of these nodes."""
    return {"must": [{"has_id": [point_id(one) for one in ids]}]}


def all_of(conditions: Iterable[dict[str, object] | None]) -> dict[str, object] | None:
    """All that is said holds; None if nothing is."""
    found = [one for one in conditions if one is not None]
    return {"must": found} if len(found) > 1 else found[0] if found else None


def which_nodes(
    node_ids: list[str] | None, filters: MetadataFilters | None
) -> tuple[list[str] | None, dict[str, object] | None]:
    """Ids alone, or one filter that says it all."""
    where = read_filters(filters)
    if node_ids is None or where is None:
        return node_ids, where
    return node_ids, all_of([has_id(node_ids), where])


def read_filters(given: MetadataFilters | None) -> dict[str, object] | None:
    """LlamaIndex's filters in Qdrant's JSON form; None if nothing is filtered.

    Raises:
        InvalidInputError: An operator that Qdrant doesn't have, or a value it can't compare.
    """
    if given is None:
        return None
    read = (
        read_filters(one) if isinstance(one, MetadataFilters) else _filter(one)
        for one in given.filters
    )
    some = [one for one in read if one is not None]
    if not some:
        return None
    match given.condition:
        case FilterCondition.OR:
            return {"should": some}
        case FilterCondition.NOT:
            return {"must_not": some}
    return {"must": some}


def _filter(given: MetadataFilter) -> dict[str, object] | None:
    key, value, operator = given.key, given.value, given.operator
    if operator is FilterOperator.IS_EMPTY:
        return read_filter({key: None})
    if operator is FilterOperator.ALL:
        if not isinstance(value, list):
            raise InvalidInputError(f"field {key!r} of the filter: a list is wanted, not {value!r}")
        return all_of(read_filter({key: {"eq": one}}) for one in value)
    if operator not in _OPERATORS:
        raise InvalidInputError(f"field {key!r} of the filter: there is no {operator.value!r}")
    return read_filter({key: {_OPERATORS[operator]: value}})
