"""A process to be killed: adds points in small batches and says each that was acknowledged."""

from __future__ import annotations

import sys
from contextlib import nullcontext

from gemini2_core.index import MatryoshkaCollection
from tests.index.conftest import SPACE, random_rows

POINTS, BATCH = 20_000, 40


def main(path: str, how: str) -> None:
    rows = random_rows(POINTS, 64)
    with (
        MatryoshkaCollection("docs", space=SPACE, tiers=(16, 64), path=path) as collection,
        collection.bulk() if how == "bulk" else nullcontext(),
    ):
        for start in range(0, POINTS, BATCH):
            ids = range(start, start + BATCH)
            collection.add(ids, rows[start : start + BATCH], [{"n": n} for n in ids])
            print(start + BATCH, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
