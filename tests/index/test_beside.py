"""Neighbours at one address, whoever made them, and points that lack a tier; on both engines."""

from __future__ import annotations

import numpy as np
import pytest

from gemini2_core.errors import ConfigurationError, IndexMismatchError, IndexUnavailableError
from gemini2_core.index import MatryoshkaCollection
from tests.index.conftest import SPACE, Make, random_rows


def test_a_neighbour_says_its_own_space_and_tiers(make: Make) -> None:
    make("one", space="gemini-embedding-001/RETRIEVAL", tiers=(8,)).open().close()
    with make("two", tiers=(8, 32)) as two, two.beside("one") as one:
        assert (str(one.space), one.tiers) == ("gemini-embedding-001/RETRIEVAL", (8,))
        one.add(["a"], random_rows(1))
        assert (one.count(), two.count()) == (1, 0)


def test_a_neighbour_that_isnt_there_isnt_made(make: Make) -> None:
    with make("two") as two, pytest.raises(ConfigurationError, match="'nothing'"):
        two.beside("nothing").open()
    with make("two") as two:
        assert two.collections() == ["two"]
        with pytest.raises(IndexUnavailableError, match="there is no collection 'nothing'"):
            two.beside("nothing").drop(unmarked=True)


async def test_a_neighbour_async(make: Make) -> None:
    make("one", tiers=(8,)).open().close()
    async with make("two", tiers=(8, 32)) as two:
        one = two.beside("one")
        assert await one.aunfilled(8) == 0
        await one.aclose()
        assert await two.acount() == 0


def test_what_others_made_is_named_and_dropped_only_on_request() -> None:
    from qdrant_client import QdrantClient, models

    client = QdrantClient(":memory:")
    params = models.VectorParams(size=4, distance=models.Distance.COSINE)
    client.create_collection("theirs", vectors_config=params)
    with MatryoshkaCollection("ours", space=SPACE, tiers=(8,), client=client) as ours:
        theirs = ours.beside("theirs")
        with pytest.raises(IndexMismatchError, match="no mark"):
            theirs.point_alias("docs")
        assert theirs.point_alias("docs", unmarked=True) is None
        assert ours.aliases() == {"docs": "theirs"}
        with pytest.raises(ConfigurationError, match="alias 'docs'"):
            theirs.drop(unmarked=True)
        ours.drop_alias("docs")
        with pytest.raises(IndexMismatchError, match="no mark"):
            theirs.drop()
        theirs.drop(unmarked=True)
        assert ours.collections() == ["ours"]


def test_each_tier_is_given_back(make: Make) -> None:
    rows = random_rows(2)
    with make(tiers=(8, 32)) as collection:
        collection.add(["a", "b"], rows)
        for tier in (8, 32):
            (found,) = collection.get(["b"], with_vectors=True, tier=tier)
            expected = rows[1, :tier] / np.linalg.norm(rows[1, :tier])
            assert found.vector is not None
            assert np.allclose(found.vector, expected, atol=1e-6)
        with pytest.raises(ConfigurationError, match=r"tiers 8 \+ 32, not 16"):
            collection.get(["b"], with_vectors=True, tier=16)


def test_points_without_a_tier_are_counted() -> None:
    from qdrant_client import QdrantClient, models

    client = QdrantClient(":memory:")
    with MatryoshkaCollection("docs", space=SPACE, tiers=(8, 32), client=client) as collection:
        collection.add([1, 2, 3], random_rows(3))
        half = models.PointStruct(id=2, vector={"8": random_rows(1, 8)[0].tolist()}, payload={})
        client.upsert("docs", [half])
        assert (collection.unfilled(8), collection.unfilled(32)) == (0, 1)
