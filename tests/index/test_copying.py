"""A collection copied from one engine to another."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemini2_core.errors import IndexMismatchError
from gemini2_core.index import MatryoshkaCollection, copy_collection
from tests.index.conftest import SPACE, random_rows
from tests.index.recorder import recorder

pytest.importorskip("qdrant_edge")


def test_a_folder_goes_to_a_server_with_ids_payloads_and_tiers(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    with (
        recorder() as server,
        MatryoshkaCollection("docs", space=SPACE, tiers=(8, 32), path=tmp_path) as source,
        MatryoshkaCollection("docs", space=SPACE, tiers=(4, 16), url=server.url) as target,
    ):
        payloads: list[dict[str, object]] = [{"n": n, "even": n % 2 == 0} for n in range(700)]
        source.add([f"p{n}" for n in range(700)], random_rows(700), payloads)
        assert copy_collection(source, target, on_progress=lambda *at: seen.append(at)) == 700
        sent = [p for asked in server.of("PUT", "/points") for p in asked.body["points"]]
    assert seen == [(512, 700), (700, 700)]
    assert sorted(p["payload"]["_id"] for p in sent) == sorted(f"p{n}" for n in range(700))
    assert {tuple(sorted(p["payload"])) for p in sent} == {("_id", "even", "n")}
    assert {(len(p["vector"]["4"]), len(p["vector"]["16"])) for p in sent} == {(4, 16)}


def test_copied_points_are_found_and_copying_again_doubles_none(tmp_path: Path) -> None:
    rows = random_rows(50)
    with (
        MatryoshkaCollection("docs", space=SPACE, tiers=(8, 32), path=tmp_path) as source,
        MatryoshkaCollection("docs", space=SPACE, tiers=(8, 32), hybrid=True) as target,
    ):
        source.add(range(50), rows, [{"text": f"word{n}"} for n in range(50)])
        with pytest.raises(IndexMismatchError, match="texts_for"):
            copy_collection(source, target)
        for _ in range(2):
            copy_collection(source, target, texts_for=lambda r: str(r.payload["text"]))
        assert target.count() == 50
        assert target.search(rows[7], 1)[0].id == 7
        assert 9 in {hit.id for hit in target.search(rows[7], 2, shortlist=2, text="word9")}


def test_what_cant_be_copied_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with MatryoshkaCollection("docs", space=SPACE, tiers=(8, 32), path=tmp_path) as source:
        source.add([1], random_rows(1))
        larger = MatryoshkaCollection("docs", space=SPACE, tiers=(8, 64))
        other = MatryoshkaCollection("docs", space="gemini-embedding-001/RETRIEVAL", tiers=(8, 32))
        with pytest.raises(IndexMismatchError, match=r"64 numbers.*is 32"):
            copy_collection(source, larger)
        with pytest.raises(IndexMismatchError, match="001"):
            copy_collection(source, other)
        assert (larger.count(), other.count()) == (0, 0)
