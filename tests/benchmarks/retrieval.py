"""Two passes against exact search in the embedded engine: recall, latency, memory."""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt

from gemini2_core.index import MatryoshkaCollection
from gemini2_core.model import normalize, truncate

Rows = npt.NDArray[np.float32]

SPACE = "gemini-embedding-2/RETRIEVAL"
LARGE = 3072
# The stated structure: 64 latent dimensions, spectrum i^-0.3, through one random linear map;
# isotropic noise of 20 % of the signal's length; the first 768 numbers hold 32 % of the energy,
# as in the recordings.
LATENT, DECAY, NOISE, HEAD, HEAD_ENERGY = 64, -0.3, 0.2, 768, 0.32
SHORTLISTS = (10, 20, 50, 100, 200)
CHUNK = 4096


class Source:
    """Vectors of that structure, made a chunk at a time and the same for the same seed."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.seed = seed
        self.spectrum = (np.arange(1, LATENT + 1) ** DECAY).astype(np.float32)
        self.map = rng.normal(size=(LATENT, LARGE)).astype(np.float32)
        # The signal's share in the head, so that with the noise, spread evenly, it is the whole's.
        noise = NOISE**2
        head = HEAD_ENERGY * (1 + noise) - noise * HEAD / LARGE
        self.scale = np.full(LARGE, np.sqrt((1 - head) / (LARGE - HEAD)), dtype=np.float32)
        self.scale[:HEAD] = np.sqrt(head / HEAD)

    def rows(self, n: int, stream: int) -> Rows:
        rng = np.random.default_rng((self.seed, stream))
        latent = rng.standard_normal((n, LATENT), dtype=np.float32) * self.spectrum
        signal = normalize((latent @ self.map) * self.scale)
        noise = normalize(rng.standard_normal((n, LARGE), dtype=np.float32))
        return normalize(signal + NOISE * noise)

    def documents(self, points: int) -> Iterator[tuple[int, Rows]]:
        for stream, start in enumerate(range(0, points, CHUNK), start=1):
            yield start, self.rows(min(CHUNK, points - start), stream)

    def queries(self, n: int) -> Rows:
        return self.rows(n, 0)


@dataclass
class Row:
    """One line of the table; milliseconds are medians, memory is bytes a point."""

    tiers: str
    shortlist: int | None
    recall: float
    milliseconds: float
    p95: float
    faster: float


@dataclass
class Store:
    """What the folder holds, megabytes."""

    int8: float
    graph: float
    small: float
    large: float
    payload: float


def brute_force(
    source: Source, points: int, queries: Rows, k: int, sizes: Sequence[int]
) -> dict[int, npt.NDArray[np.int64]]:
    """The nearest ``max(k, longest short list)`` of each query by plain arithmetic, by size."""
    best: dict[int, tuple[Rows, npt.NDArray[np.int64]]] = {}
    for start, rows in source.documents(points):
        for size in sizes:
            cut, asked = truncate(rows, size), truncate(queries, size)
            scores = asked @ cut.T
            ids = np.broadcast_to(np.arange(start, start + len(rows)), scores.shape)
            if size in best:
                scores = np.hstack([best[size][0], scores])
                ids = np.hstack([best[size][1], ids])
            keep = min(k, scores.shape[1])
            top = np.argpartition(-scores, keep - 1, axis=1)[:, :keep]
            best[size] = (
                np.take_along_axis(scores, top, axis=1),
                np.take_along_axis(ids, top, axis=1),
            )
    found = {}
    for size, (scores, ids) in best.items():
        order = np.argsort(-scores, axis=1)
        found[size] = np.take_along_axis(ids, order, axis=1)
    return found


def timed(
    collection: MatryoshkaCollection, queries: Rows, **options: object
) -> tuple[list[list[int]], list[float]]:
    found, times = [], []
    for query in queries:
        begun = time.perf_counter()
        hits = collection.search(query, 10, **options)  # type: ignore[arg-type]
        times.append(1000 * (time.perf_counter() - begun))
        found.append([int(hit.id) for hit in hits])
    return found, times


def recall(found: Sequence[Sequence[int]], true: npt.NDArray[np.int64]) -> float:
    hits = sum(len(set(f) & set(t[:10].tolist())) for f, t in zip(found, true, strict=True))
    return hits / (10 * len(found))


def upload(collection: MatryoshkaCollection, source: Source, points: int) -> tuple[float, float]:
    """Seconds spent in ``add``, and in building what was still waiting."""
    added = 0.0
    for start, rows in source.documents(points):
        begun = time.perf_counter()
        collection.add(range(start, start + len(rows)), rows)
        added += time.perf_counter() - begun
        say(f"\r  {start + len(rows):>9,} of {points:,} points added", end="")
    say("")
    begun = time.perf_counter()
    collection.optimize()
    return added, time.perf_counter() - begun


def stored(folder: Path, tiers: Sequence[int]) -> Store:
    def megabytes(pattern: str) -> float:
        files = [f for place in folder.glob(f"segments/*/{pattern}") for f in walk(place)]
        return sum(f.stat().st_blocks * 512 for f in files) / 1e6

    def walk(place: Path) -> list[Path]:
        return [f for f in place.rglob("*") if f.is_file()] if place.is_dir() else [place]

    small, *later = tiers
    quantized = megabytes(f"vector_storage-{small}/quantized*") + megabytes(
        f"vector_index-{small}/quantized*"
    )
    index = megabytes(f"vector_index-{small}")
    return Store(
        int8=quantized,
        graph=index - megabytes(f"vector_index-{small}/quantized*"),
        small=megabytes(f"vector_storage-{small}")
        - megabytes(f"vector_storage-{small}/quantized*"),
        large=sum(megabytes(f"vector_storage-{tier}") for tier in later),
        payload=megabytes("payload_storage"),
    )


def resident() -> dict[str, float]:
    """This process's memory in megabytes: its own, and pages of files it has mapped."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return {}
    wanted = {"RssAnon": "own", "RssFile": "mapped"}
    lines = (line.split() for line in status.read_text().splitlines())
    return {wanted[w[0][:-1]]: int(w[1]) / 1000 for w in lines if w and w[0][:-1] in wanted}


def say(text: str, end: str = "\n") -> None:
    print(text, end=end, file=sys.stderr, flush=True)


def measure(
    folder: Path, source: Source, points: int, queries: Rows, tiers: tuple[int, ...], exacts: int
) -> tuple[list[Row], Store, dict[str, float]]:
    true = brute_force(source, points, queries, max(SHORTLISTS), sorted({HEAD, LARGE}))
    label = " + ".join(map(str, tiers))
    options = {"space": SPACE, "tiers": tiers, "path": folder}
    with MatryoshkaCollection("bench", **options) as collection:  # type: ignore[arg-type]
        added, built = upload(collection, source, points)
    memory = resident()
    with MatryoshkaCollection("bench", **options) as collection:  # type: ignore[arg-type]
        timed(collection, queries[:20], shortlist=max(SHORTLISTS))  # pages come in
        rows = []
        found, times = timed(collection, queries[:exacts], exact=True)
        slow = median(times)
        rows.append(line("exact 3072", None, recall(found, true[LARGE][:exacts]), times, slow))
        for shortlist in SHORTLISTS if len(tiers) > 1 else (SHORTLISTS[0],):
            found, times = timed(collection, queries, shortlist=shortlist)
            got = recall(found, true[LARGE])
            rows.append(line(label, shortlist if len(tiers) > 1 else None, got, times, slow))
        after = resident()
    ceiling = {
        n: sum(
            len(set(s[:n].tolist()) & set(t[:10].tolist()))
            for s, t in zip(true[HEAD], true[LARGE], strict=True)
        )
        / (10 * len(queries))
        for n in SHORTLISTS
    }
    facts = {
        "add_seconds": added,
        "build_seconds": built,
        # With three tiers the first list is longer than the one that is named.
        **({f"ceiling_{n}": value for n, value in ceiling.items()} if len(tiers) == 2 else {}),
        **{f"memory_{name}": value for name, value in after.items()},
        **{f"memory_before_{name}": value for name, value in memory.items()},
    }
    return rows, stored(folder / "bench", tiers), facts


def line(tiers: str, shortlist: int | None, got: float, times: list[float], slow: float) -> Row:
    p95 = float(np.percentile(times, 95))
    return Row(tiers, shortlist, got, median(times), p95, slow / median(times))


def table(rows: Sequence[Row], facts: dict[str, float]) -> str:
    head = ("tiers", "shortlist", "recall@10", "ceiling", "median ms", "p95 ms", "x exact")
    lines = [head]
    for row in rows:
        ceiling = facts.get(f"ceiling_{row.shortlist}")
        lines.append(
            (
                row.tiers,
                "" if row.shortlist is None else str(row.shortlist),
                f"{row.recall:.3f}",
                "" if ceiling is None else f"{ceiling:.3f}",
                f"{row.milliseconds:.2f}",
                f"{row.p95:.2f}",
                f"{row.faster:.1f}",
            )
        )
    widths = [max(len(one[n]) for one in lines) for n in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(one, widths, strict=True))
        ).rstrip()
        for one in lines
    )


def storage_lines(store: Store, points: int) -> str:
    whole = points * LARGE * 4 / 1e6
    searched = store.int8 + store.graph
    parts = [
        ("searched tier in memory: int8 + graph", searched),
        ("  int8", store.int8),
        ("  graph", store.graph),
        ("small tier on disk", store.small),
        ("later tiers on disk", store.large),
        ("payloads", store.payload),
        ("one 3072 float32 index, vectors alone", whole),
    ]
    lines = [f"{name:<40}{size:>11,.1f} MB  {1e6 * size / points:>9,.0f} B a point"
             for name, size in parts]  # fmt: skip
    return "\n".join([*lines, f"searched tier / one 3072 float32 index: {searched / whole:.3f}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=20_000, help="20000, 100000, 1000000")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--exacts", type=int, default=30, help="queries timed for exact search")
    parser.add_argument("--tiers", type=int, nargs="+", default=[HEAD, LARGE])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--path", type=Path, help="where the index goes; else a temporary folder")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    args = parser.parse_args()
    folder = args.path or Path(tempfile.mkdtemp(prefix="retrieval-"))
    source = Source(args.seed)
    queries = source.queries(args.queries)
    try:
        rows, store, facts = measure(
            folder, source, args.points, queries, tuple(sorted(args.tiers)), args.exacts
        )
    finally:
        if args.path is None:
            shutil.rmtree(folder, ignore_errors=True)
    energy = float((source.rows(1000, 1)[:, :HEAD] ** 2).sum(axis=1).mean())
    print(f"{args.points:,} points, {args.queries} queries, k=10, embedded engine, synthetic:")
    print(f"{LATENT} latent dimensions, spectrum i^{DECAY}, {NOISE:.0%} isotropic noise,")
    print(f"the first {HEAD} numbers hold {energy:.1%} of the energy; {platform.platform()}")
    print(f"add {facts['add_seconds']:.1f} s, last build {facts['build_seconds']:.1f} s\n")
    print(table(rows, facts))
    if len(args.tiers) == 2:
        print("\nceiling: the same short list found by brute force at 768")
    print()
    print(storage_lines(store, args.points))
    if "memory_own" in facts:
        print(
            f"this process after the searches: {facts['memory_own']:,.0f} MB its own, "
            f"{facts['memory_mapped']:,.0f} MB of files mapped (reclaimable)"
        )
    if args.json:
        told = {
            "points": args.points,
            "rows": [asdict(row) for row in rows],
            "store": asdict(store),
            "facts": facts,
        }
        args.json.write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
