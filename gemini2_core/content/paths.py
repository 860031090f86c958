"""From a link in a text to a file under ``media_root``, and to nothing outside it."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from urllib.parse import unquote_to_bytes

from gemini2_core.errors import (
    ConfigurationError,
    InvalidInputError,
    MediaAccessError,
    MediaNotFoundError,
)

__all__ = ["link_to", "resolve_path"]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_QUOTED = re.compile(r"[\x00-\x20\x7f%#?\\<>()\[\]:\"\ud800-\udfff]")
_SHOWN = 120


def resolve_path(link: str, media_root: Path) -> Path:
    """The real path of the file that ``link`` names under ``media_root``.

    ``link`` is a relative reference as in Markdown: percent-encoded, ``/`` between its parts; a
    ``#fragment`` is ignored. An absolute path counts only if it lies under ``media_root``. The
    answer is checked when it is given: whoever may write under ``media_root`` could still change
    the file between this check and the reading of it.

    Raises:
        MediaAccessError: The link leads out of ``media_root`` (``..``, a symbolic link, an
            absolute path), has a scheme (``file:``), a backslash or a control character, or names
            something that isn't a plain file (directory, device, FIFO).
        MediaNotFoundError: Nothing is there.
        InvalidInputError: The link is empty.
        ConfigurationError: ``media_root`` is no directory.
    """
    shown = _shown(link)
    reference = link.partition("#")[0]
    if not reference:
        raise InvalidInputError(f"the link {shown} names no file")
    if _SCHEME.match(reference):
        raise MediaAccessError(
            f"the link {shown} has a scheme or a drive: only paths under media_root are read"
        )
    try:
        name = os.fsdecode(unquote_to_bytes(os.fsencode(reference)))
    except ValueError:  # a lone surrogate, which no file name can hold
        raise MediaNotFoundError(f"there is no file {shown} under media_root") from None
    if _CONTROL.search(name):
        raise MediaAccessError(f"the link {shown} has a control character in it")
    if "\\" in name:
        raise MediaAccessError(f"the link {shown} has a backslash: write its path with '/'")
    if ".." in name.split("/") or name.startswith("//"):
        raise MediaAccessError(f"the link {shown} leads out of media_root")
    root = os.path.realpath(media_root)
    if not Path(root).is_dir():
        raise ConfigurationError("media_root is no directory that can be read")
    try:
        # Not strict: what a link out of the root points at mustn't show in the error.
        found = _real_path(root, name)
        if not f"{found}{os.sep}".startswith(os.path.join(root, "")):  # noqa: PTH118 - ends with /
            raise MediaAccessError(f"the link {shown} leads out of media_root")
        path = Path(found)
        mode = path.stat().st_mode
    except MediaAccessError:
        raise
    except PermissionError:
        raise MediaAccessError(f"the file that {shown} names mustn't be read") from None
    except OSError:
        raise MediaNotFoundError(f"there is no file {shown} under media_root") from None
    if not stat.S_ISREG(mode):
        raise MediaAccessError(f"the link {shown} names no plain file")
    return path


def link_to(path: Path, media_root: Path) -> str:
    """The link by which ``resolve_path`` finds ``path`` again; percent-encoded where it must be.

    Raises:
        MediaAccessError: ``path`` isn't under ``media_root``.
    """
    real = Path(os.path.realpath(path))
    root = os.path.realpath(media_root)
    if not real.is_relative_to(root):
        raise MediaAccessError(f"{path.name!r} isn't under media_root, so no link can name it")
    name = real.relative_to(root).as_posix()
    return _QUOTED.sub(lambda match: "".join(f"%{b:02X}" for b in os.fsencode(match[0])), name)


def _real_path(root: str, name: str) -> str:
    """The real path of ``name`` in ``root``, which is real: only what is below it is looked at."""
    if name.startswith("/"):
        return os.path.realpath(Path(name))
    path = root.rstrip(os.sep)
    for part in name.split("/"):
        if part in ("", "."):
            continue
        path = f"{path}{os.sep}{part}"
        if stat.S_ISLNK(os.lstat(path).st_mode):
            return os.path.realpath(Path(root) / name)
    return path


def _shown(link: str) -> str:
    return repr(link if len(link) <= _SHOWN else link[:_SHOWN] + "…")
