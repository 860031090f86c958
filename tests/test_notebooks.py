"""The cookbooks run from top to bottom on the emulator; their committed outputs are clean."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

COOKBOOKS = Path(__file__).resolve().parent.parent / "cookbooks"
NOTEBOOKS = sorted(COOKBOOKS.glob("*.ipynb"))

nbformat = pytest.importorskip("nbformat", reason="the group 'notebooks' isn't installed")

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@each_notebook
def test_committed_with_outputs_in_order(path: Path) -> None:
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert any(output.output_type != "error" for output in outputs)
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"]


@each_notebook
def test_outputs_are_small_and_tell_nothing_of_the_machine(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.encode()) < 500_000
    # Base64 of pictures may hold any letters; a path begins after a quote, a space or a colon.
    assert not re.findall(r"[\"'\s:=(](/(?:home|root|tmp|work|usr|opt|Users)/[\w./-]*)", text)
    assert not re.findall(r"127\.0\.0\.1:\d+|AIza\w{20,}", text)


@pytest.mark.notebook
@pytest.mark.timeout(300)
@each_notebook
def test_runs_on_the_emulator(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nbclient", reason="the group 'notebooks' isn't installed")
    pytest.importorskip("ipykernel", reason="the group 'notebooks' isn't installed")
    from tests.notebooks import run

    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GEMINI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(COOKBOOKS.parent))
    run(path, save=False, seconds=120)
