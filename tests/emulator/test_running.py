"""Starting, changing and stopping an emulator."""

from __future__ import annotations

import dataclasses
import socket
import subprocess
import sys
import threading
import time

import pytest

from gemini2_core.emulator import Emulator, Settings, serve
from gemini2_core.emulator.runner import SettingsFields
from gemini2_core.errors import MissingExtraError
from tests.emulator.talk import BATCH, batch, call


def test_it_stops_with_its_block_whatever_happens() -> None:
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), serve() as emulator:
        raise ZeroDivisionError
    with pytest.raises(ConnectionError):
        call(emulator, BATCH, batch("a"))
    assert threading.active_count() == before


def test_it_stops_while_a_client_waits() -> None:
    before = threading.active_count()
    with (
        serve(latency=30) as emulator,
        socket.create_connection(("127.0.0.1", emulator.port)) as client,
    ):
        client.sendall(b"GET /v1/models HTTP/1.1\r\nhost: x\r\nx-goog-api-key: k\r\n\r\n")
        while not emulator.requests:
            time.sleep(0.01)
    assert threading.active_count() == before


def test_two_run_side_by_side(gemini2_emulator: Emulator) -> None:
    with serve(requests_per_minute=0) as other:
        assert call(gemini2_emulator, BATCH, batch("a")).status == 200
        assert call(other, BATCH, batch("a")).status == 429
        with pytest.raises(OSError, match="in use"), serve(port=other.port):
            pass


def test_the_fixture_for_others_runs_one_of_its_own(
    shipped: Emulator, gemini2_emulator: Emulator
) -> None:
    assert call(shipped, BATCH, batch("a")).status == 200
    assert len(shipped.requests) == 1
    assert gemini2_emulator.requests == []


def test_every_setting_is_an_argument() -> None:
    fields = {field.name for field in dataclasses.fields(Settings)}
    assert fields == set(SettingsFields.__annotations__)


def test_settings_change_while_it_runs(gemini2_emulator: Emulator) -> None:
    assert gemini2_emulator.settings == Settings()
    assert gemini2_emulator.configure(requests_per_day=0).requests_per_day == 0
    assert call(gemini2_emulator, BATCH, batch("a")).status == 429
    with pytest.raises(TypeError):
        gemini2_emulator.configure(colour="red")  # type: ignore[call-arg]


def test_the_log_can_be_left_out() -> None:
    with serve(log_requests=False) as emulator:
        call(emulator, BATCH, batch("a"))
        assert emulator.requests == []


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(MissingExtraError, match=r"gemini2-embeddings\[emulator\]"), serve():
        pass


def test_importing_it_imports_no_server() -> None:
    program = (
        "import sys, gemini2_core.emulator;"
        "print({'starlette', 'uvicorn', 'pypdf', 'google.genai', 'pytest'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "set()"
