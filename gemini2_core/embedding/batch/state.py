"""What a batch run knows, in one SQLite file: contents, lines, jobs, and what was paid."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gemini2_core.embedding.batch.kept_contents import KeptContents
from gemini2_core.embedding.batch.kept_jobs import KeptJobs
from gemini2_core.embedding.batch.kept_lines import KeptLines
from gemini2_core.embedding.batch.statefile import StateFile

__all__ = ["State"]


class State:
    """A state file and what is in it.

    Args:
        path: The file.
        facts: What the run is for; None takes a file that is there as it is.
        notes: Facts that are only kept.

    Raises:
        ConfigurationError: As ``StateFile`` says.
    """

    def __init__(
        self, path: Path, facts: Mapping[str, str] | None, notes: Mapping[str, str] | None = None
    ) -> None:
        self.file = StateFile(path, facts, notes)
        self.contents = KeptContents(self.file)
        self.lines = KeptLines(self.file)
        self.jobs = KeptJobs(self.file)
