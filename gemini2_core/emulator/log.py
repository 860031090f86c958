"""The record of requests that tests read; secrets never get into it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

__all__ = ["RequestRecord", "safe_headers"]

_SECRET = frozenset({"authorization", "x-goog-api-key", "cookie", "proxy-authorization"})


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request and how it was answered.

    Attributes:
        method: HTTP method.
        path: Without the query, which may hold a key.
        body: The JSON object sent, or None.
        status: HTTP status; 0 if the connection was dropped before the answer.
        items: Inputs to embed in it.
        failure: The injected failure, or "".
        headers: By lower-case name, without secrets.
    """

    method: str
    path: str
    body: dict[str, object] | None
    status: int
    items: int = 0
    failure: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def safe_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by lower-case name, without those that hold a key or a token."""
    named = ((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers)
    return {name: value for name, value in named if name not in _SECRET}
