"""The command ``gemini2``: runs what the line names, and tells an error in a line."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence

from gemini2_core.cli import batch, copy, emulator, estimate, evaluate, reindex, switch, verify
from gemini2_core.cli.command import Run
from gemini2_core.errors import Gemini2Error

__all__ = ["main"]

#: What a shell says of a program that a signal ended: 128 and the signal's number.
_INTERRUPTED, _PIPE_CLOSED = 130, 141
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
    parser.add_argument(
        "--version",
        action=_Version,
        nargs=0,
        default=argparse.SUPPRESS,
        help="say which this is and exit",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for add in _COMMANDS:
        add(commands)
    options = parser.parse_args(arguments)
    run: Run = options.run
    del options.run, options.command
    usual, warnings.formatwarning = warnings.formatwarning, _warning
    try:
        status = run(options)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever reads has seen enough, as `head` does; what is left must go somewhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED
    except (Gemini2Error, OSError) as error:
        print(f"gemini2: {error}", file=sys.stderr)
        return 1
    finally:
        warnings.formatwarning = usual


def _warning(message: Warning | str, *_: object, **__: object) -> str:
    """A warning as the command tells it, without a line of our own code."""
    return f"gemini2: {message}\n"


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        from importlib.metadata import version

        print("gemini2-embeddings", version("gemini2-embeddings"))
        parser.exit()
