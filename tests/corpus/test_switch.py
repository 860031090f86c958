"""Switching, going back and clearing up: in memory, in a folder, and on a server."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest

from cookbooks.qdrant_on_loopback import Loopback, serve
from gemini2_core.corpus.filling import (
    amark_filled,
    amark_filling,
    aunfilled_shards,
    mark_filled,
    mark_filling,
    unfilled_shards,
)
from gemini2_core.corpus.switchover.seen import note_verification
from gemini2_core.corpus.switchover.switching import (
    adrop_old,
    arollback,
    aswitch,
    drop_old,
    rollback,
    switch,
)
from gemini2_core.corpus.switchover.verification import Verification
from gemini2_core.errors import IndexUnavailableError, SwitchRefusedError
from gemini2_core.index import MatryoshkaCollection

SPACE = "gemini-embedding-2/RETRIEVAL"
TIERS = (8, 32)

Open: TypeAlias = "Callable[..., MatryoshkaCollection]"


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    with serve() as url:
        yield url


def _opener(where: dict[str, object], opened: list[MatryoshkaCollection]) -> Open:
    def at(name: str, **options: object) -> MatryoshkaCollection:
        told = {"space": None, **where, **options}
        opened.append(MatryoshkaCollection(name, **told))  # type: ignore[arg-type]
        return opened[-1]

    return at


@pytest.fixture
def memory() -> Open:
    """Collections in one memory."""
    from qdrant_client import QdrantClient

    return _opener({"client": QdrantClient(":memory:")}, [])


@pytest.fixture(params=["memory", "folder", "server"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Collections at one place; what is open is closed when the test ends."""
    if request.param == "memory":
        yield request.getfixturevalue("memory")
        return
    where: dict[str, object] = {"path": tmp_path / "index"}
    if request.param == "server":
        url: Loopback = request.getfixturevalue("server")
        for name in [one.name for one in url.collections.local.get_collections().collections]:
            url.collections.local.delete_collection(name)
        where = {"url": str(url)}
    else:
        pytest.importorskip("qdrant_edge")
    opened: list[MatryoshkaCollection] = []
    yield _opener(where, opened)
    for one in opened:
        one.close()


def rows(n: int, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(size=(n, 32)).astype(np.float32)


def made(at: Open, name: str, points: int = 3, space: str = SPACE) -> MatryoshkaCollection:
    """A collection with a few points in it."""
    collection = at(name, space=space, tiers=TIERS)
    collection.add(range(points), rows(points))
    return collection


def passed(collection: MatryoshkaCollection, points: int = 3) -> Verification:
    return Verification(collection.name, str(collection.space), TIERS, points, points)


def seen(at: Open, name: str, points: int = 3) -> MatryoshkaCollection:
    """A collection whose note says it was verified."""
    collection = made(at, name, points)
    note_verification(collection, passed(collection, points))
    return collection


def test_the_whole_way_there_and_back(place: Open) -> None:
    blue = seen(place, "blue")
    assert str(switch("docs", blue)) == "docs names blue now, and named nothing"
    blue.close()
    green = seen(place, "green", 4)
    switched = switch("docs", green)
    assert (switched.before, switched.now, switched.kept) == ("blue", "green", "blue")
    green.close()
    with place("docs") as production:
        assert production.count() == 4
        back = rollback("docs", production)
        assert (back.before, back.now) == ("green", "blue")
    with place("docs") as production:
        assert production.count() == 3
        with pytest.raises(SwitchRefusedError, match=r"nothing to go back to: 'docs' names 'blue'"):
            rollback("docs", production)
        assert drop_old("docs", production) is None
        assert production.collections() == ["blue", "green"]
    with place("green") as green:
        assert switch("docs", green).before == "blue"
    with place("docs") as production:
        assert drop_old("docs", production) == "blue"
        assert drop_old("docs", production) is None
        assert production.collections() == ["green"]
        with pytest.raises(SwitchRefusedError, match="nothing to go back to"):
            rollback("docs", production)


async def test_the_whole_way_async(place: Open) -> None:
    blue = await asyncio.to_thread(seen, place, "blue")
    await aswitch("docs", blue)
    await blue.aclose()
    async with await asyncio.to_thread(seen, place, "green", 4) as green:
        assert (await aswitch("docs", green)).before == "blue"
        assert (await arollback("docs", green)).now == "blue"
        assert (await aswitch("docs", green)).kept == "blue"
        assert await adrop_old("docs", green) == "blue"
        assert await green.acollections() == ["green"]


def test_going_back_never_goes_two_steps(memory: Open) -> None:
    for name in ("one", "two", "three"):
        with seen(memory, name) as collection:
            switch("docs", collection)
    with memory("docs") as production:
        assert rollback("docs", production).now == "two"
    with (
        memory("docs") as production,
        pytest.raises(SwitchRefusedError, match="nothing to go back"),
    ):
        rollback("docs", production)


def test_what_others_made_gets_an_alias_by_force_and_is_gone_back_to() -> None:
    """The first step of a move: production's old collection, opened by an alias from now on."""
    from qdrant_client import QdrantClient, models

    client = QdrantClient(":memory:")
    client.create_collection("old", models.VectorParams(size=4, distance=models.Distance.COSINE))
    green = seen(_opener({"client": client}, []), "green")
    old = green.beside("old")
    with pytest.raises(SwitchRefusedError, match=r"'docs' isn't switched to 'old': others made it"):
        switch("docs", old)
    assert str(switch("docs", old, force=True)) == "docs names old now, and named nothing"
    assert str(switch("docs", old, force=True)) == "docs names old already"
    assert switch("docs", green).kept == "old"
    with pytest.raises(SwitchRefusedError, match="rollback"):
        switch("docs", old, force=True)  # which would forget what it replaces
    assert rollback("docs", green).now == "old"
    assert green.aliases() == {"docs": "old"}


def test_an_alias_that_is_there_already_is_no_switch(memory: Open) -> None:
    with seen(memory, "green") as green:
        switch("docs", green)
        green.delete([1])  # production went on
        assert str(switch("docs", green)) == "docs names green already"


def test_in_a_folder_the_way_back_is_open_while_the_old_one_is_in_use(tmp_path: Path) -> None:
    pytest.importorskip("qdrant_edge")
    opened: list[MatryoshkaCollection] = []
    at = _opener({"path": tmp_path / "index"}, opened)
    seen(at, "blue").close()
    with at("blue") as blue:
        switch("docs", blue)
    with seen(at, "green") as green:
        switch("docs", green)
    with at("blue") as blue, at("docs") as green:
        assert rollback("docs", green).now == "blue"
        assert blue.aliases() == {"docs": "blue"}


def test_what_nobody_verified_is_refused_unless_forced(memory: Open) -> None:
    with made(memory, "green") as green:
        with pytest.raises(SwitchRefusedError, match="nobody has verified it"):
            switch("docs", green)
        assert green.aliases() == {}
        assert switch("docs", green, force=True).now == "green"
        assert green.aliases() == {"docs": "green"}


def test_a_verification_at_hand_counts_if_it_is_of_this_collection(memory: Open) -> None:
    with made(memory, "green") as green:
        of_another = Verification("blue", SPACE, TIERS, 3, 3)
        with pytest.raises(SwitchRefusedError, match="the verification is of 'blue'"):
            switch("docs", green, verification=of_another)
        failed = Verification("green", SPACE, TIERS, 4, 3, missing=1, some_missing=("a",))
        with pytest.raises(SwitchRefusedError, match=r"1 of the source are missing \('a'\)"):
            switch("docs", green, verification=failed)
        assert switch("docs", green, verification=passed(green)).now == "green"


def test_what_was_verified_is_what_is_there(memory: Open) -> None:
    with seen(memory, "green") as green:
        green.delete([1])
        with pytest.raises(SwitchRefusedError, match=r"held 3 points when .* holds 2 now"):
            switch("docs", green)
        green.add([1, 2, 3, 4], rows(4))  # written during the move
        assert switch("docs", green).now == "green"


def test_other_tiers_than_verified_are_refused(memory: Open) -> None:
    with seen(memory, "green") as green:
        green.add_tier(16)
        with pytest.raises(SwitchRefusedError, match=r"at \[8, 32\], and now .* \[8, 16, 32\]"):
            switch("docs", green)


def test_a_collection_that_is_filled_is_refused_even_by_force(memory: Open) -> None:
    with seen(memory, "green") as green:
        mark_filling(green)
        for force in (False, True):
            with pytest.raises(SwitchRefusedError, match=r"still being filled \(shard 0/1\)"):
                switch("docs", green, verification=passed(green), force=force)
        mark_filled(green)
        # What was verified was something else.
        with pytest.raises(SwitchRefusedError, match="nobody has verified it"):
            switch("docs", green)
        assert green.aliases() == {}


def test_an_empty_collection_is_refused_even_by_force(memory: Open) -> None:
    with (
        made(memory, "green", 0) as green,
        pytest.raises(SwitchRefusedError, match="it is empty"),
    ):
        switch("docs", green, force=True)


def test_every_shard_has_to_say_it_is_done(memory: Open) -> None:
    with made(memory, "green") as green:
        assert unfilled_shards(green) == []
        mark_filling(green, shard=(1, 3))
        mark_filling(green, shard=(0, 3))
        mark_filled(green, shard=(0, 3))
        assert unfilled_shards(green) == ["1/3", "2/3"]
        mark_filled(green, shard=(2, 3))
        mark_filled(green, shard=(1, 3))
        assert unfilled_shards(green) == []
        mark_filling(green, shard=(2, 3))  # once more
        assert unfilled_shards(green) == ["2/3"]
        mark_filling(green)  # divided otherwise
        assert unfilled_shards(green) == ["0/1"]


def test_shards_that_end_in_the_same_moment_are_both_done(
    memory: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    with made(memory, "green") as green:
        mark_filling(green, shard=(0, 2))
        mark_filling(green, shard=(1, 2))
        as_the_other_read_it = green.note()

        def the_other_writes(_: float) -> None:
            monkeypatch.undo()
            green.write_note({**as_the_other_read_it, "filling": {"of": 2, "done": [1]}})

        monkeypatch.setattr("gemini2_core.corpus.filling.sleep", the_other_writes)
        mark_filled(green, shard=(0, 2))
        assert unfilled_shards(green) == []


async def test_every_shard_has_to_say_it_is_done_async(memory: Open) -> None:
    async with await asyncio.to_thread(made, memory, "green") as green:
        await amark_filling(green, shard=(0, 2))
        await amark_filled(green, shard=(0, 2))
        assert await aunfilled_shards(green) == ["1/2"]
        await amark_filled(green, shard=(1, 2))
        assert await aunfilled_shards(green) == []


def test_a_collection_of_that_name_is_told_with_the_way_out(memory: Open) -> None:
    made(memory, "docs").close()
    with (
        seen(memory, "green") as green,
        pytest.raises(SwitchRefusedError, match=r"'docs' is a collection .*\(switch docs_live"),
    ):
        switch("docs", green)


def test_what_isnt_there_is_said(memory: Open) -> None:
    with seen(memory, "green") as green:
        with pytest.raises(SwitchRefusedError, match=r"there is no alias 'docs' .*: there is none"):
            rollback("docs", green)
        with pytest.raises(SwitchRefusedError, match="there is no alias 'docs'"):
            drop_old("docs", green)
        with pytest.raises(SwitchRefusedError, match="there is no collection 'nothing'"):
            switch("docs", green.beside("nothing"), force=True)
        assert green.collections() == ["green"]


def test_the_old_one_stays_while_another_alias_names_it(memory: Open) -> None:
    with seen(memory, "blue") as blue:
        switch("docs", blue)
        switch("archive", blue)
    with seen(memory, "green") as green:
        switch("docs", green)
        with pytest.raises(SwitchRefusedError, match="'blue' is kept: alias 'archive' names it"):
            drop_old("docs", green)
        mark_filling(green)
        with pytest.raises(SwitchRefusedError, match="'green' is being filled again"):
            drop_old("docs", green)
        assert green.collections() == ["blue", "green"]


class _Stopped(BaseException):
    """What a kill is to the steps: nothing after it runs."""


@pytest.mark.parametrize("step", ["note", "write_note", "point_alias"])
@pytest.mark.parametrize("after", [False, True])
def test_stopped_anywhere_the_same_call_repairs_it(
    memory: Open, step: str, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with seen(memory, "blue") as blue:
        switch("docs", blue)
    with seen(memory, "green") as green:
        real = getattr(green, step)

        def stopping(*arguments: object, **more: object) -> object:
            if after:
                real(*arguments, **more)
            raise _Stopped

        with monkeypatch.context() as patched:
            patched.setattr(green, step, stopping)
            with pytest.raises(_Stopped):
                switch("docs", green)
        assert green.aliases()["docs"] in {"blue", "green"}
        assert switch("docs", green).kept == "blue"
        assert green.aliases() == {"docs": "green"}
        assert rollback("docs", green).now == "blue"


@pytest.mark.parametrize("after", [False, True])
def test_stopped_while_clearing_up_the_same_call_repairs_it(
    place: Open, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with seen(place, "blue") as blue:
        switch("docs", blue)
    with seen(place, "green") as green:
        switch("docs", green)
        real = MatryoshkaCollection.drop

        def stopping(self: MatryoshkaCollection, **more: bool) -> None:
            if after:
                real(self, **more)
            raise _Stopped

        with monkeypatch.context() as patched:
            patched.setattr(MatryoshkaCollection, "drop", stopping)
            with pytest.raises(_Stopped):
                drop_old("docs", green)
        assert drop_old("docs", green) == "blue"
        assert green.collections() == ["green"]
        assert drop_old("docs", green) is None


def test_an_old_collection_of_others_is_gone_back_to_and_dropped() -> None:
    from qdrant_client import QdrantClient, models

    client = QdrantClient(":memory:")
    params = models.VectorParams(size=4, distance=models.Distance.COSINE)
    client.create_collection("theirs", vectors_config=params)
    told = models.CreateAlias(collection_name="theirs", alias_name="docs")
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=told)])
    with seen(_opener({"client": client}, []), "green") as green:
        assert switch("docs", green).before == "theirs"
        assert rollback("docs", green).now == "theirs"
        assert switch("docs", green).before == "theirs"
        assert drop_old("docs", green) == "theirs"
        assert green.collections() == ["green"]


def test_an_alias_never_names_half_a_collection_while_it_is_filled(tmp_path: Path) -> None:
    """A process fills and is killed; switching is refused until another has finished."""
    with serve() as url:
        code = (
            "import sys, numpy as np\n"
            "from gemini2_core.corpus.filling import mark_filling\n"
            "from gemini2_core.index import MatryoshkaCollection\n"
            f"c = MatryoshkaCollection('green', space={SPACE!r}, tiers={TIERS}, url={str(url)!r})\n"
            "mark_filling(c)\n"
            "c.add(range(2), np.ones((2, 32)))\n"
            "print('half', flush=True)\n"
            "sys.stdin.read()\n"
        )
        filler = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).resolve().parents[2],
        )
        assert filler.stdout is not None
        assert filler.stdout.readline() == "half\n"
        with MatryoshkaCollection("green", space=SPACE, url=str(url)) as green:
            with pytest.raises(SwitchRefusedError, match="still being filled"):
                switch("docs", green, force=True)
            os.kill(filler.pid, signal.SIGKILL)
            filler.communicate()
            with pytest.raises(SwitchRefusedError, match="start it again if it was interrupted"):
                switch("docs", green, force=True)
            mark_filling(green)
            green.add(range(4), rows(4))
            mark_filled(green)
            assert switch("docs", green, force=True).now == "green"


def test_a_server_that_fails_leaves_the_alias_and_the_call_repeats() -> None:
    with serve() as url:
        open_ = _opener({"url": str(url), "retry_seconds": 0.0}, [])
        with seen(open_, "blue") as blue:
            switch("docs", blue)
        with seen(open_, "green") as green:
            url.die_after(0)
            with pytest.raises(IndexUnavailableError, match="didn't answer"):
                switch("docs", green)
            url.revive()
            assert green.aliases() == {"docs": "blue"}
            assert switch("docs", green).kept == "blue"
