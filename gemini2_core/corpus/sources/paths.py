"""The files of a source: found, named, and their places numbered."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from gemini2_core.errors import InvalidInputError

__all__ = ["PLACES", "PathLike", "Places", "paths_name", "read_paths"]

PathLike: TypeAlias = str | os.PathLike[str]

#: Places of one file, lines or chunks; 90 million files of so many still have numbers of 64 bits.
PLACES = 10**11


def read_paths(given: PathLike | Sequence[PathLike]) -> list[Path]:
    """The files or folders, as they were given.

    Raises:
        InvalidInputError: None at all, or one that isn't there.
    """
    some = [given] if isinstance(given, str | os.PathLike) else list(given)
    paths = [Path(path).expanduser() for path in some]
    if not paths:
        raise InvalidInputError("no path is given")
    for path in paths:
        if not path.exists():
            raise InvalidInputError(f"there is no file or folder {str(path)!r}")
    return paths


def paths_name(paths: Sequence[Path]) -> str:
    """One name for the paths, the same for the same ones."""
    if len(paths) == 1:
        return str(paths[0])
    digest = hashlib.sha256("\n".join(map(str, paths)).encode("utf-8", "replace")).hexdigest()[:8]
    return f"{paths[0]} and {len(paths) - 1} more ({digest})"


class Places:
    """Numbers for the places of several files.

    Args:
        paths: The files.
        unit: What is counted in them: ``"line"``, ``"row"``.
    """

    def __init__(self, paths: Sequence[Path], unit: str) -> None:
        self._paths = paths
        self._unit = unit

    def of(self, index: int, number: int) -> int:
        """The place of the file at ``index``, its ``number``-th unit."""
        return index * PLACES + number

    def where(self, place: int) -> str:
        """``"corpus.jsonl, line 7"``."""
        index, number = divmod(place, PLACES)
        return f"{self._paths[index]}, {self._unit} {number}" if number else str(self._paths[index])
