"""Booleans in a folder's payloads: qdrant-edge-py 0.9 stores them, and filters can't match them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gemini2_core.index.ids import Payload

__all__ = ["BOOLEANS_KEY", "boolean_term", "with_booleans", "without_booleans"]

BOOLEANS_KEY = "_booleans"
"""Where the payload says again, in words that can be matched, which booleans it holds."""


def boolean_term(path: str, value: bool) -> str:
    """The word that stands for a field being true or false: ``"metadata.draft=true"``."""
    return f"{path}={'true' if value else 'false'}"


def with_booleans(payload: Payload) -> Payload:
    """The payload with its booleans in words beside it; the same object if it has none."""
    terms = sorted(set(_terms(payload, "")))
    return {**payload, BOOLEANS_KEY: terms} if terms else payload


def without_booleans(payload: Payload) -> Payload:
    """The payload as it was given."""
    return {key: value for key, value in payload.items() if key != BOOLEANS_KEY}


def _terms(value: object, path: str) -> Iterator[str]:
    match value:
        case bool():
            yield boolean_term(path, value)
        case Mapping():
            for key, inner in value.items():
                yield from _terms(inner, f"{path}.{key}" if path else str(key))
        case list():
            for inner in value:
                # A list's own values are matched by its name, those of its objects by name[].
                yield from _terms(inner, f"{path}[]" if isinstance(inner, Mapping) else path)
