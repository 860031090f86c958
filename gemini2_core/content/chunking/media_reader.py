"""From a picture, sound, film or PDF to a document: whole, or in references to its parts."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gemini2_core.content.chunking.document import (
    JSON,
    Document,
    DocumentBuilder,
    ElementKind,
)
from gemini2_core.content.chunking.media_dir import MediaDir
from gemini2_core.content.chunking.pdf_reader import read_pdf
from gemini2_core.content.chunking.policy import MediaPolicy, OnMissing, refer
from gemini2_core.content.fragments import Fragment
from gemini2_core.content.media import Media
from gemini2_core.errors import (
    ConfigurationError,
    InvalidInputError,
    LimitError,
    MissingExtraError,
)
from gemini2_core.model import DEFAULT_MODEL, VIDEO_FRAMES, Backend, Modality, model_spec

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = ["FILM_WINDOW", "SOUND_WINDOW", "film_windows", "read_media", "sound_windows"]

#: Seconds of a window of film: up to 32 s the service looks at every second (API documentation).
FILM_WINDOW = float(VIDEO_FRAMES)
#: Seconds of a window of sound; 1,500 tokens.
SOUND_WINDOW = 60.0

_MAX_WINDOWS = 50_000
#: Bytes that a second of real sound or film has at least (400 bit/s); a claim is below.
_FEWEST_BYTES = 50
_MICROSECONDS = 1_000_000
#: Headers round: a sound of 180.02 s was meant as one of 180.
_SLACK = 0.1
_SHORTEST = 0.05


def read_media(
    medium: str | os.PathLike[str] | bytes,
    *,
    window: float | None = None,
    overlap: float = 0.0,
    source: str | None = None,
    media_root: str | os.PathLike[str] | None = None,
    media_dir: MediaDir | str | os.PathLike[str] | None = None,
    on_missing: OnMissing = "error",
    mime_types: Collection[str] | None = None,
    model: str = DEFAULT_MODEL,
    backend: Backend = Backend.GEMINI_API,
    title: str | None = None,
    metadata: Mapping[str, JSON] | None = None,
) -> Iterator[Document]:
    """Read a medium; nothing is decoded and nothing written (but bytes, to ``media_dir``).

    What the model takes in one content stays whole. A longer sound is referred to in windows
    (``talk.mp3#t=0,60``), a longer film in windows that begin and end on key frames, a longer PDF
    by its pages. An element's ``seconds`` tell where in the recording it is.

    Args:
        medium: A path, or the bytes.
        window: Seconds of a window, at most what the model takes (180 of sound, 120 of film).
            None is 60 of sound and 32 of film. If given, all that is longer is cut.
        overlap: Seconds that a window begins before the end of the one before it; for film the
            key frame before that.
        source: Name for ids and errors; None is the path.
        media_root: The folder that chunks' links are relative to.
        media_dir: Where a medium is written that comes as bytes.
        on_missing: What becomes of a medium that can't be read.
        mime_types: Types that are taken; None takes all.
        model: The model whose limits hold.
        backend: The service whose limits hold.
        title: Title of the document; None has none.
        metadata: What goes with every chunk.

    Yields:
        One document, or for a long PDF one for 16 pages.

    Raises:
        InvalidInputError: It can't be read, or is of a type that isn't taken.
        LimitError: A film whose key frames are farther apart than the model's limit, or a medium
            that claims to be impossibly long.
        MediaNotFoundError: The file isn't there.
        ConfigurationError: A window or overlap that can't be.
        MissingExtraError: Cutting a film needs PyAV, and it isn't installed.
    """
    path = None if isinstance(medium, bytes) else Path(medium)
    name = source if source is not None else str(path or "")
    policy = MediaPolicy(
        source=name,
        media_root=media_root,
        media_dir=media_dir,
        on_missing=on_missing,
        mime_types=mime_types,
    )
    builder = DocumentBuilder(
        source=name, title=title, metadata=metadata, media_root=policy.link_root
    )
    try:
        if path is None:
            whole = policy.embedded(medium if isinstance(medium, bytes) else b"")
        else:
            whole = refer(path)
        if whole is None:
            return
        if mime_types is not None and whole.mime_type not in mime_types:
            raise InvalidInputError(
                f"{whole.name} is {whole.mime_type}, which the model doesn't read: convert it"
            )
        limit = model_spec(model).limits[backend].get(whole.modality)
        if whole.modality is Modality.DOCUMENT:
            pages = whole.measure().pages
            if pages and limit and limit.pages and pages > limit.pages:
                assert isinstance(whole.source, Path)
                yield from read_pdf(
                    whole.source,
                    mode="pages",
                    source=name,
                    media_root=media_root,
                    media_dir=media_dir,
                    title=title,
                    metadata=metadata,
                )
                return
        elif whole.modality is not Modality.IMAGE:
            longest = limit.seconds if limit and limit.seconds else math.inf
            windows = _windows(whole, window, overlap, longest)
            for start, end in windows:
                part = replace(whole, fragment=Fragment("t", start, end))
                builder.add(ElementKind.MEDIA, part, seconds=(start, end))
            if windows:
                yield builder.build()
                return
    except InvalidInputError:
        if on_missing == "error":
            raise
        return
    seconds = whole.measure().seconds
    builder.add(ElementKind.MEDIA, whole, seconds=(0.0, seconds) if seconds else None)
    yield builder.build()


def sound_windows(seconds: float, window: float, overlap: float) -> list[tuple[float, float]]:
    """Start and end of the windows over a sound, the last one up to its end.

    Raises:
        LimitError: More than 50,000 windows.
    """
    step = window - overlap
    if seconds / step > _MAX_WINDOWS:
        raise LimitError(f"{seconds:,.0f} s would be more than {_MAX_WINDOWS:,} windows")
    windows = []
    count = 1 + max(0, math.ceil((seconds - window) / step - _SLACK / step))
    for number in range(count):
        # The end is told from the next start as it is rounded, so that no moment is between them.
        end = seconds if number == count - 1 else round((number + 1) * step, 3) + overlap
        windows.append((round(number * step, 3), round(end, 3)))
    return windows


def film_windows(
    path: Path, seconds: float, window: float, overlap: float, longest: float = math.inf
) -> list[tuple[float, float]]:
    """Start and end of the windows over a film: each begins with a key frame.

    Only key frames are looked for, one at each border, by seeking; the film isn't read.

    Args:
        path: The film.
        seconds: Its length.
        window: Longest window, where key frames are close enough.
        overlap: Seconds that a window reaches back into the one before.
        longest: Longest window where they aren't.

    Raises:
        LimitError: Key frames are more than ``longest`` apart, or there are too many windows.
        InvalidInputError: Damaged, or no film.
        MissingExtraError: PyAV isn't installed.
    """
    try:
        import av
    except ImportError:
        raise MissingExtraError("cutting a film", extra="media", package="av") from None
    windows: list[tuple[float, float]] = []
    try:
        with av.open(str(path), "r", metadata_errors="replace") as film:
            if not film.streams.video:
                raise InvalidInputError(f"there is no picture in {path.name!r}")
            stream = film.streams.video[0]
            offset = (film.start_time or 0) / _MICROSECONDS

            def key_frame(latest: float, back: float = 0.0) -> float:
                """The last key frame at or before a time; a later one if there is none."""
                target = max(0.0, latest - back)
                film.seek(round((offset + target) * _MICROSECONDS), backward=True)
                found = -1.0
                for count, packet in enumerate(film.demux(stream)):
                    if packet.pts is None or count > 100_000:
                        break
                    at = float(packet.pts * packet.time_base) - offset
                    if packet.is_keyframe and (at <= latest + 1e-6 or found < 0):
                        found = max(found, at)
                    if at > latest + 1.0 and found >= 0:
                        break
                if found > latest + 1e-6 and back < 64 and target:
                    # Seeking goes by the order of decoding, which runs before that of showing.
                    return key_frame(latest, 4 * back + 1)
                return max(0.0, found)

            start = 0.0
            while True:
                if seconds - start <= window + _SLACK:
                    windows.append((start, math.ceil(seconds * 1000) / 1000))
                    return windows
                end = key_frame(start + window)
                if end <= start + _SHORTEST:  # none within the window: the next one behind it
                    end = _next_key_frame(film, stream, offset, start, start + longest)
                    end = seconds if end == math.inf and seconds - start <= longest else end
                if end - start > longest + _SLACK or end <= start:
                    raise LimitError(
                        f"{path.name!r} has no key frame between {start:.1f} s and "
                        f"{start + longest:.1f} s, so it can't be cut there: encode it anew with a "
                        "key frame every few seconds"
                    )
                if end >= seconds - _SHORTEST:
                    windows.append((start, math.ceil(seconds * 1000) / 1000))
                    return windows
                windows.append((round(start, 6), round(end, 6)))
                if len(windows) > _MAX_WINDOWS:
                    raise LimitError(f"{path.name!r} has more than {_MAX_WINDOWS:,} windows")
                following = key_frame(end - overlap) if overlap else end
                start = following if following > start + _SHORTEST else end
    except (av.FFmpegError, OSError, ValueError, ArithmeticError) as error:
        if isinstance(error, InvalidInputError):
            raise
        raise InvalidInputError(
            f"{path.name!r} is damaged or no film ({type(error).__name__})"
        ) from None


def _windows(
    whole: Media, window: float | None, overlap: float, longest: float
) -> list[tuple[float, float]]:
    """The windows over sound or film; none if it stays whole."""
    film = whole.modality is Modality.VIDEO
    size = window if window is not None else min(FILM_WINDOW if film else SOUND_WINDOW, longest)
    if not 1 <= size <= longest:
        raise ConfigurationError(f"window={size:g} is out of range: 1 to {longest:g} seconds")
    if not 0 <= overlap < size:
        raise ConfigurationError(f"overlap={overlap:g} is out of range: 0 to below {size:g}")
    seconds = whole.measure().seconds
    if seconds is None or seconds <= (longest if window is None else size) + _SLACK:
        return []
    if seconds * _FEWEST_BYTES > whole.size():
        raise LimitError(
            f"{whole.name} claims to be {seconds:,.0f} s long and has {whole.size():,} bytes: it "
            "is damaged or made to harm"
        )
    if not film:
        return sound_windows(seconds, size, overlap)
    assert isinstance(whole.source, Path)
    return film_windows(whole.source, seconds, size, overlap, longest)


def _next_key_frame(
    film: InputContainer, stream: VideoStream, offset: float, start: float, latest: float
) -> float:
    """The first key frame behind ``start``, or infinity if none is before ``latest``."""
    film.seek(round((offset + start) * _MICROSECONDS), backward=True)
    for packet in film.demux(stream):
        if packet.pts is None:
            break
        at = float(packet.pts * packet.time_base) - offset
        if packet.is_keyframe and at > start + _SHORTEST:
            return at
        if at > latest + 1:
            break
    return math.inf
