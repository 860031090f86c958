"""Vectors of a batch run, and the files that they are written to: npz, parquet, JSON lines."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson

from gemini2_core.embedding.answer import Row
from gemini2_core.errors import ConfigurationError, Gemini2Error, MissingExtraError
from gemini2_core.model import truncate

__all__ = ["BatchVector", "Saved", "check_kind", "write_vectors"]

#: Rows that are written at a time.
_SOME = 1024


class BatchVector(NamedTuple):
    """What became of one content: a vector, or why there is none.

    Attributes:
        key: The caller's.
        vector: float32, shape (dimensions,), unit length; None if there is an error.
        error: Why there is no vector; None if there is one.
    """

    key: str
    vector: Row | None
    error: Gemini2Error | None


class Saved(NamedTuple):
    """What was written: how many vectors, and the contents without one, by key."""

    vectors: int
    errors: dict[str, Gemini2Error]


def check_kind(path: Path) -> None:
    """See that vectors can be written to a file, before they are waited for.

    Raises:
        ConfigurationError: Another kind of file, or no such folder.
        MissingExtraError: Parquet without the extra ``parquet``.
    """
    if path.suffix.lower() not in _WRITERS:
        kinds = ", ".join(_WRITERS)
        raise ConfigurationError(f"{path}: vectors are written to {kinds}, by the file's name")
    if not path.parent.is_dir():
        raise ConfigurationError(f"{path}: there is no folder {path.parent}")
    if path.suffix.lower() == ".parquet" and find_spec("pyarrow") is None:
        raise MissingExtraError("parquet", extra="parquet", package="pyarrow")


def write_vectors(path: Path, found: Iterable[BatchVector], dimensions: int, most: int) -> Saved:
    """Write vectors to a file, of the kind that its name says.

    Args:
        path: The file.
        found: What there is.
        dimensions: Size of the vectors in the file.
        most: How many vectors there are at most.

    Raises:
        ConfigurationError: Another kind of file.
        MissingExtraError: Parquet without the extra ``parquet``.
    """
    check_kind(path)
    write = _WRITERS[path.suffix.lower()]
    errors: dict[str, Gemini2Error] = {}

    def good() -> Iterator[tuple[str, Row]]:
        for key, vector, error in found:
            if vector is not None:
                short = len(vector) != dimensions
                yield key, truncate(vector[None, :], dimensions)[0] if short else vector
            elif error is not None:
                errors[key] = error

    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        count = write(unfinished, good(), dimensions, most)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return Saved(count, errors)


def _write_npz(path: Path, rows: Iterator[tuple[str, Row]], dimensions: int, most: int) -> int:
    keys: list[str] = []
    kept = path.with_name(f"{path.name}.rows")
    try:
        # On the disk first: an array of a whole corpus needn't fit into memory.
        vectors = np.memmap(kept, np.float32, "w+", shape=(max(most, 1), dimensions))
        for key, row in rows:
            vectors[len(keys)] = row
            keys.append(key)
        with path.open("wb") as file:
            np.savez(file, keys=np.array(keys, np.str_), vectors=vectors[: len(keys)])
        del vectors
    finally:
        kept.unlink(missing_ok=True)
    return len(keys)


def _write_parquet(
    path: Path,
    rows: Iterator[tuple[str, Row]],
    dimensions: int,
    most: int,  # noqa: ARG001 - as the others
) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("key", pa.string()), ("vector", pa.list_(pa.float32(), dimensions))])
    count = 0
    with pq.ParquetWriter(path, schema) as writer:
        for some in _groups(rows):
            values = pa.array(np.concatenate([row for _, row in some]))
            vectors = pa.FixedSizeListArray.from_arrays(values, dimensions)
            keys = pa.array([key for key, _ in some], pa.string())
            writer.write_batch(pa.record_batch([keys, vectors], schema=schema))
            count += len(some)
    return count


def _write_jsonl(
    path: Path,
    rows: Iterator[tuple[str, Row]],
    dimensions: int,  # noqa: ARG001 - as the others
    most: int,  # noqa: ARG001
) -> int:
    count = 0
    with path.open("wb") as file:
        for count, (key, row) in enumerate(rows, 1):  # noqa: B007 - the number of the last
            line = {"key": key, "vector": row}
            file.write(orjson.dumps(line, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n")
    return count


def _groups(rows: Iterator[tuple[str, Row]]) -> Iterator[list[tuple[str, Row]]]:
    while some := list(itertools.islice(rows, _SOME)):
        yield some


_WRITERS: dict[str, Callable[[Path, Iterator[tuple[str, Row]], int, int], int]] = {
    ".npz": _write_npz,
    ".parquet": _write_parquet,
    ".jsonl": _write_jsonl,
}
