"""Quotas count items and tokens, and say how long to wait."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest

from gemini2_core.emulator import Emulator, Settings
from gemini2_core.emulator.quota import Quota
from gemini2_core.emulator.refusals import Refusal
from tests.emulator.talk import BATCH, batch, call


def refused(
    quota: Quota, items: int, settings: Settings, tokens: int = 1
) -> Mapping[str, Any] | None:
    try:
        quota.spend("gemini-embedding-2", items, tokens, settings)
    except Refusal as refusal:
        details: list[Any] = list(refusal.details)
        return {detail["@type"].rpartition(".")[2]: detail for detail in details}
    return None


def test_items_are_counted_over_a_sliding_minute() -> None:
    now = 1000.0
    quota, settings = Quota(clock=lambda: now), Settings(requests_per_minute=100)
    assert refused(quota, 60, settings) is None
    now += 20
    assert refused(quota, 40, settings) is None
    details = refused(quota, 1, settings)
    assert details is not None
    assert details["RetryInfo"]["retryDelay"] == "40s"
    (violation,) = details["QuotaFailure"]["violations"]
    assert violation["quotaValue"] == "100"
    assert "PerMinute" in violation["quotaId"]
    now += 40
    assert refused(quota, 60, settings) is None
    details = refused(quota, 1, settings)
    assert details is not None
    assert details["RetryInfo"]["retryDelay"] == "20s"


def test_a_refused_request_spends_nothing() -> None:
    quota, settings = Quota(clock=lambda: 0.0), Settings(requests_per_minute=10)
    assert refused(quota, 11, settings)
    assert refused(quota, 10, settings) is None


def test_a_daily_quota_names_the_day_and_a_short_wait() -> None:
    quota, settings = Quota(clock=lambda: 1000.0), Settings(requests_per_day=1000)
    assert refused(quota, 1000, settings) is None
    details = refused(quota, 1, settings)
    assert details is not None
    assert "PerDay" in details["QuotaFailure"]["violations"][0]["quotaId"]
    assert 0 <= int(details["RetryInfo"]["retryDelay"][:-1]) <= 60


def test_tokens_have_a_quota_of_their_own() -> None:
    quota, settings = Quota(clock=lambda: 0.0), Settings(tokens_per_minute=1000)
    assert refused(quota, 1, settings, tokens=900) is None
    details = refused(quota, 1, settings, tokens=200)
    assert details is not None
    (violation,) = details["QuotaFailure"]["violations"]
    assert violation["quotaMetric"].endswith("input_token_count")


def test_models_have_quotas_of_their_own() -> None:
    quota, settings = Quota(clock=lambda: 0.0), Settings(requests_per_minute=1)
    quota.spend("gemini-embedding-2", 1, 1, settings)
    quota.spend("gemini-embedding-001", 1, 1, settings)
    with pytest.raises(Refusal):
        quota.spend("gemini-embedding-001", 1, 1, settings)


def test_a_short_minute_gives_waits_to_the_millisecond(gemini2_emulator: Emulator) -> None:
    gemini2_emulator.configure(requests_per_minute=3, minute_seconds=0.3)
    assert call(gemini2_emulator, BATCH, batch("a", "b", "c")).status == 200
    reply = call(gemini2_emulator, BATCH, batch("d"))
    assert reply.status == 429
    delay = float(reply.error["details"][2]["retryDelay"][:-1])
    assert 0 < delay <= 0.3
    time.sleep(delay + 0.02)
    assert call(gemini2_emulator, BATCH, batch("d")).status == 200


def test_a_bad_request_spends_nothing(gemini2_emulator: Emulator) -> None:
    gemini2_emulator.configure(requests_per_minute=1)
    assert call(gemini2_emulator, BATCH, batch("")).status == 400
    assert call(gemini2_emulator, BATCH, batch("a")).status == 200
    assert call(gemini2_emulator, BATCH, batch("a")).status == 429


def test_reset_gives_everything_back(gemini2_emulator: Emulator) -> None:
    gemini2_emulator.configure(requests_per_day=1)
    assert [call(gemini2_emulator, BATCH, batch("a")).status for _ in range(2)] == [200, 429]
    gemini2_emulator.reset()
    assert call(gemini2_emulator, BATCH, batch("a")).status == 200
    assert len(gemini2_emulator.requests) == 1
