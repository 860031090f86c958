"""``TableSource``: a column of a CSV, TSV, parquet or JSONL file."""

from __future__ import annotations

import csv
import datetime
import decimal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from gemini2_core.content.lines import (
    MAX_LINE_BYTES,
    Lines,
    LinesEndError,
    count_lines,
    json_lines,
)
from gemini2_core.corpus.item import Item
from gemini2_core.corpus.sources.paths import PathLike, Places, paths_name, read_paths
from gemini2_core.corpus.sources.points import document_payload
from gemini2_core.corpus.sources.reading import (
    Broken,
    CheckedSource,
    Found,
    Policy,
    derived_id,
)
from gemini2_core.errors import ConfigurationError, InvalidInputError, MissingExtraError

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["TABLE_SUFFIXES", "TableSource", "column_names", "table_kind"]

#: What a file's last suffix (before ``.gz``) says that it holds.
TABLE_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_DELIMITERS = {"csv": ",", "tsv": "\t"}
#: Rows of a parquet file that are in memory at once.
_PARQUET_ROWS = 1024

_Row = tuple[int, Mapping[str, object] | str]


class TableSource(CheckedSource):
    """The rows of a table, a text each.

    Read by Python's ``csv`` (CSV and TSV, gzipped or not), pyarrow (parquet, the extra
    ``[parquet]``; one batch of rows at a time) or as JSON lines. The payload is what LangChain's
    stores write: ``page_content``, and ``metadata`` with the title and the ``metadata_columns``.

    Args:
        path: The file, or several with the same columns.
        column: The column with the texts.
        id_column: The column with the ids: strings, or integers in parquet and JSONL. None makes
            ids of what the rows hold, so that the same text with the same metadata is one item.
        title_column: The column with titles, told to the model with each text.
        metadata_columns: Columns that are stored with it.
        delimiter: Between the cells of a CSV file; None goes by the suffix.
        encoding: Of CSV, TSV and JSONL.
        policy: What becomes of an item that can't be embedded.

    Raises:
        InvalidInputError: There is no such file, or its suffix names no table. While reading: a
            column that isn't there, a row that can't be read; file and line are named.
        MissingExtraError: pyarrow isn't installed.
        ConfigurationError: No such encoding, or a delimiter that isn't one character.
    """

    def __init__(
        self,
        path: PathLike | Sequence[PathLike],
        *,
        column: str,
        id_column: str | None = None,
        title_column: str | None = None,
        metadata_columns: Sequence[str] = (),
        delimiter: str | None = None,
        encoding: str = "utf-8",
        policy: Policy | None = None,
    ) -> None:
        if delimiter is not None and len(delimiter) != 1:
            raise ConfigurationError(f"a delimiter is one character, not {delimiter!r}")
        try:
            "".encode(encoding)
        except LookupError:
            raise ConfigurationError(f"there is no encoding {encoding!r}") from None
        self._paths = read_paths(path)
        for one in self._paths:
            if table_kind(one) == "parquet":
                _parquet()
        self._column = column
        self._id_column = id_column
        self._title_column = title_column
        self._metadata_columns = tuple(metadata_columns)
        self._delimiter = delimiter
        self._encoding = encoding
        self._places = Places(
            self._paths, "row" if table_kind(self._paths[0]) == "parquet" else "line"
        )
        super().__init__(f"{paths_name(self._paths)}, column {column!r}", policy)

    def _where(self, place: int) -> str:
        return self._places.where(place)

    def _counted(self) -> int | None:
        total = 0
        for path in self._paths:
            match table_kind(path):
                case "parquet":
                    total += _parquet_file(path).metadata.num_rows  # type: ignore[attr-defined]  # pyarrow has no types
                case "jsonl":
                    lines = count_lines(path)
                    if lines is None:
                        return None
                    total += lines
                case _:
                    # A cell may hold line ends.
                    total += sum(1 for _ in self._csv(path)) if self._readable(path) else 0
        return total

    def _readable(self, path: Path) -> bool:
        try:
            column_names(path, self._delimiter, self._encoding)
        except InvalidInputError:
            return False  # reading tells what is wrong
        return True

    @property
    def _wanted(self) -> list[str]:
        named = (self._column, self._id_column, self._title_column, *self._metadata_columns)
        return list(dict.fromkeys(name for name in named if name is not None))

    def _found(self) -> Iterator[Found | Broken]:
        for index, path in enumerate(self._paths):
            for number, row in self._rows(path):
                place = self._places.of(index, number)
                try:
                    if isinstance(row, str):
                        raise InvalidInputError(row)
                    yield Found(place, self._item(row), derived=self._id_column is None)
                except InvalidInputError as error:
                    yield Broken(place, str(error))

    def _rows(self, path: Path) -> Iterator[_Row]:
        match table_kind(path):
            case "parquet":
                return self._parquet(path)
            case "jsonl":
                return json_lines(path, self._encoding)
        return self._csv(path)

    def _csv(self, path: Path) -> Iterator[_Row]:
        # A limit of the whole process; it only ever grows here.
        csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
        header = self._header(path)
        places = {name: header.index(name) for name in self._wanted}
        with Lines(path, self._encoding) as lines:
            rows = csv.reader(lines, delimiter=self._delimiter or _DELIMITERS[table_kind(path)])
            started = False
            while True:
                number = lines.number + 1
                try:
                    cells = next(rows)
                except StopIteration:
                    return
                except LinesEndError as error:
                    yield lines.number, str(error)
                    return
                except InvalidInputError as error:
                    yield lines.number, str(error)
                    continue
                except csv.Error as error:
                    yield number, f"the row can't be read: {error} (is a quote left open?)"
                    continue
                if lines.ended:
                    # Only an open quote makes the reader ask for more before it gives a row.
                    yield number, f"a quote is left open, up to line {lines.number}, the last"
                elif not cells:
                    continue
                elif not started:
                    started = True
                elif len(cells) != len(header):
                    yield number, f"the row has {len(cells)} cells, the header {len(header)}"
                else:
                    yield number, {name: cells[at] for name, at in places.items()}

    def _header(self, path: Path) -> list[str]:
        header = column_names(path, self._delimiter, self._encoding)
        self._check_columns(path, header, "line 1")
        for name in self._wanted:
            if header.count(name) > 1:
                raise InvalidInputError(f"{path}, line 1: there are two columns {name!r}")
        return header

    def _parquet(self, path: Path) -> Iterator[_Row]:
        file = _parquet_file(path)
        arrow = _parquet().lib
        self._check_columns(path, _columns(file), "the schema")
        number = 0
        try:
            batches = file.iter_batches(batch_size=_PARQUET_ROWS, columns=self._wanted)  # type: ignore[attr-defined]  # pyarrow has no types
            for batch in batches:
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
        except (arrow.ArrowException, OSError) as error:
            yield number + 1, f"the file is damaged: {error}"

    def _check_columns(self, path: Path, there: Sequence[str], where: str) -> None:
        for name in self._wanted:
            if name not in there:
                names = ", ".join(there) or "none"
                raise InvalidInputError(
                    f"{path}, {where}: there is no column {name!r}; there are {names}"
                )

    def _item(self, row: Mapping[str, object]) -> Item:
        if self._column not in row:
            raise InvalidInputError(f"there is no {self._column!r}; there are {', '.join(row)}")
        text = _text(row, self._column)
        title = _text(row, self._title_column).strip() if self._title_column else ""
        metadata = {name: _value(name, row.get(name)) for name in self._metadata_columns}
        if title:
            metadata["title"] = title
        if self._id_column is None:
            own: int | str = derived_id(text, orjson.dumps(metadata).decode())
        else:
            own = _id(row, self._id_column)
        return Item(own, text, title or None, document_payload(text, metadata))


def table_kind(path: Path) -> str:
    """``"csv"``, ``"tsv"``, ``"parquet"`` or ``"jsonl"``, by the suffix (before a ``.gz``).

    Raises:
        InvalidInputError: The suffix names no table.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    kind = TABLE_SUFFIXES.get(suffixes[-1]) if suffixes else None
    if kind is None:
        raise InvalidInputError(f"{path} is no table: one of {', '.join(TABLE_SUFFIXES)} is")
    return kind


def column_names(path: Path, delimiter: str | None = None, encoding: str = "utf-8") -> list[str]:
    """The columns of a table; of JSONL the keys of its first line.

    Raises:
        InvalidInputError: It can't be read.
    """
    kind = table_kind(path)
    if kind == "parquet":
        return _columns(_parquet_file(path))
    if kind == "jsonl":
        for number, line in json_lines(path, encoding):
            if isinstance(line, str):
                raise InvalidInputError(f"{path}, line {number}: {line}")
            return list(line)
        return []
    with Lines(path, encoding) as lines:
        try:
            for cells in csv.reader(lines, delimiter=delimiter or _DELIMITERS[kind]):
                if cells:
                    return cells
        except (csv.Error, InvalidInputError) as error:
            raise InvalidInputError(f"{path}, line {max(1, lines.number)}: {error}") from None
    return []


def _columns(file: object) -> list[str]:
    return [str(name) for name in file.schema_arrow.names]  # type: ignore[attr-defined]  # pyarrow has no types


def _parquet() -> ModuleType:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("A parquet file", extra="parquet", package="pyarrow") from error
    import pyarrow

    module: ModuleType = pyarrow
    return module


def _parquet_file(path: Path) -> object:
    arrow = _parquet()
    try:
        return arrow.parquet.ParquetFile(path)
    except (arrow.lib.ArrowException, OSError) as error:
        raise InvalidInputError(f"{path} is no parquet file that can be read: {error}") from error


def _text(row: Mapping[str, object], name: str) -> str:
    value = row.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidInputError(f"{name!r} is a text, not {value!r:.80}")
    return value


def _id(row: Mapping[str, object], name: str) -> int | str:
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise InvalidInputError(f"the id in {name!r} is a string or an integer, not {value!r:.80}")
    return value


def _value(name: str, value: object) -> object:
    """A cell as JSON has it."""
    if value is None or isinstance(value, str | int):
        return value
    try:
        return orjson.loads(orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS))
    except TypeError as error:
        raise InvalidInputError(f"{name!r} can't be stored as JSON: {error}") from None


def _plain(value: object) -> object:
    if isinstance(value, decimal.Decimal | datetime.timedelta):
        return str(value)
    raise TypeError(type(value).__name__)
