"""An emulator in a process of its own that keeps count of what it served."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from gemini2_core.emulator import serve
from gemini2_core.emulator.log import RequestRecord
from gemini2_core.emulator.reading import items_of, read_item
from gemini2_core.emulator.service import Service
from gemini2_core.model import count_tokens

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Tally:
    """What was served.

    Attributes:
        items: Items whose vectors were sent.
        tokens: Their tokens.
        dropped_tokens: Tokens of answers that were lost on the way.
        refused: Requests that were refused.
        batch_tokens: Tokens of lines of batch jobs.
        batch_lines: Such lines.
    """

    items: int = 0
    tokens: int = 0
    dropped_tokens: int = 0
    refused: int = 0
    batch_tokens: int = 0
    batch_lines: int = 0

    @property
    def served(self) -> int:
        """Items and lines."""
        return self.items + self.batch_lines


class Counting(deque[RequestRecord]):
    """A log of requests that keeps sums instead of requests."""

    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self._tally = tally

    def append(self, record: RequestRecord) -> None:
        if not record.path.endswith(":batchEmbedContents"):
            return
        if record.status not in (0, 200):
            self._tally.refused += 1
            return
        items = [read_item(one, "", "") for one in items_of(record.body)]
        tokens = sum(count_tokens(str(part)) for item in items for part in item.parts)
        if record.status == 0:
            self._tally.dropped_tokens += tokens
        else:
            self._tally.items += len(items)
            self._tally.tokens += tokens


def main(settings: str) -> None:
    """Serve until stdin ends; each line of it is answered with the tally."""
    tally = Tally()
    told = json.loads(settings)
    if "failures" in told:
        told["failures"] = tuple(told["failures"])
    embed_row = Service.embed_row

    def counted(service: Service, item: object, spec: object) -> object:
        done = embed_row(service, item, spec)  # type: ignore[arg-type]  # handed through
        if isinstance(done, tuple):
            tally.batch_lines += 1
            tally.batch_tokens += done[1]
        return done

    Service.embed_row = counted  # type: ignore[method-assign, assignment]  # counts on the way
    with serve(**told) as emulator:
        emulator._state.requests = Counting(tally)
        print(emulator.base_url, flush=True)
        for _ in sys.stdin:
            print(json.dumps(vars(tally)), flush=True)


class Emulating:
    """The running process, seen from outside."""

    def __init__(self, process: subprocess.Popen[str], base_url: str) -> None:
        self._process = process
        self.base_url = base_url

    def tally(self) -> Tally:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return Tally(**cast("dict[str, int]", json.loads(self._process.stdout.readline())))


@contextmanager
def emulating(settings: Mapping[str, object]) -> Iterator[Emulating]:
    """Run an emulator beside this process."""
    command: Sequence[str] = (
        sys.executable,
        "-m",
        "tests.corpus.emulating",
        json.dumps(dict(settings)),
    )
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Emulating(process, process.stdout.readline().strip())
        finally:
            process.stdin.close()
            process.wait(20)


if __name__ == "__main__":
    main(sys.argv[1])
