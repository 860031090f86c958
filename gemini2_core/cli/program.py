"""The command ``gemini2``: runs what the line names, and tells an error in a line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from gemini2_core.cli import batch, copy, emulator, estimate, evaluate, reindex, switch, verify
from gemini2_core.cli.command import Run
from gemini2_core.errors import Gemini2Error

__all__ = ["main"]

_COMMANDS = (
    batch.add,
    copy.add,
    emulator.add,
    estimate.add,
    evaluate.add,
    reindex.add,
    switch.add,
    verify.add,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status.

    Args:
        arguments: Without the program's name; None reads the command line.
    """
    parser = argparse.ArgumentParser(prog="gemini2", description="Gemini Embedding 2 at hand.")
    commands = parser.add_subparsers(dest="command", required=True)
    for add in _COMMANDS:
        add(commands)
    options = parser.parse_args(arguments)
    run: Run = options.run
    del options.run, options.command
    try:
        return run(options)
    except KeyboardInterrupt:
        return 130
    except (Gemini2Error, OSError) as error:
        print(f"gemini2: {error}", file=sys.stderr)
        return 1
