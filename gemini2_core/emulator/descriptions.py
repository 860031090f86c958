"""What a medium says of itself: the description, title or text that its file carries."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress

__all__ = ["describe"]

_MARK = re.compile(r"[\x00-\x1f]+")
_PNG_KEYS = ("title", "description", "comment")
_WAV_KEYS = (b"INAM", b"ISBJ", b"ICMT", b"IKEY")


def describe(data: bytes, mime_type: str) -> str:
    """The description in a medium's bytes, or "" if it carries none or can't be read.

    PNG: tEXt, zTXt and iTXt Title, Description, Comment. JPEG: Exif ImageDescription and COM.
    WAV: LIST INFO name, subject, comment, keywords. MP3: ID3 title and comment. MP4 and MOV:
    title, description, comment. PDF: title, subject and the pages' text.
    """
    text: list[str] = []
    # A broken file has no description, however its reader fails; refusing it is for the rules.
    with suppress(Exception):
        match mime_type:
            case "image/png":
                text.extend(_png(data))
            case "image/jpeg":
                text.extend(_jpeg(data))
            case "audio/wav":
                text.extend(_wav(data))
            case "application/pdf":
                text.extend(_pdf(data))
            case "audio/mpeg" | "video/mp4" | "video/quicktime":
                text.extend(_tags(data))
                if mime_type == "video/quicktime":
                    text.extend(_quicktime(data))
    clean = (_MARK.sub(" ", some).strip() for some in text)
    # A tag may be in a file twice, in an older and a newer place.
    return "\n".join(dict.fromkeys(part for part in clean if part))


def _png(data: bytes) -> Iterator[str]:
    place = 8
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        chunk = data[place + 8 : place + 8 + length]
        place += length + 12
        key, _, rest = chunk.partition(b"\0")
        if key.decode("latin-1").lower() not in _PNG_KEYS:
            continue
        if kind == b"tEXt":
            yield rest.decode("latin-1")
        elif kind == b"zTXt":
            yield zlib.decompress(rest[1:]).decode("latin-1")
        elif kind == b"iTXt":
            packed, rest = rest[0], rest[2:]
            _, _, rest = rest.partition(b"\0")  # language
            _, _, rest = rest.partition(b"\0")  # translated keyword
            yield (zlib.decompress(rest) if packed else rest).decode("utf-8")


def _jpeg(data: bytes) -> Iterator[str]:
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        kind, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4])
        segment = data[place + 4 : place + 2 + length]
        place += 2 + length
        if kind == 0xFE:
            yield segment.decode("utf-8", "replace")
        elif kind == 0xE1 and segment.startswith(b"Exif\0\0"):
            yield from _exif(segment[6:])
        elif kind == 0xDA:  # the picture itself
            return


def _exif(tiff: bytes) -> Iterator[str]:
    order = "<" if tiff.startswith(b"II") else ">"
    (place,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, place)
    for entry in range(count):
        tag, _, size, value = struct.unpack_from(f"{order}HHII", tiff, place + 2 + 12 * entry)
        if tag == 0x010E:  # ImageDescription
            start = value if size > 4 else place + 2 + 12 * entry + 8
            yield tiff[start : start + size].decode("utf-8", "replace")


def _wav(data: bytes) -> Iterator[str]:
    place = 12
    while place + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, place)
        chunk = data[place + 8 : place + 8 + length]
        place += 8 + length + length % 2
        if kind != b"LIST" or not chunk.startswith(b"INFO"):
            continue
        inner = 4
        while inner + 8 <= len(chunk):
            key, size = struct.unpack_from("<4sI", chunk, inner)
            if key in _WAV_KEYS:
                yield chunk[inner + 8 : inner + 8 + size].decode("utf-8", "replace")
            inner += 8 + size + size % 2


def _tags(data: bytes) -> Iterator[str]:
    from tinytag import TinyTag

    tags = TinyTag.get(file_obj=io.BytesIO(data), duration=False)
    yield tags.title or ""
    yield tags.comment or ""
    for key in ("_comment", "description"):  # tinytag's name for an MP3's comment in TXXX
        yield from tags.other.get(key, [])


def _quicktime(data: bytes) -> Iterator[str]:
    """A MOV's older tags: texts right under moov/udta, each with its length and language."""
    place, end = 0, len(data)
    while place + 8 <= end:
        length, kind = struct.unpack_from(">I4s", data, place)
        if kind in (b"moov", b"udta"):
            place += 8  # look inside
            continue
        if kind in (b"\xa9nam", b"\xa9des", b"\xa9cmt"):
            size = int.from_bytes(data[place + 8 : place + 10])
            yield data[place + 12 : place + 12 + size].decode("utf-8", "replace")
        if length == 1:  # a length of 64 bits follows
            length = int.from_bytes(data[place + 8 : place + 16])
        if length < 8:
            return
        place += length


def _pdf(data: bytes) -> Iterator[str]:
    from pypdf import PdfReader

    reader = PdfReader(io.BytesIO(data))
    if about := reader.metadata:
        yield about.title or ""
        yield about.subject or ""
    for page in reader.pages:
        yield page.extract_text()
