"""From a link in a document to its medium, and what happens when there is none."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import quote

from gemini2_core.content.chunking.media_dir import MediaDir
from gemini2_core.content.fragments import Fragment, parse_fragment
from gemini2_core.content.media import Media, is_files_api
from gemini2_core.content.paths import resolve_path
from gemini2_core.errors import (
    ConfigurationError,
    InvalidInputError,
    MediaAccessError,
)
from gemini2_core.model import DEFAULT_MODEL, Backend, model_spec

__all__ = ["MediaPolicy", "OnMissing", "readable_types", "refer"]

#: What becomes of a medium that is missing or can't be read: an error that names source and line,
#: its alternative text in its place, or nothing.
OnMissing: TypeAlias = Literal["error", "alt", "skip"]

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")


class MediaPolicy:
    """Finds the media of one source.

    Args:
        source: Name of the source, for errors.
        media_root: The only folder that links are read from; None refuses local links.
        base: Folder that relative links start from (the folder of the file they stand in), which
            lies in ``media_root``; None is ``media_root`` itself.
        media_dir: Where data URIs and embedded pictures are written; None refuses them.
        on_missing: What becomes of a medium that is missing or can't be read.
        allow_remote: Whether ``https:`` links are taken (they are fetched when embedded). They
            count as missing otherwise.
        mime_types: The types that are taken (``readable_types``); None takes all. Another type
            counts as one that can't be read.

    Raises:
        ConfigurationError: ``base`` isn't in ``media_root``, or an unknown ``on_missing``.
    """

    def __init__(
        self,
        *,
        source: str,
        media_root: str | os.PathLike[str] | None = None,
        base: str | os.PathLike[str] | None = None,
        media_dir: MediaDir | str | os.PathLike[str] | None = None,
        on_missing: OnMissing = "error",
        allow_remote: bool = False,
        mime_types: Collection[str] | None = None,
    ) -> None:
        if on_missing not in ("error", "alt", "skip"):
            raise ConfigurationError(
                f"on_missing is 'error', 'alt' or 'skip', not {str(on_missing)[:40]!r}"
            )
        self.source = source
        self.media_root = None if media_root is None else Path(media_root)
        self.media_dir = MediaDir.of(media_dir)
        self.on_missing: OnMissing = on_missing
        self.allow_remote = allow_remote
        self.mime_types = mime_types
        self._prefix = _prefix(self.media_root, base)
        if self.media_dir is not None and self.media_root is not None:
            _check_inside(self.media_dir.path, self.media_root)

    def link(
        self,
        target: str,
        *,
        alt: str = "",
        title: str = "",
        mime_type: str | None = None,
        line: int | None = None,
    ) -> Media | None:
        """The medium that a link names.

        Args:
            target: The link's target: a relative path, ``https:``, ``gs:``, ``data:`` …, with a
                fragment (``#page=3``) perhaps.
            alt: Its alternative text.
            title: Its title; ``"sha256:…"`` is the file's digest, anything else is ignored.
            mime_type: The type that the document declares.
            line: Line it stands on, from 1, for the error.

        Returns:
            None if it is missing or can't be read and that is no error (``instead`` is then what
            to write).

        Raises:
            InvalidInputError: It is missing or can't be read (MediaNotFoundError,
                MediaAccessError), with ``on_missing="error"``. Names source and line.
            ConfigurationError: A data URI, and no ``media_dir``.
        """
        try:
            return self._taken(self._found(target, alt, title, mime_type))
        except InvalidInputError as error:
            self._missing(error, line)
            return None

    def embedded(
        self, data: bytes, mime_type: str | None = None, *, alt: str = "", line: int | None = None
    ) -> Media | None:
        """Write a medium that the document holds inside itself to ``media_dir``.

        Returns, Raises:
            As ``link``.
        """
        directory = self._directory(line)
        try:
            return self._taken(directory.write(data, mime_type, alt=alt))
        except InvalidInputError as error:
            self._missing(error, line)
            return None

    def given(self, media: Media, *, line: int | None = None) -> Media | None:
        """A medium that the caller holds a reference to: itself, if it is of a type that is taken.

        Returns, Raises:
            As ``link``.
        """
        try:
            return self._taken(media)
        except InvalidInputError as error:
            self._missing(error, line)
            return None

    def parts(self, media: Media, line: int | None = None) -> tuple[Media, ...]:
        """A medium, or references to its parts if it is longer than the model takes at once.

        Returns:
            Nothing if it can't be read and that is no error.

        Raises:
            InvalidInputError: It can't be read, with ``on_missing="error"``.
        """
        local = isinstance(media.source, Path) and media.fragment is None
        if not local or media.mime_type.startswith("image/"):
            return (media,)
        from gemini2_core.content.chunking.media_reader import read_media

        assert isinstance(media.source, Path)
        try:
            documents = list(read_media(media.source, media_root=self.link_root))
        except InvalidInputError as error:
            self._missing(error, line)
            return ()
        found = [part for document in documents for part in document.media]
        if len(found) < 2:
            return (media,)
        return tuple(replace(part, alt=media.alt, digest=media.digest) for part in found)

    @property
    def link_root(self) -> Path | None:
        """The ``Document.media_root`` to use: ``media_root``, or else the ``media_dir``."""
        if self.media_root is None and self.media_dir is not None:
            return self.media_dir.path
        return self.media_root

    def instead(self, alt: str) -> str:
        """What stands in the place of a medium that is missing."""
        return alt if self.on_missing == "alt" else ""

    def where(self, line: int | None) -> str:
        """Source and line, as errors name them."""
        return self.source if line is None else f"{self.source}, line {line}"

    def _found(self, target: str, alt: str, title: str, mime_type: str | None) -> Media:
        digest = title.lower() if title.lower().startswith("sha256:") else None
        if target[:5].lower() == "data:":
            return self._directory(None).uri(target, alt=alt)
        if target.startswith("//"):
            target = f"https:{target}"
        if _URI.match(target) or is_files_api(target):
            media = Media.from_uri(
                target, mime_type, alt=alt, digest=digest, allow_remote=self.allow_remote
            )
            if not media.by_service and not self.allow_remote:
                raise MediaAccessError(
                    f"{media.name} is a web address: pass allow_remote=True to have it fetched, "
                    "or on_missing='alt' to go without it"
                )
            return media
        if self.media_root is None:
            raise MediaAccessError(
                f"the link {target[:120]!r} names a local file: pass media_root, the folder that "
                "it may be read from"
            )
        # "/figures/a.png" means the root, as in a web page, unless it is a path inside the root.
        path = resolve_path(self._rooted(target), self.media_root)
        fragment = parse_fragment(target.partition("#")[2])
        return refer(path, mime_type, fragment=fragment, alt=alt, digest=digest)

    def _rooted(self, target: str) -> str:
        path, sharp, fragment = target.partition("#")
        path = path.partition("?")[0]
        if not path.startswith("/"):
            path = _joined(self._prefix, path)
        elif self.media_root is not None and not path.startswith(
            (f"{self.media_root.as_posix()}/", f"{_real(self.media_root)}/")
        ):
            path = path.lstrip("/")
        return f"{path}{sharp}{fragment}"

    def _taken(self, media: Media) -> Media:
        known = media.mime_type
        if self.mime_types is not None and known and known not in self.mime_types:
            raise InvalidInputError(
                f"{media.name} is {known}, which the model doesn't read: convert it to "
                f"{_converted(known, self.mime_types)}"
            )
        if not media.remote and not known.startswith("image/"):
            media.measure()  # a damaged file, or a page behind the end, is told here with its line
        return media

    def _directory(self, line: int | None) -> MediaDir:
        if self.media_dir is None:
            raise ConfigurationError(
                f"{self.where(line)} holds a medium inside itself (a data: URI or an embedded "
                "picture): pass media_dir, the folder under media_root where it is written"
            )
        return self.media_dir

    def _missing(self, error: InvalidInputError, line: int | None) -> None:
        if self.on_missing == "error":
            error.message = f"{self.where(line)}: {error.message}"
            raise error


def readable_types(
    model: str = DEFAULT_MODEL, backend: Backend = Backend.GEMINI_API
) -> frozenset[str]:
    """The media types that a model reads on a service, and those that can't be told (``""``).

    Raises:
        ConfigurationError: Unknown model.
    """
    limits = model_spec(model).limits[backend].values()
    return frozenset(name for limit in limits for name in limit.mime_types)


def refer(
    path: Path,
    mime_type: str | None = None,
    *,
    fragment: Fragment | None = None,
    alt: str = "",
    digest: str | None = None,
) -> Media:
    """``Media.from_path``, which looks at a file once for all the links to it.

    Raises:
        InvalidInputError: As ``Media.from_path``.
    """
    try:
        found = path.stat()
        state = (found.st_mtime_ns, found.st_size, found.st_ino)
    except OSError:
        state = (0, 0, 0)  # from_path tells what is wrong
    return Media(path, _type_of(path, mime_type, state), fragment, alt, digest)


@lru_cache(maxsize=4096)
def _type_of(path: Path, mime_type: str | None, state: tuple[int, int, int]) -> str:
    del state
    return Media.from_path(path, mime_type).mime_type


@lru_cache(maxsize=64)
def _real(root: Path) -> str:
    return Path(os.path.realpath(root)).as_posix()


def _check_inside(media_dir: Path, media_root: Path) -> None:
    if not Path(os.path.realpath(media_dir)).is_relative_to(_real(media_root)):
        raise ConfigurationError(
            f"media_dir {media_dir.name!r} isn't under media_root, so the embedder could not read "
            "what is written there: choose a folder inside media_root"
        )


def _prefix(media_root: Path | None, base: str | os.PathLike[str] | None) -> list[str]:
    """The folders from ``media_root`` to ``base``, as they stand in a link."""
    if media_root is None or base is None:
        return []
    real, root = Path(os.path.realpath(base)), Path(_real(media_root))
    if not real.is_relative_to(root):
        raise ConfigurationError(
            f"the document's folder {real.name!r} isn't under media_root, so its links can't be "
            "read: pass a media_root that holds both"
        )
    return [quote(part) for part in real.relative_to(root).parts]


def _joined(folders: list[str], path: str) -> str:
    """A relative link, from the folders; ``..`` may climb as far as the root and no further."""
    if not folders and ".." not in path:
        return path
    parts = list(folders)
    for part in path.split("/"):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _converted(mime_type: str, taken: Collection[str]) -> str:
    kind = mime_type.partition("/")[0]
    fitting = sorted(name for name in taken if name.startswith(f"{kind}/"))
    return " or ".join(fitting or sorted(taken))
