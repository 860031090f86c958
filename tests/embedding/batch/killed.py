"""A process that works on a batch run and is killed (kill -9) at the moment it's told."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from gemini2_core import Gemini2Embedder
from gemini2_core.embedding.batch import work
from gemini2_core.embedding.batch.kept_contents import KeptContents
from gemini2_core.embedding.batch.kept_jobs import KeptJobs
from gemini2_core.embedding.batch.kept_lines import KeptLines
from gemini2_core.embedding.batch.service import JobService


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _when(moment: str) -> None:
    """Die before or after a method's call, of which the first argument may be asked for too."""
    when, name, *wanted = moment.split()
    owner: Any = next(
        o for o in (JobService, KeptContents, KeptJobs, KeptLines) if hasattr(o, name)
    )
    real: Callable[..., Any] = getattr(owner, name)

    def meant(args: tuple[object, ...]) -> bool:
        return not wanted or wanted[0] in args

    async def awaited(self: object, *args: object, **named: object) -> object:
        if when == "before" and meant(args):
            _die()
        done = await real(self, *args, **named)
        if when == "after" and meant(args):
            _die()
        return done

    def called(self: object, *args: object, **named: object) -> object:
        if when == "before" and meant(args):
            _die()
        done = real(self, *args, **named)
        if when == "after" and meant(args):
            _die()
        return done

    replacement: Callable[..., Awaitable[object] | object] = (
        awaited if owner is JobService else called
    )
    setattr(owner, name, replacement)


def _work(order: dict[str, Any]) -> None:
    work._SOME = 4
    _when(order["moment"])
    embedder = Gemini2Embedder(api_key="a-key", base_url=order["base_url"], dimensions=3072)
    run = embedder.batch(order["path"], poll_seconds=0.02, lines_per_job=10)
    run.submit(map(tuple, order["contents"]))
    run.wait(20)


def main() -> None:
    """One child for each line of orders, forked from here, where everything is imported."""
    import google.genai  # noqa: F401

    for line in sys.stdin:
        child = os.fork()
        if not child:
            try:
                _work(json.loads(line))
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
