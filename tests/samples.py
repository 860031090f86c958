"""Small media that tests make for themselves."""

from __future__ import annotations

import io
import struct
import wave
import zlib

__all__ = ["png", "wav"]


def png(red: int, green: int = 0, blue: int = 0, *, side: int = 8) -> bytes:
    """A picture of one colour."""
    rows = (b"\0" + bytes((red, green, blue)) * side) * side
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        + _chunk(b"IDAT", zlib.compress(rows))
        + _chunk(b"IEND", b"")
    )


def wav(seconds: float = 0.5, *, level: int = 0) -> bytes:
    """A sound of one level, 8 kHz mono."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(8000)
        sound.writeframes(bytes((128 + level,)) * int(8000 * seconds))
    return buffer.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
