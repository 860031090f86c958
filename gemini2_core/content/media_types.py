"""What a medium is, told by its bytes and never by its name."""

from __future__ import annotations

import mimetypes
import os
import re
import stat
from pathlib import Path
from urllib.parse import urlsplit

from gemini2_core.errors import InvalidInputError, MediaAccessError, MediaNotFoundError
from gemini2_core.model import Modality

__all__ = [
    "HEAD_BYTES",
    "agree",
    "guess_from_name",
    "modality_of",
    "normalize_mime_type",
    "read_head",
    "sniff",
]

#: As much of a file as its type is told from.
HEAD_BYTES = 4096
#: A PDF may begin with junk as long as this (PDF 1.7, annex H).
_PDF_JUNK = 1024

_ALIASES = {
    "application/ogg": "audio/ogg",
    "application/x-pdf": "application/pdf",
    "audio/m4a": "audio/mp4",
    "audio/mp3": "audio/mpeg",
    "audio/mpeg3": "audio/mpeg",
    "audio/mpga": "audio/mpeg",
    "audio/vnd.wave": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/x-aac": "audio/aac",
    "audio/x-aiff": "audio/aiff",
    "audio/x-flac": "audio/flac",
    "audio/x-m4a": "audio/mp4",
    "audio/x-mp3": "audio/mpeg",
    "audio/x-mpeg": "audio/mpeg",
    "audio/x-mpeg-3": "audio/mpeg",
    "audio/x-pn-wav": "audio/wav",
    "audio/x-wav": "audio/wav",
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-bmp": "image/bmp",
    "image/x-ms-bmp": "image/bmp",
    "image/x-png": "image/png",
    "video/avi": "video/x-msvideo",
    "video/m4v": "video/mp4",
    "video/mov": "video/quicktime",
    "video/x-m4v": "video/mp4",
    "video/x-quicktime": "video/quicktime",
}
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
#: Brands of ISO 14496-12 files (``ftyp``); any other brand is a film.
_BRANDS = {
    b"qt  ": "video/quicktime",
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
    b"M4P ": "audio/mp4",
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"hevc": "image/heic",
    b"hevx": "image/heic",
    b"heim": "image/heic",
    b"heis": "image/heic",
}
_GENERIC_IMAGE_BRANDS = (b"mif1", b"msf1", b"mif2")
#: One container, sound or film: what is inside can't be told from the first bytes.
_SOUND_OR_FILM = frozenset({"mp4", "mpeg", "ogg", "webm", "3gpp", "3gpp2", "x-matroska"})
_KINDS = {
    Modality.IMAGE: "a picture",
    Modality.AUDIO: "sound",
    Modality.VIDEO: "a film",
    Modality.DOCUMENT: "a PDF",
}
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
#: Control characters that a text file doesn't hold (tab, line ends, form feed, escape do occur).
_NOT_TEXT = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_MIME_TYPE = re.compile(r"[a-z]+/[a-z0-9][a-z0-9.+_-]*")


def normalize_mime_type(mime_type: str) -> str:
    """One name for each type: lower case, no parameters, ``audio/x-wav`` as ``audio/wav``.

    Raises:
        InvalidInputError: Not of the form ``kind/subtype``.
    """
    plain = mime_type.partition(";")[0].strip().lower()
    if not _MIME_TYPE.fullmatch(plain):
        raise InvalidInputError(
            f"{mime_type[:60]!r} is no MIME type: write 'image/png' or the like"
        )
    return _ALIASES.get(plain, plain)


def modality_of(mime_type: str) -> Modality | None:
    """The modality of a normalized MIME type; None if no part can hold it."""
    if mime_type == "application/pdf":
        return Modality.DOCUMENT
    kind = mime_type.partition("/")[0].upper()
    return Modality(kind) if kind in ("IMAGE", "AUDIO", "VIDEO") else None


def sniff(head: bytes) -> str | None:
    """The normalized MIME type of what begins with ``head``; None if it can't be told.

    puremagic knows the signatures; of its findings those for text are not taken (a text that
    begins with "BM" is no bitmap), and what it can't tell apart or misses is told here: the
    brands of MP4's family, MP3 without ID3 at half sampling rates, a PDF behind junk. So are the
    two most usual pictures, as its search takes 0.4 ms, and a corpus may have a million.
    """
    if b"%PDF-" in head[:_PDF_JUNK]:
        return "application/pdf"
    if not head:
        return None
    if _is_text(head):
        return "image/svg+xml" if b"<svg" in head else "text/plain"
    if head.startswith(_PNG):
        return "image/png"
    if head.startswith(_JPEG):
        return "image/jpeg"
    if head[4:8] == b"ftyp":
        return _iso_type(head)
    if _is_mpeg_audio(head):
        return "audio/mpeg"
    from puremagic import PureError, magic_string

    try:
        matches = magic_string(head)
    except (PureError, ValueError):
        return None
    # Its best match may be nameless, or by the head's last bytes, which aren't the file's.
    found = [normalize_mime_type(m.mime_type) for m in matches if _MIME_TYPE.fullmatch(m.mime_type)]
    return next((name for name in found if modality_of(name)), found[0] if found else None)


def agree(found: str | None, declared: str | None, name: str) -> str:
    """The type to use, from what the bytes say and what the caller says.

    The bytes decide: a PNG declared as JPEG is a PNG. Sound and film share containers, so there
    the declaration says which it is.

    Args:
        found: What ``sniff`` found.
        declared: What the caller declared, or None.
        name: The medium's name, for the error.

    Raises:
        InvalidInputError: The two contradict each other, neither is known, or no part of a
            content can hold such a type.
    """
    if declared is not None:
        declared = normalize_mime_type(declared)
    if found is None:
        if declared is None:
            raise InvalidInputError(
                f"the type of {name} can't be told from its bytes: "
                "pass (bytes, mime_type), e.g. (data, 'audio/mpeg')"
            )
        if _sniffable(declared):
            raise InvalidInputError(f"{name} is declared as {declared}, but its bytes are not that")
        found = declared
    wanted = modality_of(declared) if declared else None
    modality = modality_of(found)
    if wanted is not None and wanted is not modality:
        assert declared is not None
        kinds, subtype = {wanted, modality}, found.partition("/")[2]
        if kinds == {Modality.AUDIO, Modality.VIDEO} and subtype in _SOUND_OR_FILM:
            return declared
        raise InvalidInputError(f"{name} is {found}, not {_KINDS[wanted]}")
    if modality is None:
        expected = _kind_of_name(name)
        if expected:
            raise InvalidInputError(f"{name} is {found}, not {expected}")
        advice = (
            "read it and pass its text as str"
            if found.startswith("text/")
            else "a content holds text, pictures, sound, film and PDF"
        )
        raise InvalidInputError(f"{name} is {found}: {advice}")
    return found


def _sniffable(mime_type: str) -> bool:
    """True if every file of this type begins with a signature that ``sniff`` knows."""
    return mime_type in _SIGNED


_SIGNED = frozenset(
    {
        "application/pdf",
        "audio/flac",
        "audio/ogg",
        "audio/wav",
        "image/avif",
        "image/bmp",
        "image/gif",
        "image/heic",
        "image/heif",
        "image/jpeg",
        "image/png",
        "image/tiff",
        "image/webp",
        "video/mp4",
        "video/webm",
    }
)


def guess_from_name(uri: str) -> str | None:
    """The type that the end of a URI's path suggests, for what isn't here to be looked at."""
    guessed = mimetypes.guess_type(urlsplit(uri).path, strict=False)[0]
    return normalize_mime_type(guessed) if guessed else None


def _kind_of_name(name: str) -> str | None:
    """What a file's name makes one expect (``"a picture"``); for errors only."""
    guessed = mimetypes.guess_type(name, strict=False)[0]
    modality = modality_of(normalize_mime_type(guessed)) if guessed else None
    return _KINDS[modality] if modality else None


def read_head(path: Path, name: str) -> bytes:
    """The first bytes of a plain file.

    Raises:
        MediaNotFoundError: Nothing is there.
        MediaAccessError: It mustn't be read, or is no plain file (a FIFO would block for ever).
        InvalidInputError: It is empty.
    """
    try:
        # Non-blocking: a FIFO put here between check and opening mustn't hang us.
        descriptor = os.open(path, _OPEN_FLAGS)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise MediaAccessError(f"{name} is no plain file")
            head = file.read(HEAD_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        raise MediaNotFoundError(f"there is no file {name}") from None
    except IsADirectoryError:
        raise MediaAccessError(f"{name} is a directory: name the files in it") from None
    except MediaAccessError:
        raise
    except (OSError, ValueError) as error:
        raise MediaAccessError(f"{name} can't be read: {type(error).__name__}") from None
    if not head:
        raise InvalidInputError(f"{name} is empty")
    return head


def _is_text(head: bytes) -> bool:
    """True for UTF-8 without control characters, or text with a byte order mark."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) and len(head) % 2 == 0:
        encoding = "utf-16"
    else:
        encoding = "utf-8"
    try:
        text = head.decode(encoding)
    except UnicodeDecodeError as error:
        # The head may end in the middle of a character.
        if error.start < len(head) - 3 or len(head) < HEAD_BYTES:
            return False
        text = head[: error.start].decode(encoding)
    return not _NOT_TEXT.search(text)


def _iso_type(head: bytes) -> str:
    """The type by the brands of an ISO base media file (ISO 14496-12, 4.3)."""
    major = head[8:12]
    if major in _BRANDS:
        return _BRANDS[major]
    if major[:3] == b"3gp":
        return "video/3gpp"
    if major in _GENERIC_IMAGE_BRANDS:
        end = min(int.from_bytes(head[:4], "big"), len(head))
        others = (_BRANDS.get(head[at : at + 4]) for at in range(16, end - 3, 4))
        return next((brand for brand in others if brand), "image/heif")
    return "video/mp4"


def _is_mpeg_audio(head: bytes) -> bool:
    """True for a frame header of MPEG audio layer III (ISO 11172-3, 2.4.1.3)."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return False
    version, bitrate, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    return version != 1 and bitrate not in (0, 15) and rate != 3
