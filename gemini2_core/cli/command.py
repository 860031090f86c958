"""What every command of ``gemini2`` is: a parser added to the others, and a function to run."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeAlias

__all__ = ["Commands", "Run"]

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""Where a command adds its parser; ``set_defaults(run=…)`` says what it does."""

Run: TypeAlias = Callable[[argparse.Namespace], int]
"""A command: its own options, without the command's name and without ``run``; the exit status."""
