"""``gemini2 batch``, from a corpus to a file of vectors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pytest

from gemini2_core import Gemini2Embedder
from gemini2_core.cli import main
from gemini2_core.embedding import Usage
from gemini2_core.embedding.batch import BatchRun, BatchStatus, JobStatus
from gemini2_core.emulator import Emulator
from tests.embedding.batch.conftest import files, jobs, paid
from tests.embedding.conftest import KEY

TEXTS = {f"k{n}": f"text number {n}" for n in range(6)}
Batch = Callable[..., int]


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    path = tmp_path / "corpus.jsonl"
    lines = [{"_id": key, "title": "", "text": text} for key, text in TEXTS.items()]
    path.write_bytes(b"\n".join(map(orjson.dumps, lines)))
    return str(path)


@pytest.fixture
def batch(emulator: Emulator, path: Path, monkeypatch: pytest.MonkeyPatch) -> Batch:
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    monkeypatch.setattr("gemini2_core.embedding.batch.run._FIRST_PAUSE", 0.02)

    def command(action: str, *rest: str) -> int:
        options = ["--state", str(path), "--base-url", emulator.base_url]
        return main(["batch", action, *rest, *options])

    return command


def test_from_a_corpus_to_a_file(
    batch: Batch,
    corpus: str,
    tmp_path: Path,
    emulator: Emulator,
    embedder: Gemini2Embedder,
    capsys: pytest.CaptureFixture[str],
) -> None:
    emulator.configure(batch_outcomes=("expire",))
    assert batch("submit", corpus, "--lines-per-job", "3") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"6 new contents from {corpus}"
    assert said[1].startswith("6 contents, ")
    assert said[3].split()[:2] == ["job", "state"]
    assert batch("submit", corpus) == 0
    assert "0 new contents" in capsys.readouterr().out
    output = tmp_path / "vectors.npz"
    assert batch("collect", "--output", str(output)) == 0
    assert "6 vectors in" in capsys.readouterr().out
    with np.load(output) as read:
        assert read["keys"].tolist() == list(TEXTS)
        assert np.array_equal(read["vectors"], embedder.embed_documents([*TEXTS.values()]).vectors)
    assert paid(emulator) == 6
    assert files(emulator) == []


def test_status_and_cancel(
    batch: Batch,
    corpus: str,
    emulator: Emulator,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    emulator.configure(batch_outcomes=("stuck", "succeed"))
    batch("submit", corpus, "--lines-per-job", "3", "--dimensions", "768", "--side", "query")
    assert batch("status") == 0
    assert batch("cancel") == 0
    capsys.readouterr()
    monkeypatch.delenv("GEMINI_API_KEY")
    assert batch("status", "--offline") == 0
    said = capsys.readouterr().out
    assert "3 of 6 lines done, cancelled" in said
    assert [line.split()[1] for line in said.splitlines()[3:]] == ["CANCELLED", "SUCCEEDED"]
    assert len(jobs(emulator)) == 2
    assert batch("status", "--offline", "--json") == 0
    told = orjson.loads(capsys.readouterr().out)
    assert (told["done"], told["settled"], told["cancelled"]) == (3, True, True)
    assert [(job["state"], job["done"]) for job in told["jobs"]] == [
        ("CANCELLED", 0),
        ("SUCCEEDED", 3),
    ]


def test_many_jobs_are_told_in_a_screen() -> None:
    ended = [JobStatus(n, f"batches/{n}", "SUCCEEDED", 9, 9, 1.0) for n in range(1, 960)]
    running = [JobStatus(n, f"batches/{n}", "RUNNING", 9, 0, 1.0) for n in range(960, 965)]
    waiting = [JobStatus(n, "", "WAITING", 9, 0, None) for n in range(965, 1001)]

    def status(*jobs: JobStatus) -> BatchStatus:
        return BatchStatus(9000, 9000, 8631, 0, 0, jobs, Usage(), 1.0, False)

    lines = str(status(*ended, *running, *waiting)).splitlines()
    assert [line.split()[0] for line in lines[3:-1]] == ["960", "961", "962", "963", "964"]
    assert lines[-1] == "… and 995 more: 959 SUCCEEDED, 36 WAITING"
    lines = str(status(*ended)).splitlines()
    assert (len(lines), lines[-1]) == (24, "… and 939 more: 939 SUCCEEDED")
    assert "more" not in str(status(*ended[:20]))


@pytest.mark.parametrize(
    ("output", "more", "told"),
    [
        ("vectors.txt", (), "vectors are written to .npz, .parquet, .jsonl"),
        ("no/vectors.npz", (), "there is no folder"),
        ("vectors.npz", ("--dimensions", "9999"), "have 3072 numbers"),
    ],
)
def test_a_file_that_cant_be_written_is_told_before_the_jobs_are_waited_for(
    batch: Batch,
    corpus: str,
    tmp_path: Path,
    emulator: Emulator,
    capsys: pytest.CaptureFixture[str],
    output: str,
    more: tuple[str, ...],
    told: str,
) -> None:
    emulator.configure(batch_outcome="stuck")
    batch("submit", corpus)
    assert batch("collect", "--output", str(tmp_path / output), *more) == 1
    assert told in capsys.readouterr().err


def test_an_interrupt_says_what_goes_on(
    batch: Batch,
    corpus: str,
    tmp_path: Path,
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    batch("submit", corpus)
    output = ("--output", str(tmp_path / "vectors.npz"))
    with monkeypatch.context() as patched:
        patched.setattr(BatchRun, "wait", interrupted)
        assert batch("collect", *output) == 130
    assert "the jobs go on, and so does the same command" in capsys.readouterr().err
    assert batch("collect", *output) == 0
    assert len(jobs(emulator)) == 1


def test_what_failed_is_named_and_told_by_the_exit_status(
    batch: Batch,
    tmp_path: Path,
    emulator: Emulator,
    capsys: pytest.CaptureFixture[str],
) -> None:
    emulator.configure(batch_failing=0.3)
    table = tmp_path / "table.csv"
    table.write_text("text\n" + "\n".join(TEXTS.values()) + "\n")
    batch("submit", str(table), "--column", "text", "--on-failed", "report")
    output = str(tmp_path / "vectors.jsonl")
    assert batch("collect", "--no-wait", "--output", output) == 3
    assert batch("collect", "--on-failed", "report", "--output", output) == 3
    told = capsys.readouterr()
    lines = Path(output).read_bytes().splitlines()
    assert 0 < len(lines) < 6
    assert told.err.count("13: Internal error encountered.") == 6 - len(lines)


def test_no_key_and_no_run_are_errors_in_a_line(
    batch: Batch,
    corpus: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert batch("status") == 1
    assert "there is no batch run in" in capsys.readouterr().err
    monkeypatch.delenv("GEMINI_API_KEY")
    assert batch("submit", corpus) == 1
    assert "no API key" in capsys.readouterr().err
