"""Vectors as JSON bytes, plain and deflated, kept so that a repeated one costs a copy."""

from __future__ import annotations

import struct
import threading
import zlib
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import orjson

__all__ = ["Encoded", "EncodedCache", "encode", "gzip_body", "plain_body"]

_POLYNOMIAL = 0xEDB88320
_GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_GZIP_END = b"\x03\x00"  # an empty last block
_LEVEL = 2


def _multiply(a: int, b: int) -> int:
    """Product of two polynomials modulo CRC-32's (the arithmetic of zlib's crc32_combine)."""
    bit, product = 1 << 31, 0
    while True:
        if a & bit:
            product ^= b
            if not a & (bit - 1):
                return product
        bit >>= 1
        b = (b >> 1) ^ _POLYNOMIAL if b & 1 else b >> 1


def _powers() -> tuple[int, ...]:
    powers = [1 << 30]
    for _ in range(31):
        powers.append(_multiply(powers[-1], powers[-1]))
    return tuple(powers)


_POWERS = _powers()


def _shift(length: int) -> int:
    """What a CRC is multiplied by when ``length`` bytes follow."""
    shift, place = 1 << 31, 3
    while length:
        if length & 1:
            shift = _multiply(_POWERS[place & 31], shift)
        length >>= 1
        place += 1
    return shift


@dataclass(slots=True)
class Encoded:
    """A piece of a body, whole on its own: plain, or as deflate blocks that can be joined."""

    plain: bytes | None
    deflated: bytes | None = None
    length: int = 0
    crc: int = 0
    shift: int = 0

    def deflate(self, level: int = _LEVEL) -> Encoded:
        """Make the deflated form, which then replaces the plain one."""
        plain = self.plain
        if plain is not None and self.deflated is None:
            stream = zlib.compressobj(level, zlib.DEFLATED, -15)
            # A full flush ends on a byte and refers to nothing before or after itself.
            deflated = stream.compress(plain) + stream.flush(zlib.Z_FULL_FLUSH)
            self.length, self.crc = len(plain), zlib.crc32(plain)
            self.shift = _shift(self.length)
            # In this order: another thread finds one of the two at any moment.
            self.deflated = deflated
            self.plain = None
        return self

    def text(self) -> bytes:
        """The plain form."""
        plain = self.plain
        if plain is None:
            assert self.deflated is not None
            return zlib.decompressobj(-15).decompress(self.deflated)
        return plain

    @property
    def size(self) -> int:
        """Bytes held."""
        return len(self.plain or b"") + len(self.deflated or b"") + 200


def encode(vector: npt.NDArray[np.float32] | None, *, pretty: bool) -> Encoded:
    """``{"values": [...]}`` with the shortest decimals that give the same float32 back.

    None gives the embedding without values that users have seen.
    """
    if vector is None:
        return Encoded(b"{}")
    numbers = orjson.dumps(vector, option=orjson.OPT_SERIALIZE_NUMPY)
    if not pretty:
        return Encoded(b'{"values":' + numbers + b"}")
    lines = numbers[1:-1].replace(b",", b",\n        ")
    return Encoded(b'{\n      "values": [\n        ' + lines + b"\n      ]\n    }")


def plain_body(pieces: Sequence[bytes | Encoded]) -> bytes:
    """A body from its pieces."""
    return b"".join(p if isinstance(p, bytes) else p.text() for p in pieces)


def gzip_body(pieces: Sequence[bytes | Encoded]) -> bytes:
    """A body from its pieces as one gzip member, without compressing a vector again."""
    out, crc, length = [_GZIP_HEAD], 0, 0
    for piece in pieces:
        if isinstance(piece, bytes):
            for start in range(0, len(piece), 0xFFFF):  # stored blocks: five bytes of head
                some = piece[start : start + 0xFFFF]
                out.append(struct.pack("<BHH", 0, len(some), len(some) ^ 0xFFFF) + some)
            crc = zlib.crc32(piece, crc)
            length += len(piece)
        else:
            piece.deflate()
            assert piece.deflated is not None
            out.append(piece.deflated)
            crc = _multiply(piece.shift, crc) ^ piece.crc
            length += piece.length
    out.append(_GZIP_END + struct.pack("<II", crc, length & 0xFFFFFFFF))
    return b"".join(out)


@dataclass(slots=True)
class EncodedCache:
    """The most recently used encoded vectors, up to a number of bytes."""

    budget: int
    _entries: OrderedDict[Hashable, tuple[Encoded, int]] = field(default_factory=OrderedDict)
    _held: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, key: Hashable) -> Encoded | None:
        """The entry of a key, if it's still there."""
        with self._lock:
            found = self._entries.get(key)
            if found is None:
                return None
            self._entries.move_to_end(key)
            return found[0]

    def put(self, key: Hashable, entry: Encoded) -> None:
        """Keep an entry and forget the ones that weren't used for longest."""
        size = entry.size
        with self._lock:
            old = self._entries.pop(key, None)
            self._held += size - (old[1] if old else 0)
            self._entries[key] = (entry, size)
            while self._held > self.budget and len(self._entries) > 1:
                _, (_, dropped) = self._entries.popitem(last=False)
                self._held -= dropped
