"""Lines of a text file, gzipped or not: numbered, none longer than memory bears."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, cast

import orjson

from gemini2_core.errors import InvalidInputError

__all__ = ["MAX_LINE_BYTES", "Lines", "LinesEndError", "count_lines", "json_lines"]

#: Bytes of a line. The longest text that the model reads whole is a thousandth of it.
MAX_LINE_BYTES = 64_000_000
_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_BLOCK = 1 << 20


class LinesEndError(InvalidInputError):
    """The file can't be read any further."""


class Lines(Iterator[str]):
    """The lines of a file with their ends, one after the other.

    A line that can't be read raises ``InvalidInputError``, and the next call goes on behind it;
    ``LinesEndError`` says that there is no way on.

    Args:
        path: The file; gzipped if its first bytes say so.
        encoding: How its lines are encoded; one of those that end a line with the byte 10.

    Attributes:
        number: Number of the line that was read last, from 1.
        ended: Whether the end of the file has been asked for.
    """

    def __init__(self, path: Path, encoding: str = "utf-8") -> None:
        self.number = 0
        self.ended = False
        self._path = path
        self._encoding = encoding
        self._file = _opened(path)

    def __next__(self) -> str:
        if self.ended:
            raise StopIteration
        line = self._line()
        self.number += 1
        if self.number == 1:
            if line.startswith(_UTF_16):
                raise LinesEndError("it is UTF-16: save it as UTF-8")
            line = line.removeprefix(_BOM)
        if len(line) > MAX_LINE_BYTES:
            self._skip_rest(line)
            raise InvalidInputError(f"the line is longer than {MAX_LINE_BYTES // 1_000_000} MB")
        try:
            return line.decode(self._encoding)
        except UnicodeDecodeError as error:
            raise InvalidInputError(
                f"byte {error.start + 1} of the line isn't {self._encoding.upper()}"
            ) from None

    def _line(self) -> bytes:
        try:
            line = self._file.readline(MAX_LINE_BYTES + 1)
        except (EOFError, OSError, zlib.error) as error:
            self.number += 1
            raise LinesEndError(f"the file is damaged or gone: {error}") from error
        if not line:
            self.ended = True
            self.close()
            raise StopIteration
        return line

    def _skip_rest(self, line: bytes) -> None:
        while line and not line.endswith(b"\n"):
            line = self._file.readline(_BLOCK)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def json_lines(
    path: Path, encoding: str = "utf-8"
) -> Iterator[tuple[int, Mapping[str, object] | str]]:
    """Number and JSON object of each line that isn't blank; a str says why there is none."""
    with Lines(path, encoding) as lines:
        while True:
            try:
                line = next(lines)
            except StopIteration:
                return
            except LinesEndError as error:
                yield lines.number, str(error)
                return
            except InvalidInputError as error:
                yield lines.number, str(error)
                continue
            if not line.strip():
                continue
            try:
                value = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                said = f"the line isn't JSON: {error.msg} (column {error.colno})"
                yield lines.number, said
                continue
            if isinstance(value, dict):
                yield lines.number, value
            else:
                yield lines.number, f"the line is no JSON object but {type(value).__name__}"


def count_lines(path: Path) -> int | None:
    """Lines with something in them, much faster than reading them; None if that can't be told."""
    total, blank = 0, True
    try:
        with _opened(path) as file:
            while block := file.read(_BLOCK):
                pieces = block.split(b"\n")
                for piece in pieces[:-1]:
                    total += not (blank and (not piece or piece.isspace()))
                    blank = True
                blank = blank and (not pieces[-1] or pieces[-1].isspace())
    except (EOFError, OSError, zlib.error):
        return None  # reading tells what is wrong, and where
    return total + (not blank)


def _opened(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    if zipped:
        return cast("BinaryIO", gzip.open(path, "rb"))
    return path.open("rb")
