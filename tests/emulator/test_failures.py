"""Failures: each kind as it's told, drawn by seed, the same for the same request."""

from __future__ import annotations

import http.client
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from gemini2_core.emulator import Emulator, Settings
from gemini2_core.emulator.failures import Failures
from gemini2_core.errors import ConfigurationError
from tests.emulator.talk import BATCH, EMBED, batch, call, content


def test_kinds_with_an_error_body(gemini2_emulator: Emulator) -> None:
    gemini2_emulator.configure(retry_delay=3)
    gemini2_emulator.fail_next("429", "429_no_hint", None, "500", "503")
    replies = [call(gemini2_emulator, BATCH, batch("a")) for _ in range(6)]
    assert [reply.status for reply in replies] == [429, 429, 200, 500, 503, 200]
    assert replies[0].error["details"][2]["retryDelay"] == "3s"
    assert "details" not in replies[1].error
    words = [replies[n].error["status"] for n in (1, 3, 4)]
    assert words == ["RESOURCE_EXHAUSTED", "INTERNAL", "UNAVAILABLE"]
    failures = [record.failure for record in gemini2_emulator.requests]
    assert failures == ["429", "429_no_hint", "", "500", "503", ""]


def test_a_dropped_connection_breaks_before_or_in_the_answer(gemini2_emulator: Emulator) -> None:
    gemini2_emulator.fail_next("drop", "drop")
    broken = []
    for _ in range(2):
        with pytest.raises((http.client.HTTPException, ConnectionError)) as caught:
            call(gemini2_emulator, BATCH, batch("a"))
        broken.append(caught.type)
    assert http.client.IncompleteRead in broken
    assert len(set(broken)) == 2
    assert call(gemini2_emulator, BATCH, batch("a")).status == 200
    assert [record.status for record in gemini2_emulator.requests] == [0, 0, 200]


def test_a_slow_body_comes_whole(gemini2_emulator: Emulator) -> None:
    whole = call(gemini2_emulator, BATCH, batch("a"))
    gemini2_emulator.configure(slow_seconds=0.2)
    gemini2_emulator.fail_next("slow")
    began = time.perf_counter()
    assert call(gemini2_emulator, BATCH, batch("a")).raw == whole.raw
    assert time.perf_counter() - began >= 0.2


def test_one_embedding_comes_without_values(gemini2_emulator: Emulator) -> None:
    gemini2_emulator.fail_next("missing", "missing")
    reply = call(gemini2_emulator, BATCH, batch("a", "b", "c"))
    assert reply.status == 200
    assert sorted("values" in e for e in reply.json["embeddings"]) == [False, True, True]
    single = call(gemini2_emulator, EMBED, {"content": content("a")})
    assert single.json["embedding"] == {}


def test_the_share_of_failures_is_the_rate() -> None:
    failures, settings = Failures(), Settings(failure_rate=0.2, seed=1)
    drawn = [failures.draw("/path", f"{n}".encode(), settings) for n in range(5000)]
    assert sum(failure is not None for failure in drawn) == pytest.approx(1000, rel=0.15)
    assert {failure.kind for failure in drawn if failure} == set(settings.failures)


def test_failures_hang_on_the_request_and_its_attempt_alone() -> None:
    settings = Settings(failure_rate=0.5)
    bodies = [f"{n}".encode() for n in range(50)] * 2
    one, other = Failures(), Failures()
    forwards = [(body, one.draw("/p", body, settings)) for body in bodies]
    backwards = [(body, other.draw("/p", body, settings)) for body in reversed(bodies)]
    assert sorted(forwards, key=repr) == sorted(backwards, key=repr)
    assert Failures().draw("/p", b"0", Settings(failure_rate=0)) is None
    told = [Failures().draw("/p", b"x", Settings(failure_rate=1, seed=n)) for n in range(20)]
    assert len(set(told)) > 1


def test_a_repeated_request_gets_through_in_the_end(gemini2_emulator: Emulator) -> None:
    gemini2_emulator.configure(failure_rate=0.5, failures=("429", "500", "503"), retry_delay=0)
    for text in "abcdefgh":
        statuses = []
        while 200 not in statuses:
            statuses.append(call(gemini2_emulator, BATCH, batch(text)).status)
            assert len(statuses) < 30


def test_latency_holds_for_each_of_many_requests_at_once(gemini2_emulator: Emulator) -> None:
    gemini2_emulator.configure(latency=0.2)
    began = time.perf_counter()
    with ThreadPoolExecutor(8) as pool:
        sent = pool.map(lambda n: call(gemini2_emulator, BATCH, batch(f"t{n}")).status, range(8))
        assert list(sent) == [200] * 8
    assert 0.2 <= time.perf_counter() - began < 1.5  # one after the other they take 1.6


@pytest.mark.parametrize(
    "settings",
    [
        {"failure_rate": 1.5},
        {"failures": ("429", "fire")},
        {"latency": -1},
        {"requests_per_minute": -1},
        {"minute_seconds": 0},
        {"gzip_level": 0},
        {"batch_outcome": "explode"},
        {"vectors": "real"},
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        Settings(**settings)  # type: ignore[arg-type]
