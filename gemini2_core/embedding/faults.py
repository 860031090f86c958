"""What a failed request means: give up, narrow down, or try again, and after how long."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

from gemini2_core.errors import (
    AuthenticationError,
    BadResponseError,
    ClosedError,
    ConfigurationError,
    DailyQuotaError,
    Gemini2Error,
    InvalidInputError,
    QuotaError,
    ServiceError,
    ServiceTimeoutError,
)

__all__ = ["ConnectionLostError", "Fault", "Remedy", "read_fault"]

_Json: TypeAlias = "Mapping[str, _Json] | Sequence[_Json] | str | int | float | bool | None"
#: Of aiohttp and httpx, and of the threads that a client of the caller's is called in.
_CLOSED = re.compile("closed|after shutdown")
_DURATION = re.compile(r"^(\d+(?:\.\d+)?)s$")
#: Real keys are 39 characters; a toy key such as "any" would garble the words it is part of.
_SHORTEST_KEY = 8
#: aiohttp tells the address of its TLS context.
_SSL_DETAIL = re.compile(r" ssl:(?:<[^>]*>|\w+)")
_KEY_REASONS = {"API_KEY_INVALID", "API_KEY_EXPIRED", "ACCESS_TOKEN_EXPIRED", "CREDENTIALS_MISSING"}
#: Names of httpx's and aiohttp's errors that mean the connection, not the request, went wrong.
_CONNECTION_MODULES = {"httpx", "httpx2", "httpcore", "httpcore2", "aiohttp"}


class ConnectionLostError(Exception):
    """The connection broke before a whole answer came."""


class Remedy(Enum):
    """What to do about a fault."""

    RETRY = auto()
    """The request's own bad luck: try it again, others may go on."""
    WAIT = auto()
    """A quota: everybody waits, then try again more slowly."""
    NARROW = auto()
    """One of the items is bad: find it by halving the batch."""
    STOP = auto()
    """Nothing of this run can succeed."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A failed request, understood.

    Attributes:
        remedy: What to do.
        error: What to raise if the remedy is exhausted; its cause is the SDK's own error.
        wait: Seconds the service asked to wait, or None.
        items_per_minute: The quota's size if the service told it, to be kept from now on.
        method_missing: True if the service hasn't got the method (Vertex without batches).
    """

    remedy: Remedy
    error: Gemini2Error
    wait: float | None = None
    items_per_minute: int | None = None
    method_missing: bool = False


def read_fault(error: Exception, secret: str | None = None) -> Fault:
    """Understand an exception of the transport.

    It goes by status, reason and quotaId, never by the message. ``secret`` is taken out of
    whatever is quoted.
    """
    fault = _read(error, secret)
    if fault.error is not error:
        fault.error.__cause__ = error
    return fault


def _read(error: Exception, secret: str | None) -> Fault:
    if isinstance(error, BadResponseError):
        return Fault(Remedy.RETRY, error)
    if isinstance(error, Gemini2Error):
        return Fault(Remedy.STOP, error)
    code = getattr(error, "code", None)
    if isinstance(code, int) and hasattr(error, "details"):
        return _read_api_error(error, code, secret)
    if isinstance(error, RuntimeError) and _CLOSED.search(str(error)):
        return Fault(Remedy.STOP, ClosedError("the client was closed: make a new one"))
    if isinstance(error, (asyncio.TimeoutError, TimeoutError)) or "Timeout" in type(error).__name__:
        return Fault(Remedy.RETRY, ServiceTimeoutError("no answer within the timeout of a request"))
    module = type(error).__module__.partition(".")[0]
    if isinstance(error, (ConnectionLostError, OSError)) or module in _CONNECTION_MODULES:
        return Fault(
            Remedy.RETRY, ServiceError(f"the connection failed: {_clean(str(error), secret)}")
        )
    if module == "google" and "auth" in type(error).__module__:
        return Fault(
            Remedy.STOP,
            AuthenticationError(f"no access with these credentials: {_clean(str(error), secret)}"),
        )
    # Not foreseen, a bug perhaps: it ends the run, but not without what was embedded before it.
    return Fault(
        Remedy.STOP,
        Gemini2Error(f"unexpected {type(error).__name__}: {_clean(str(error), secret)}"),
    )


def _read_api_error(error: Exception, code: int, secret: str | None) -> Fault:
    status = str(getattr(error, "status", None) or "")
    message = _clean(str(getattr(error, "message", None) or ""), secret)
    details = list(_details(getattr(error, "details", None)))
    said = f"{code} {status}: {message}".strip()

    if code == 429:
        return _read_quota(said, details)
    if code in (408, 425) or code >= 500:
        if code in (501, 505):
            return Fault(Remedy.STOP, ServiceError(said, code=code, status=status))
        return Fault(
            Remedy.RETRY,
            ServiceError(said, code=code, status=status),
            wait=_retry_delay(details),
        )
    reasons = {str(detail.get("reason")) for detail in details}
    if code in (401, 403) or reasons & _KEY_REASONS:
        return Fault(
            Remedy.STOP,
            AuthenticationError(
                f"the service refused the credentials ({said}): check the API key and what "
                "it's allowed to do",
                code=code,
                status=status,
            ),
        )
    if code == 404:
        return Fault(
            Remedy.STOP,
            ServiceError(
                f"{said} (check the model, the location and base_url)", code=code, status=status
            ),
            method_missing=True,
        )
    if code == 400 and status == "FAILED_PRECONDITION":
        return Fault(Remedy.STOP, ServiceError(said, code=code, status=status))
    if code in (400, 413):
        return Fault(
            Remedy.NARROW,
            InvalidInputError(f"the service refused this input ({said})"),
            method_missing=True,
        )
    return Fault(
        Remedy.STOP,
        ConfigurationError(said) if code == 405 else ServiceError(said, code=code, status=status),
        method_missing=code == 405,
    )


def _read_quota(said: str, details: Sequence[Mapping[str, _Json]]) -> Fault:
    per_day = False
    items: int | None = None
    for violation in _violations(details):
        quota_id = str(violation.get("quotaId", ""))
        per_day = per_day or "PerDay" in quota_id
        value = str(violation.get("quotaValue", ""))
        if "RequestsPerMinute" in quota_id and value.isdigit() and int(value) > 0:
            items = int(value)
    if per_day:
        # It carries a short retryDelay as well, which doesn't help.
        return Fault(
            Remedy.STOP,
            DailyQuotaError(
                f"the quota of the day is used up ({said}): go on tomorrow, or raise the quota",
                code=429,
                status="RESOURCE_EXHAUSTED",
            ),
        )
    return Fault(
        Remedy.WAIT,
        QuotaError(
            f"the quota stayed used up ({said}): set requests_per_minute= or tokens_per_minute= "
            "to what your account has, or raise retry_seconds=",
            code=429,
            status="RESOURCE_EXHAUSTED",
        ),
        wait=_retry_delay(details),
        items_per_minute=items,
    )


def _details(body: _Json) -> Iterator[Mapping[str, _Json]]:
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    if not isinstance(body, Mapping):
        return
    inner = body.get("error", body)
    details = inner.get("details") if isinstance(inner, Mapping) else None
    if isinstance(details, list):
        yield from (detail for detail in details if isinstance(detail, Mapping))


def _violations(details: Sequence[Mapping[str, _Json]]) -> Iterator[Mapping[str, _Json]]:
    for detail in details:
        violations = detail.get("violations")
        if isinstance(violations, list):
            yield from (violation for violation in violations if isinstance(violation, Mapping))


def _retry_delay(details: Sequence[Mapping[str, _Json]]) -> float | None:
    for detail in details:
        match = _DURATION.match(str(detail.get("retryDelay", "")))
        if match:
            return float(match[1])
    return None


def _clean(message: str, secret: str | None) -> str:
    if secret and len(secret) >= _SHORTEST_KEY:
        message = message.replace(secret, "[key]")
    return _SSL_DETAIL.sub("", message)[:500]
