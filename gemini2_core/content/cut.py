"""Cutting a medium down to the pages or the span of time that a fragment names."""

from __future__ import annotations

import io
import math
import os
import struct
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from gemini2_core.content.fragments import Fragment
from gemini2_core.errors import (
    Gemini2Error,
    InvalidInputError,
    LimitError,
    MediaNotFoundError,
    MissingExtraError,
)

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.stream import VideoStream
    from pypdf import PdfReader

__all__ = ["cut_media", "cut_pdf"]

_WAV_TYPES = frozenset({"audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"})
_FORMATS = {
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    "audio/mp4": "ipod",
    "audio/x-m4a": "ipod",
    "audio/m4a": "ipod",
    "audio/aac": "adts",
    "audio/flac": "flac",
    "audio/x-flac": "flac",
    "audio/ogg": "ogg",
    "audio/webm": "webm",
    "audio/aiff": "aiff",
    "audio/x-aiff": "aiff",
    "video/mp4": "mp4",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "video/x-matroska": "matroska",
    "video/mpeg": "mpeg",
} | dict.fromkeys(_WAV_TYPES, "wav")

#: A cut is held in memory, and the service takes no more in one file.
_MAX_BYTES = 2_000_000_000
_MICROSECONDS = 1_000_000
_TOLERANCE = 1e-6
# Decoders drop about a packet's length at the start of an MP3 (the encoder's delay).
_MP3_EARLY = 1


def cut_pdf(source: Path | bytes, fragment: Fragment) -> bytes:
    """A PDF with only the pages ``fragment`` names; the same input gives the same bytes.

    Raises:
        InvalidInputError: The PDF hasn't these pages (the error says how many it has), is
            encrypted or broken, or the fragment names a time.
    """
    if fragment.kind != "page":
        raise InvalidInputError(f"#{fragment} names a time: a PDF has pages (#page=3)")
    import pypdf

    first, last = int(fragment.start), int(fragment.end or fragment.start)
    with _opened(source) as file:
        try:
            with _LATEST.reader(source, file) as reader:
                output = _pages(reader, first, last, fragment)
        except Gemini2Error:
            raise
        except pypdf.errors.DependencyError:
            raise InvalidInputError(
                "the PDF is encrypted: save it without, or pip install cryptography"
            ) from None
        except Exception as error:  # noqa: BLE001 - a broken PDF makes pypdf raise nearly anything
            raise InvalidInputError(
                f"the PDF is broken, its pages can't be cut: {type(error).__name__}"
            ) from None
    return output


def _pages(reader: PdfReader, first: int, last: int, fragment: Fragment) -> bytes:
    import pypdf

    pages = len(reader.pages)
    if last > pages:
        raise InvalidInputError(
            f"#{fragment} isn't there: the PDF has {pages} page{'s' * (pages != 1)}"
        )
    writer = pypdf.PdfWriter()
    # append, not add_page: links to pages left out don't drag these in.
    writer.append(reader, pages=(first - 1, last), import_outline=False)
    output = io.BytesIO()
    writer.write(output)
    return output.getvalue()


class _LatestPdf:
    """The file whose pages were cut last: to find one page, pypdf goes through all of them.

    Between two cuts nothing is kept but where the pages are: the file isn't open, and what stands
    on the pages is forgotten.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """As if none had been cut; the lock is a new one."""
        self._lock = threading.Lock()
        self._state: tuple[object, ...] | None = None
        self._reader: PdfReader | None = None

    @contextmanager
    def reader(self, source: Path | bytes, file: BinaryIO) -> Iterator[PdfReader]:
        """A reader of the open file: the latest one, if it is the same file still."""
        state: tuple[object, ...] | None = None
        if isinstance(source, Path):
            there = os.fstat(file.fileno())
            state = (there.st_dev, there.st_ino, there.st_size, there.st_mtime_ns)
        with self._lock:
            latest, self._reader = self._reader, None
            if latest is None or state is None or state != self._state:
                latest = _read_pdf(file)
            latest.stream = file
            yield latest  # who fails here is read anew
            latest.stream = io.BytesIO()
            latest.resolved_objects.clear()
            if state is not None:
                self._state, self._reader = state, latest


def _read_pdf(file: BinaryIO) -> PdfReader:
    import pypdf

    reader = pypdf.PdfReader(file)
    # An owner's password alone hinders nobody from reading.
    if reader.is_encrypted and not reader.decrypt(""):
        raise InvalidInputError("the PDF is encrypted: save it without its password")
    return reader


_LATEST = _LatestPdf()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_LATEST.forget)


def cut_media(source: Path | bytes, mime_type: str, fragment: Fragment) -> bytes:
    """The span of sound or film that ``fragment`` names, in the container it came in.

    Nothing is encoded anew. A WAV is cut to the sample; other sound at the borders of its packets
    (26 ms in an MP3); a film begins with the key frame at or before the start and ends with the
    last frame before the end, and any later one that it is made of. An end beyond the medium's
    own is the medium's own (W3C Media Fragments). Read packet by packet: memory holds the cut,
    not the source.

    Raises:
        InvalidInputError: The span starts behind the end (the error says where that is), the
            medium is broken or of a type that can't be cut, or the fragment names pages.
        LimitError: The cut itself is above 2 GB.
        MissingExtraError: PyAV isn't installed and the medium isn't a WAV.
    """
    if fragment.kind != "t":
        raise InvalidInputError(f"#{fragment} names pages: {mime_type} has a time (#t=10,30)")
    mime_type = mime_type.partition(";")[0].strip().lower()
    if mime_type in _WAV_TYPES:
        with _opened(source) as file:
            cut = _cut_wav(file, fragment)
        if cut is not None:
            return cut
    return _remux(source, mime_type, fragment)


@contextmanager
def _opened(source: Path | bytes) -> Iterator[BinaryIO]:
    if isinstance(source, bytes):
        yield io.BytesIO(source)
    else:
        try:
            file = source.open("rb")
        except OSError as error:
            raise MediaNotFoundError(
                f"the file {source.name!r} can't be read: {error.strerror}"
            ) from None
        with file:
            yield file


def _cut_wav(file: BinaryIO, fragment: Fragment) -> bytes | None:
    """Cut a WAV whose samples have one size (PCM, float, A-law, µ-law); None if it is another.

    Not by the wave module: before Python 3.12 it knows plain PCM only, and a size left open by
    whoever streamed the file is an error to it.
    """
    header = file.read(12)
    if header[:4] != b"RIFF" or header[8:12] != b"WAVE":
        return None
    layout = b""
    while True:
        head = file.read(8)
        if len(head) < 8:
            return None
        name, size = head[:4], int.from_bytes(head[4:], "little")
        if name == b"data":
            break
        if name == b"fmt ":
            if size > 1000:
                return None
            layout = file.read(size)
            file.seek(size % 2, io.SEEK_CUR)
        else:
            file.seek(size + size % 2, io.SEEK_CUR)
    if len(layout) < 16:
        return None
    code, _, rate, _, frame, _ = struct.unpack_from("<HHIIHH", layout)
    if code not in (1, 3, 6, 7, 0xFFFE) or not frame or not rate:
        return None
    begin = file.tell()
    there = file.seek(0, io.SEEK_END) - begin
    frames = min(size, there) // frame
    first = round(fragment.start * rate)
    last = frames if fragment.end is None else min(frames, round(fragment.end * rate))
    if first >= frames:
        raise _too_late(fragment, frames / rate)
    length = (last - first) * frame
    if not length:
        raise InvalidInputError(f"#{fragment} is shorter than one sample of the sound")
    if length > _MAX_BYTES:
        raise _too_large(fragment)
    file.seek(begin + first * frame)
    samples = file.read(length)
    pad = b"\0" * (length % 2)
    layout += b"\0" * (len(layout) % 2)
    fmt_head, data_head = struct.pack("<I", len(layout)), struct.pack("<I", length)
    body = b"".join([b"WAVEfmt ", fmt_head, layout, b"data", data_head, samples, pad])
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _remux(source: Path | bytes, mime_type: str, fragment: Fragment) -> bytes:
    try:
        import av
    except ImportError:
        raise MissingExtraError(
            f"cutting a span out of {mime_type}", extra="media", package="av"
        ) from None
    container = _FORMATS.get(mime_type)
    if container is None:
        raise InvalidInputError(f"no span can be cut out of {mime_type}: cut the file beforehand")
    output = io.BytesIO()
    with _opened(source) as file:
        try:
            with (
                av.open(file, "r", metadata_errors="replace") as reader,
                # bitexact: no time stamps or versions in it, so the digest stays.
                av.open(output, "w", format=container, options={"fflags": "+bitexact"}) as writer,
            ):
                first, kept = _span(reader, mime_type, fragment)
                _copy(reader, writer, first, kept, fragment)
        except Gemini2Error:
            raise
        except (av.FFmpegError, OSError, ValueError, ArithmeticError, MemoryError) as error:
            raise InvalidInputError(
                f"the {mime_type} is broken or can't be cut without encoding it anew "
                f"({type(error).__name__}): cut the file beforehand"
            ) from None
    return output.getvalue()


@dataclass(frozen=True, slots=True)
class _Start:
    """Where a cut begins, in the time base of the stream that leads: film before sound."""

    pts: int
    dts: int
    seconds: float
    offset: float  # the second, by the medium's own clock, that a fragment calls 0


def _span(
    reader: InputContainer, mime_type: str, fragment: Fragment
) -> tuple[_Start, list[Stream]]:
    """The first packet of the span, and the streams to copy, the leading one first."""
    lead: VideoStream | AudioStream
    if mime_type.startswith("video/"):
        if not reader.streams.video:
            raise InvalidInputError(f"there is no picture in the {mime_type}")
        lead = reader.streams.video[0]
        kept: list[Stream] = [lead, *reader.streams.audio[:1]]
    else:
        if not reader.streams.audio:
            raise InvalidInputError(f"there is no sound in the {mime_type}")
        lead = reader.streams.audio[0]
        kept = [lead]
    offset = (reader.start_time or 0) / _MICROSECONDS
    begin = offset + fragment.start
    if reader.duration and fragment.start >= reader.duration / _MICROSECONDS:
        raise _too_late(fragment, reader.duration / _MICROSECONDS)
    # Only film is sought in: without an index (MP3) a seek may land beside the time it names. A
    # second back, as seeking goes by the order of decoding, which runs before that of showing.
    if lead.type == "video" and fragment.start > 1:
        reader.seek(round((begin - 1) * _MICROSECONDS), backward=True)
    # PyAV leaves the context out, whatever its types say, where the codec is unknown.
    codecs = [getattr(stream.codec_context, "name", None) for stream in kept]
    if None in codecs:
        raise InvalidInputError(f"the {mime_type} is broken or of an unknown codec")
    early = _MP3_EARLY if str(codecs[0]).startswith("mp3") else 0
    starts: deque[_Start] = deque(maxlen=1 + early)
    seen = 0.0
    for packet in reader.demux(lead):
        if packet.pts is None:
            continue
        seconds = float(packet.pts * packet.time_base)
        dts: int | None = packet.dts
        dts = packet.pts if dts is None else dts
        seen = max(seen, seconds + float((packet.duration or 0) * packet.time_base))
        late = float(dts * packet.time_base) > begin
        if packet.is_keyframe and (not starts or seconds <= begin + _TOLERANCE):
            starts.append(_Start(packet.pts, dts, seconds, offset))
        if late and starts:
            break
    if not starts or seen <= begin:
        raise _too_late(fragment, max(seen - offset, 0.0))
    return starts[0], kept


def _copy(
    reader: InputContainer,
    writer: OutputContainer,
    start: _Start,
    kept: list[Stream],
    fragment: Fragment,
) -> None:
    """Copy the packets from ``start`` to the span's end, the first one to time 0."""
    lead = kept[0]
    end = math.inf if fragment.end is None else start.offset + fragment.end
    if start.seconds >= end:
        raise InvalidInputError(f"#{fragment} has no frame in it that can be shown by itself")
    copies = {stream.index: writer.add_stream_from_template(stream) for stream in kept}
    if lead.type == "video":
        reader.seek(start.dts, stream=lead, backward=True)
    else:
        reader.seek(0, backward=True)
    held: list[Packet[Stream]] = []  # behind the end, but an earlier picture may be made of them
    running = set(copies)
    begun = False
    written = 0
    for packet in reader.demux(*kept):
        index = packet.stream.index
        if packet.pts is None or index not in running:
            continue
        seconds = float(packet.pts * packet.time_base)
        dts: int | None = packet.dts
        dts = packet.pts if dts is None else dts
        if index == lead.index:
            if packet.pts == start.pts:
                begun = True
            wanted = begun and packet.pts >= start.pts
        else:
            wanted = seconds >= start.seconds
        if float(dts * packet.time_base) >= end:
            running.discard(index)
            if not running:
                break
        elif wanted and seconds >= end:
            held.append(packet)
        elif wanted:
            ready = [packet]
            if index == lead.index:
                ready, held = [*held, packet], []
            for one in ready:
                written += one.size
                if written > _MAX_BYTES:
                    raise _too_large(fragment)
                _write(writer, one, copies, start)
    if not written:
        raise InvalidInputError(f"#{fragment} is shorter than one packet of the medium")


def _write(
    writer: OutputContainer, packet: Packet[Stream], copies: dict[int, Stream], start: _Start
) -> None:
    shift = round(Fraction(start.seconds) / packet.time_base)
    if packet.pts is not None:
        packet.pts -= shift
    if packet.dts is not None:
        packet.dts -= shift
    packet.stream = copies[packet.stream.index]
    writer.mux(packet)


def _too_late(fragment: Fragment, seconds: float) -> InvalidInputError:
    return InvalidInputError(f"#{fragment} isn't there: the medium ends at {seconds:.2f} s")


def _too_large(fragment: Fragment) -> LimitError:
    return LimitError(
        f"#{fragment} has more than {_MAX_BYTES:,} bytes, the most of one file: name a shorter span"
    )
