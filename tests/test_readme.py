"""The Python of the README and of the guide runs, from top to bottom, on the emulator."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gemini2_core.cli import main
from gemini2_core.emulator import serve

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
GUIDE = ROOT / "cookbooks" / "moving_a_corpus.md"
FRAMEWORKS = ("langchain_core", "llama_index.core")

each_page = pytest.mark.parametrize("page", [README, GUIDE], ids=lambda page: page.stem)


def python_of(markdown: str) -> str:
    """The text with everything but its Python blocks blanked, so that line numbers stay true."""
    lines, inside = [], False
    for line in markdown.splitlines():
        fence = line.startswith("```")
        lines.append(line if inside and not fence else "")
        inside = line.startswith("```python") or (inside and not fence)
    return "\n".join(lines)


@each_page
def test_python_blocks_run_on_the_emulator(page: Path, tmp_path: Path) -> None:
    for framework in FRAMEWORKS:
        pytest.importorskip(framework)
    script = tmp_path / f"{page.stem}.py"
    script.write_text(python_of(page.read_text("utf-8")), "utf-8")
    (tmp_path / "cookbooks").symlink_to(ROOT / "cookbooks", target_is_directory=True)
    with serve() as emulator:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("GOOGLE_", "GEMINI_"))}
        done = subprocess.run(
            [sys.executable, str(script)],
            cwd=tmp_path,  # what the blocks write stays out of the repository
            env=kept
            | {
                "GEMINI_API_KEY": "emulator",
                "GOOGLE_GEMINI_BASE_URL": emulator.base_url,
                "PYTHONPATH": str(ROOT),
                "PYTHONUTF8": "1",
                "TMPDIR": str(tmp_path),
            },
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert emulator.requests, "the page asked another server"


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    # Links in code are examples, relative to a media root.
    prose = re.sub(r"(?s)```.*?```|`[^`\n]*`", "", text)
    headings = {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"(?m)^#+ (.+)$", text)
    }
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if link.startswith("#"):
            assert link[1:] in headings, link
        elif not link.startswith("https://"):
            assert (page.parent / link).exists(), link


def test_named_make_targets_exist() -> None:
    targets = set(re.findall(r"(?m)^([\w.-]+):", (ROOT / "Makefile").read_text("utf-8")))
    pages = README.read_text("utf-8") + GUIDE.read_text("utf-8")
    named = set(re.findall(r"(?m)(?:^    |`)make ([\w.-]+)", pages))
    assert named
    assert named <= targets


def test_named_commands_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    there = set(re.findall(r"(?m)^    ([a-z][\w-]+) ", capsys.readouterr().out))
    pages = README.read_text("utf-8") + GUIDE.read_text("utf-8")
    named = set(re.findall(r"(?m)(?:^    |`)gemini2 ([a-z][\w-]+)", pages))
    assert named
    assert named <= there
