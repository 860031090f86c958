"""A span of a document as the text and the parts of a chunk, which both say the same."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gemini2_core.content.chunking.document import Document, ElementKind, Placed, link_target
from gemini2_core.content.chunking.units import Unit
from gemini2_core.content.markdown import find_media_links, render_link
from gemini2_core.content.media import Media

__all__ = ["Piece", "body_of", "pieces_of"]

_BLANK_LINES = re.compile(r"\A(?:[ \t]*+\r?\n)++")
_OPENS = re.compile(r"[`<]|(?<!\\)!(?=\[)")


@dataclass(frozen=True, slots=True)
class Piece:
    """A text or a medium of a chunk, and where it stands.

    Attributes:
        start: Position in the document's text.
        end: Position after it.
        text: The text, or the medium's link.
        media: The medium, or None.
    """

    start: int
    end: int
    text: str
    media: Media | None = None


def pieces_of(document: Document, units: Sequence[Unit]) -> list[Piece]:
    """What units hold, in order and without gaps, links written anew with their digests."""
    text = document.text
    pieces: list[Piece] = []
    position = units[0].start
    for unit in units:
        table = unit.element.kind is ElementKind.TABLE
        for link in unit.links:
            if position < link.start:
                pieces.append(Piece(position, link.start, text[position : link.start]))
            pieces.append(_linked(link, document.media_root, table=table))
            position = link.end
    if position < units[-1].end:
        pieces.append(Piece(position, units[-1].end, text[position : units[-1].end]))
    return pieces


def body_of(pieces: Sequence[Piece], *, sure: bool) -> tuple[str, list[Piece]]:
    """The text of pieces, in which every medium's link is one, and no other is.

    A span that begins in the middle of a block may read otherwise on its own: what was indented
    is code, an opened backtick swallows a link. Such a text is changed as little as helps.

    Args:
        pieces: The pieces.
        sure: True if nothing of that can be, so that nothing needs to be looked at.

    Returns:
        The text, and the pieces that it is made of (outer blank lines left out).
    """
    stripped = _stripped(pieces)
    media = [piece.media for piece in stripped if piece.media is not None]
    if sure or not any("![" in piece.text for piece in stripped):
        return "".join(piece.text for piece in stripped), stripped
    for changed in _ways(stripped):
        text = "".join(piece.text for piece in changed)
        if [link.alt for link in find_media_links(text)] == [medium.alt for medium in media]:
            return text, changed
    raise AssertionError("escaped text opens nothing")


def _linked(link: Placed, media_root: Path | None, *, table: bool) -> Piece:
    media = link.media
    if media.digest is None and not isinstance(media.source, str):
        media = media.with_digest()
    text = render_link(media.alt, link_target(media, media_root), media.digest or "")
    if table:
        text = text.replace("|", "\\|")
    return Piece(link.start, link.end, text, media)


def _stripped(pieces: Sequence[Piece]) -> list[Piece]:
    """Without blank lines at both ends."""
    result = list(pieces)
    if result and result[0].media is None:
        result[0] = _with(result[0], _BLANK_LINES.sub("", result[0].text))
    if result and result[-1].media is None:
        result[-1] = _with(result[-1], result[-1].text.rstrip())
    return result


def _ways(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """The pieces with more and more taken out of them that could swallow a link."""
    yield list(pieces)
    yield [_with(p, p.text if p.media else _dedented(p.text)) for p in pieces]
    yield [_with(p, f"\n\n{p.text}\n\n" if p.media else _dedented(p.text)) for p in pieces]
    yield [
        _with(p, f"\n\n{p.text}\n\n" if p.media else _OPENS.sub(r"\\\g<0>", _flat(p.text)))
        for p in pieces
    ]


def _with(piece: Piece, text: str) -> Piece:
    return Piece(piece.start, piece.end, text, piece.media)


def _dedented(text: str) -> str:
    first, newline, rest = text.partition("\n")
    return first.lstrip() + newline + textwrap.dedent(rest)


def _flat(text: str) -> str:
    """No line indented."""
    return "\n".join(line.lstrip() for line in text.split("\n"))
