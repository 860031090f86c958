"""``gemini2 emulator`` as a process of its own."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request

import pytest

from gemini2_core.cli import main


def test_the_emulator_runs_as_a_process() -> None:
    command = [sys.executable, "-m", "gemini2_core.cli", "emulator", "--port", "0"]
    with subprocess.Popen(
        [*command, "--no-pretty", "--vectors", "pool"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        line = process.stdout.readline()
        assert "not the model" in line
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found
        request = urllib.request.Request(
            f"{found[0]}/v1beta/models/gemini-embedding-2:embedContent",
            b'{"content": {"parts": [{"text": "a"}]}}',
            {"x-goog-api-key": "k"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert len(json.load(answer)["embedding"]["values"]) == 3072
        process.send_signal(signal.SIGINT)
        assert process.wait(10) in (0, -signal.SIGINT)


def test_settings_that_cannot_be_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["emulator", "--failure-rate", "2"]) == 1
    assert "failure_rate must be between 0 and 1" in capsys.readouterr().err


def test_help_says_what_it_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["emulator", "--help"])
    assert "--latency" in capsys.readouterr().out
