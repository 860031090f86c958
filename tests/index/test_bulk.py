"""Many points at once: stored like any, searched as they come, one graph at the end."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from gemini2_core.errors import IndexUnavailableError
from gemini2_core.index import MatryoshkaCollection
from tests.index.conftest import SPACE, Make, Rows, random_rows
from tests.index.recorder import recorder


def graphs(path: Path) -> list[Path]:
    return list(path.glob("docs/segments/*/vector_index-256/graph.bin"))


def large_rows(n: int) -> Rows:
    """Enough of them, 13 MB in 6,500, that the engine finds a graph worth it."""
    rng = np.random.default_rng(0)
    return (rng.normal(size=(n, 16)) @ rng.normal(size=(16, 512))).astype(np.float32)


def test_a_folder_gets_one_graph_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("qdrant_edge")
    monkeypatch.setattr("gemini2_core.index.edge_backend._WAITING", 1_000)
    rows = large_rows(11_700)
    with MatryoshkaCollection("docs", space=SPACE, tiers=(256, 512), path=tmp_path) as collection:
        with collection.bulk():
            for start in range(0, 6_500, 1_300):
                collection.add(range(start, start + 1_300), rows[start : start + 1_300])
            assert graphs(tmp_path) == []
            assert collection.search(rows[6_400], 1)[0].id == 6_400
        built = graphs(tmp_path)
        assert len(built) == 1
        # Outside of it, as many points are enough for the next build.
        collection.add(range(6_500, 11_700), rows[6_500:])
        assert graphs(tmp_path) != built


@pytest.mark.skipif(sys.platform == "win32", reason="a script stands in for the interpreter")
def test_after_an_error_the_points_are_there_without_a_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("qdrant_edge")
    rows = large_rows(6_500)
    with MatryoshkaCollection("docs", space=SPACE, tiers=(256, 512), path=tmp_path) as collection:
        with suppress(KeyboardInterrupt), collection.bulk():
            collection.add(range(6_500), rows)
            raise KeyboardInterrupt
        assert (collection.count(), graphs(tmp_path)) == (6_500, [])
        with monkeypatch.context() as patched:
            killed = tmp_path / "killed"
            killed.write_text("#!/bin/sh\nkill -9 $$\n")
            killed.chmod(0o755)
            patched.setattr(sys, "executable", str(killed))
            with pytest.raises(IndexUnavailableError, match="killed"):
                collection.optimize()
        assert (collection.count(), graphs(tmp_path)) == (6_500, [])
        # An application that embeds Python may name itself, or nothing, as the interpreter.
        for executable in ("", "/bin/false"):
            monkeypatch.setattr(sys, "executable", executable)
            collection.optimize()
            assert (collection.count(), len(graphs(tmp_path))) == (6_500, 1)


async def test_the_async_twin_adds_and_finds(make: Make) -> None:
    rows = random_rows(40)
    async with make(tiers=(8, 32)) as collection:
        async with collection.abulk() as same:
            assert same is collection
            for start in range(0, 40, 10):
                await collection.aadd(range(start, start + 10), rows[start : start + 10])
                assert (await collection.asearch(rows[start], 1))[0].id == start
        assert await collection.acount() == 40


def test_a_server_is_asked_for_nothing_more() -> None:
    with recorder() as server:
        with MatryoshkaCollection("docs", space=SPACE, tiers=(8, 32), url=server.url) as collection:
            before = len(server.asked)
            with collection.bulk():
                collection.add([1], random_rows(1))
        assert [one.method for one in server.asked[before:]] == ["PUT"]
