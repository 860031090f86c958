"""The cache: what goes in comes out, shorter if asked, across processes and threads."""

from __future__ import annotations

import os
import pickle
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemini2_core import Media
from gemini2_core.embedding.cache import SqliteCache, open_cache, pack_row, unpack_row
from gemini2_core.emulator import Emulator
from gemini2_core.errors import ConfigurationError, Gemini2Error, InvalidInputError
from tests.embedding.conftest import Make, draw


def test_what_is_stored_is_found_again_by_another_opening(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "cache.sqlite"
    pairs = [(f"key {n}", bytes([n % 256]) * 8) for n in range(1200)]
    first = SqliteCache(path)
    first.mset(pairs)
    first.close()
    second = SqliteCache(path)
    assert second.mget([key for key, _ in pairs]) == [value for _, value in pairs]
    assert second.mget(["key 7", "not there", "key 3"]) == [pairs[7][1], None, pairs[3][1]]
    assert len(second) == 1200
    second.close()


def test_two_openings_and_many_threads_write_at_once(tmp_path: Path) -> None:
    caches = [SqliteCache(tmp_path / "c.sqlite") for _ in range(2)]

    def write(number: int) -> None:
        for turn in range(20):
            caches[number % 2].mset([(f"{number}/{turn}", b"1234")])

    threads = [threading.Thread(target=write, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(cache) for cache in caches] == [120, 120]
    for cache in caches:
        cache.close()


@given(st.integers(1, 64), st.integers(1, 64))
def test_a_row_serves_every_size_up_to_its_own(stored: int, wanted: int) -> None:
    row = np.arange(stored).astype(np.float32)
    found = unpack_row(pack_row(row), wanted)
    if wanted > stored:
        assert found is None
    else:
        assert found is not None
        assert found.tolist() == row[:wanted].tolist()


def test_a_damaged_row_counts_as_missing() -> None:
    assert unpack_row(b"123", 1) is None
    assert unpack_row(None, 1) is None


def test_what_is_no_cache_is_refused(tmp_path: Path) -> None:
    not_a_database = tmp_path / "notes.txt"
    not_a_database.write_text("no database at all, but long enough to look at" * 10)
    with pytest.raises(ConfigurationError, match=r"notes\.txt"):
        open_cache(not_a_database)
    with pytest.raises(ConfigurationError, match="mget"):
        open_cache({})  # type: ignore[arg-type]
    assert open_cache(None) is None


def test_the_file_is_an_ordinary_sqlite_database(tmp_path: Path) -> None:
    cache = SqliteCache(tmp_path / "c.sqlite")
    cache.mset([("k", b"1234")])
    cache.close()
    with sqlite3.connect(tmp_path / "c.sqlite") as database:
        assert database.execute("SELECT * FROM vectors").fetchall() == [("k", b"1234")]
    database.close()


class Store:
    """A store of the caller's, which may go wrong."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}
        self.broken: set[str] = set()
        self.stored = 0

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        if "mget" in self.broken:
            raise sqlite3.OperationalError("database is locked")
        return [self.rows.get(key) for key in keys]

    def mset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        self.stored += 1
        if "mset" in self.broken and self.stored > 1:
            raise sqlite3.OperationalError("disk is full")
        self.rows.update(key_value_pairs)


def test_a_cache_that_cannot_be_written_loses_no_vector(make: Make) -> None:
    store = Store()
    store.broken.add("mset")
    embedder = make(cache=store, max_concurrency=1, batch_size=16)
    with pytest.raises(Gemini2Error, match=r"cache.*disk is full") as caught:
        embedder.embed_documents([f"text {n}" for n in range(64)])
    assert caught.value.partial is not None
    assert caught.value.partial.indices.tolist() == list(range(32))
    assert embedder.usage.items == 32


def test_a_cache_that_cannot_be_read_is_told(make: Make, emulator: Emulator) -> None:
    store = Store()
    store.broken.add("mget")
    with pytest.raises(Gemini2Error, match=r"cache.*database is locked"):
        make(cache=store).embed_documents(["text"])
    assert not emulator.requests


@pytest.mark.parametrize("answer", [["text"], [], None, [b"1", b"2"]])
def test_a_store_that_breaks_its_promise_is_told(
    make: Make, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    store = Store()
    monkeypatch.setattr(store, "mget", lambda keys: answer)
    with pytest.raises(Gemini2Error, match="cache"):
        make(cache=store).embed_documents(["text"])


def test_a_medium_that_cannot_be_read_fails_alone_with_a_cache_too(
    make: Make, picture: Path, other_picture: Path
) -> None:
    changed = Media.from_path(picture, digest="sha256:" + "0" * 64)
    with pytest.raises(InvalidInputError, match=r"input 1: .*has changed") as caught:
        make(cache=Store()).embed_contents(["text", changed, other_picture])
    assert caught.value.partial is not None
    assert caught.value.partial.indices.tolist() == [0, 2]


def test_a_file_that_changes_during_the_call_is_not_kept_under_its_old_key(
    make: Make, emulator: Emulator, picture: Path, tmp_path: Path
) -> None:
    store = Store()
    before = picture.read_bytes()

    def change(done: int, total: int) -> None:
        draw(picture, "green")  # after the cache was asked, before the file is read

    changing = make(cache=store, on_progress=change)
    wrong = changing.embed_contents([picture]).vectors
    (tmp_path / "again.png").write_bytes(before)
    right = make(cache=store).embed_contents([tmp_path / "again.png"]).vectors
    fresh = make().embed_contents([tmp_path / "again.png"]).vectors
    assert np.allclose(right, fresh, atol=1e-6)
    assert not np.allclose(right, wrong, atol=1e-6)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_opens_the_file_for_itself(tmp_path: Path) -> None:
    cache = SqliteCache(tmp_path / "c.sqlite")
    cache.mset([("parent", b"1234")])
    connection = cache._open()
    child = os.fork()
    if not child:
        right = cache._open() is not connection and cache.mget(["parent"]) == [b"1234"]
        os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert cache._open() is connection
    cache.close()


def test_a_pickled_cache_opens_the_same_file(tmp_path: Path) -> None:
    cache = SqliteCache(tmp_path / "c.sqlite")
    cache.mset([("key", b"1234")])
    again = pickle.loads(pickle.dumps(cache))
    assert again.mget(["key"]) == [b"1234"]
    again.close()
    cache.close()


class Kept(dict[str, bytes]):
    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        return [self.get(key) for key in keys]

    def mset(self, pairs: Sequence[tuple[str, bytes]]) -> None:
        self.update(pairs)


def test_kept_rows_have_the_size_asked_for_and_are_looked_for_first(
    make: Make, emulator: Emulator
) -> None:
    rows = Kept()
    keeping = make(dimensions=768).keeping(rows, dimensions=1536)
    first = keeping.embed_documents(["one", "two"])
    assert [len(data) for data in rows.values()] == [4 * 1536] * 2
    sent = len(emulator.requests)
    again = keeping.embed_documents(["two", "one"])
    assert len(emulator.requests) == sent
    assert (again.usage.cached, again.usage.total_tokens) == (2, 0)
    assert np.array_equal(again.vectors, first.vectors[::-1])


def test_kept_rows_fill_the_embedders_own_cache_with_full_ones(
    make: Make, emulator: Emulator, tmp_path: Path
) -> None:
    rows = Kept()
    embedder = make(dimensions=768, cache=tmp_path / "own.sqlite")
    embedder.embed_documents(["one"])
    sent = len(emulator.requests)
    result = embedder.keeping(rows, dimensions=768).embed_documents(["one", "two"])
    assert (result.usage.cached, len(emulator.requests) - sent) == (1, 1)
    assert [len(data) for data in rows.values()] == [4 * 3072]
    assert embedder.embed_documents(["one", "two"]).usage.cached == 2
