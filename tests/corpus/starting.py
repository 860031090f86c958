"""A process that has everything imported and forks a child for each run: cheap starts."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tests.corpus.emulating import ROOT

_PRELOADED = ("google.genai", "aiohttp", "qdrant_edge", "qdrant_client")


class Starter:
    """Starts ``main`` of a module with arguments, each time in a child of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self, arguments: Sequence[str]) -> int:
        """Start a child; its process id."""
        return int(self._ask({"start": list(arguments)}))

    def wait(self, child: int) -> int:
        """Wait for a child's end; its exit status, or the signal that ended it, negative."""
        return int(self._ask({"wait": child}))

    def running(self, child: int) -> bool:
        """Whether a child hasn't ended yet."""
        return bool(self._ask({"running": child}))

    def _ask(self, what: dict[str, object]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextmanager
def starter(module: str) -> Iterator[Starter]:
    """A starter for a module's ``main``."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.corpus.starting", module],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        try:
            yield Starter(process)
        finally:
            process.stdin.close()
            process.wait(20)


def main(module: str) -> None:
    """Answer until stdin ends."""
    for name in _PRELOADED:
        importlib.import_module(name)
    work = importlib.import_module(module).main
    ended: dict[int, int] = {}

    def look(child: int, options: int) -> None:
        if child not in ended:
            found, status = os.waitpid(child, options)
            if found:
                ended[child] = os.waitstatus_to_exitcode(status)

    for line in sys.stdin:
        asked = json.loads(line)
        if "start" in asked:
            child = os.fork()
            if not child:
                _child(work, asked["start"])
            print(child, flush=True)
        elif "running" in asked:
            look(asked["running"], os.WNOHANG)
            print(json.dumps(asked["running"] not in ended), flush=True)
        else:
            look(asked["wait"], 0)
            print(ended[asked["wait"]], flush=True)


def _child(work: Any, arguments: list[str]) -> None:
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(0, 1)  # where the answers go
    status = 1
    try:
        work(arguments)
        status = 0
    except BaseException:  # noqa: BLE001 - told, and then the end
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main(sys.argv[1])
