"""``gemini2`` itself, whatever the command: pipes, warnings, which version it is."""

from __future__ import annotations

import os
import sys
import warnings

import pytest

from gemini2_core.cli import main
from gemini2_core.cli.program import _COMMANDS

COUNTS = ["estimate", "--items", "10", "--tokens-per-item", "5"]


def test_a_reader_that_has_seen_enough_is_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for buffered in (True, False):
        end, out = os.pipe()
        os.close(end)
        with os.fdopen(out, "wb", 4096 if buffered else 0) as file, monkeypatch.context() as patch:
            if buffered:
                import io

                patch.setattr(sys, "stdout", io.TextIOWrapper(file))
            else:
                patch.setattr(sys, "stdout", os.fdopen(os.dup(out), "w", 1))
            assert main(COUNTS) == 141
            sys.stdout.close()
    assert capsys.readouterr().err == ""


def test_a_warning_is_told_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    usual = warnings.formatwarning
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        # pytest records warnings; this is what Python does with them.
        warnings.showwarning = lambda *told: sys.stderr.write(warnings.formatwarning(*told[:4]))  # type: ignore[assignment]  # as Python's own
        assert main([*COUNTS, "--model", "gemini-embedding-2-preview"]) == 0
    (line,) = set(capsys.readouterr().err.splitlines())
    assert line.startswith("gemini2: gemini-embedding-2-preview was announced to end")
    assert warnings.formatwarning is usual


def test_it_says_which_version_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith("gemini2-embeddings 0.")


def test_help_says_what_each_command_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert all(add.__module__.rpartition(".")[2] in said for add in _COMMANDS)
