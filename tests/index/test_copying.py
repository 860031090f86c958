"""A collection copied from one engine to another."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cookbooks.qdrant_on_loopback import serve
from gemini2_core.cli import main
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


def filled(path: Path, n: int = 600, **options: object) -> None:
    options = {"tiers": (8, 32), "hybrid": True, **options}
    with MatryoshkaCollection("docs", space=SPACE, path=path, **options) as source:  # type: ignore[arg-type]
        payloads = [{"page_content": f"word{n}", "metadata": {"n": n}} for n in range(n)]
        texts = [str(payload["page_content"]) for payload in payloads]
        source.add([f"p{n}" for n in range(n)], random_rows(n), payloads, texts=texts)


def test_the_command_copies_to_a_server_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(tmp_path)
    with serve() as url:
        command = ["copy", "docs", "--from-path", str(tmp_path), "--to-url", url]
        # The second of its requests is refused: the first page is there, and the rest isn't.
        url.fail_next(*[200] * 6, 400)
        assert main([*command, "--to-name", "copy", "--tiers", "16", "32"]) == 1
        assert "refused (400)" in capsys.readouterr().err
        assert main([*command, "--to-name", "copy", "--tiers", "16", "32"]) == 0
        out, shown = capsys.readouterr()
        found = re.search(r"(\d+) points copied to 'copy' at http://.*; (\d+) were there", out)
        assert found
        copied, there = map(int, found.groups())
        assert copied + there == 600
        assert there >= 512
        assert "copying docs" in shown
        assert "600/600" in shown
        with MatryoshkaCollection("copy", space=SPACE, url=url) as copy:
            assert copy.count() == 600
            assert copy.tiers == (16, 32)
            hits = copy.search(random_rows(600)[7], 2, shortlist=2, text="word9")
            assert {hit.id for hit in hits} == {"p7", "p9"}
        assert main([*command, "--to-name", "copy"]) == 1
        assert "has tiers 16 + 32" in capsys.readouterr().err


def test_a_changed_payload_is_copied_again_and_all_means_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(tmp_path / "a", 3)
    command = ["copy", "docs", "--from-path", str(tmp_path / "a"), "--to-path", str(tmp_path / "b")]
    assert main(command) == 0
    with MatryoshkaCollection("docs", space=SPACE, path=tmp_path / "a") as source:
        source.add(["p1"], random_rows(1), [{"page_content": "new"}], texts=["new"])
    assert main(command) == 0
    assert "1 points copied" in capsys.readouterr().out.splitlines()[-1]
    assert main([*command, "--all"]) == 0
    assert "3 points copied to 'docs'" in capsys.readouterr().out
    with MatryoshkaCollection("docs", space=SPACE, path=tmp_path / "b") as copy:
        assert copy.get(["p1"])[0].payload == {"page_content": "new"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("nothing --from-path {} --to-url http://127.0.0.1:1", "no collection 'nothing' .* docs"),
        ("docs --from-path {} --to-url http://127.0.0.1:1", "didn't answer"),
        ("docs --from-path {}", "--to-path or --to-url"),
        ("docs --from-path {} --to-path {}/b --tiers 8 64", "--tiers 64 is more than the 32"),
        ("docs --from-path {} --to-path {}/b --text-key nowhere", "no text in 'nowhere'"),
        ("docs --from-path {} --to-path {}", "in this process already"),
    ],
)
def test_what_cant_be_copied_is_told_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: str, message: str
) -> None:
    filled(tmp_path, 3)
    assert main(["copy", *arguments.replace("{}", str(tmp_path)).split()]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("gemini2: ")
    assert re.search(message, last)
