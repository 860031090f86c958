"""Aliases: one more name for a collection, moved in one step, and the note beside its mark."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemini2_core.errors import (
    ClosedError,
    ConfigurationError,
    IndexLockedError,
    IndexMismatchError,
    IndexUnavailableError,
    InvalidInputError,
)
from gemini2_core.index import MatryoshkaCollection
from gemini2_core.index.edge_aliases import FolderAliases
from gemini2_core.index.lock import WriterLock
from gemini2_core.index.mark import Mark
from tests.index.conftest import SPACE, Make, random_rows

ROOT = Path(__file__).resolve().parents[2]


def filled(make: Make, name: str, n: int, **options: object) -> MatryoshkaCollection:
    collection = make(name, tiers=(8, 32), **options)
    collection.add(range(n), random_rows(n), [{"in": name}] * n)
    return collection


def test_an_alias_opens_what_it_names_and_moves_in_one_step(make: Make) -> None:
    assert filled(make, "one", 1).point_alias("live") is None
    assert make("live").count() == 1
    assert filled(make, "two", 2).point_alias("live") == "one"
    live = make("live")
    assert live.aliases() == {"live": "two"}
    assert live.count() == 2
    assert live.search(random_rows(1), 1)[0].payload == {"in": "two"}
    assert live.collections() == ["one", "two"]
    assert live.drop_alias("live") == "two"
    assert live.drop_alias("live") is None
    assert live.aliases() == {}
    assert live.collections() == ["one", "two"]


async def test_aliases_have_async_twins(make: Make) -> None:
    async with make("one", tiers=(8, 32)) as one:
        assert await one.apoint_alias("live") is None
        assert await one.aaliases() == {"live": "one"}
        assert await one.acollections() == ["one"]
        await one.awrite_note({"n": 1})
        assert await one.anote() == {"n": 1}
        assert await one.adrop_alias("live") == "one"
    with pytest.raises(ClosedError):
        await one.aaliases()
    with pytest.raises(ClosedError):
        await one.acollections()


def test_to_ask_for_names_opens_nothing(make: Make) -> None:
    nobody = make("nobody", space=None)
    assert nobody.aliases() == {}
    assert nobody.collections() == []
    assert make("nobody").collections() == []


def test_an_alias_never_has_the_name_of_a_collection(make: Make) -> None:
    filled(make, "one", 1)
    two = filled(make, "two", 2)
    for taken in ("one", "two"):
        with pytest.raises(ConfigurationError, match=rf"'{taken}' is the name of a collection"):
            two.point_alias(taken)
    with pytest.raises(ConfigurationError, match="needs a name"):
        two.point_alias("")
    assert two.aliases() == {}


def test_what_an_alias_names_cant_be_dropped(make: Make) -> None:
    one = filled(make, "one", 1)
    one.point_alias("live")
    with pytest.raises(ConfigurationError, match=r"alias 'live' names.*drop_alias\('live'\)"):
        one.drop()
    with pytest.raises(ConfigurationError, match=r"'one'.*alias 'live'"):
        make("live").drop()
    again = make("one")
    assert again.count() == 1
    again.drop_alias("live")
    again.drop()
    assert make("two").collections() == []


def test_a_collection_that_was_opened_by_its_alias_gets_more_aliases(make: Make) -> None:
    filled(make, "one", 1).point_alias("live")
    live = make("live")
    live.point_alias("stable")
    assert live.aliases() == {"live": "one", "stable": "one"}


def test_an_open_reader_in_memory_follows_and_never_mixes_spaces() -> None:
    from qdrant_client import QdrantClient

    client = QdrantClient(":memory:")

    def collection(name: str, **more: object) -> MatryoshkaCollection:
        return MatryoshkaCollection(name, **{"space": SPACE, "client": client, **more})  # type: ignore[arg-type]

    rows = random_rows(3)
    one = collection("one", tiers=(8, 32))
    one.add([1], rows[:1])
    one.point_alias("live")
    reader = collection("live")
    assert [hit.id for hit in reader.search(rows[0])] == [1]
    # Other tiers: the next search opens them.
    two = collection("two", tiers=(4, 16))
    two.add([1, 2], rows[:2])
    two.point_alias("live")
    assert len(reader.search(rows[0])) == 2
    assert reader.tiers == (4, 16)
    # Another space of the same sizes: no search compares the two.
    other = collection("other", space="gemini-embedding-001/RETRIEVAL", tiers=(4, 16))
    other.add([1, 2, 3], rows)
    other.point_alias("live")
    with pytest.raises(IndexMismatchError, match="001"):
        reader.search(rows[0])
    with pytest.raises(IndexMismatchError, match="001"):
        reader.add([9], rows[:1])
    assert other.count() == 3
    two.point_alias("live")
    assert len(reader.search(rows[0])) == 2
    two.drop_alias("live")
    with pytest.raises(IndexUnavailableError, match="'live'"):
        reader.search(rows[0])
    # Nor does who was refused make a collection of the alias's name, when it names nothing.
    other.point_alias("live")
    late = collection("two", tiers=(4, 16)).beside("live")
    assert late.count() == 3
    with pytest.raises(IndexMismatchError, match="001"):
        reader.search(rows[0])
    other.drop_alias("live")
    for refused in (reader, late):
        with pytest.raises(IndexUnavailableError, match="'live'"):
            refused.search(rows[0])
    assert "live" not in two.collections()


def test_a_note_stays_through_every_other_write_of_the_mark(make: Make) -> None:
    collection = filled(make, "docs", 5)
    assert collection.note() == {}
    collection.write_note({"from": "old", "steps": [1, None, {"a": 2.5}]})
    collection.add_tier(4)
    again = make("docs", tiers=(4, 8, 32))
    assert again.note() == {"from": "old", "steps": [1, None, {"a": 2.5}]}
    again.write_note({"to": "new"})
    assert again.note() == {"to": "new"}
    again.write_note({})
    assert again.note() == {}
    with pytest.raises(InvalidInputError, match="JSON"):
        again.write_note({"x": object()})
    assert again.search(random_rows(1), 1)[0].id == 0


def test_a_mark_without_a_note_is_read() -> None:
    old = {"gemini2_embeddings": {"version": 1, "space": SPACE, "tiers": {"8": "8"}}}
    mark = Mark.from_json(old, "docs")
    assert mark is not None
    assert mark.note == {}
    assert mark.to_json() == old


# ---- in a folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    pytest.importorskip("qdrant_edge")
    return tmp_path


def opened(home: Path, name: str) -> MatryoshkaCollection:
    return MatryoshkaCollection(name, space=SPACE, tiers=(8, 32), path=home).open()


def test_an_open_reader_in_a_folder_keeps_to_what_it_opened(home: Path) -> None:
    with opened(home, "one") as one, opened(home, "two") as two:
        one.add([1], random_rows(1))
        one.point_alias("live")
        one.close()
        with opened(home, "live") as reader:
            two.point_alias("live")
            assert reader.count() == 1
            with pytest.raises(IndexLockedError, match="one"):
                opened(home, "one")
        two.close()
        with opened(home, "live") as again:
            assert again.count() == 0


def test_an_alias_of_nothing_is_said_and_makes_nothing(home: Path) -> None:
    FolderAliases(home).set("live", "gone")
    with pytest.raises(IndexMismatchError, match="alias 'live' names collection 'gone'"):
        opened(home, "live")
    assert sorted(path.name for path in home.iterdir() if path.is_dir()) == []


@pytest.mark.parametrize("name", ["../up", ".", "a/b", ".hidden", "a\\b"])
def test_an_alias_stays_in_the_folder(home: Path, name: str) -> None:
    with opened(home, "one") as one, pytest.raises(ConfigurationError, match="can't be named"):
        one.point_alias(name)


def test_an_unreadable_list_of_aliases_is_said(home: Path) -> None:
    (home / ".aliases.json").write_text("[1")
    with pytest.raises(IndexMismatchError, match=r"aliases in .* can't be read"):
        opened(home, "one")


_SWITCHING = """
import sys
from pathlib import Path
from gemini2_core.index.edge_aliases import FolderAliases
aliases, n = FolderAliases(Path(sys.argv[1])), 0
while True:
    n += 1
    with aliases.held():
        aliases.set("live", f"docs{n}")
    print(n, flush=True)
"""


def test_a_kill_while_an_alias_moves_leaves_the_old_or_the_new(home: Path) -> None:
    FolderAliases(home).set("stable", "docs0")
    with subprocess.Popen(
        [sys.executable, "-c", _SWITCHING, str(home)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(20)]
        child.kill()
        lines += child.stdout.readlines()
    said = int(lines[-1])
    found = FolderAliases(home).read()
    assert found["stable"] == "docs0"
    assert found["live"] in {f"docs{said}", f"docs{said + 1}"}
    with FolderAliases(home).held():
        pass  # the killed one's lock is free


def test_aliases_moved_side_by_side_are_all_there(home: Path) -> None:
    def move(worker: int) -> None:
        aliases = FolderAliases(home)
        for n in range(10):
            with aliases.held():
                aliases.set(f"live{worker}", f"docs{n}")

    threads = [threading.Thread(target=move, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert FolderAliases(home).read() == {f"live{worker}": "docs9" for worker in range(4)}


def test_who_holds_the_list_for_too_long_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gemini2_core.index.edge_aliases._SECONDS", 0.05)
    lock = WriterLock(home / ".aliases.writer", "it")
    with pytest.raises(IndexLockedError, match="list of aliases"), FolderAliases(home).held():
        pass
    lock.release()


_NAMES = st.text(min_size=1, max_size=8)


@settings(max_examples=30)
@given(st.lists(st.tuples(_NAMES, st.none() | _NAMES), max_size=8))
def test_the_file_holds_what_was_set_last(moves: list[tuple[str, str | None]]) -> None:
    wanted: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as home:
        for alias, name in moves:
            FolderAliases(Path(home)).set(alias, name)
            wanted.pop(alias, None)
            if name is not None:
                wanted[alias] = name
        assert FolderAliases(Path(home)).read() == wanted
        assert not moves or json.loads((Path(home) / ".aliases.json").read_text()) == wanted
