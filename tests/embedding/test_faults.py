"""Errors of the service, read by status, reason and quotaId: what each leads to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.genai.errors import ClientError, ServerError

from gemini2_core.embedding.faults import ConnectionLostError, Remedy, read_fault
from gemini2_core.errors import (
    AuthenticationError,
    BadResponseError,
    ClosedError,
    DailyQuotaError,
    Gemini2Error,
    InvalidInputError,
    QuotaError,
    ServiceError,
    ServiceTimeoutError,
)

RECORDED = Path(__file__).resolve().parents[3] / "shared" / "recordings" / "errors"


def recorded(name: str) -> dict[str, object]:
    path = RECORDED / name
    if not path.is_file():
        pytest.skip(f"the recordings aren't beside this checkout ({path.name})")
    body: dict[str, object] = json.loads(path.read_text())["body"]
    return body


def api_error(code: int, status: str, *details: dict[str, object]) -> Exception:
    body = {"error": {"code": code, "message": "said", "status": status, "details": [*details]}}
    return (ServerError if code >= 500 else ClientError)(code, body)


def test_the_recorded_429_of_a_minute_says_how_long_and_how_many() -> None:
    body = recorded("429_gemini-embedding-2_per_minute.json")
    fault = read_fault(ClientError(429, body))
    assert fault.remedy is Remedy.WAIT
    assert isinstance(fault.error, QuotaError)
    assert (fault.wait, fault.items_per_minute) == (37.0, 100)


def test_the_429_of_a_day_stops_though_it_carries_a_short_delay() -> None:
    body = recorded("429_gemini-embedding-2_per_day.secondhand.json")
    fault = read_fault(ClientError(429, body))
    assert fault.remedy is Remedy.STOP
    assert isinstance(fault.error, DailyQuotaError)


def test_the_recorded_400_of_a_batch_is_narrowed_down() -> None:
    fault = read_fault(ClientError(400, recorded("400_batch_over_100.json")))
    assert fault.remedy is Remedy.NARROW
    assert isinstance(fault.error, InvalidInputError)


def test_a_429_without_details_waits_without_a_hint() -> None:
    fault = read_fault(api_error(429, "RESOURCE_EXHAUSTED"))
    assert (fault.remedy, fault.wait, fault.items_per_minute) == (Remedy.WAIT, None, None)


def test_a_bad_key_is_a_400_and_stops() -> None:
    fault = read_fault(api_error(400, "INVALID_ARGUMENT", {"reason": "API_KEY_INVALID"}))
    assert fault.remedy is Remedy.STOP
    assert isinstance(fault.error, AuthenticationError)


@pytest.mark.parametrize(
    ("error", "remedy", "kind"),
    [
        (api_error(408, "DEADLINE_EXCEEDED"), Remedy.RETRY, ServiceError),
        (api_error(500, "INTERNAL"), Remedy.RETRY, ServiceError),
        (api_error(503, "UNAVAILABLE"), Remedy.RETRY, ServiceError),
        (api_error(403, "PERMISSION_DENIED"), Remedy.STOP, AuthenticationError),
        (api_error(404, "NOT_FOUND"), Remedy.STOP, ServiceError),
        (api_error(400, "FAILED_PRECONDITION"), Remedy.STOP, ServiceError),
        (api_error(400, "INVALID_ARGUMENT"), Remedy.NARROW, InvalidInputError),
        (api_error(413, ""), Remedy.NARROW, InvalidInputError),
        (ConnectionLostError("gone"), Remedy.RETRY, ServiceError),
        (ConnectionResetError("gone"), Remedy.RETRY, ServiceError),
        (TimeoutError(), Remedy.RETRY, ServiceTimeoutError),
        (BadResponseError("1 for 2"), Remedy.RETRY, BadResponseError),
        (RuntimeError("Session is closed"), Remedy.STOP, ClosedError),
        (ZeroDivisionError("a bug"), Remedy.STOP, Gemini2Error),
    ],
)
def test_each_fault_has_its_remedy(error: Exception, remedy: Remedy, kind: type[Exception]) -> None:
    fault = read_fault(error)
    assert fault.remedy is remedy
    assert isinstance(fault.error, kind)
    assert fault.error is error or fault.error.__cause__ is error


def test_the_key_is_taken_out_of_what_is_quoted() -> None:
    secret = "a-secret-key"
    body = {"error": {"code": 403, "message": f"{secret} is blocked", "status": "DENIED"}}
    assert secret not in str(read_fault(ClientError(403, body), secret).error)


@pytest.mark.parametrize("body", [[], "nonsense", {"error": "x"}, [{"error": {"details": [1]}}]])
def test_bodies_of_no_known_shape_are_read_all_the_same(body: object) -> None:
    assert read_fault(ClientError(429, body)).remedy is Remedy.WAIT
