"""Two passes against one pass and exact search in the embedded engine: recall, latency, storage."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt

from gemini2_core.index import MatryoshkaCollection
from gemini2_core.model import truncate
from tests.benchmarks.corpora import LARGE, Corpus, RealTexts, Rows, Synthetic

Ids = npt.NDArray[np.int64]
Tiers = tuple[int, ...]

SPACE = "gemini-embedding-2/RETRIEVAL"
K = 10
# Of each query the fastest counts: what else the machine does is not what is measured.
TRIES = 3
SHORTLISTS = (10, 20, 50, 100, 200)
SIZES = (768, 1536, LARGE)
PLANS: tuple[Tiers, ...] = ((768,), (1536,), (LARGE,), (768, LARGE), SIZES)


@dataclass
class Row:
    """One line of the table: one way to search."""

    tiers: Tiers
    exact: bool
    shortlist: int | None
    recall: float
    ceiling: float | None
    """Recall of the same short list, or the same single tier, found by brute force."""
    milliseconds: float
    p95: float
    cpu: float
    """Milliseconds of CPU, all threads: what a busy machine changes little."""


@dataclass
class Store:
    """What one collection holds, bytes a point."""

    int8: float
    graph: float
    small: float
    """The searched tier's float32 numbers."""
    large: float
    """Those of the later tiers."""
    payload: float
    graphs: int
    add_seconds: float
    build_seconds: float

    @property
    def memory(self) -> float:
        """What the first pass goes through, kept in memory; without a graph, every number."""
        return self.int8 + self.graph if self.graphs else self.small

    @property
    def disk(self) -> float:
        """Everything that is in the folder."""
        return self.int8 + self.graph + self.small + self.large + self.payload


@dataclass
class Run:
    """All ways on one corpus."""

    corpus: str
    points: int
    told: str
    queries: int
    rows: list[Row] = field(default_factory=list)
    stores: dict[str, Store] = field(default_factory=dict)
    machine: str = ""
    loads: list[float] = field(default_factory=list)
    """Load average of the machine while each plan was searched."""

    @property
    def slowest(self) -> Row:
        """Exact search."""
        return next(row for row in self.rows if row.exact)

    def memory(self, row: Row) -> float:
        """Bytes a point in memory: the searched tier, or for exact search all float32 numbers."""
        return 4.0 * LARGE if row.exact else self.stores[label(row.tiers)].memory

    def disk(self, row: Row) -> float:
        """Bytes a point in all."""
        return 4.0 * LARGE if row.exact else self.stores[label(row.tiers)].disk


def label(tiers: Sequence[int]) -> str:
    return "-".join(map(str, tiers))


def say(text: str, end: str = "\n") -> None:
    print(text, end=end, file=sys.stderr, flush=True)


# ---- truth


def truth(folder: Path, corpus: Corpus, queries: Rows) -> dict[int, Ids]:
    """The nearest points of each query by brute force, at each size; kept in the folder."""
    kept = folder / "truth.npz"
    if kept.is_file():
        with np.load(kept) as file:
            return {int(size): file[size] for size in file.files}
    found = brute_force(corpus, queries)
    np.savez(kept, **{str(size): ids for size, ids in found.items()})  # type: ignore[arg-type]  # numpy's stub takes the names for its own
    return found


def brute_force(corpus: Corpus, queries: Rows) -> dict[int, Ids]:
    """Plain arithmetic, a chunk of points at a time."""
    best: dict[int, tuple[Rows, Ids]] = {}
    for start, rows in corpus.documents():
        for size in SIZES:
            scores = truncate(queries, size) @ truncate(rows, size).T
            ids = np.broadcast_to(np.arange(start, start + len(rows)), scores.shape)
            if size in best:
                scores = np.hstack([best[size][0], scores])
                ids = np.hstack([best[size][1], ids])
            keep = min(max(SHORTLISTS), scores.shape[1])
            top = np.argpartition(-scores, keep - 1, axis=1)[:, :keep]
            best[size] = (
                np.take_along_axis(scores, top, axis=1),
                np.take_along_axis(ids, top, axis=1),
            )
    return {
        size: np.take_along_axis(ids, np.argsort(-scores, axis=1), axis=1)
        for size, (scores, ids) in best.items()
    }


def recall(found: Sequence[Sequence[int]] | Ids, true: Ids) -> float:
    """Which share of the true ten is among what was found."""
    hits = sum(
        len({*map(int, f)} & {*map(int, t)}) for f, t in zip(found, true[:, :K], strict=True)
    )
    return hits / (K * len(true))


def ceiling(true: Mapping[int, Ids], tiers: Tiers, shortlist: int | None) -> float | None:
    if len(tiers) > 2:
        return None  # its first list is longer than what is kept
    return recall(true[tiers[0]][:, : shortlist or K], true[LARGE])


# ---- one plan


def opened(folder: Path, tiers: Tiers) -> MatryoshkaCollection:
    return MatryoshkaCollection(label(tiers), space=SPACE, tiers=tiers, path=folder)


def fill(folder: Path, corpus: Corpus, tiers: Tiers) -> Store:
    """Add every point in bulk, or take what an earlier run left whole."""
    notes = folder / f"{label(tiers)}.json"
    if not notes.is_file():
        added = 0.0
        with opened(folder, tiers) as collection:
            with collection.bulk():
                for start, rows in corpus.documents():
                    begun = time.perf_counter()
                    collection.add(range(start, start + len(rows)), rows)
                    added += time.perf_counter() - begun
                    say(f"\r  {label(tiers):<14} {start + len(rows):>9,} points", end="")
                begun = time.perf_counter()
            built = time.perf_counter() - begun
            assert collection.count() == corpus.points
        say(f"  added in {added:.0f} s, graph built in {built:.0f} s")
        notes.write_text(json.dumps({"add_seconds": added, "build_seconds": built}))
    return stored(folder / label(tiers), tiers, corpus.points, json.loads(notes.read_text()))


def stored(folder: Path, tiers: Tiers, points: int, seconds: Mapping[str, float]) -> Store:
    def size(pattern: str) -> float:
        files = (f for place in folder.glob(f"segments/*/{pattern}") for f in within(place))
        return sum(f.stat().st_blocks * 512 for f in files) / points

    def within(place: Path) -> Iterator[Path]:
        yield from (f for f in place.rglob("*") if f.is_file()) if place.is_dir() else [place]

    int8 = size(f"vector_storage-{tiers[0]}/quantized*")
    int8_beside = size(f"vector_index-{tiers[0]}/quantized*")
    return Store(
        int8=int8 + int8_beside,
        graph=size(f"vector_index-{tiers[0]}") - int8_beside,
        small=size(f"vector_storage-{tiers[0]}") - int8,
        large=sum(size(f"vector_storage-{tier}") for tier in tiers[1:]),
        payload=size("payload_storage"),
        graphs=len(list(folder.glob(f"segments/*/vector_index-{tiers[0]}/graph.bin"))),
        **seconds,
    )


def timed(
    collection: MatryoshkaCollection, queries: Rows, **options: object
) -> tuple[list[list[int]], list[float], list[float]]:
    """What each query finds, one after the other; milliseconds of its fastest try, and of CPU."""
    found, times, cpu = [], [], []
    for query in queries:
        tries, used = [], []
        for _ in range(TRIES):
            begun, started = time.perf_counter(), time.process_time()
            hits = collection.search(query, K, **options)  # type: ignore[arg-type]
            tries.append(1000 * (time.perf_counter() - begun))
            used.append(1000 * (time.process_time() - started))
        times.append(min(tries))
        cpu.append(min(used))
        found.append([int(hit.id) for hit in hits])
    return found, times, cpu


def search(
    folder: Path, tiers: Tiers, queries: Rows, true: Mapping[int, Ids], exacts: int
) -> Iterator[Row]:
    """Every way to search this collection, its pages read in before; exactly too if ``exacts``."""
    with opened(folder, tiers) as collection:
        lists = SHORTLISTS if len(tiers) > 1 else (None,)
        timed(collection, queries, **_shortlist(lists[-1]))
        if exacts:
            timed(collection, queries[:2], exact=True)
            found, times, cpu = timed(collection, queries[:exacts], exact=True)
            got = recall(found, true[LARGE][:exacts])
            yield Row(tiers, True, None, got, 1.0, median(times), _p95(times), median(cpu))
        for shortlist in lists:
            found, times, cpu = timed(collection, queries, **_shortlist(shortlist))
            most = ceiling(true, tiers, shortlist)
            got = recall(found, true[LARGE])
            middle, late = median(times), _p95(times)
            yield Row(tiers, False, shortlist, got, most, middle, late, median(cpu))


def _shortlist(given: int | None) -> dict[str, object]:
    return {} if given is None else {"shortlist": given}


def _p95(times: Sequence[float]) -> float:
    return float(np.percentile(times, 95))


def measure(
    folder: Path, corpus: Corpus, plans: Sequence[Tiers], n_queries: int, exacts: int
) -> Run:
    """Fill what isn't there yet, then search everything: no build goes on meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    queries = corpus.queries(n_queries)
    run = Run(corpus.name, corpus.points, corpus.told(), len(queries), machine=machine())
    say(f"{corpus.name}, {corpus.points:,} points: truth by brute force")
    true = truth(folder, corpus, queries)
    run.stores = {label(tiers): fill(folder, corpus, tiers) for tiers in plans}
    exact_in = next(tiers for tiers in plans if tiers[-1] == LARGE)
    for tiers in plans:
        run.rows += search(folder, tiers, queries, true, exacts if tiers == exact_in else 0)
        run.loads.append(round(os.getloadavg()[0], 1))
    return run


def machine() -> str:
    system = f"{platform.system()} {platform.machine()}"
    return f"{os.cpu_count()} cores, {system}, Python {platform.python_version()}"


# ---- telling


def table(run: Run) -> str:
    """The measurements, aligned."""
    head = (
        "tiers", "shortlist", f"recall@{K}", "brute force", "median ms", "p95 ms", "CPU ms",
        "x exact", "by CPU", "B/point in memory", "on disk",
    )  # fmt: skip
    lines = [head]
    order = sorted(run.rows, key=lambda row: (not row.exact, len(row.tiers)))
    for row in order:
        lines.append(
            (
                f"exact {LARGE}" if row.exact else " > ".join(map(str, row.tiers)),
                "" if row.shortlist is None else str(row.shortlist),
                f"{row.recall:.3f}",
                "" if row.ceiling is None else f"{row.ceiling:.3f}",
                f"{row.milliseconds:.2f}",
                f"{row.p95:.2f}",
                f"{row.cpu:.2f}",
                f"{run.slowest.milliseconds / row.milliseconds:.1f}",
                f"{run.slowest.cpu / row.cpu:.1f}",
                f"{run.memory(row):,.0f}",
                f"{run.disk(row):,.0f}",
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


def report(run: Run) -> str:
    """The table with what it was measured on, and where the memory goes."""
    how = (
        f"{run.told}. {run.queries} queries one after the other, the fastest of {TRIES} tries "
        f"each, k={K}, embedded engine; {run.machine}, load {min(run.loads)} to {max(run.loads)}. "
        "'brute force' is the recall that the same list has when plain arithmetic finds it."
    )
    parts = [*textwrap.wrap(how, 100), "", table(run), ""]
    whole = 4 * LARGE
    for name, store in run.stores.items():
        parts.append(
            f"{name.replace('-', ' > '):<18}in memory {store.int8:,.0f} int8 + {store.graph:,.0f} "
            f"graph = {store.memory / whole:.3f} of a {LARGE} float32 index; {store.graphs} graph"
            f"{'s' if store.graphs > 1 else ''}; {run.points:,} points added in "
            f"{store.add_seconds:.0f} s, built in {store.build_seconds:.0f} s"
        )
    return "\n".join(parts)


def to_json(runs: Sequence[Run]) -> str:
    return json.dumps([asdict(run) for run in runs], indent=1) + "\n"


def from_json(path: Path) -> list[Run]:
    """Runs that ``--json`` wrote."""
    runs = []
    for told in json.loads(path.read_text("utf-8")):
        rows = [Row(**{**row, "tiers": tuple(row["tiers"])}) for row in told.pop("rows")]
        stores = {name: Store(**store) for name, store in told.pop("stores").items()}
        runs.append(Run(**told, rows=rows, stores=stores))
    return runs


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=20_000, help="synthetic ones; 0 for none")
    parser.add_argument("--texts", type=int, default=5_000, help="real ones; 0 for none")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--exacts", type=int, default=30, help="queries timed for exact search")
    parser.add_argument(
        "--tiers",
        nargs="+",
        type=lambda text: tuple(sorted(map(int, text.split("-")))),
        default=PLANS,
        help="collections to make, such as 768-3072; one has to end with 3072",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--path", type=Path, help="keep the collections there, for another run")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--plot", type=Path, help="draw them: a .png or .svg")
    parser.add_argument("--load", type=Path, nargs="+", help="figures of earlier runs instead")
    return parser.parse_args()


def measured(given: argparse.Namespace) -> Iterator[Run]:
    """What is asked for, one corpus after the other."""
    home = given.path or Path(tempfile.mkdtemp(prefix="retrieval-"))
    try:
        if given.points:
            folder = home / f"synthetic-{given.points}"
            corpus: Corpus = Synthetic(given.points, given.seed)
            yield measure(folder, corpus, given.tiers, given.queries, given.exacts)
        if given.texts:
            folder = home / f"texts-{given.texts}"
            folder.mkdir(parents=True, exist_ok=True)
            corpus = RealTexts(given.texts, given.queries, given.seed, folder / "texts.npz")
            yield measure(folder, corpus, given.tiers, given.queries, given.exacts)
    finally:
        if given.path is None:
            shutil.rmtree(home, ignore_errors=True)


def main() -> None:
    given = arguments()
    runs = []
    for run in (r for p in given.load for r in from_json(p)) if given.load else measured(given):
        print(report(run) + "\n", flush=True)
        runs.append(run)
    if given.json:
        given.json.write_text(to_json(runs), "utf-8")
    if given.plot:
        from tests.benchmarks.picture import draw

        draw(runs, given.plot)


if __name__ == "__main__":
    main()
