"""The cache: what goes in comes out, shorter if asked, across processes and threads."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemini2_core.embedding.cache import SqliteCache, open_cache, pack_row, unpack_row
from gemini2_core.errors import ConfigurationError


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
