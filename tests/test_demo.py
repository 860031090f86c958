"""``make demo``: finds what it must, lines up, and says where its vectors come from."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gemini2_core.emulator.descriptions import describe

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "cookbooks" / "corpus"
TYPES = {
    ".png": "image/png",
    ".wav": "audio/wav",
    ".mp4": "video/mp4",
    ".pdf": "application/pdf",
}


def demo(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    for package in ("langchain_core", "llama_index.core", "qdrant_client", "starlette"):
        pytest.importorskip(package)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GOOGLE_", "GEMINI_"))}
    return subprocess.run(
        [sys.executable, str(ROOT / "cookbooks" / "demo.py"), *arguments],
        env=kept | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"} | environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=100,
        check=False,
    )


@pytest.fixture(scope="module")
def done() -> subprocess.CompletedProcess[str]:
    return demo()


def test_finds_everything_and_says_what_it_is(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The vectors come from the emulator, not from the model" in done.stdout
    for found in ("figures/fuel-pump.png", "sounds/misfire.wav", "SB-28-07.pdf#page=2"):
        assert done.stdout.count(f"{found}\n") >= 2, f"{found} by both frameworks"
    assert "✗" not in done.stdout
    assert "would cost" in done.stdout


def test_each_document_is_embedded_once_and_both_passes_are_shown(
    done: subprocess.CompletedProcess[str],
) -> None:
    stored = re.findall(r"(\d+) items stored with (\d+) embeddings", done.stdout)
    assert stored == [("26", "26")] * 2, "of each framework"
    assert "one embedding each, as the emulator counts them" in done.stdout
    assert done.stdout.count("   768   3072  found\n") == 2
    scores = re.findall(r"✓ +(-?\d\.\d{3}) +(-?\d\.\d{3})  ", done.stdout)
    assert len(scores) == 20
    assert sum(first != second for first, second in scores) > 10, "of two passes"


def test_prints_plain_lines_of_at_most_100_columns(
    done: subprocess.CompletedProcess[str],
) -> None:
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert not [line for line in lines if "\x1b" in line or line != line.rstrip()]


def test_live_without_a_key_says_what_is_missing() -> None:
    refused = demo("--live")
    assert refused.returncode != 0
    assert "GEMINI_API_KEY" in refused.stderr
    assert "Traceback" not in refused.stderr


def embedded() -> list[Path]:
    """The media of the corpus, the queries and the recordings."""
    folders = [CORPUS, CORPUS.parent / "queries", CORPUS.parent / "recordings"]
    return [path for folder in folders for path in folder.rglob("*") if path.suffix in TYPES]


def test_corpus_is_small_and_complete() -> None:
    assert sum(path.stat().st_size for path in embedded()) < 600_000
    linked = {
        link.partition("#")[0]
        for chapter in CORPUS.glob("28-*.md")
        for link in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", chapter.read_text("utf-8"))
    }
    read_alone = {"SL-28-11.pdf"}  # cookbook 2 takes its text and its picture out
    assert linked | read_alone == {
        path.relative_to(CORPUS).as_posix() for path in embedded() if path.is_relative_to(CORPUS)
    }


def test_each_medium_describes_itself() -> None:
    for path in embedded():
        assert len(describe(path.read_bytes(), TYPES[path.suffix])) > 40, path
