"""How much a medium is: pages, seconds, pixels, read from its headers and never by decoding it."""

from __future__ import annotations

import io
import math
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from gemini2_core.content.fragments import Fragment
from gemini2_core.errors import InvalidInputError
from gemini2_core.model import Modality

__all__ = ["Measure", "measure", "measure_fragment"]

#: Longest that the headers of one medium may take; honest ones take milliseconds.
_MAX_SECONDS = 5.0
#: Most reads of one file: headers made of a million empty boxes end here.
_MAX_READS = 200_000


@dataclass(frozen=True, slots=True)
class Measure:
    """How much a medium is; None where a number doesn't apply or its headers don't tell.

    Attributes:
        pages: Pages of a PDF.
        seconds: Length of sound or film.
        width: Pixels of a picture, as shown (turned if its EXIF data says so).
        height: Pixels of a picture, likewise.
    """

    pages: int | None = None
    seconds: float | None = None
    width: int | None = None
    height: int | None = None


class _TooMuchError(Exception):
    """The headers ask for more reading than headers should."""


class _Bounded(io.BufferedIOBase):
    """A binary file that ends its reader's work after so many reads or seconds."""

    def __init__(self, file: BinaryIO, reads: float = _MAX_READS) -> None:
        super().__init__()
        self._file = file
        self._reads_left = reads
        self._deadline = time.monotonic() + _MAX_SECONDS

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        self._count()
        return self._file.read(-1 if size is None else size)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._count()
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def _count(self) -> None:
        self._reads_left -= 1
        if self._reads_left < 0 or time.monotonic() > self._deadline:
            raise _TooMuchError


def measure(source: Path | bytes, mime_type: str, modality: Modality, name: str) -> Measure:
    """Measure a whole medium by its headers.

    Args:
        source: The file, or its bytes.
        mime_type: Its type by content.
        modality: Its modality.
        name: The medium's name, for errors.

    Raises:
        InvalidInputError: A PDF that can't be opened (damaged, or locked by a password), or
            headers that would take too long to read.
    """
    with _open(source) as file:
        try:
            if modality is Modality.DOCUMENT:
                return Measure(pages=_pages(file, name))
            bounded = cast("BinaryIO", _Bounded(file))
            if modality is Modality.IMAGE:
                return _pixels(bounded, mime_type)
            return Measure(seconds=_seconds(bounded, mime_type))
        except _TooMuchError:
            raise InvalidInputError(
                f"{name}: its headers take too long to read; it is damaged or made to harm"
            ) from None


def measure_fragment(whole: Measure, fragment: Fragment, name: str) -> Measure:
    """Measure what a fragment cuts out of a medium, without cutting it.

    Raises:
        InvalidInputError: The fragment begins behind the medium's end.
    """
    if fragment.kind == "page":
        last = int(fragment.end or fragment.start)
        if whole.pages is not None:
            if fragment.start > whole.pages:
                raise InvalidInputError(f"{name} has {whole.pages} pages: there is no #{fragment}")
            last = min(last, whole.pages)
        return Measure(pages=last - int(fragment.start) + 1)
    ends = [end for end in (fragment.end, whole.seconds) if end is not None]
    if not ends:
        return Measure()
    if min(ends) <= fragment.start:
        raise InvalidInputError(
            f"{name} is {whole.seconds:.1f} seconds long: nothing is at #{fragment}"
        )
    return Measure(seconds=min(ends) - fragment.start)


@contextmanager
def _open(source: Path | bytes) -> Iterator[BinaryIO]:
    if isinstance(source, bytes):
        yield io.BytesIO(source)
    else:
        with source.open("rb") as file:
            yield file


def _pages(file: BinaryIO, name: str) -> int:
    """Pages by pypdf, which has bounds of its own on page trees, streams and recursion.

    Only time bounds its reads here: an honest table of objects is read a few bytes at a time.
    """
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, PyPdfError

    try:
        reader = PdfReader(cast("BinaryIO", _Bounded(file, math.inf)), strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            raise InvalidInputError(f"{name} is locked by a password: save it without one")
        return len(reader.pages)
    except InvalidInputError:
        raise
    except (
        DependencyError,  # AES without the package cryptography
        PyPdfError,
        ArithmeticError,
        AttributeError,
        LookupError,
        NotImplementedError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        # pypdf meets damaged files with whatever error Python gives it.
        raise InvalidInputError(f"{name} can't be read as a PDF: {error}"[:300]) from None


def _seconds(file: BinaryIO, mime_type: str) -> float | None:
    from tinytag import TinyTag, TinyTagException

    try:
        tag = TinyTag.get(file_obj=file, tags=False)
    except TinyTagException as error:
        if isinstance(error.__cause__, _TooMuchError):
            raise error.__cause__ from None
        return None
    seconds = tag.duration
    # A WAV written to a pipe says that its sound is 4 GB long: no more than the file is there.
    if seconds and mime_type == "audio/wav" and tag.bitrate and tag.filesize:
        seconds = min(seconds, tag.filesize / (tag.bitrate * 125))
    if not seconds or not math.isfinite(seconds) or seconds < 0:
        return None
    return float(seconds)


def _pixels(file: BinaryIO, mime_type: str) -> Measure:
    if mime_type == "image/svg+xml":
        return Measure()  # its size is in XML, which isn't for reading unasked
    import imagesize  # type: ignore[import-untyped]

    try:
        width, height = imagesize.get(file)
    except (ArithmeticError, LookupError, OSError, TypeError, ValueError, struct.error):
        return Measure()
    return Measure(width=width, height=height) if width > 0 and height > 0 else Measure()
