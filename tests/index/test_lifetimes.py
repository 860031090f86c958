"""A collection closed while it is in use, and one that a process was forked with."""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from cookbooks.qdrant_on_loopback import serve
from gemini2_core.errors import ClosedError, IndexLockedError
from gemini2_core.index import MatryoshkaCollection
from tests.index.conftest import SPACE, random_rows

pytest.importorskip("qdrant_edge")

ROWS = random_rows(300)


@pytest.fixture(params=["memory", "folder", "server"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    with ExitStack() as stack:
        if request.param == "server":
            yield {"url": str(stack.enter_context(serve())), "parallel": 1}
        else:
            yield {"path": tmp_path} if request.param == "folder" else {}


@pytest.mark.parametrize("awaited", [False, True])
def test_what_is_closed_in_the_middle_stays_closed(place: dict[str, Any], awaited: bool) -> None:
    collection = MatryoshkaCollection("docs", space=SPACE, tiers=(8, 32), **place).open()
    backend = collection._backend
    run, arun = backend.run, backend.arun
    begun, closed = threading.Event(), threading.Event()

    def slow(operation: Any) -> Any:
        begun.set()
        closed.wait(10)
        return run(operation)

    async def aslow(operation: Any) -> Any:
        begun.set()
        await asyncio.to_thread(closed.wait, 10)
        return await arun(operation)

    raised: list[Exception] = []

    def add() -> None:
        try:
            if awaited:
                asyncio.run(collection.aadd([1], ROWS[:1]))
            else:
                collection.add([1], ROWS[:1])
        except ClosedError as error:
            raised.append(error)

    backend.run = slow  # type: ignore[method-assign]
    if "url" in place:  # there the loop itself asks
        backend.arun = aslow  # type: ignore[method-assign]
    thread = threading.Thread(target=add)
    thread.start()
    assert begun.wait(10)
    closing = threading.Thread(target=collection.close)
    closing.start()
    while not backend._closed:  # type: ignore[attr-defined]  # closing waits for the thread
        time.sleep(0.001)
    closed.set()
    thread.join()
    closing.join()
    assert len(raised) == 1
    if "path" in place:
        with MatryoshkaCollection("docs", space=None, path=place["path"]) as again:
            assert again.count() == 0


def _asked(collection: MatryoshkaCollection, told: Connection) -> None:
    asks: list[Callable[[], object]] = [
        collection.count,
        lambda: collection.add([9], ROWS[:1]),
        lambda: asyncio.run(collection.acount()),
    ]
    for ask in asks:
        try:
            told.send(ask())
        except IndexLockedError:
            told.send("locked")
    collection.close()
    told.send("closed")
    told.recv()


@pytest.mark.skipif(sys.platform != "linux", reason="only there a fork is usual")
def test_a_forked_process_is_told_and_the_first_goes_on(place: dict[str, Any]) -> None:
    context = multiprocessing.get_context("fork")
    collection = MatryoshkaCollection("docs", space=SPACE, tiers=(8, 32), **place)
    collection.add([1], ROWS[:1])
    assert asyncio.run(collection.acount()) == 1
    here, there = context.Pipe()
    child = context.Process(target=_asked, args=(collection, there), daemon=True)
    child.start()
    try:
        answers = [here.recv() if here.poll(20) else "hangs" for _ in range(4)]
        if "path" in place:
            assert answers == ["locked"] * 3 + ["closed"]
        else:
            assert answers == [1, [9], 2, "closed"]
        collection.add([2], ROWS[1:2])
        assert collection.search(ROWS[1], 1)[0].id == 2
        collection.close()
        if "path" in place:
            with pytest.raises(IndexLockedError):
                MatryoshkaCollection("docs", space=SPACE, path=place["path"]).open()
        here.send("end")
        child.join(20)
        if "path" in place:
            with MatryoshkaCollection("docs", space=SPACE, path=place["path"]) as again:
                assert again.count() == 2
    finally:
        child.kill()
        child.join()
