"""Which media a stored chunk holds, in words that every engine can filter by."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

from gemini2_core.content.markdown import find_media_links
from gemini2_core.content.media_types import guess_from_name, modality_of, normalize_mime_type
from gemini2_core.errors import InvalidInputError
from gemini2_core.index.filters import JsonFilter
from gemini2_core.model import Modality

__all__ = ["MODALITIES_KEY", "modalities_of", "modality_filter"]

MODALITIES_KEY = "_modalities"
"""Where the payload of a store says what its text and media are: ``["text", "image"]``."""

_HEADING = re.compile(r"\s*#{1,6}\s")
_DATA = re.compile(r"data:([^;,]*)", re.IGNORECASE)


def modalities_of(
    text: str, metadata: Mapping[str, object], more: Iterable[Modality] = ()
) -> list[str]:
    """What a chunk holds, as ``"text"``, ``"image"`` and so on, in the order of ``Modality``.

    ``"text"`` is words of its own: links with their descriptions don't count, nor do headings
    over nothing but a medium. The media are those that ``metadata["media"]`` tells, which the
    splitters write; without it, those that links in the text name, by the ends of their names.

    Args:
        text: The chunk's text, Markdown.
        metadata: Its metadata.
        more: Media that it has beside its text.
    """
    links = find_media_links(text)
    found = set(more)
    told = _told(metadata.get("media"))
    for mime_type in [_guessed(link.target) for link in links] if told is None else told:
        modality = None if mime_type is None else modality_of(mime_type)
        if modality is not None:
            found.add(modality)
    words, position = [], 0
    for link in links:
        words.append(text[position : link.start])
        position = link.end
    words.append(text[position:])
    lines = [line for line in "".join(words).splitlines() if line.strip()]
    if any(not _HEADING.match(line) for line in lines) or (lines and not found):
        found.add(Modality.TEXT)
    return [modality.lower() for modality in Modality if modality in found]


def modality_filter(modality: str) -> JsonFilter:
    """The filter for chunks that hold a modality, in Qdrant's form.

    Raises:
        InvalidInputError: There is no such modality.
    """
    known = [one.lower() for one in Modality]
    if modality not in known:
        raise InvalidInputError(f"a modality is one of {', '.join(known)}, not {modality!r}")
    return {"must": [{"key": MODALITIES_KEY, "match": {"value": modality}}]}


def _told(media: object) -> list[str | None] | None:
    """The types that a chunk's metadata tell, as JSON or as a list; None if they tell none."""
    if isinstance(media, str):
        try:
            media = json.loads(media)
        except ValueError:
            return None
    if not isinstance(media, list):
        return None
    named = [one.get("mime_type") for one in media if isinstance(one, Mapping)]
    return [_normal(one) for one in named if isinstance(one, str)]


def _guessed(target: str) -> str | None:
    held = _DATA.match(target)
    return _normal(held[1]) if held else guess_from_name(target)


def _normal(mime_type: str) -> str | None:
    try:
        return normalize_mime_type(mime_type)
    except InvalidInputError:
        return None
