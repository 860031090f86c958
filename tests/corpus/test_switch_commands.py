"""``gemini2 verify``, ``switch``, ``rollback`` and ``drop-old``, one process after the other."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from gemini2_core.cli import main
from gemini2_core.corpus.filling import mark_filled, mark_filling
from gemini2_core.embedding import Gemini2Embedder
from gemini2_core.emulator import Emulator, serve
from gemini2_core.index import MatryoshkaCollection, PointId
from tests.wire import KEY

TEXTS = [f"part {n} of the fuel pump" for n in range(8)]


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with serve() as running:
        yield running


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Where the collections are: an argument of a collection, and an option."""
    pytest.importorskip("qdrant_edge")
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    return {"path": str(tmp_path / "index")}


def fill(
    name: str,
    model: str,
    place: dict[str, str],
    emulator: Emulator,
    ids: Iterable[PointId] = ("p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7"),
) -> None:
    """A collection of all the texts, by a model."""
    with Gemini2Embedder(model, api_key=KEY, base_url=emulator.base_url, dimensions=768) as by:
        made = MatryoshkaCollection(name, space=by.space, tiers=(768,), **place)  # type: ignore[arg-type]
        with made as collection:
            payloads = [{"page_content": text, "metadata": {}} for text in TEXTS]
            collection.add(ids, by.embed_documents(TEXTS), payloads)


def test_the_whole_way(
    place: dict[str, str], emulator: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = [f"--{next(iter(place))}", next(iter(place.values()))]
    asked = ["--base-url", emulator.base_url, "--quiet"]

    def run(*line: str, status: int = 0) -> str:
        assert main(line) == status
        told = capsys.readouterr()
        return told.out or told.err

    fill("v1", "gemini-embedding-001", place, emulator)
    fill("v2", "gemini-embedding-2", place, emulator)
    assert "nobody has verified it" in run("switch", "docs", "v1", *at, status=1)
    assert run("switch", "docs", "v1", *at, "--force") == "docs names v1 now, and named nothing\n"

    with MatryoshkaCollection("v2", space=None, **place) as v2:  # type: ignore[arg-type]
        mark_filling(v2)
    verifying = ["verify", "v2", "--collection", "docs", *at, *asked]
    assert "still being filled" in run(*verifying, status=1)
    assert "still being filled" in run("switch", "docs", "v2", *at, "--force", status=1)
    with MatryoshkaCollection("v2", space=None, **place) as v2:  # type: ignore[arg-type]
        mark_filled(v2)

    (tmp_path / "queries.txt").write_text("fuel pump\n\npart 3\n", "utf-8")
    queries = ["--queries", str(tmp_path / "queries.txt"), "--k", "3"]
    table = run(*verifying, *queries)
    assert table.startswith("v2: passed\n")
    assert "overlap@3" in table
    told = json.loads(run(*verifying, *queries, "--json"))
    assert (told["passed"], told["expected"], told["sampled"]) == (True, 8, 8)
    assert [len(one["before"]) for one in told["queries"]] == [3, 3]

    assert run("switch", "docs", "v2", *at) == "docs names v2 now, and named v1; v1 is kept\n"
    assert run("switch", "docs", "v2", *at) == "docs names v2 already; v1 is kept\n"
    assert run("rollback", "docs", *at) == "docs names v1 now, and named v2\n"
    assert "nothing to go back to" in run("rollback", "docs", *at, status=1)
    assert run("drop-old", "docs", *at) == "nothing is kept from before docs was switched\n"
    run("switch", "docs", "v2", *at)
    assert "'v2' would be its own source, by its name 'docs'" in run(*verifying, status=1)
    moving = ["reindex", "--collection", "docs", "--from-path", place["path"], "--to", "v2"]
    moving += ["--checkpoint", str(tmp_path / "c"), *at, *asked]
    emulator.reset()
    assert "'v2' would be its own source, by its name 'docs'" in run(*moving, status=1)
    assert not emulator.requests
    assert "this would delete v1 at" in run("drop-old", "docs", *at, status=1)
    assert run("drop-old", "docs", *at, "--yes") == "deleted v1\n"
    with MatryoshkaCollection("docs", space=None, **place) as docs:  # type: ignore[arg-type]
        assert docs.collections() == ["v2"]


def test_what_isnt_there_is_said(
    place: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    at = [f"--{next(iter(place))}", next(iter(place.values()))]
    assert main(["verify", "v2", "--collection", "docs", *at]) == 1
    assert "there is no collection 'v2'" in capsys.readouterr().err
    assert main(["switch", "docs", "v2", *at]) == 1
    assert "there is no collection 'v2'" in capsys.readouterr().err
    for command in ("rollback", "drop-old"):
        assert main([command, "docs", *at]) == 1
        assert "there is no alias 'docs'" in capsys.readouterr().err
    (tmp_path / "queries.txt").write_text("q\n")
    paths = [str(tmp_path), "--queries", str(tmp_path / "queries.txt")]
    assert main(["verify", "v2", *paths, *at]) == 1
    assert "--queries are asked of --collection" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:.*left out 1")
def test_what_reindex_left_out_is_left_out_when_told(
    place: dict[str, str], emulator: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.dumps({"_id": f"p{n}", "text": text}) for n, text in enumerate(TEXTS)]
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("\n".join([*lines, "broken"]), "utf-8")
    to = ["--path", place["path"], "--base-url", emulator.base_url, "--quiet"]
    moving = ["reindex", str(corpus), "--to", "v2", "--checkpoint", str(tmp_path / "move.sqlite")]
    assert main([*moving, *to]) == 0
    assert main(["verify", "v2", str(corpus), *to]) == 1
    assert "line 9: the line isn't JSON" in (told := capsys.readouterr().err)
    assert "--skip-bad leaves out what can't be read" in told
    assert main(["verify", "v2", str(corpus), *to, "--skip-bad"]) == 0


def test_the_live_collection_may_be_any_that_qdrant_holds(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As langchain-qdrant makes them in a folder: one unnamed vector, no mark."""
    from qdrant_client import QdrantClient, models

    pytest.importorskip("qdrant_edge")
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    params = models.VectorParams(size=768, distance=models.Distance.COSINE)
    with Gemini2Embedder(
        "gemini-embedding-001", api_key=KEY, base_url=emulator.base_url, dimensions=768
    ) as by:
        points = [
            models.PointStruct(id=n, vector=row, payload={"page_content": text, "metadata": {}})
            for n, (row, text) in enumerate(
                zip(by.embed_documents(TEXTS).tolist(), TEXTS, strict=True)
            )
        ]
    client = QdrantClient(path=str(tmp_path / "theirs"))
    client.create_collection("docs", vectors_config=params)
    client.upsert("docs", points)
    client.close()
    fill("v2", "gemini-embedding-2", {"path": str(tmp_path / "ours")}, emulator, range(8))
    (tmp_path / "queries.txt").write_text("part 3\n", "utf-8")
    line = ["verify", "v2", "--path", str(tmp_path / "ours"), "--collection", "docs"]
    line += ["--from-path", str(tmp_path / "theirs"), "--base-url", emulator.base_url, "--quiet"]
    line += ["--queries", str(tmp_path / "queries.txt")]
    assert main(line) == 0
    assert main([*line, "--live-vector", "dense"]) == 1
