"""Runs every cookbook notebook from top to bottom and fails on the first cell that does."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

COOKBOOKS = Path(__file__).resolve().parent.parent / "cookbooks"


def run(path: Path, *, save: bool, seconds: int) -> None:
    """Execute one notebook in its own folder; keep the outputs only if asked.

    Raises:
        CellExecutionError: A cell raised, with its source and traceback.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=seconds,
        kernel_name="python3",
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute()
    if save:
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)  # times: they'd change at every run
        nbformat.write(notebook, path)


def main() -> int:
    """Run what is named, or all; return the number of notebooks that failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "notebooks", nargs="*", type=Path, default=sorted(COOKBOOKS.glob("*.ipynb"))
    )
    parser.add_argument("--save", action="store_true", help="write the outputs into the notebooks")
    parser.add_argument("--seconds", type=int, default=120, help="limit for one cell")
    arguments = parser.parse_args()
    failed = 0
    for path in arguments.notebooks:
        begun = time.monotonic()
        try:
            run(path, save=arguments.save, seconds=arguments.seconds)
        except CellExecutionError as error:
            failed += 1
            print(f"FAILED  {path.name}\n{error}", file=sys.stderr)
        else:
            print(f"ran  {path.name}  in {time.monotonic() - begun:.1f} s")
    return failed


if __name__ == "__main__":
    sys.exit(main())
