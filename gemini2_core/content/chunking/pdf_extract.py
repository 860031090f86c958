"""Lines of text and embedded pictures of a PDF's pages, by pdfium; also a program of its own."""

# Run as a file it is the process that ``pdf_workers`` asks, so it imports nothing of this library.

from __future__ import annotations

import contextlib
import io
import json
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import pypdfium2  # type: ignore[import-untyped]
    from PIL.Image import Image

__all__ = [
    "MAX_PIXELS",
    "ExtractError",
    "PdfFigure",
    "PdfFile",
    "PdfLine",
    "PdfPage",
    "read_frame",
    "write_frame",
]

#: Memory that a process of its own may take.
_MAX_MEMORY = 1_500_000_000
#: Pixels of one picture: 8,000 x 8,000.
MAX_PIXELS = 64_000_000
_MAX_FIGURES = 1000
_MAX_LINES = 20_000
_MAX_OUTLINE = 20_000
_MAX_FRAME = 2_000_000_000

_Box = tuple[float, float, float, float]
_Matrix = tuple[float, float, float, float, float, float]


class ExtractError(Exception):
    """A PDF or a page of it can't be read; the message says why."""


@dataclass(frozen=True, slots=True)
class PdfLine:
    """A line of text.

    Attributes:
        text: The text, spaces kept; a hyphen where a word was parted is U+00AD.
        box: Left, top, right, bottom in points, from the page's top left corner.
        size: Font size in points.
        bold: Whether it begins in a bold font.
    """

    text: str
    box: _Box
    size: float
    bold: bool


@dataclass(frozen=True, slots=True)
class PdfFigure:
    """An embedded picture.

    Attributes:
        box: As of a line.
        mime_type: PNG, or JPEG as it is embedded.
        data: The file; empty if there is an error.
        error: Why it can't be had, or "".
    """

    box: _Box
    mime_type: str
    data: bytes
    error: str = ""


@dataclass(frozen=True, slots=True)
class PdfPage:
    """What is on a page; lines in the order of the text layer, pictures in that of painting.

    Attributes:
        number: From 1.
        width: In points, as shown.
        height: Likewise.
        lines: Its text.
        figures: Its pictures.
        painted: Number of objects on it, text and pictures included.
    """

    number: int
    width: float
    height: float
    lines: tuple[PdfLine, ...]
    figures: tuple[PdfFigure, ...]
    painted: int


class PdfFile:
    """An open PDF.

    Attributes:
        pages: How many it says that it has.
        title: By its metadata, or "".
        outline: Level (from 1), title and page (from 1) of its bookmarks.

    Raises:
        ExtractError: Damaged, or locked by a password.
    """

    def __init__(self, source: Path | bytes) -> None:
        import pypdfium2

        try:
            self._file = pypdfium2.PdfDocument(source)
            self.pages = len(self._file)
        except pypdfium2.PdfiumError as error:
            if "password" in str(error).lower():
                raise ExtractError("it is locked by a password: save it without one") from None
            raise ExtractError(f"it is damaged or no PDF ({error})") from None
        if not self.pages:
            raise ExtractError("it has no page that can be read")
        self.title = self._file.get_metadata_value("Title")
        self.outline = list(self._outline())

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def page(self, number: int, *, smallest: float | None) -> PdfPage:
        """Read a page.

        Args:
            number: From 1.
            smallest: Pictures smaller than this many points on a side are left out; None leaves
                all out.

        Raises:
            ExtractError: The page is damaged or isn't there.
        """
        import pypdfium2

        try:
            page = self._file[number - 1]
        except (pypdfium2.PdfiumError, IndexError):
            raise ExtractError("the page is damaged or isn't there") from None
        try:
            frame = _Frame(page)
            lines = tuple(_lines(page, frame))
            figures: list[PdfFigure] = []
            painted = 0
            for item in page.get_objects(max_depth=8):
                painted += 1
                if smallest is not None and item.type == _raw().FPDF_PAGEOBJ_IMAGE:
                    if len(figures) == _MAX_FIGURES:
                        raise ExtractError(f"the page has more than {_MAX_FIGURES:,} pictures")
                    figure = _figure(item, frame, smallest)
                    figures += [figure] if figure else []
            return PdfPage(number, frame.width, frame.height, lines, tuple(figures), painted)
        except pypdfium2.PdfiumError as error:
            raise ExtractError(f"the page is damaged ({error})") from None
        finally:
            page.close()

    def _outline(self) -> Iterator[tuple[int, str, int]]:
        import pypdfium2

        with contextlib.suppress(pypdfium2.PdfiumError):
            for count, mark in enumerate(self._file.get_toc(max_depth=6)):
                if count == _MAX_OUTLINE:
                    break
                target = mark.get_dest()
                index = target.get_index() if target else None
                if index is not None:
                    yield mark.level + 1, mark.get_title()[:500], index + 1


class _Frame:
    """From the page's own coordinates to points from the top left corner as it is shown."""

    def __init__(self, page: pypdfium2.PdfPage) -> None:
        self._left, self._bottom, self._right, self._top = page.get_bbox()
        self._turn = page.get_rotation()
        self.width, self.height = page.get_size()

    def box(self, left: float, bottom: float, right: float, top: float) -> _Box:
        x0, x1 = left - self._left, right - self._left
        y0, y1 = self._top - top, self._top - bottom
        across, down = self._right - self._left, self._top - self._bottom
        if self._turn == 90:
            x0, y0, x1, y1 = down - y1, x0, down - y0, x1
        elif self._turn == 180:
            x0, y0, x1, y1 = across - x1, down - y1, across - x0, down - y0
        elif self._turn == 270:
            x0, y0, x1, y1 = y0, across - x1, y1, across - x0
        return round(x0, 1), round(y0, 1), round(x1, 1), round(y1, 1)


def _lines(page: pypdfium2.PdfPage, frame: _Frame) -> Iterator[PdfLine]:
    raw = _raw()
    text_page = page.get_textpage()
    try:
        text = text_page.get_text_range()
        position = 0
        for count, line in enumerate(text.split("\r\n")):
            if count == _MAX_LINES:
                raise ExtractError(f"the page has more than {_MAX_LINES:,} lines")
            begin, position = position, position + len(line) + 2
            bare = line.strip()
            if not bare:
                continue
            first = begin + len(line) - len(line.lstrip())
            at = [
                raw.FPDFText_GetCharIndexFromTextIndex(text_page, index)
                for index in {first, first + len(bare) // 2, first + len(bare) - 1}
            ]
            boxes = [text_page.get_charbox(index, loose=True) for index in at if index >= 0]
            if not boxes:
                boxes = [(0.0, 0.0, 0.0, 0.0)]
            left, bottom, right, top = zip(*boxes, strict=True)
            start = max(0, raw.FPDFText_GetCharIndexFromTextIndex(text_page, first))
            yield PdfLine(
                bare.replace("\x02", "\u00ad").replace("\ufffe", "\u00ad").replace("\0", ""),
                frame.box(min(left), min(bottom), max(right), max(top)),
                round(raw.FPDFText_GetFontSize(text_page, start), 1) or 10.0,
                _bold(text_page, start),
            )
    finally:
        text_page.close()


def _bold(text_page: pypdfium2.PdfTextPage, index: int) -> bool:
    import ctypes

    raw = _raw()
    if raw.FPDFText_GetFontWeight(text_page, index) >= 600:
        return True
    name = ctypes.create_string_buffer(128)
    raw.FPDFText_GetFontInfo(text_page, index, name, 128, None)
    return b"bold" in name.value.lower()


def _figure(item: pypdfium2.PdfObject, frame: _Frame, smallest: float) -> PdfFigure | None:
    import pypdfium2

    matrix = item.get_matrix().get()
    container = item.container
    while container is not None:
        matrix = _times(matrix, container.get_matrix().get())
        container = container.container
    a, b, c, d, e, f = matrix
    across, up = (e, e + a, e + c, e + a + c), (f, f + b, f + d, f + b + d)
    box = frame.box(min(across), min(up), max(across), max(up))
    if min(box[2] - box[0], box[3] - box[1]) < smallest:
        return None
    shown = (max(box[0], 0), max(box[1], 0), min(box[2], frame.width), min(box[3], frame.height))
    if shown[0] >= shown[2] or shown[1] >= shown[3]:
        return None  # beside the page
    width, height = item.get_px_size()
    if width * height > MAX_PIXELS:
        return PdfFigure(box, "", b"", f"a picture of {width} x {height} pixels is too large")
    upright = b == c == 0 and a > 0 and d > 0
    try:
        simple = upright and item.get_filters() == ["DCTDecode"]
        if simple and item.get_metadata().bits_per_pixel in (8, 24):  # not CMYK
            return PdfFigure(box, "image/jpeg", bytes(item.get_data()))
        picture = _picture(item, turned=not upright)
        output = io.BytesIO()
        picture.save(output, "PNG", compress_level=4)
    except (pypdfium2.PdfiumError, ValueError, MemoryError, OSError) as error:
        return PdfFigure(box, "", b"", f"a picture is damaged ({error})")
    return PdfFigure(box, "image/png", output.getvalue())


def _picture(item: pypdfium2.PdfObject, *, turned: bool) -> Image:
    """The pixels as they are embedded; as they are shown where turned or partly transparent."""
    shown = _pixels(item, render=True)
    if turned or (shown.mode == "RGBA" and shown.getchannel("A").getextrema() != (255, 255)):
        return shown
    return _pixels(item, render=False)


def _pixels(item: pypdfium2.PdfObject, *, render: bool) -> Image:
    bitmap = item.get_bitmap(render=render)
    if bitmap.width * bitmap.height > MAX_PIXELS:
        raise ValueError("too many pixels")
    picture: Image = bitmap.to_pil().copy()  # its memory is the bitmap's
    return picture


def _times(inner: _Matrix, outer: _Matrix) -> _Matrix:
    a, b, c, d, e, f = inner
    p, q, r, s, t, u = outer
    return (
        a * p + b * r, a * q + b * s, c * p + d * r, c * q + d * s, e * p + f * r + t,
        e * q + f * s + u,
    )  # fmt: skip


def _raw() -> ModuleType:
    from importlib import import_module

    return import_module("pypdfium2.raw")


# ---------------------------------------------------------------- as a process of its own


def write_frame(file: BinaryIO, header: dict[str, object], *blobs: bytes) -> None:
    """Send a message: JSON, and bytes behind it."""
    head = json.dumps({**header, "sizes": [len(blob) for blob in blobs]}).encode()
    file.write(struct.pack("<I", len(head)) + head)
    file.writelines(blobs)
    file.flush()


def read_frame(file: BinaryIO) -> tuple[dict[str, object], list[bytes]]:
    """Receive one.

    Raises:
        EOFError: The other side is gone.
    """
    (length,) = struct.unpack("<I", _exactly(file, 4))
    header = json.loads(_exactly(file, length))
    return header, [_exactly(file, size) for size in header.pop("sizes")]


def _exactly(file: BinaryIO, size: int) -> bytes:
    if not 0 <= size <= _MAX_FRAME:
        raise EOFError
    data = file.read(size)
    if len(data) != size:
        raise EOFError
    return data


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY, _MAX_MEMORY))


def _serve(source: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the other side is gone."""
    opened: PdfFile | None = None
    while True:
        try:
            request, blobs = read_frame(source)
        except EOFError:
            return
        try:
            if request["do"] == "open":
                if opened:
                    opened.close()
                    opened = None
                opened = PdfFile(blobs[0] if blobs else Path(str(request["path"])))
                write_frame(
                    answers,
                    {"pages": opened.pages, "title": opened.title, "outline": opened.outline},
                )
                continue
            assert opened is not None
            # pdf_workers, the only one who asks, sends a number or null.
            smallest: float | None = request["smallest"]  # type: ignore[assignment]
            page = opened.page(int(str(request["page"])), smallest=smallest)
            write_frame(
                answers,
                {
                    "number": page.number,
                    "width": page.width,
                    "height": page.height,
                    "painted": page.painted,
                    "lines": [[line.text, line.box, line.size, line.bold] for line in page.lines],
                    "figures": [[one.box, one.mime_type, one.error] for one in page.figures],
                },
                *(figure.data for figure in page.figures),
            )
        except ExtractError as error:
            write_frame(answers, {"error": str(error)})
        except (MemoryError, RecursionError, OSError, ValueError) as error:
            write_frame(answers, {"error": f"it can't be read ({type(error).__name__})"})


if __name__ == "__main__":
    _limit_memory()
    output = sys.stdout.buffer
    sys.stdout = sys.stderr
    _serve(sys.stdin.buffer, output)
