"""Media as the emulator reads them: type, length, tokens, and what they say of themselves."""

from __future__ import annotations

import hashlib
import math
import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from gemini2_core.content import media_types
from gemini2_core.content.measure import measure
from gemini2_core.emulator.descriptions import describe
from gemini2_core.emulator.refusals import invalid
from gemini2_core.emulator.vectors import Row, direction, text_vector
from gemini2_core.errors import InvalidInputError
from gemini2_core.model import Modality, count_tokens, media_tokens

__all__ = ["MediaReader", "Medium", "modality_of"]

_DIGEST = 0.3
_KIND = 0.15


@dataclass(frozen=True, slots=True)
class Medium:
    """One medium, read.

    Attributes:
        modality: What kind of medium it is.
        mime_type: Its type by content, or as declared where the bytes don't tell.
        digest: sha256 of its bytes, or of its URI if it can't be read.
        description: What its file says it shows; "" if nothing.
        tokens: By modality: a PDF's text counts as text.
        pages: Of a PDF, else None.
        seconds: Of sound and film where readable, else None.
    """

    modality: Modality
    mime_type: str
    digest: str
    description: str
    tokens: tuple[tuple[Modality, int], ...]
    pages: int | None = None
    seconds: float | None = None

    def vector(self, space: str) -> Row:
        """Its unit vector: its description's, turned by its digest; the digest's alone without."""
        own = direction(f"medium:{self.digest}", space)
        if not self.description:
            return own
        row = text_vector(self.description, space)
        row = row + _DIGEST * own + _KIND * direction(f"kind:{self.modality}", space)
        unit: Row = row / math.sqrt(float(row @ row))
        return unit


def modality_of(mime_type: str) -> Modality:
    """What a type is.

    Raises:
        Refusal: The opaque 400 of a type that the service doesn't know.
    """
    try:
        modality = media_types.modality_of(media_types.normalize_mime_type(mime_type))
    except InvalidInputError:
        modality = None
    if modality is None:
        raise invalid("Request contains an invalid argument.")
    return modality


def _unreadable(modality: Modality) -> Exception:
    word = "document" if modality is Modality.DOCUMENT else modality.value.lower()
    return invalid(
        f"Unable to process input {word}. Please retry or report in "
        "https://developers.generativeai.google/guide/troubleshooting"
    )


def _tokens(modality: Modality, pages: int | None, seconds: float | None) -> int:
    if modality is Modality.AUDIO and seconds is not None:
        # The recorded MP3 of 4.488 s (112.2 at the documented rate) bills 112: cut, not rounded up.
        return max(1, math.floor(seconds * media_tokens(Modality.AUDIO, seconds=1.0)))
    return media_tokens(modality, pages=pages, seconds=seconds)


def _read(data: bytes, mime_type: str, digest: str) -> Medium:
    modality = modality_of(mime_type)
    try:
        # The bytes decide, as far as they say anything.
        found = media_types.sniff(data[: media_types.HEAD_BYTES])
        kind = media_types.agree(found, mime_type, "the input")
        measured = measure(data, kind, modality, "the input")
    except InvalidInputError as error:
        raise _unreadable(modality) from error
    pages, seconds = measured.pages, measured.seconds
    if modality in (Modality.AUDIO, Modality.VIDEO) and seconds is None:
        raise _unreadable(modality)
    description = describe(data, kind)
    tokens = [(modality, _tokens(modality, pages, seconds))]
    if modality is Modality.DOCUMENT and description:
        tokens.append((Modality.TEXT, count_tokens(description)))
    return Medium(modality, kind, digest, description, tuple(tokens), pages, seconds)


@dataclass(slots=True)
class MediaReader:
    """Reads media, and remembers the last few hundred by their digest."""

    _known: OrderedDict[tuple[str, str], Medium] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, data: bytes, mime_type: str) -> Medium:
        """Read a medium's bytes.

        Raises:
            Refusal: 400, unknown type or broken file.
        """
        key = (hashlib.sha256(data).hexdigest(), mime_type)
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        medium = _read(data, mime_type, key[0])
        with self._lock:
            self._known[key] = medium
            if len(self._known) > 512:
                self._known.popitem(last=False)
        return medium

    def far(self, uri: str, mime_type: str) -> Medium:
        """A medium that can't be read from here (``gs://``): its URI stands for its bytes.

        Its pages and seconds aren't known, so no limit on them holds and one of each is billed.
        """
        modality = modality_of(mime_type)
        digest = hashlib.sha256(uri.encode()).hexdigest()
        tokens = ((modality, _tokens(modality, None, None)),)
        return Medium(modality, media_types.normalize_mime_type(mime_type), digest, "", tokens)
