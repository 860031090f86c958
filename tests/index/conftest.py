"""Collections on both engines that run here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from gemini2_core.index import MatryoshkaCollection

SPACE = "gemini-embedding-2/RETRIEVAL"

Make = Callable[..., MatryoshkaCollection]
Rows = npt.NDArray[np.float32]


@pytest.fixture(params=["memory", "folder"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make(engine: str, tmp_path: Path) -> Iterator[Make]:
    """A collection at one place: what one wrote, the next finds."""
    made: list[MatryoshkaCollection] = []
    shared: list[object] = []

    def collection(name: str = "docs", **options: object) -> MatryoshkaCollection:
        options = {"space": SPACE, **options}
        if engine == "folder":
            pytest.importorskip("qdrant_edge")
            for one in made:
                one.close()
            options["path"] = tmp_path / "index"
        else:
            from qdrant_client import QdrantClient

            if not shared:
                shared.append(QdrantClient(":memory:"))
            options["client"] = shared[0]
        made.append(MatryoshkaCollection(name, **options))  # type: ignore[arg-type]
        return made[-1]

    yield collection
    for one in made:
        one.close()


def random_rows(n: int, size: int = 32, seed: int = 0) -> Rows:
    return np.random.default_rng(seed).normal(size=(n, size)).astype(np.float32)
