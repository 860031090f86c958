"""From what stands on a command line to a source: a path's kind is seen from what it is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from gemini2_core.corpus.item import Source
from gemini2_core.corpus.sources.beir import BeirSource
from gemini2_core.corpus.sources.files import FilesSource
from gemini2_core.corpus.sources.paths import PathLike, read_paths
from gemini2_core.corpus.sources.reading import Policy
from gemini2_core.corpus.sources.tables import TableSource, column_names, table_kind
from gemini2_core.errors import InvalidInputError

__all__ = ["open_source"]

_BEIR_FILES = ("corpus.jsonl", "corpus.jsonl.gz")


def open_source(
    *paths: PathLike,
    column: str | None = None,
    id_column: str | None = None,
    title_column: str | None = None,
    metadata_columns: Sequence[str] = (),
    delimiter: str | None = None,
    encoding: str = "utf-8",
    media_root: PathLike | None = None,
    policy: Policy | None = None,
) -> Source:
    """The source that paths name.

    ``.jsonl`` whose lines have ``_id`` is BEIR's, and so is a folder with such a
    ``corpus.jsonl``; ``.csv``, ``.tsv``, ``.parquet`` and other ``.jsonl`` are tables, and so is
    a folder with nothing but parquet files; every other file or folder is cut into chunks.

    Args:
        paths: One or more, all of one kind.
        column: The column with the texts; tables need it.
        id_column: The column with the ids of a table.
        title_column: The column with the titles of a table.
        metadata_columns: Columns of a table that are stored.
        delimiter: Between the cells of a CSV file; None goes by the suffix.
        encoding: Of a table of text.
        media_root: The only folder that links of files are read from.
        policy: What becomes of an item that can't be embedded.

    Raises:
        InvalidInputError: A path isn't there or a folder holds nothing to read, kinds are mixed,
            or a table's column isn't named.
    """
    found = [file for path in read_paths(paths) for file in _files(path)]
    kinds = [_kind(path, column, encoding) for path in found]
    if len(set(kinds)) > 1:
        told = ", ".join(f"{path} ({kind})" for path, kind in zip(found, kinds, strict=True))
        raise InvalidInputError(f"paths of different kinds are different corpora: {told[:500]}")
    if kinds[0] == "table":
        if column is None:
            names = ", ".join(column_names(found[0], delimiter, encoding)) or "none"
            raise InvalidInputError(
                f"{found[0]} is a table: name the column with the texts (--column, column=); "
                f"there are {names}"
            )
        return TableSource(
            found,
            column=column,
            id_column=id_column,
            title_column=title_column,
            metadata_columns=metadata_columns,
            delimiter=delimiter,
            encoding=encoding,
            policy=policy,
        )
    if column is not None or id_column is not None or title_column is not None or metadata_columns:
        raise InvalidInputError(f"{found[0]} is no table, so it has no columns")
    if kinds[0] == "BEIR corpus":
        return BeirSource([*found], policy=policy)
    source = FilesSource(found, media_root=media_root, policy=policy)
    if next(source.files(), None) is None:
        raise InvalidInputError(
            f"{source.name} holds no document, picture, sound or film; a table or a corpus.jsonl "
            "is named itself"
        )
    return source


def _files(path: Path) -> list[Path]:
    """A folder of BEIR or of parquet files as its files; anything else as it is."""
    if not path.is_dir():
        return [path]
    for name in _BEIR_FILES:
        if (path / name).is_file():
            return [path / name]
    with os.scandir(path) as entries:
        inside = [Path(one.path) for one in entries if not one.name.startswith(("_", "."))]
    if inside and all(one.suffix.lower() in {".parquet", ".pq"} for one in inside):
        return sorted(inside)
    return [path]


def _kind(path: Path, column: str | None, encoding: str) -> str:
    if path.is_dir():
        return "files"
    try:
        kind = table_kind(path)
    except InvalidInputError:
        return "files"
    if kind != "jsonl" or column is not None:
        return "table"
    return "BEIR corpus" if "_id" in column_names(path, encoding=encoding) else "table"
