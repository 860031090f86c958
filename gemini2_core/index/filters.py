"""Filters: Qdrant's objects and plain dicts, both brought to Qdrant's JSON form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Protocol, runtime_checkable
from uuid import UUID

import numpy as np

from gemini2_core.errors import InvalidInputError
from gemini2_core.index.ids import point_id

__all__ = ["FilterLike", "JsonFilter", "QdrantFilter", "read_filter"]

JsonFilter = dict[str, object]

_CLAUSES = {"must", "should", "must_not", "min_should"}
_RANGE = {"gt", "gte", "lt", "lte"}
_OPERATORS = _RANGE | {"eq", "ne", "in", "nin", "text", "exists"}
_JOINTS = {"$and": "must", "$or": "should", "$not": "must_not", "$nor": "must_not"}


@runtime_checkable
class QdrantFilter(Protocol):
    """``qdrant_client.models.Filter`` or one of its conditions, without importing them."""

    def model_dump(self, *, mode: str, exclude_none: bool, by_alias: bool) -> dict[str, object]:
        """The object as JSON."""


FilterLike = Mapping[str, object] | QdrantFilter


def read_filter(given: FilterLike | None, *, prefix: str = "") -> JsonFilter | None:
    """A filter in Qdrant's JSON form; None where there is nothing to filter.

    A plain dict names payload fields, and all of them must match: ``{"source": "a.md"}`` equals,
    ``{"source": ["a.md", "b.md"]}`` is any of them, ``{"page": {"gte": 3, "lt": 9}}`` compares
    numbers or dates (``gt gte lt lte eq ne in nin text exists``, with ``$`` before them or not),
    ``{"author": None}`` is an absent or empty field, ``{"metadata": {"source": "a.md"}}`` is the
    field ``metadata.source``; ``$and``, ``$or`` and ``$not`` join such dicts. A dict with
    nothing but ``must``, ``should``, ``must_not`` or ``min_should`` is Qdrant's own form; its
    ``has_id`` takes ids as they were given to ``add``.

    Args:
        given: A ``qdrant_client.models.Filter``, one condition of such, or a dict.
        prefix: Path put before each field of a plain dict (``"metadata"``).

    Raises:
        InvalidInputError: A form that is neither, or an operator that there isn't.
    """
    if given is None:
        return None
    if isinstance(given, Mapping):
        if not (_CLAUSES.issuperset(given) and all(_is_clause(value) for value in given.values())):
            conditions = _conditions(given, prefix)
            return {"must": conditions} if conditions else None
        plain = dict(given)
    elif isinstance(given, QdrantFilter):
        plain = _dumped(given)
        plain = plain if _CLAUSES.issuperset(plain) else {"must": [plain]}
    else:
        raise InvalidInputError(f"a filter is a dict or a Qdrant filter, not {given!r}")
    # Clauses with nothing in them match everything.
    return {name: _own(clause) for name, clause in plain.items() if clause} or None


def _dumped(given: QdrantFilter) -> JsonFilter:
    return given.model_dump(mode="json", exclude_none=True, by_alias=True)


def _is_clause(value: object) -> bool:
    if isinstance(value, list):
        return all(isinstance(one, Mapping | QdrantFilter) for one in value)
    return isinstance(value, Mapping | QdrantFilter)


def _own(given: object) -> object:
    """A part of a filter in Qdrant's form as JSON, its ids those that points are stored under."""
    if isinstance(given, QdrantFilter):
        given = _dumped(given)
    match given:
        case {"has_id": list(ids)}:
            return {"has_id": [point_id(one) for one in ids]}
        case Mapping():
            return {name: _own(one) for name, one in given.items()}
        case list():
            return [_own(one) for one in given]
    return given


def _conditions(fields: Mapping[str, object], prefix: str) -> list[JsonFilter]:
    found: list[JsonFilter] = []
    for key, value in fields.items():
        if not isinstance(key, str):
            raise InvalidInputError(f"a field of a filter is named by a string, not {key!r}")
        if key in _JOINTS:
            found.append(_joined(key, value, prefix))
        elif key.startswith("$"):
            raise InvalidInputError(f"a filter has no {key}; there are {', '.join(_JOINTS)}")
        else:
            found += _field(f"{prefix}.{key}" if prefix else key, value)
    return found


def _joined(joint: str, value: object, prefix: str) -> JsonFilter:
    parts = value if isinstance(value, list | tuple) else [value]
    if not parts or not all(isinstance(part, Mapping) for part in parts):
        raise InvalidInputError(f"{joint} takes a list of dicts, not {value!r}")
    read = [_conditions(part, prefix) for part in parts if isinstance(part, Mapping)]
    if not all(read):
        raise InvalidInputError(f"{joint} takes dicts with something in them, not {value!r}")
    return {_JOINTS[joint]: [{"must": conditions} for conditions in read]}


def _field(key: str, value: object) -> list[JsonFilter]:
    if isinstance(value, Mapping):
        operators = {str(name).removeprefix("$"): operand for name, operand in value.items()}
        if operators and _OPERATORS.issuperset(operators):
            return _compared(key, operators)
        strange = [name for name in value if str(name).startswith("$") and name not in _JOINTS]
        if strange:
            raise InvalidInputError(
                f"field {key!r} of the filter: there is no {strange[0]}; "
                f"there are {', '.join(sorted(_OPERATORS))}"
            )
        return _conditions(value, key)
    if _is_list(value):
        return [_any_of(key, value)]
    return [_equals(key, value)]


def _compared(key: str, operators: Mapping[str, object]) -> list[JsonFilter]:
    found: list[JsonFilter] = []
    bounds = {name: _bound(key, operators[name]) for name in operators if name in _RANGE}
    if bounds:
        found.append({"key": key, "range": bounds})
    for name, operand in operators.items():
        match name:
            case "eq":
                found.append(_equals(key, operand))
            case "ne":
                found.append({"must_not": [_equals(key, operand)]})
            case "in":
                found.append(_any_of(key, operand))
            case "nin":
                found.append({"must_not": [_any_of(key, operand)]})
            case "text":
                found.append({"key": key, "match": {"text": str(operand)}})
            case "exists":
                empty: JsonFilter = {"is_empty": {"key": key}}
                found.append({"must_not": [empty]} if operand else empty)
    return found


def _equals(key: str, value: object) -> JsonFilter:
    value = _plain(value)
    match value:
        case None:
            return {"is_empty": {"key": key}}
        case bool() | int() | str():
            return {"key": key, "match": {"value": value}}
        case float():
            # Qdrant matches no floats, but a range of one number does the same.
            return {"key": key, "range": {"gte": value, "lte": value}}
        case datetime() | date():
            moment = value.isoformat()
            return {"key": key, "range": {"gte": moment, "lte": moment}}
    raise InvalidInputError(f"field {key!r} of the filter can't be compared with {value!r}")


def _any_of(key: str, values: object) -> JsonFilter:
    if not _is_list(values):
        raise InvalidInputError(f"field {key!r} of the filter: a list is wanted, not {values!r}")
    assert isinstance(values, Sequence | set | frozenset)
    members = [_plain(value) for value in values]
    kinds = {type(value) for value in members}
    if kinds <= {str} or kinds <= {int}:
        # No value at all is matched by nothing, which Qdrant takes as it stands.
        return {"key": key, "match": {"any": members}}
    return {"should": [_equals(key, value) for value in members]}


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple | set | frozenset)


def _plain(value: object) -> object:
    """A number of NumPy's as Python's, a UUID as it is stored."""
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, UUID) else value


def _bound(key: str, value: object) -> object:
    value = _plain(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise InvalidInputError(f"field {key!r} of the filter can't be in a range of {value!r}")
