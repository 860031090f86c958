"""Pages of a PDF read in processes of their own, with bounds on time and memory."""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, ClassVar, Protocol, cast

from gemini2_core.content.chunking import pdf_extract
from gemini2_core.content.chunking.pdf_extract import (
    ExtractError,
    PdfFigure,
    PdfFile,
    PdfLine,
    PdfPage,
    read_frame,
    write_frame,
)

__all__ = ["PAGE_SECONDS", "PdfText", "open_pdf"]

#: Longest that one page, or opening the file, may take; honest ones take milliseconds.
PAGE_SECONDS = 30.0
#: Pages from which on a PDF is worth more than one process.
_MANY_PAGES = 64
_MOST_WORKERS = 4
#: Pages that a worker reads ahead.
_AHEAD = 2
_KEPT = 4

_Answer = tuple[dict[str, object], list[bytes]]


class PdfText(Protocol):
    """An open PDF: pages, title and outline as ``PdfFile`` tells them."""

    pages: int
    title: str
    outline: list[tuple[int, str, int]]

    def read(
        self, numbers: Sequence[int], *, smallest: float | None
    ) -> Iterator[PdfPage | ExtractError]:
        """Read pages in order; an error stands in the place of one that can't be read."""

    def close(self) -> None:
        """Let go of the file."""


def open_pdf(source: Path | bytes, *, num_workers: int | None) -> PdfText:
    """Open a PDF.

    Args:
        source: The file, or its bytes.
        num_workers: Processes that read it. 0 reads in this process, where only pdfium's own
            bounds hold; None is one process, or up to four for a long PDF.

    Raises:
        ExtractError: It can't be read.
    """
    if num_workers == 0:
        return _Here(source)
    return _There(source, num_workers)


class _Here:
    """Reading in this process."""

    def __init__(self, source: Path | bytes) -> None:
        self._file = PdfFile(source)
        self.pages, self.title, self.outline = (
            self._file.pages,
            self._file.title,
            self._file.outline,
        )

    def read(
        self, numbers: Sequence[int], *, smallest: float | None
    ) -> Iterator[PdfPage | ExtractError]:
        for number in numbers:
            try:
                yield self._file.page(number, smallest=smallest)
            except ExtractError as error:
                yield error

    def close(self) -> None:
        self._file.close()


class _There:
    """Reading in other processes."""

    def __init__(self, source: Path | bytes, num_workers: int | None) -> None:
        self._source = source
        self._workers = [_Worker.take()]
        try:
            header = self._open(self._workers[0])
        except ExtractError:
            self.close()
            raise
        self.pages = cast("int", header["pages"])
        self.title = cast("str", header["title"])
        outline = cast("list[tuple[int, str, int]]", header["outline"])
        self.outline = [(level, title, page) for level, title, page in outline]
        if num_workers is None:
            few = self.pages < _MANY_PAGES
            num_workers = 1 if few else min(_MOST_WORKERS, os.cpu_count() or 1)
        self._count = max(1, min(num_workers, self.pages))

    def read(
        self, numbers: Sequence[int], *, smallest: float | None
    ) -> Iterator[PdfPage | ExtractError]:
        while len(self._workers) < min(self._count, len(numbers)):
            self._workers.append(_Worker.take())
            self._open(self._workers[-1])
        workers = self._workers
        asked = 0
        for place, _ in enumerate(numbers):
            while asked < min(len(numbers), place + _AHEAD * len(workers)):
                workers[asked % len(workers)].ask(
                    {"do": "page", "page": numbers[asked], "smallest": smallest}
                )
                asked += 1
            turn = place % len(workers)
            try:
                yield _page(*workers[turn].answer())
            except ExtractError as error:
                yield error
            except _GoneError as error:
                workers[turn] = self._again(workers[turn])
                yield ExtractError(str(error))

    def close(self) -> None:
        for worker in self._workers:
            worker.give_back()
        self._workers = []

    def _open(self, worker: _Worker) -> dict[str, object]:
        if isinstance(self._source, bytes):
            worker.ask({"do": "open"}, self._source)
        else:
            worker.ask({"do": "open", "path": str(self._source.absolute())})
        try:
            return worker.answer()[0]
        except _GoneError as error:
            raise ExtractError(str(error)) from None

    def _again(self, gone: _Worker) -> _Worker:
        """A new worker in the place of one that is gone, with its questions."""
        worker = _Worker()
        self._open(worker)
        for question in gone.questions:
            worker.ask(question)
        return worker


class _GoneError(Exception):
    """A worker died, or was ended as it took too long."""


class _Worker:
    """A process that reads PDFs, one after the other."""

    _idle: ClassVar[deque[_Worker]] = deque()

    def __init__(self) -> None:
        self.questions: deque[dict[str, object]] = deque()
        self._parent = os.getpid()
        paths = os.pathsep.join(path for path in sys.path if path)
        # By its file, so that it starts in a tenth of a second; -P: our modules aren't its own.
        self._process = subprocess.Popen(  # noqa: S603 - our own file
            [sys.executable, "-P", pdf_extract.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": paths},
        )

    @classmethod
    def take(cls) -> _Worker:
        """One that has nothing to do, or a new one."""
        while cls._idle:
            worker = cls._idle.pop()
            if worker._parent == os.getpid() and worker._process.poll() is None:
                return worker
        return cls()

    def give_back(self) -> None:
        """Keep it for another PDF, if it owes no answer."""
        if self.questions or self._process.poll() is not None or len(self._idle) >= _KEPT:
            self.end()
        else:
            self._idle.append(self)

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with contextlib.suppress(OSError, ValueError):
                    pipe.close()
        self._process.wait()

    def ask(self, question: dict[str, object], *blobs: bytes) -> None:
        """Send a question; the answers come in order."""
        self.questions.append(question)
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # the answer will be missing
            write_frame(cast("BinaryIO", self._process.stdin), question, *blobs)

    def answer(self) -> _Answer:
        """Wait for the next answer.

        Raises:
            ExtractError: The answer is that it can't be read.
            _GoneError: There is none.
        """
        self.questions.popleft()
        late = threading.Event()

        def too_late() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(PAGE_SECONDS, too_late)
        timer.daemon = True
        timer.start()
        try:
            header, blobs = read_frame(cast("BinaryIO", self._process.stdout))
        except (EOFError, OSError, ValueError):
            self.end()
            if late.is_set():
                raise _GoneError(f"it takes more than {PAGE_SECONDS:.0f} s to read") from None
            raise _GoneError("it takes too much memory to read, or makes pdfium fail") from None
        finally:
            timer.cancel()
        if "error" in header:
            raise ExtractError(str(header["error"]))
        return header, blobs


def _page(header: dict[str, object], blobs: list[bytes]) -> PdfPage:
    lines = cast("list[tuple[str, list[float], float, bool]]", header["lines"])
    figures = cast("list[tuple[list[float], str, str]]", header["figures"])
    return PdfPage(
        number=cast("int", header["number"]),
        width=cast("float", header["width"]),
        height=cast("float", header["height"]),
        lines=tuple(PdfLine(text, _box(box), size, bold) for text, box, size, bold in lines),
        figures=tuple(
            PdfFigure(_box(box), mime_type, data, error)
            for (box, mime_type, error), data in zip(figures, blobs, strict=True)
        ),
        painted=cast("int", header["painted"]),
    )


def _box(numbers: list[float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = numbers
    return left, top, right, bottom


@atexit.register
def _end_idle() -> None:
    while _Worker._idle:
        worker = _Worker._idle.pop()
        if worker._parent == os.getpid():
            worker.end()
