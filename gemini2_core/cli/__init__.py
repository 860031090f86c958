"""The command line: a file for each command of ``gemini2``."""

from gemini2_core.cli.program import main

__all__ = ["main"]
