"""A reference to a picture, sound, film or PDF, read only when a request is built."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import os
import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol, Self
from urllib.parse import unquote_to_bytes, urlsplit

from gemini2_core.content.fragments import Fragment, parse_fragment
from gemini2_core.content.measure import Measure, measure, measure_fragment
from gemini2_core.content.media_types import (
    HEAD_BYTES,
    agree,
    guess_from_name,
    modality_of,
    normalize_mime_type,
    read_head,
    sniff,
)
from gemini2_core.errors import InvalidInputError, MediaAccessError, MediaNotFoundError
from gemini2_core.model import Modality

__all__ = ["FETCH_BYTES", "FETCH_SECONDS", "Media", "PillowImage", "is_files_api"]

#: Most bytes that are fetched from one URL.
FETCH_BYTES = 50_000_000
#: Longest that fetching one URL may take.
FETCH_SECONDS = 30.0

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_DATA_URI = re.compile(r"data:([^,;]*)((?:;[^,;]*)*),", re.IGNORECASE)
#: A file of the Files API: its name, or its URI on any host (a proxy's, the emulator's).
_FILES_API = re.compile(r"(?:https?://[^/?#]+/(?:v1|v1beta|v1alpha)/)?files/[A-Za-z0-9_-]+")
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16")


class PillowImage(Protocol):
    """What is needed of a ``PIL.Image.Image``."""

    @property
    def mode(self) -> str:
        """Pillow's name for the pixels (``"RGB"``)."""

    def save(self, fp: io.BytesIO, format: str) -> None:  # noqa: A002 - Pillow's name
        """Write the picture in a format."""

    def convert(self, mode: str) -> PillowImage:
        """The picture in another mode."""


class _Memo:
    """What was found out about one state of a medium's bytes."""

    __slots__ = ("measure", "sha256", "size", "state")

    def __init__(self, state: tuple[int, ...]) -> None:
        self.state = state
        self.sha256: str | None = None
        self.size: int | None = None
        self.measure: Measure | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Media:
    """A picture, sound, film or PDF by reference; use the ``from_*`` methods to make one.

    Attributes:
        source: A local path; a URI (``https://…``, ``gs://…``, ``files/…`` or a Files API URI) as
            str; or the bytes themselves.
        mime_type: Its type, by content; for a URI as given or guessed from its name, "" if
            neither tells.
        fragment: The pages or the span of time that are meant; None for all of it.
        alt: Alternative text or caption. It names the medium in errors and is not embedded.
        digest: ``"sha256:<64 hex digits>"`` that the whole file had; checked when it is read.
        allow_remote: True if an ``https:`` source may be fetched.

    Raises:
        InvalidInputError: A digest of another form, or a fragment that such a medium hasn't.
    """

    source: Path | str | bytes
    mime_type: str
    fragment: Fragment | None = None
    alt: str = ""
    digest: str | None = None
    allow_remote: bool = False
    _memo: _Memo | None = field(default=None, init=False, compare=False)

    def __post_init__(self) -> None:
        if self.digest is not None and not _DIGEST.fullmatch(self.digest):
            raise InvalidInputError(
                f"{self.name}: {self.digest[:80]!r} is no digest: write 'sha256:' and 64 hex digits"
            )
        if self.fragment is None:
            return
        if self.by_service:
            raise InvalidInputError(
                f"{self.name}#{self.fragment}: the service reads this file itself and whole; "
                "upload the part that is meant"
            )
        modality = modality_of(self.mime_type)
        fitting = (
            (Modality.DOCUMENT,)
            if self.fragment.kind == "page"
            else (Modality.AUDIO, Modality.VIDEO)
        )
        if modality is not None and modality not in fitting:
            what = "page" if self.fragment.kind == "page" else "span of time"
            raise InvalidInputError(
                f"{self.name}#{self.fragment}: {self.mime_type} has no {what} to cut out"
            )

    @classmethod
    def from_path(
        cls,
        path: str | os.PathLike[str],
        mime_type: str | None = None,
        *,
        fragment: Fragment | str | None = None,
        alt: str = "",
        digest: str | None = None,
    ) -> Self:
        """Refer to a local file, anywhere; its first bytes tell its type.

        Args:
            path: The file.
            mime_type: What the file is said to be; checked against its bytes.
            fragment: ``"page=3"``, ``"t=10,30"`` or the like.
            alt: Alternative text.
            digest: ``"sha256:…"`` of the file, checked when it is read.

        Raises:
            MediaNotFoundError: Nothing is there.
            MediaAccessError: A directory, a device, or a file that mustn't be read.
            InvalidInputError: A type that can't be embedded, or that contradicts ``mime_type``.
        """
        source = Path(path)
        name = _path_name(source)
        found = sniff(read_head(source, name))
        return cls(source, agree(found, mime_type, name), _fragment(fragment), alt, digest)

    @classmethod
    def from_bytes(
        cls,
        data: bytes | bytearray | memoryview,
        mime_type: str | None = None,
        *,
        fragment: Fragment | str | None = None,
        alt: str = "",
        digest: str | None = None,
    ) -> Self:
        """Hold bytes; ``mime_type`` may be left out where they tell their type.

        Raises:
            InvalidInputError: Empty, of unknown type, or of a type that contradicts
                ``mime_type``.
        """
        data = bytes(data)
        name = repr(alt) if alt else f"{mime_type or 'a medium'} of {_bytes(len(data))}"
        if not data:
            raise InvalidInputError(f"{name} is empty")
        found = sniff(data[:HEAD_BYTES])
        return cls(data, agree(found, mime_type, name), _fragment(fragment), alt, digest)

    @classmethod
    def from_base64(cls, data: str | bytes, mime_type: str | None = None, *, alt: str = "") -> Self:
        """Decode base64, standard or URL-safe, with or without its padding.

        Raises:
            InvalidInputError: Not base64, or what ``from_bytes`` raises.
        """
        try:
            text = data.encode("ascii") if isinstance(data, str) else data
            text = b"".join(text.split()).translate(_URL_SAFE).rstrip(b"=")
            decoded = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
        except (ValueError, binascii.Error):
            raise InvalidInputError(
                f"the data of {alt or mime_type or 'a medium'} is not base64"
            ) from None
        return cls.from_bytes(decoded, mime_type, alt=alt)

    @classmethod
    def from_image(cls, image: PillowImage, *, alt: str = "") -> Self:
        """Hold a ``PIL.Image`` as PNG, without loss; modes that PNG hasn't become RGB."""
        if image.mode not in _PNG_MODES:
            image = image.convert("RGB")
        buffer = io.BytesIO()
        image.save(buffer, format="PNG")
        return cls(buffer.getvalue(), "image/png", alt=alt)

    @classmethod
    def from_uri(
        cls,
        uri: str,
        mime_type: str | None = None,
        *,
        fragment: Fragment | str | None = None,
        alt: str = "",
        digest: str | None = None,
        allow_remote: bool = False,
    ) -> Self:
        """Refer to what isn't here: ``https:``, ``gs:``, the Files API; or hold a ``data:`` URI.

        A fragment may also stand in the URI (``https://…/manual.pdf#page=3``).

        Args:
            uri: The reference.
            mime_type: Its type; needed where the name doesn't tell it (Files API).
            fragment: ``"page=3"``, ``"t=10,30"`` or the like.
            alt: Alternative text.
            digest: ``"sha256:…"`` of the file, checked when it is read.
            allow_remote: Whether an ``https:`` URI may be fetched. The Gemini API reads none
                but those of its own Files API.

        Raises:
            InvalidInputError: No such scheme, or a fragment of a file that the service reads.
        """
        if uri[:5].lower() == "data:":
            data, declared = _decode_data_uri(uri)
            return cls.from_bytes(
                data, mime_type or declared, fragment=fragment, alt=alt, digest=digest
            )
        scheme = uri.partition(":")[0].lower()
        if not (scheme in ("http", "https", "gs") and "://" in uri) and not is_files_api(uri):
            raise InvalidInputError(
                f"{_uri_name(uri)!r} is no reference to a medium: "
                "use https://, gs://, files/… or data:, or Media.from_path for a local file"
            )
        part = _fragment(fragment)
        if part is None and "#" in uri:
            bare, _, text = uri.rpartition("#")
            part = parse_fragment(text)
            uri = bare if part or scheme != "gs" else uri
        known = normalize_mime_type(mime_type) if mime_type else guess_from_name(uri)
        if known and modality_of(known) is None:
            if mime_type:
                agree(known, None, _uri_name(uri))
            known = None
        return cls(uri, known or "", part, alt, digest, allow_remote)

    @property
    def modality(self) -> Modality:
        """What it is made of.

        Raises:
            InvalidInputError: A URI whose type nobody told.
        """
        modality = modality_of(self.mime_type)
        if modality is None:
            raise InvalidInputError(
                f"{self.name} is of unknown type: give its mime_type (Media.from_uri(uri, "
                "mime_type=…))"
            )
        return modality

    @property
    def remote(self) -> bool:
        """True if its bytes aren't here."""
        return isinstance(self.source, str)

    @property
    def by_service(self) -> bool:
        """True for what the service reads itself: ``gs://`` and the Files API."""
        return isinstance(self.source, str) and (
            self.source.startswith("gs://") or is_files_api(self.source)
        )

    @property
    def name(self) -> str:
        """How errors call it: its alternative text and file name; never its bytes or query."""
        if isinstance(self.source, Path):
            name = _path_name(self.source)
        elif isinstance(self.source, str):
            name = _uri_name(self.source)
        else:
            name = f"{self.mime_type} of {_bytes(len(self.source))}"
        return f"{self.alt[:80]!r} ({name})" if self.alt else name

    @property
    def identity(self) -> str:
        """A cheap key: media of the same key are the same, so one of them is enough.

        Raises:
            MediaNotFoundError: The file is gone.
        """
        if isinstance(self.source, Path):
            modified, size, inode = self._state()
            where = f"path:{os.path.realpath(self.source)}:{modified}:{size}:{inode}"
        elif isinstance(self.source, str):
            where = f"uri:{self.source}"
        else:
            where = f"bytes:{self.sha256() if self.fragment is None else _sha256(self.source)}"
        return f"{where}|{self.mime_type}|{self.fragment or ''}|{self.digest or ''}"

    def sha256(self) -> str:
        """Digest of the bytes as they are sent, 64 hex digits: of the cut, if there is a fragment.

        What the service reads itself is told by its URI: the digest of that.

        Raises:
            InvalidInputError: What ``read`` raises.
        """
        memo = self._remember()
        if memo.sha256 is None:
            if isinstance(self.source, str) and self.by_service:
                memo.sha256 = _sha256(f"{self.mime_type} {self.source}".encode())
            elif isinstance(self.source, Path) and self.fragment is None:
                memo.sha256 = self._file_sha256(self.source)
                self._check_digest(memo.sha256)
            else:
                data = self.read()
                memo.sha256, memo.size = _sha256(data), len(data)
        return memo.sha256

    def size(self) -> int:
        """Bytes as they are sent; 0 for what the service reads itself."""
        if self.by_service:
            return 0
        memo = self._remember()
        if memo.size is None:
            if self.fragment is None and isinstance(self.source, Path):
                memo.size = memo.state[1]
            elif self.fragment is None and isinstance(self.source, bytes):
                memo.size = len(self.source)
            else:
                data = self.read()
                memo.sha256, memo.size = _sha256(data), len(data)
        return memo.size

    def measure(self) -> Measure:
        """Pages, seconds or pixels of what is sent; nothing for what isn't here.

        Raises:
            InvalidInputError: Damaged or harmful headers, or a fragment behind the end.
        """
        if isinstance(self.source, str):
            return (
                measure_fragment(Measure(), self.fragment, self.name)
                if self.fragment
                else (Measure())
            )
        memo = self._remember()
        if memo.measure is None:
            if isinstance(self.source, Path):
                whole = _measure_file(self.source, self.mime_type, memo.state)
            else:
                whole = measure(self.source, self.mime_type, self.modality, self.name)
            memo.measure = (
                measure_fragment(whole, self.fragment, self.name) if self.fragment else whole
            )
        return memo.measure

    def read(self) -> bytes:
        """The bytes as they are sent, the fragment cut out, the digest checked.

        An ``https:`` source is fetched each time: call ``fetched`` first to do it once.

        Raises:
            InvalidInputError: The file has changed since its digest was written, the fragment
                isn't in it, or the service reads it itself.
            MediaNotFoundError: The file is gone.
            MediaAccessError: An ``https:`` source that mustn't be fetched, or a private address.
            MissingExtraError: Cutting sound or film needs the extra ``media``.
        """
        if isinstance(self.source, str):
            if self.by_service:
                raise InvalidInputError(f"{self.name} is read by the service, not here")
            return self.fetched().read()
        if self.fragment is None:
            data = self.source if isinstance(self.source, bytes) else _read_file(self.source)
            if self.digest is not None:
                self._check_digest(_sha256(data))
            return data
        if self.digest is not None:
            self._check_digest(
                _sha256(self.source)
                if isinstance(self.source, bytes)
                else self._file_sha256(self.source)
            )
        from gemini2_core.content.cut import cut_media, cut_pdf

        if self.fragment.kind == "page":
            return cut_pdf(self.source, self.fragment)
        return cut_media(self.source, self.mime_type, self.fragment)

    def fetched(self) -> Media:
        """Itself with its bytes, if it is an ``https:`` source; else itself as it is.

        Raises:
            MediaAccessError: It mustn't be fetched, or its address is private.
            InvalidInputError: It can't be fetched, or is too large, or not what it was said to be.
        """
        if not isinstance(self.source, str) or self.by_service:
            return self
        from gemini2_core.content.remote import fetch

        self._check_remote()
        return self._with_bytes(fetch(self.source, max_bytes=FETCH_BYTES, timeout=FETCH_SECONDS))

    async def afetched(self) -> Media:
        """As ``fetched``, without blocking the event loop."""
        if not isinstance(self.source, str) or self.by_service:
            return self
        from gemini2_core.content.remote import afetch

        self._check_remote()
        return self._with_bytes(
            await afetch(self.source, max_bytes=FETCH_BYTES, timeout=FETCH_SECONDS)
        )

    def with_digest(self) -> Media:
        """Itself with the digest of the whole file as it is now: a later change is then seen.

        Raises:
            InvalidInputError: Its bytes aren't here.
        """
        if isinstance(self.source, bytes):
            return replace(self, digest=f"sha256:{_sha256(self.source)}")
        if isinstance(self.source, Path):
            return replace(self, digest=f"sha256:{self._file_sha256(self.source)}")
        raise InvalidInputError(f"{self.name} isn't here, so its digest isn't known")

    def __repr__(self) -> str:
        fragment = f"#{self.fragment}" if self.fragment else ""
        return f"Media({self.name}{fragment}, {self.mime_type})"

    def _check_remote(self) -> None:
        if not self.allow_remote:
            raise MediaAccessError(
                f"{self.name} isn't fetched unless you allow it: pass allow_remote=True, "
                "or download it and pass its path"
            )

    def _with_bytes(self, data: bytes) -> Media:
        found = sniff(data[:HEAD_BYTES]) or self.mime_type or None
        mime_type = agree(found, self.mime_type or None, self.name)
        return replace(self, source=data, mime_type=mime_type)

    def _check_digest(self, sha256: str) -> None:
        if self.digest is not None and self.digest != f"sha256:{sha256}":
            raise InvalidInputError(
                f"{self.name} has changed since its link was written (it says {self.digest[:15]}…, "
                f"the file has sha256:{sha256[:8]}…): split its document again"
            )

    def _state(self) -> tuple[int, ...]:
        """Modification time, size and inode of a file; () for what can't change."""
        if not isinstance(self.source, Path):
            return ()
        try:
            found = self.source.stat()
        except OSError:
            raise MediaNotFoundError(f"there is no file {self.name} any more") from None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _remember(self) -> _Memo:
        state = self._state()
        memo = self._memo
        if memo is None or memo.state != state:
            memo = _Memo(state)
            object.__setattr__(self, "_memo", memo)
        return memo

    def _file_sha256(self, path: Path) -> str:
        return _hash_file(path, self._state())


def is_files_api(uri: str) -> bool:
    """True for a name or URI of the Files API."""
    return _FILES_API.fullmatch(uri) is not None


_URL_SAFE = bytes.maketrans(b"-_", b"+/")


def _fragment(value: Fragment | str | None) -> Fragment | None:
    if not isinstance(value, str):
        return value
    found = parse_fragment(value.removeprefix("#"))
    if found is None:
        raise InvalidInputError(f"{value!r} is no fragment: write 'page=3' or 't=10,30'")
    return found


def _decode_data_uri(uri: str) -> tuple[bytes, str | None]:
    """Bytes and declared type of a ``data:`` URI (RFC 2397)."""
    match = _DATA_URI.match(uri)
    if not match:
        raise InvalidInputError(f"{uri[:40]!r}… is no data: URI: it has no comma")
    payload = unquote_to_bytes(uri[match.end() :])
    if "base64" in match[2].lower().split(";"):
        try:
            text = b"".join(payload.split()).translate(_URL_SAFE).rstrip(b"=")
            payload = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
        except ValueError:
            raise InvalidInputError(f"the data: URI {uri[:40]!r}… is not base64") from None
    return payload, match[1] or None


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise MediaNotFoundError(f"there is no file {_path_name(path)} any more") from None
    except OSError as error:
        raise MediaAccessError(
            f"{_path_name(path)} can't be read: {type(error).__name__}"
        ) from None


@lru_cache(maxsize=4096)
def _hash_file(path: Path, state: tuple[int, ...]) -> str:
    """Digest of a file in a state; the pages of one manual share it."""
    del state
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MediaAccessError(
            f"{_path_name(path)} can't be read: {type(error).__name__}"
        ) from None


@lru_cache(maxsize=4096)
def _measure_file(path: Path, mime_type: str, state: tuple[int, ...]) -> Measure:
    """Measure of a file in a state; the pages of one manual share it."""
    del state
    modality = modality_of(mime_type)
    assert modality is not None
    return measure(path, mime_type, modality, _path_name(path))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _path_name(path: Path) -> str:
    """The file and the folder that it is in: enough to find it, and no more."""
    return "/".join(path.parts[-2:]) if not path.is_absolute() or len(path.parts) > 2 else str(path)


def _uri_name(uri: str) -> str:
    """A URI without what may be secret in it: user, password, query, data."""
    if uri[:5].lower() == "data:":
        return uri.partition(",")[0][:60] + ",…"
    try:
        parts = urlsplit(uri)
    except ValueError:
        return uri.partition("?")[0][:120]
    host = parts.netloc.rpartition("@")[2]
    return (f"{parts.scheme}://{host}{parts.path}" if host else parts.path)[:200]


def _bytes(count: int) -> str:
    if count < 10_000:
        return f"{count} bytes"
    return f"{count / 1e3:.0f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"
