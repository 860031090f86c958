"""What a chat model is shown of a chunk: its texts, and the media that its links name, in order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from gemini2_core.content.chunking.policy import MediaPolicy, OnMissing
from gemini2_core.content.markdown import MediaLink, find_media_links, render_link
from gemini2_core.content.media import Media
from gemini2_core.errors import InvalidInputError
from gemini2_core.model import Modality

__all__ = ["ShownMedia", "shown_parts"]


@dataclass(frozen=True, slots=True, repr=False)
class ShownMedia:
    """A medium as it goes into a prompt.

    Attributes:
        mime_type: Its type, by content.
        modality: What it is made of.
        data: Its bytes, the fragment cut out; None for what the model's service reads itself.
        uri: ``gs://…`` or a URI of the Files API if there are no bytes, else "".
        alt: Its alternative text.
        target: What its link has in its parentheses, fragment included.
    """

    mime_type: str
    modality: Modality
    data: bytes | None
    uri: str
    alt: str
    target: str

    def __repr__(self) -> str:
        return f"ShownMedia({self.mime_type}, {(self.uri or self.target)[:80]!r})"


def shown_parts(
    text: str,
    *,
    source: str = "the chunk",
    media_root: str | os.PathLike[str] | None,
    links: bool = True,
    allow_remote: bool = False,
    on_missing: OnMissing = "error",
) -> list[str | ShownMedia]:
    """Read a Markdown text as what a chat model is shown: texts and media, in order.

    Args:
        text: A chunk's text.
        source: Its name, for errors.
        media_root: Folder that its links are read from; None shows the text alone, as it is.
        links: Keep each link in the text in front of its medium, without the digest, so that an
            answer can name the picture it speaks of.
        allow_remote: Fetch media from ``https:`` addresses; they count as missing otherwise.
        on_missing: What becomes of a medium that is gone, can't be read, or isn't any more what
            its digest says: an error, its alternative text, or nothing.

    Returns:
        No two texts side by side, and no blank ones beside others.

    Raises:
        InvalidInputError: A medium is missing, with ``on_missing="error"``; names the source.
    """
    if media_root is None:
        return [text]
    policy = MediaPolicy(
        source=source, media_root=media_root, on_missing=on_missing, allow_remote=allow_remote
    )
    parts: list[str | ShownMedia] = []
    written: list[str] = []
    position = 0
    for link in find_media_links(text):
        written.append(text[position : link.start])
        position = link.end
        shown = _shown(link, policy)
        if shown is None:
            written.append(policy.instead(link.alt))
            continue
        if links:
            held = shown.target[:5].lower() == "data:"  # its bytes aren't repeated as text
            written.append(link.alt if held else render_link(link.alt, shown.target))
        parts += [*_joined(written), shown]
        written = []
    written.append(text[position:])
    parts += _joined(written)
    return parts or [text]


def _joined(texts: list[str]) -> Iterator[str]:
    text = "".join(texts)
    if text.strip():
        yield text


def _shown(link: MediaLink, policy: MediaPolicy) -> ShownMedia | None:
    """The medium of a link, read; None if it is missing and that is no error."""
    try:
        if link.target[:5].lower() == "data:":
            media: Media | None = Media.from_uri(link.target, alt=link.alt)
        else:
            media = policy.link(link.target, alt=link.alt, title=link.title)
        if media is None:
            return None
        # What an https: address leads to is only known when it has been fetched.
        media = media.fetched()
        data = None if media.by_service else media.read()
        uri = media.source if isinstance(media.source, str) else ""
        return ShownMedia(media.mime_type, media.modality, data, uri, link.alt, link.target)
    except InvalidInputError as error:
        if policy.on_missing != "error":
            return None
        if not error.message.startswith(policy.source):
            error.message = f"{policy.source}: {error.message}"
        raise
