"""What is embedded as one vector: texts and media in order, and its form as Markdown."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias, cast

from gemini2_core.content.blocks import block_parts
from gemini2_core.content.fragments import parse_fragment
from gemini2_core.content.markdown import MediaLink, find_media_links, render_link
from gemini2_core.content.media import Media, PillowImage, is_files_api
from gemini2_core.content.paths import link_to, resolve_path
from gemini2_core.errors import Gemini2Error, InvalidInputError

__all__ = ["Content", "ContentLike"]

#: Whatever ``Content.of`` takes: str, Path, bytes, (bytes, mime_type), Media, Content, PIL.Image,
#: blocks of LangChain, LlamaIndex and google-genai, or a sequence of these. The frameworks'
#: types can't be named where they aren't imported.
ContentLike: TypeAlias = object

_URI = re.compile(r"(?:https?|gs|data):", re.IGNORECASE)
_OPENING = re.compile(r"(\\*)!\[")
_FILES_HOST = "https://generativelanguage.googleapis.com/v1beta/"


@dataclass(frozen=True, slots=True)
class Content:
    """Parts in order that become one vector.

    Texts that stand side by side stay parts of their own.

    Attributes:
        parts: Texts and media.
        title: Title for the document side of a prompt, or None.
    """

    parts: tuple[str | Media, ...]
    title: str | None = None

    @classmethod
    def of(
        cls,
        value: ContentLike,
        *,
        media_root: str | os.PathLike[str] | None = None,
        title: str | None = None,
        allow_remote: bool = False,
    ) -> Content:
        """Make a content of whatever can be embedded.

        A str is text, even if it looks like a path or an address; with a ``media_root`` the
        media links of its Markdown are read into parts. A ``Path`` is a medium anywhere. A list
        or tuple is one interleaved content, blank texts beside others left out; a tuple
        ``(bytes, mime_type)`` is one medium.

        Args:
            value: str, Path, bytes, ``(bytes, mime_type)``, Media, Content, PIL.Image,
                google.genai Part, Content, Blob or File, a LangChain content block, a LlamaIndex
                block or MediaResource, or a sequence of these.
            media_root: Folder that links in texts are read from; None leaves texts as they are.
            title: Title; None keeps the one that a Content has.
            allow_remote: Whether ``https:`` media may be fetched.

        Raises:
            InvalidInputError: None, bytes of unknown type, a lone surrogate, or anything that
                is no content; the message names the position in a list.
            MediaNotFoundError: A file isn't there.
            MediaAccessError: A link leads out of ``media_root``.
        """
        if title is not None:
            _check_text(title)
        if type(value) is str:
            if media_root is None or "![" not in value:
                if not value.isascii():
                    _check_text(value)
                return cls((value,), title)
            parts = _markdown_parts(value, Path(media_root), allow_remote)
            return cls(tuple(parts), title)
        if isinstance(value, Content):
            return value if title is None else replace(value, title=title)
        root = None if media_root is None else Path(media_root)
        return cls(tuple(_parts(value, root, allow_remote)), title)

    @classmethod
    def from_markdown(
        cls,
        text: str,
        *,
        media_root: str | os.PathLike[str],
        title: str | None = None,
        allow_remote: bool = False,
    ) -> Content:
        r"""Read a Markdown text: its media links become media, what is between them text.

        Text is kept as written, its other Markdown too, with two exceptions: blank text between
        media is left out, and the backslashes that keep ``\![`` from being a link are undone.
        Links resolve inside ``media_root``; ``https:``, ``gs:`` and ``data:`` are taken as they
        are. A link's title is the digest of its file; any other title is left out.

        Raises:
            InvalidInputError: As ``Content.of``.
        """
        return cls.of(text, media_root=media_root, title=title, allow_remote=allow_remote)

    def to_markdown(self, *, media_root: str | os.PathLike[str] | None = None) -> str:
        r"""Write the content as one string, which ``from_markdown`` reads back.

        What comes back is the same but for this: texts side by side become one, with a blank
        line between; where a text would take a link for code or HTML (an open backtick, say), a
        blank line is put around the media; the title isn't written; ``files/…`` comes back as a
        full URI and held bytes as held bytes, written as a ``data:`` URI.

        Args:
            media_root: Folder that the links are relative to; None writes absolute paths.

        Raises:
            MediaAccessError: A file isn't under ``media_root``.
            InvalidInputError: A text leaves code or HTML open, so that no link can follow it.
        """
        root = None if media_root is None else Path(media_root)
        for gap in ("", "\n\n"):
            text, links = self._rendered(root, gap)
            if [(link.start, link.end) for link in find_media_links(text)] == links:
                return text
        raise InvalidInputError(
            "a text leaves code, a comment or HTML open before a medium, so the content has no "
            "form as Markdown: close it, or put the media first"
        )

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts, in order."""
        return tuple(part for part in self.parts if isinstance(part, str))

    @property
    def media(self) -> tuple[Media, ...]:
        """The media, in order."""
        return tuple(part for part in self.parts if not isinstance(part, str))

    @property
    def text_only(self) -> bool:
        """True if there is no medium."""
        return all(isinstance(part, str) for part in self.parts)

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to embed: no medium, and no text but blanks."""
        return all(isinstance(part, str) and not part.strip() for part in self.parts)

    @property
    def identity(self) -> tuple[str | None, ...]:
        """A cheap key: contents of the same key are the same (``Media.identity``).

        Raises:
            MediaNotFoundError: A file is gone.
        """
        return (
            self.title,
            *(f"={p}" if isinstance(p, str) else f"@{p.identity}" for p in self.parts),
        )

    def fetched(self) -> Content:
        """Itself with the bytes of its ``https:`` media (``Media.fetched``)."""
        if not any(media.remote for media in self.media):
            return self
        parts = (part if isinstance(part, str) else part.fetched() for part in self.parts)
        return replace(self, parts=tuple(parts))

    async def afetched(self) -> Content:
        """As ``fetched``, without blocking the event loop."""
        if not any(media.remote for media in self.media):
            return self
        parts = [part if isinstance(part, str) else await part.afetched() for part in self.parts]
        return replace(self, parts=tuple(parts))

    def _rendered(self, root: Path | None, gap: str) -> tuple[str, list[tuple[int, int]]]:
        """The Markdown, and where its media links stand."""
        pieces: list[str] = []
        links: list[tuple[int, int]] = []
        length = 0
        before: str | Media | None = None
        for index, part in enumerate(self.parts):
            if isinstance(part, str):
                if not part:
                    continue
                piece = _OPENING.sub(_escaped_opening, part)
                following = self.parts[index + 1 : index + 2]
                if not gap and following and not isinstance(following[0], str):
                    # Backslashes in front of a link would escape it.
                    piece += "\\" * (len(piece) - len(piece.rstrip("\\")))
                between = "\n\n" if isinstance(before, str) else gap if before else ""
            else:
                piece = render_link(part.alt, _target(part, root), part.digest or "")
                between = gap if before is not None else ""
                links.append((length + len(between), length + len(between) + len(piece)))
            pieces += [between, piece]
            length += len(between) + len(piece)
            before = part
        return "".join(pieces), links


def _parts(value: object, root: Path | None, allow_remote: bool) -> Iterator[str | Media]:
    """The parts of anything, in order."""
    if isinstance(value, str):
        _check_text(value)
        if root is None or "![" not in value:
            yield str(value)
        else:
            yield from _markdown_parts(value, root, allow_remote)
    elif isinstance(value, Media):
        yield value
    elif isinstance(value, Content):
        yield from value.parts
    elif isinstance(value, os.PathLike):
        yield Media.from_path(cast("os.PathLike[str]", value))
    elif isinstance(value, bytes | bytearray | memoryview):
        yield Media.from_bytes(value)
    elif _is_typed_bytes(value):
        data, mime_type = cast("tuple[bytes, str]", value)
        yield Media.from_bytes(data, mime_type)
    elif isinstance(value, Sequence):
        yield from _sequence_parts(value, root, allow_remote)
    elif value is None:
        raise InvalidInputError("None is no content: leave it out, or pass a text")
    elif _is_pillow(value):
        yield Media.from_image(cast("PillowImage", value))
    else:
        blocks = block_parts(value, allow_remote=allow_remote)
        if blocks is None:
            raise InvalidInputError(
                f"{type(value).__qualname__} is no content: pass str, "
                "Path, (bytes, mime_type), Media, a picture, a content block or a list of these"
            )
        for block in blocks:
            if isinstance(block, str):
                yield from _parts(block, root, allow_remote)
            else:
                yield block


def _sequence_parts(
    values: Sequence[object], root: Path | None, allow_remote: bool
) -> list[str | Media]:
    parts: list[str | Media] = []
    for position, value in enumerate(values):
        try:
            parts.extend(_parts(value, root, allow_remote))
        except Gemini2Error as error:
            error.message = f"part {position}: {error.message}"
            raise
    return _without_blanks(parts)


def _without_blanks(parts: list[str | Media]) -> list[str | Media]:
    """Leave blank texts out (the service refuses empty parts), unless they are all there is."""
    kept = [part for part in parts if not isinstance(part, str) or part.strip()]
    return kept or parts[:1]


def _markdown_parts(text: str, root: Path, allow_remote: bool) -> list[str | Media]:
    _check_text(text)
    parts: list[str | Media] = []
    position = 0
    for link in find_media_links(text):
        parts += [_between(text[position : link.start], link_follows=True)]
        parts += [_linked(link, root, allow_remote)]
        position = link.end
    parts += [_between(text[position:], link_follows=False)]
    return _without_blanks(parts)


def _linked(link: MediaLink, root: Path, allow_remote: bool) -> Media:
    digest = link.title.lower() if link.title.lower().startswith("sha256:") else None
    if _URI.match(link.target):
        return Media.from_uri(link.target, alt=link.alt, digest=digest, allow_remote=allow_remote)
    path = resolve_path(link.target, root)
    fragment = parse_fragment(link.target.partition("#")[2])
    return Media.from_path(path, fragment=fragment, alt=link.alt, digest=digest)


def _target(media: Media, root: Path | None) -> str:
    """What a link to ``media`` has in its parentheses."""
    if isinstance(media.source, Path):
        # From "/" the link is the absolute path without its first slash.
        anchor = Path(media.source.absolute().anchor)
        target = link_to(media.source, root) if root else f"/{link_to(media.source, anchor)}"
    elif isinstance(media.source, str):
        whole = "://" in media.source or not is_files_api(media.source)
        target = media.source if whole else _FILES_HOST + media.source
    else:
        import base64

        target = f"data:{media.mime_type};base64,{base64.b64encode(media.source).decode()}"
    return f"{target}#{media.fragment}" if media.fragment else target


def _between(text: str, *, link_follows: bool) -> str:
    r"""Text between links, with the backslashes undone that ``to_markdown`` puts."""
    if "\\" not in text:
        return text
    text = _OPENING.sub(_plain_opening, text)
    if link_follows:
        slashes = len(text) - len(text.rstrip("\\"))
        text = text[: len(text) - slashes // 2]
    return text


def _escaped_opening(match: re.Match[str]) -> str:
    return "\\" * (2 * len(match[1]) + 1) + "!["


def _plain_opening(match: re.Match[str]) -> str:
    slashes = len(match[1])
    return "\\" * (slashes // 2 if slashes % 2 else slashes) + "!["


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"the text has a lone surrogate, {text[error.start]!r} at character {error.start}, "
            "which is no Unicode text: read it with the right encoding, or take it out with "
            "text.encode('utf-8', 'ignore').decode()"
        ) from None


def _is_typed_bytes(value: object) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and isinstance(value[0], bytes | bytearray | memoryview)
        and isinstance(value[1], str)
        and re.fullmatch(r"[\w.+-]+/[\w.+-]+(?:\s*;.*)?", value[1]) is not None
    )


def _is_pillow(value: object) -> bool:
    return any(kind.__module__.startswith("PIL.") for kind in type(value).__mro__) and hasattr(
        value, "save"
    )
