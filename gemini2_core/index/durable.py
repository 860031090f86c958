"""Files that a kill leaves as they were before or as they are after, never in between."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

__all__ = ["sync_folder", "write_json"]


def write_json(path: Path, value: object, *, beside: str) -> None:
    """Replace a JSON file; on the disk when it returns.

    Args:
        path: The file.
        value: What goes into it.
        beside: Name of the file, in the same folder, that it is written to first.
    """
    new = path.with_name(beside)
    with new.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in the folder last; Windows has no such call for folders and needs none."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
