"""Odd ids, payloads, filters and numbers: stored as given or refused in words, on every engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cookbooks.qdrant_on_loopback import serve
from gemini2_core.errors import ConfigurationError, InvalidInputError
from gemini2_core.index import FilterLike, MatryoshkaCollection
from tests.index.conftest import SPACE, random_rows

pytest.importorskip("qdrant_edge")
from qdrant_client import models

QUERY = random_rows(1)[0]


@pytest.fixture(params=["memory", "folder", "server"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    if request.param == "server":
        with serve() as url:
            yield {"url": str(url), "retry_seconds": 0}
    else:
        yield {"path": tmp_path} if request.param == "folder" else {}


@pytest.fixture
def collection(place: dict[str, Any]) -> Iterator[MatryoshkaCollection]:
    with MatryoshkaCollection("docs", space=SPACE, tiers=(8, 32), **place) as made:
        yield made


def test_filters_of_qdrants_that_cant_be_are_refused_alike(
    collection: MatryoshkaCollection,
) -> None:
    wrongs: list[dict[str, object]] = [
        {"must": [{"key": "n", "mitch": {"value": 3}}]},
        {"must": [{"ki": "n"}]},
        {"min_should": {"min_count": 1}},
        {"day": {"gte": "some day"}},
        {"n": {"gte": 1, "lt": "x"}},
        {"$and": [{}]},
        {"$not": {}},
    ]
    for wrong in wrongs:
        with pytest.raises(InvalidInputError):
            collection.search(QUERY, filter=wrong)
        with pytest.raises(InvalidInputError):
            collection.delete(filter=wrong)


def test_qdrants_filters_take_the_callers_ids_and_every_match(
    collection: MatryoshkaCollection,
) -> None:
    collection.add(["a.md#1", "b", 3], random_rows(3), [{"n": n} for n in range(3)])
    other = models.FieldCondition(key="n", match=models.MatchExcept(**{"except": [0]}))
    assert collection.count(other) == 2
    named = models.HasIdCondition(has_id=["a.md#1", 3])
    assert {record.id for record in collection.scroll(named)} == {"a.md#1", 3}
    assert collection.count({"must": [named, other]}) == 1
    assert collection.count({"must_not": [{"has_id": ["b"]}]}) == 2
    assert collection.count({"n": np.int64(1)}) == collection.count({"n": [np.int64(1)]}) == 1
    assert collection.count({"n": {"gte": np.float32(0.5)}}) == 2


def test_a_filter_with_nothing_in_it_deletes_nothing(collection: MatryoshkaCollection) -> None:
    collection.add([1], random_rows(1))
    empties: list[FilterLike] = [
        {"must": []},
        {"must_not": [], "should": []},
        models.Filter(must=[]),
    ]
    for empty in empties:
        assert collection.count(empty) == 1
        with pytest.raises(ConfigurationError, match="everything"):
            collection.delete(filter=empty)
    assert collection.count() == 1
