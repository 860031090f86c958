"""The folder that embedded pictures are written to, each once, named by its digest."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Self

from gemini2_core.content.media import Media
from gemini2_core.errors import ConfigurationError, InvalidInputError, LimitError

__all__ = ["MAX_BYTES", "MediaDir"]

#: Most bytes of one embedded medium; a longer one is no picture in a text.
MAX_BYTES = 200_000_000

_SUFFIXES = {
    "application/pdf": ".pdf",
    "audio/aac": ".aac",
    "audio/aiff": ".aiff",
    "audio/flac": ".flac",
    "audio/mp4": ".m4a",
    "audio/mpeg": ".mp3",
    "audio/ogg": ".ogg",
    "audio/wav": ".wav",
    "audio/webm": ".weba",
    "image/avif": ".avif",
    "image/bmp": ".bmp",
    "image/gif": ".gif",
    "image/heic": ".heic",
    "image/heif": ".heif",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/svg+xml": ".svg",
    "image/tiff": ".tiff",
    "image/webp": ".webp",
    "video/mp4": ".mp4",
    "video/quicktime": ".mov",
    "video/webm": ".webm",
    "video/x-matroska": ".mkv",
}


class MediaDir:
    """A folder for media that a document holds inside itself: data URIs, pictures of a PDF.

    Each is written once, as ``<first 32 hex digits of its sha256>.png`` (or whatever it is), so
    that reading a document again writes nothing. Chunks link to what is written here, so the
    folder must lie under the embedder's ``media_root``. Safe to use from several threads and
    processes at once.

    Args:
        path: The folder; made when the first medium is written.

    Raises:
        ConfigurationError: ``path`` is there and no folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise ConfigurationError(f"media_dir {self.path.name!r} is no folder")

    @classmethod
    def of(cls, value: Self | str | os.PathLike[str] | None) -> Self | None:
        """A MediaDir of a path; None and a MediaDir stay what they are."""
        return value if value is None or isinstance(value, cls) else cls(value)  # type: ignore[arg-type]  # no narrowing to Self

    def write(self, data: bytes, mime_type: str | None = None, *, alt: str = "") -> Media:
        """Write a medium, if it isn't there yet; return the reference to it.

        Args:
            data: Its bytes; they tell its type.
            mime_type: What it is said to be.
            alt: Alternative text.

        Raises:
            InvalidInputError: Empty, of unknown type, or not of the type it is said to be.
            LimitError: More than 200 MB.
            ConfigurationError: The folder can't be written.
        """
        if len(data) > MAX_BYTES:
            raise LimitError(
                f"{alt or 'a medium'!r} has {len(data):,} bytes: {MAX_BYTES:,} at most"
            )
        return self.keep(Media.from_bytes(data, mime_type, alt=alt))

    def keep(self, media: Media) -> Media:
        """A reference to the written file if ``media`` holds its bytes; else ``media`` itself.

        Raises:
            ConfigurationError: The folder can't be written.
        """
        if not isinstance(media.source, bytes):
            return media
        digest = hashlib.sha256(media.source).hexdigest()
        suffix = _SUFFIXES.get(media.mime_type, ".bin")
        path = self.path / f"{digest[:32]}{suffix}"
        try:
            found = path.stat().st_size == len(media.source)
        except OSError:
            found = False
        if not found:
            self._write(path, media.source)
        return Media(
            path, media.mime_type, media.fragment, media.alt, media.digest or f"sha256:{digest}"
        )

    def uri(self, uri: str, *, alt: str = "") -> Media:
        """Write what a ``data:`` URI holds.

        Raises:
            InvalidInputError: No ``data:`` URI, damaged, or what ``write`` raises.
        """
        if uri[:5].lower() != "data:":
            raise InvalidInputError(f"{uri[:40]!r} is no data: URI")
        if len(uri) > 2 * MAX_BYTES:
            raise LimitError(f"a data: URI of {len(uri):,} characters is too long")
        held = Media.from_uri(uri)
        assert isinstance(held.source, bytes)
        return self.keep(Media(held.source, held.mime_type, held.fragment, alt))

    def _write(self, path: Path, data: bytes) -> None:
        """Write beside and rename, so that nobody ever sees half a file."""
        temporary: str | None = None
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=self.path, prefix=".", suffix=".part")
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            os.chmod(temporary, 0o644)  # noqa: PTH101 - as any other picture
            os.replace(temporary, path)  # noqa: PTH105
        except OSError as error:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)  # noqa: PTH108
            raise ConfigurationError(
                f"media_dir {self.path.name!r} can't be written: {type(error).__name__}"
            ) from None
