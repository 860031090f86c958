"""``gemini2 reindex``, as it is typed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from gemini2_core.cli.program import main
from gemini2_core.corpus import CollectionSource
from gemini2_core.emulator import Emulator, serve
from gemini2_core.index import MatryoshkaCollection
from tests.corpus.corpora import made_up
from tests.corpus.emulating import ROOT

pytest.importorskip("qdrant_edge")


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    monkeypatch.setenv("GEMINI_API_KEY", "any")
    with serve() as emulator:
        yield emulator


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    lines = [
        orjson.dumps({"_id": f"doc-{n}", "title": f"Nr. {n}", "text": str(made_up(n).content)})
        for n in range(120)
    ]
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(b"\n".join([*lines, b"no JSON", b""]))
    return path


def test_a_corpus_is_moved_and_moved_on_by_the_same_command(
    emulator: Emulator, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["reindex", str(corpus), "--to", "new", "--path", str(tmp_path / "index")]
    words += ["--checkpoint", str(tmp_path / "c"), "--tiers", "768,1536", "--page", "20"]
    words += ["--base-url", emulator.base_url]
    with pytest.warns(UserWarning, match="left out 1"):
        assert main([*words, "--dry-run"]) == 0
    said = capsys.readouterr()
    assert "120  would be embedded" in said.out
    assert "1  left out by the source" in said.out
    assert not (tmp_path / "index").exists()
    assert main([*words, "--max-cost", "0.0005"]) == 3
    said = capsys.readouterr()
    assert "would bring the cost above" in said.out
    assert "/121" in said.err, "the bar"
    with pytest.warns(UserWarning, match="left out 1"):
        assert main([*words, "--quiet"]) == 0
    said = capsys.readouterr()
    assert "stored already" in said.out
    assert "%" not in said.err
    assert sum(record.items for record in emulator.requests) == 120
    with MatryoshkaCollection("new", space=None, path=tmp_path / "index") as collection:
        assert (collection.count(), collection.tiers) == (120, (768, 1536))
        [seven] = collection.get(["doc-7"])
        assert seven.payload["metadata"] == {"title": "Nr. 7"}
    # And from that collection into the next, by the Batch API: ids and payloads stay.
    words = ["reindex", "--collection", "new", "--from-path", str(tmp_path / "index")]
    words += ["--to", "next", "--path", str(tmp_path / "next"), "--tiers", "768", "--quiet"]
    words += ["--checkpoint", str(tmp_path / "d"), "--base-url", emulator.base_url]
    assert main([*words, "--batch", "--lines-per-job", "100"]) == 0
    assert main(["batch", "status", "--offline", "--state", str(tmp_path / "d.batch")]) == 0
    assert "120 of 120 lines done" in capsys.readouterr().out
    with (
        CollectionSource("new", path=tmp_path / "index") as source,
        MatryoshkaCollection("next", space=None, path=tmp_path / "next") as collection,
    ):
        assert {i.id: i.payload for i in source} == {r.id: r.payload for r in collection.scroll()}


def test_what_cant_be_embedded_is_told_by_the_exit_status_too(
    emulator: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text(
        '{"_id": "a", "text": "![](no.png)"}\n{"_id": "b", "text": "a pump"}\n', "utf-8"
    )
    words = ["reindex", str(path), "--to", "new", "--path", str(tmp_path / "index"), "--quiet"]
    words += ["--checkpoint", str(tmp_path / "c"), "--base-url", emulator.base_url]
    assert main([*words, "--media-root", str(tmp_path)]) == 3
    said = capsys.readouterr().out
    assert "1  embedded and stored" in said
    assert "failed: a: " in said
    assert main([*words, "--media-root", str(tmp_path), "--json"]) == 3
    told = orjson.loads(capsys.readouterr().out)
    assert (told["unchanged"], told["failures"][0]["id"], told["finished"]) == (1, "a", True)
    assert (told["tokens"].keys(), told["usage"]["tokens"]) == ({"TEXT"}, {})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--shard", "2/2"], "shards are numbered from 0"),
        (["--max-cost", "-1"], "max_dollars=-1.0 must be above 0"),
        (["--from-path", "x", "--collection", "y"], "paths, or --collection"),
        (["--url", "http://127.0.0.1:1"], "--path or --url, one of them"),
    ],
)
def test_what_cant_work_is_said_before_anything_is_sent(
    emulator: Emulator,
    corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    given = ["reindex", str(corpus), "--to", "new", "--path", str(tmp_path / "index")]
    given += ["--checkpoint", str(tmp_path / "c"), "--base-url", emulator.base_url, *words]
    assert main(given) == 1
    assert said in capsys.readouterr().err
    assert not emulator.requests


def test_an_interrupt_keeps_what_was_paid_for(
    emulator: Emulator, corpus: Path, tmp_path: Path
) -> None:
    emulator.configure(latency=0.05)
    words = [sys.executable, "-m", "gemini2_core.cli", "reindex", str(corpus), "--to", "new"]
    words += ["--path", str(tmp_path / "index"), "--checkpoint", str(tmp_path / "c")]
    words += ["--tiers", "768", "--page", "20", "--max-concurrency", "1", "--quiet"]
    words += ["--base-url", emulator.base_url]
    with subprocess.Popen(words, cwd=ROOT, env=dict(os.environ), stderr=subprocess.PIPE) as process:
        while not emulator.requests and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate()
    assert process.returncode == 130, told
    assert b"the same command goes on" in told
    assert 0 < sum(record.items for record in emulator.requests) < 120
    emulator.configure(latency=0.0)
    with pytest.warns(UserWarning, match="left out 1"):
        assert main(words[3:]) == 0
    assert sum(record.items for record in emulator.requests if record.status == 200) == 120
