"""Ours, the official adapters and the floor on one emulator, in turns, in one run."""

from __future__ import annotations

import argparse
import json
import platform
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any, Literal

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

OURS = ("ours-langchain", "ours-llama-index", "ours-without-fast")
PEERS = ("langchain-google-genai", "llama-index-embeddings-google-genai")
FLOOR = "floor"
LABELS = {
    "ours-langchain": "Gemini2Embeddings (LangChain)",
    "ours-llama-index": "Gemini2Embedding (LlamaIndex)",
    "ours-without-fast": "Gemini2Embeddings without [fast]",
    "floor": "floor: aiohttp + orjson",
}

Mode = Literal["sync", "async"]
Test = Literal["cpu", "wall"]
MODES: tuple[Mode, ...] = ("sync", "async")
# Which instance of a client a test uses: the first has an emulator that answers at once.
URL: dict[Test, int] = {"cpu": 0, "wall": 1}

SERVER = """
import sys
from gemini2_core.emulator import serve
with serve(latency={latency}, vectors="pool", log_requests=False) as emulator:
    print(emulator.base_url, flush=True)
    sys.stdin.read()
"""

WORDS = (
    "pump valve gasket rotor bearing shaft coolant pressure filter nozzle torque bolt seal oil "
    "engine idle noise check replace tighten before after every hours manual page figure the of "
    "and to a in is with for when it at by from or if on as not must may should"
).split()


class BenchError(RuntimeError):
    """A process ended or answered with something else than a measurement."""


@dataclass
class Row:
    """What was measured of one client."""

    name: str
    process: subprocess.Popen[str]
    versions: dict[str, str]
    modes: list[Mode]
    samples: dict[tuple[Test, Mode], list[float]] = field(default_factory=dict)

    def run(self, test: Test, mode: Mode, texts: list[str]) -> float:
        """One call: CPU seconds for 1,000 vectors, or wall seconds.

        Raises:
            BenchError: The client failed.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        job = {"url": URL[test], "mode": mode, "texts": texts}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise BenchError(f"{self.name} ended in {test}, {mode}")
        taken: dict[str, float] = json.loads(answer)
        return taken["cpu"] * 1000 / len(texts) if test == "cpu" else taken["wall"]

    def median(self, test: Test, mode: Mode) -> float | None:
        """The middle of what was measured, or None."""
        values = self.samples.get((test, mode))
        return median(values) if values else None


@contextmanager
def process(arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A child that ends when its standard input does."""
    child = subprocess.Popen(
        arguments, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield child
    finally:
        assert child.stdin is not None
        child.stdin.close()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def first_line(child: subprocess.Popen[str], what: str) -> str:
    """What a child says when it is ready."""
    assert child.stdout is not None
    line = child.stdout.readline().strip()
    if not line:
        raise BenchError(f"{what} didn't start")
    return line


def texts_of(number: int, fresh: Iterator[int], seed: random.Random) -> list[str]:
    """Texts of about a hundred words that no client has seen."""
    return [f"{next(fresh)}: {' '.join(seed.choices(WORDS, k=100))}." for _ in range(number)]


def start(
    stack: ExitStack, arguments: argparse.Namespace, urls: list[str]
) -> tuple[list[Row], list[str]]:
    """Start every client in its environment; return those that run, and what failed."""
    rows: list[Row] = []
    failed: list[str] = []
    for name in (*OURS, *PEERS, FLOOR):
        python = arguments.peers if name in PEERS else sys.executable
        command = [str(python), str(HERE / "client.py"), name, str(arguments.dimensions), *urls]
        try:
            child = stack.enter_context(process(command))
            hello = json.loads(first_line(child, name))
        except (BenchError, OSError) as error:
            failed.append(str(error))
        else:
            rows.append(Row(name, child, hello["versions"], hello["modes"]))
    return rows, failed


def measure(rows: list[Row], arguments: argparse.Namespace, failed: list[str]) -> None:
    """Rounds of all clients in turns, in another order each time, after one that doesn't count."""
    fresh = count()
    seed = random.Random(2)
    plan: list[tuple[Test, int]] = [("cpu", arguments.cpu_texts), ("wall", 250)]
    for turn in range(arguments.rounds + 1):
        print("warm-up" if turn == 0 else f"round {turn} of {arguments.rounds}", file=sys.stderr)
        for test, number in plan:
            for mode in MODES:
                for row in seed.sample(rows, len(rows)):
                    if mode not in row.modes:
                        continue
                    try:
                        value = row.run(test, mode, texts_of(number, fresh, seed))
                    except (BenchError, OSError) as error:
                        failed.append(str(error))
                        rows.remove(row)
                    else:
                        if turn:
                            row.samples.setdefault((test, mode), []).append(value)


@dataclass(frozen=True)
class Goal:
    """A ratio that was promised."""

    what: str
    ratio: float | None
    goal: float
    at_most: bool

    @property
    def reached(self) -> bool | None:
        """Whether it holds, or None if it couldn't be measured."""
        if self.ratio is None:
            return None
        return self.ratio <= self.goal if self.at_most else self.ratio >= self.goal

    def __str__(self) -> str:
        word = {True: "reached", False: "MISSED", None: "NOT MEASURED"}[self.reached]
        ratio = "–" if self.ratio is None else f"{self.ratio:.2f}"
        sign = "≤" if self.at_most else "≥"
        return f"  {self.what:<76} {ratio:>6}  (goal {sign} {self.goal:.2f})  {word}"


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def goals(rows: list[Row]) -> list[Goal]:
    """The promised ratios, each of our adapters against the same peers."""
    by_name = {row.name: row for row in rows}

    def of(name: str, test: Test, mode: Mode) -> float | None:
        return by_name[name].median(test, mode) if name in by_name else None

    official = PEERS[0]
    asynchronous = [value for name in PEERS if (value := of(name, "wall", "async")) is not None]
    best = min(asynchronous) if len(asynchronous) == len(PEERS) else None
    found: list[Goal] = []
    for name in OURS:
        label = LABELS[name]
        found += [
            Goal(
                f"{label}: CPU, {mode}, of {official}'s",
                _ratio(of(name, "cpu", mode), of(official, "cpu", mode)),
                0.40,
                at_most=True,
            )
            for mode in MODES
        ]
        found += [
            Goal(
                f"{label}: times as fast as {official}, sync",
                _ratio(of(official, "wall", "sync"), of(name, "wall", "sync")),
                1.8,
                at_most=False,
            ),
            Goal(
                f"{label}: times as fast as the best async peer",
                _ratio(best, of(name, "wall", "async")),
                1.3,
                at_most=False,
            ),
        ]
    return found


def table(rows: list[Row], arguments: argparse.Namespace) -> str:
    """The medians, one client a line."""
    milliseconds = f"{arguments.latency * 1000:.0f} ms"
    head = (
        f"{'':<38}{'CPU s per 1,000 vectors':>26}{f'250 texts at {milliseconds}, s':>28}\n"
        f"{'client':<38}{'sync':>13}{'async':>13}{'sync':>15}{'async':>13}"
    )
    lines = [head, "-" * 92]
    for row in rows:
        cells = [
            "–" if (value := row.median(test, mode)) is None else f"{value:.3f}"
            for test in URL
            for mode in MODES
        ]
        widths = (13, 13, 15, 13)
        numbers = "".join(f"{cell:>{w}}" for cell, w in zip(cells, widths, strict=True))
        lines.append(f"{LABELS.get(row.name, row.name):<38}{numbers}")
    return "\n".join(lines)


def report(rows: list[Row], arguments: argparse.Namespace, failed: list[str]) -> dict[str, Any]:
    """Everything measured, for other programs."""
    return {
        "python": platform.python_version(),
        "machine": platform.platform(),
        "dimensions": arguments.dimensions,
        "latency": arguments.latency,
        "rounds": arguments.rounds,
        "cpu_texts": arguments.cpu_texts,
        "clients": {
            row.name: {
                "versions": row.versions,
                "medians": {f"{t}_{m}": row.median(t, m) for t in URL for m in MODES},
                "samples": {f"{t}_{m}": values for (t, m), values in row.samples.items()},
            }
            for row in rows
        },
        "goals": [
            {"what": g.what, "ratio": g.ratio, "goal": g.goal, "reached": g.reached}
            for g in goals(rows)
        ],
        "failed": failed,
    }


def main() -> int:
    """Measure, print, write; return 1 if a client failed, 0 otherwise, also for a missed ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path, required=True, help="Python of the peers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cpu-texts", type=int, default=500, help="texts of one CPU measurement")
    parser.add_argument("--dimensions", type=int, default=3072)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds, for the wall time")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench.json")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        urls = []
        for latency in (0.0, arguments.latency):
            command = [sys.executable, "-c", SERVER.format(latency=latency)]
            urls.append(first_line(stack.enter_context(process(command)), "the emulator"))
        rows, failed = start(stack, arguments, urls)
        measure(rows, arguments, failed)
    print(
        f"{arguments.dimensions} numbers a vector, medians of {arguments.rounds} interleaved "
        "rounds, each client in a process of its own,\n"
        "on the emulator over loopback HTTP with gzip: the emulator is not the model.\n"
    )
    print(table(rows, arguments))
    print()
    print(*goals(rows), sep="\n")
    for failure in failed:
        print(f"FAILED: {failure}", file=sys.stderr)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report(rows, arguments, failed), indent=2, ensure_ascii=False)
    arguments.json.write_text(text + "\n", encoding="utf-8")
    print(f"\nAll samples: {arguments.json}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
