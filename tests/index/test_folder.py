"""The embedded engine's own promises: kept through a kill, one writer, a graph on one tier."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gemini2_core.errors import (
    ConfigurationError,
    IndexLockedError,
    IndexMismatchError,
    MissingExtraError,
)
from gemini2_core.index import MatryoshkaCollection
from tests.index.conftest import SPACE, random_rows
from tests.index.uploading import POINTS

pytest.importorskip("qdrant_edge")

ROOT = Path(__file__).resolve().parents[2]


def opened(path: Path, **options: object) -> MatryoshkaCollection:
    options = {"space": SPACE, "path": path, **options}
    return MatryoshkaCollection("docs", **options).open()  # type: ignore[arg-type]


@pytest.mark.parametrize(("how", "batches"), [("add", 1), ("add", 25), ("bulk", 25)])
def test_a_kill_loses_nothing_acknowledged_and_doubles_nothing(
    tmp_path: Path, how: str, batches: int
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.index.uploading", str(tmp_path), how],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(batches)]
        child.kill()
        # What it still said before the signal arrived was acknowledged too.
        lines += child.stdout.readlines()
    assert child.returncode == -9
    acknowledged = int(lines[-1])
    assert acknowledged < POINTS

    rows = random_rows(POINTS, 64)
    with opened(tmp_path) as collection:
        found = sorted(int(str(record.payload["n"])) for record in collection.scroll())
        assert found[:acknowledged] == list(range(acknowledged)), "a point was lost"
        assert len(found) == len(set(found)), "a point is there twice"
        assert collection.count() == len(found)
        for n in range(0, acknowledged, 37):
            assert collection.search(rows[n], 1)[0].id == n
        # Go on where it stopped, with some again.
        start = acknowledged - 20
        ids = range(start, start + 100)
        collection.add(ids, rows[start : start + 100], [{"n": n} for n in ids])
        assert collection.count() == max(start + 100, len(found))
    with opened(tmp_path) as collection:
        assert collection.count() == max(start + 100, len(found))


def test_a_second_writer_is_told_who_is_the_first(tmp_path: Path) -> None:
    with opened(tmp_path, tiers=(8, 32)) as first:
        first.add([1], random_rows(1))
        with pytest.raises(IndexLockedError, match=r"in this process already.*one writer"):
            opened(tmp_path)
        code = (
            "from gemini2_core.index import MatryoshkaCollection as M\n"
            f"M('docs', space={SPACE!r}, path={str(tmp_path)!r}).open()"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode != 0
        assert "IndexLockedError" in done.stderr
        assert "is open in process" in done.stderr
        assert first.count() == 1
    with opened(tmp_path) as second:
        assert second.count() == 1


def test_two_collections_live_in_one_folder(tmp_path: Path) -> None:
    with (
        MatryoshkaCollection("a", space=SPACE, tiers=(8, 32), path=tmp_path) as a,
        MatryoshkaCollection("b", space=SPACE, tiers=(4, 16), path=tmp_path) as b,
    ):
        a.add([1], random_rows(1))
        assert (a.count(), b.count()) == (1, 0)


def test_only_the_small_tier_has_a_graph_and_int8(tmp_path: Path) -> None:
    with opened(tmp_path, tiers=(8, 16, 32)):
        pass
    config = json.loads((tmp_path / "docs" / "edge_config.json").read_text())["vectors"]
    assert config["8"]["quantization_config"]["scalar"]["type"] == "int8"
    assert config["8"]["hnsw_config"]["m"] == 16
    for later in ("16", "32"):
        assert config[later]["hnsw_config"]["m"] == 0
        assert config[later]["memory"] == "cold"
        assert config[later].get("quantization_config") is None


def test_a_new_smallest_tier_takes_over_the_graph(tmp_path: Path) -> None:
    with opened(tmp_path, tiers=(16, 32)) as collection:
        collection.add(range(50), random_rows(50))
        collection.add_tier(8)
    config = json.loads((tmp_path / "docs" / "edge_config.json").read_text())["vectors"]
    assert config["8"]["quantization_config"]["scalar"]["type"] == "int8"
    assert [config[name]["hnsw_config"]["m"] for name in ("8", "16", "32")] == [16, 0, 0]
    assert config["16"].get("quantization_config") is None


def test_the_graph_finds_nearly_all_and_is_kept(tmp_path: Path) -> None:
    """Enough points that the engine builds a graph: found through it after opening again."""
    latent = np.random.default_rng(0)
    rows = (latent.normal(size=(7_000, 24)) @ latent.normal(size=(24, 512))).astype(np.float32)
    with opened(tmp_path, tiers=(256, 512)) as collection:
        collection.add(range(len(rows)), rows)
        collection.optimize()
    assert list(tmp_path.glob("docs/segments/*/vector_index-256/graph.bin"))
    with opened(tmp_path) as collection:
        queries = rows[::250] + latent.normal(size=(28, 512)).astype(np.float32)
        same = sum(
            len(
                {hit.id for hit in collection.search(query, 10)}
                & {hit.id for hit in collection.search(query, 10, exact=True)}
            )
            for query in queries
        )
        assert same / (10 * len(queries)) > 0.95
        collection.add(range(len(rows), len(rows) + 100), rows[:100])
        assert collection.count() == len(rows) + 100


def test_a_folder_of_others_is_taken_only_on_request(tmp_path: Path) -> None:
    import qdrant_edge as edge

    folder = tmp_path / "docs"
    folder.mkdir()
    vectors = {
        "small": edge.EdgeVectorParams(8, edge.Distance.Cosine),
        "large": edge.EdgeVectorParams(32, edge.Distance.Cosine),
    }
    shard = edge.EdgeShard.create(str(folder), edge.EdgeConfig(vectors=vectors))
    row = random_rows(1)[0].tolist()
    point = edge.Point(1, {"small": row[:8], "large": row}, {"n": 1})
    shard.update(edge.UpdateOperation.upsert_points([point]))
    shard.close()
    with pytest.raises(IndexMismatchError, match=r"no mark.*adopt=True"):
        opened(tmp_path, tiers=(8, 32))
    with pytest.raises(IndexMismatchError, match=r"tier 16 needs.*large: 32 cosine, small: 8"):
        opened(tmp_path, tiers=(8, 16), adopt=True)
    with opened(tmp_path, tiers=(8, 32), adopt=True) as collection:
        collection.add([2], random_rows(1, seed=1))
        assert collection.search(random_rows(1), 1)[0].id == 1
    with opened(tmp_path) as collection:
        assert collection.tiers == (8, 32)
        assert collection.count() == 2


def test_a_folder_that_is_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "thesis.md").write_text("mine")
    with pytest.raises(IndexMismatchError, match="isn't a collection"):
        opened(tmp_path)
    assert (tmp_path / "docs" / "thesis.md").read_text() == "mine"


@pytest.mark.parametrize("name", ["../up", ".", "a/b", "a\\b", ".hidden"])
def test_a_name_stays_in_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="can't be named"):
        MatryoshkaCollection(name, space=SPACE, path=tmp_path)


def test_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qdrant_edge", None)
    with pytest.raises(MissingExtraError, match=r"gemini2-embeddings\[edge\]"):
        MatryoshkaCollection("docs", space=SPACE, path=tmp_path)


def test_payload_indexes_hold_and_find(tmp_path: Path) -> None:
    indexes = {"n": "integer", "source": "keyword", "draft": "bool", "day": "datetime"}
    payloads: list[dict[str, object]] = [
        {"n": n, "source": f"{n % 5}.md", "draft": n % 2 == 0, "day": f"2026-01-{n + 1:02}"}
        for n in range(20)
    ]
    for _ in range(2):
        with opened(tmp_path, tiers=(8, 32), payload_indexes=indexes) as collection:
            collection.add(range(20), random_rows(20), payloads)
            assert collection.count({"n": {"lt": 7}, "draft": True}) == 4
            assert collection.count({"source": ["1.md", "2.md"]}) == 8
            assert collection.count({"day": {"gte": "2026-01-19"}}) == 2
            assert collection.get([3])[0].payload == payloads[3]
