"""Filters in Qdrant's JSON form as objects of the embedded engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from gemini2_core.errors import Gemini2Error, InvalidInputError
from gemini2_core.index.edge_booleans import BOOLEANS_KEY, boolean_term
from gemini2_core.index.filters import JsonFilter

if TYPE_CHECKING:
    import qdrant_edge

__all__ = ["edge_filter"]


def edge_filter(given: JsonFilter) -> qdrant_edge.Filter:
    """The filter for ``qdrant_edge``.

    Raises:
        InvalidInputError: A condition that Qdrant doesn't have, or not in a folder (geo).
    """
    try:
        return _filter(given)
    except Gemini2Error:
        raise
    except Exception as error:  # the engine's objects raise what they like
        raise InvalidInputError(f"Qdrant has no such filter: {given!r} ({error})") from error


def _filter(given: JsonFilter) -> qdrant_edge.Filter:
    import qdrant_edge

    clauses: dict[str, Any] = {}
    for name, value in given.items():
        if name == "min_should" and isinstance(value, Mapping):
            conditions = [_condition(one) for one in value["conditions"]]
            clauses[name] = qdrant_edge.MinShould(conditions, int(value["min_count"]))
        elif name in {"must", "should", "must_not"}:
            # Qdrant takes one condition without a list around it.
            some: list[Mapping[str, Any]] = value if isinstance(value, list) else [value]  # type: ignore[list-item]
            clauses[name] = [_condition(one) for one in some]
        else:
            raise InvalidInputError(f"a filter has no clause {name!r}")
    return qdrant_edge.Filter(**clauses)


def _condition(given: Mapping[str, Any]) -> Any:
    import qdrant_edge

    match given:
        case {"is_empty": {"key": key}}:
            return qdrant_edge.IsEmptyCondition(key)
        case {"is_null": {"key": key}}:
            return qdrant_edge.IsNullCondition(key)
        case {"has_id": ids}:
            return qdrant_edge.HasIdCondition(set(ids))
        case {"has_vector": name}:
            return qdrant_edge.HasVectorCondition(name)
        case {"nested": {"key": key, "filter": inner}}:
            if _has_boolean(inner):
                raise InvalidInputError(f"nested {key!r}: a folder can't match booleans in there")
            return qdrant_edge.NestedCondition(key, _filter(dict(inner)))
        case {"key": key}:
            return _field(key, given)
    return _filter(dict(given))


def _has_boolean(given: object) -> bool:
    if isinstance(given, Mapping):
        return any(_has_boolean(inner) for inner in given.values())
    if isinstance(given, list):
        return any(_has_boolean(inner) for inner in given)
    return isinstance(given, bool)


def _field(key: str, given: Mapping[str, Any]) -> qdrant_edge.FieldCondition:
    import qdrant_edge

    told: dict[str, Any] = {}
    value = (given.get("match") or {}).get("value")
    if isinstance(value, bool):
        term = qdrant_edge.MatchValue(boolean_term(key, value))
        return qdrant_edge.FieldCondition(BOOLEANS_KEY, match=term)
    for name, value in given.items():
        match name:
            case "key":
                continue
            case "match":
                told[name] = _match(key, value)
            case "range":
                dated = any(isinstance(bound, str) for bound in value.values())
                kind = qdrant_edge.RangeDateTime if dated else qdrant_edge.RangeFloat
                told[name] = kind(**value)
            case "values_count":
                told[name] = qdrant_edge.ValuesCount(**value)
            case "is_empty" | "is_null":
                told[name] = value
            case _:
                raise InvalidInputError(f"field {key!r}: there is no {name!r} filter in a folder")
    return qdrant_edge.FieldCondition(key, **told)


def _match(key: str, given: Mapping[str, Any]) -> Any:
    import qdrant_edge

    kinds: dict[str, Callable[[Any], Any]] = {
        "value": qdrant_edge.MatchValue,
        "any": qdrant_edge.MatchAny,
        "except": qdrant_edge.MatchExcept,
        "except_": qdrant_edge.MatchExcept,
        "text": qdrant_edge.MatchText,
        "text_any": qdrant_edge.MatchTextAny,
        "phrase": qdrant_edge.MatchPhrase,
        "prefix": qdrant_edge.MatchPrefix,
    }
    for name, value in given.items():
        if name in kinds:
            return kinds[name](value)
    raise InvalidInputError(f"field {key!r}: a match can't be {dict(given)!r}")
