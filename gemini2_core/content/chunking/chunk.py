"""One chunk: a text with its media in place, where it comes from, and an id that stays."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gemini2_core.content.chunking.document import JSON, BBox, link_target
from gemini2_core.content.content import Content
from gemini2_core.content.media import Media

__all__ = ["TRAIL", "Chunk", "chunk_id"]

_NAMESPACE = uuid.UUID("6f0f6a5e-3c0c-5d6b-9a55-0d3d3c1c7a02")
#: Between the headings of a trail.
TRAIL = " > "


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A piece of a document that is embedded as one vector.

    Attributes:
        text: Markdown with its media as links, relative to ``media_root``; the title of each local
            medium's link is the digest of its file. Any store can carry it.
        content: The same as parts, titled with the heading trail and without ``heading_line``.
        source: Where the document comes from.
        span: Start and end in the source's whole text, in characters. The spans of a document's
            chunks follow each other without gap or overlap.
        headings: The heading trail, outermost first.
        index: Position among the chunks of its source.
        id: UUID of version 5 over source, span and text, and so over the media's digests.
        parent_id: Id of the chunk that a part belongs to (``granularity``), or None.
        media: Its media, in order, with their digests.
        page: The page that it begins on, from 1, or None.
        bbox: Where on the page, in points, if all of it is on one page and that is known.
        seconds: Start and end in the recording, or None.
        heading_line: The heading trail as the leading heading of ``text``, or "": what of it
            doesn't stand in the span itself.
        repeated: What of ``text`` comes behind that and before its own text: the header of a
            table that was split, sentences of the chunk before.
        document_metadata: The metadata of its document.
        media_root: The folder that the links are relative to.
    """

    text: str
    content: Content
    source: str
    span: tuple[int, int]
    headings: tuple[str, ...]
    index: int
    id: str
    parent_id: str | None
    media: tuple[Media, ...]
    page: int | None
    bbox: BBox | None
    seconds: tuple[float, float] | None
    heading_line: str
    repeated: str
    document_metadata: Mapping[str, JSON]
    media_root: Path | None

    @property
    def added(self) -> str:
        """The beginning of ``text`` that isn't of its span."""
        return self.heading_line + self.repeated

    @property
    def title(self) -> str | None:
        """The heading trail as one text (``"Fuel system > Pump > Removal"``), or None."""
        return self.content.title

    def metadata(self) -> dict[str, JSON]:
        """What a store keeps beside the vector: JSON throughout; opens media to measure them.

        The keys are ``source``, ``chunk_index``, ``start``, ``end``; ``headings`` and ``title``
        (the trail), ``page``, ``bbox``, ``seconds``, ``parent_id``, ``media`` where there are
        such; and those of the document's own metadata. Each of ``media`` has ``reference``,
        ``mime_type``, ``alt``, and ``sha256`` (of the whole file), ``pages``, ``seconds``,
        ``width``, ``height``, ``start`` (of a span of time) where known.
        """
        found: dict[str, JSON] = {
            **self.document_metadata,
            "source": self.source,
            "chunk_index": self.index,
            "start": self.span[0],
            "end": self.span[1],
        }
        if self.headings:
            found["headings"] = TRAIL.join(self.headings)
        if self.title:
            found["title"] = self.title
        if self.page is not None:
            found["page"] = self.page
        if self.bbox is not None:
            found["bbox"] = list(self.bbox)
        if self.seconds is not None:
            found["seconds"] = list(self.seconds)
        if self.parent_id is not None:
            found["parent_id"] = self.parent_id
        if self.media:
            found["media"] = [_described(medium, self.media_root) for medium in self.media]
        return found


def chunk_id(source: str, span: tuple[int, int], text: str) -> str:
    """A UUID (version 5) that is the same for the same piece of the same source, ever after.

    ``text`` carries the digests of the media, so a changed picture makes another id.
    """
    digest = hashlib.sha256(text.encode()).hexdigest()
    return str(uuid.uuid5(_NAMESPACE, f"{source}\n{span[0]}-{span[1]}\n{digest}"))


def _described(media: Media, media_root: Path | None) -> dict[str, JSON]:
    if isinstance(media.source, bytes):
        reference = f"data:{media.mime_type}"  # its bytes are in the text
    else:
        reference = link_target(media, media_root)
    found: dict[str, JSON] = {"reference": reference, "mime_type": media.mime_type}
    if media.alt:
        found["alt"] = media.alt
    if media.digest is not None:
        found["sha256"] = media.digest.removeprefix("sha256:")
    measure = media.measure()
    if media.fragment is not None and media.fragment.kind == "t":
        found["start"] = media.fragment.start
    for name in ("pages", "seconds", "width", "height"):
        value = getattr(measure, name)
        if value is not None:
            found[name] = value
    return found
