"""The chunker: a document in, interleaved chunks out, each within the budget, nothing lost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from gemini2_core.content.chunking.capacity import Capacity, Load
from gemini2_core.content.chunking.chunk import TRAIL, Chunk, chunk_id
from gemini2_core.content.chunking.document import BBox, Document, ElementKind
from gemini2_core.content.chunking.rendering import Piece, body_of, pieces_of
from gemini2_core.content.chunking.units import Unit, clusters, finer, sentences
from gemini2_core.content.content import Content
from gemini2_core.content.media import Media
from gemini2_core.errors import ConfigurationError
from gemini2_core.model import (
    DEFAULT_MODEL,
    Backend,
    count_tokens,
    document_prompt,
    model_spec,
)

__all__ = ["ChunkSettings", "Granularity", "chunk_document", "chunk_documents"]

#: One vector for the chunk, one for each of its parts, or both, the parts with a parent link.
Granularity: TypeAlias = Literal["chunk", "part", "both"]

_MIN_MAX_TOKENS = 32
#: Share of the budget that repeated text may take: the trail, a table's header, the overlap.
_REPEATED_SHARE = 4
#: Sentences with these aren't repeated: they could reach into the text behind them.
_OPENERS = ("```", "~~~", "<", "![")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkSettings:
    """How documents are cut.

    Attributes:
        max_tokens: Budget of a chunk's text, the prompt with the heading trail and what is
            repeated included; media count against the model's own limits. A sentence, a row of a
            table or a block of code that is longer alone makes a longer chunk, up to what the
            model reads.
        min_tokens: A heading begins a new chunk if the one before it has as much as this,
            pictures counted; shorter sections are put together.
        overlap_sentences: Sentences of the chunk before that are repeated at a chunk's start.
        granularity: One vector for the chunk, for each part, or both.
        heading_line: Whether a chunk's text begins with the heading trail, as far as it doesn't
            stand in the chunk, for stores that carry nothing but the text.
        model: The model whose limits count.
        backend: The service whose limits count.

    Raises:
        ConfigurationError: A number out of range, or an unknown granularity or model.
    """

    max_tokens: int = 2048
    min_tokens: int = 64
    overlap_sentences: int = 0
    granularity: Granularity = "chunk"
    heading_line: bool = True
    model: str = DEFAULT_MODEL
    backend: Backend = Backend.GEMINI_API

    def __post_init__(self) -> None:
        most = model_spec(self.model).max_input_tokens
        if not _MIN_MAX_TOKENS <= self.max_tokens <= most:
            raise ConfigurationError(
                f"max_tokens={self.max_tokens} is out of range: {self.model} takes "
                f"{_MIN_MAX_TOKENS} to {most:,}"
            )
        if self.min_tokens < 0 or self.overlap_sentences < 0:
            raise ConfigurationError("min_tokens and overlap_sentences are 0 or more")
        if self.granularity not in ("chunk", "part", "both"):
            raise ConfigurationError(
                f"granularity is 'chunk', 'part' or 'both', not {str(self.granularity)[:40]!r}"
            )


def chunk_document(
    document: Document, settings: ChunkSettings | None = None, *, first_index: int = 0
) -> Iterator[Chunk]:
    """Cut a document into chunks.

    Packed in reading order until budget or limits are full, or a heading comes: 6 images, one PDF
    of 6 pages, 180 s of sound, 120 s of film, as the model has it; the windows of a recording
    are chunks of their own. Never cut inside a sentence, a
    row of a table or a block of code, unless the model couldn't read it; a table that is cut
    repeats its header; a caption, its picture and the sentence that leads to it stay together.

    Args:
        document: The document.
        settings: How to cut.
        first_index: Index of the first chunk.

    Yields:
        The chunks, in order. With ``granularity="part"`` their parts, with ``"both"`` each chunk
        and then its parts. Nothing for a text without anything to embed.

    Raises:
        InvalidInputError: A file is gone or damaged.
    """
    chunking = _Chunking(document, settings or ChunkSettings())
    yield from chunking.chunks(first_index)


def chunk_documents(
    documents: Iterable[Document], settings: ChunkSettings | None = None
) -> Iterator[Chunk]:
    """Cut documents into chunks as they come; those of one source are counted through.

    Raises:
        InvalidInputError: As ``chunk_document``.
    """
    source, index = None, 0
    for document in documents:
        if document.source != source:
            source, index = document.source, 0
        for chunk in chunk_document(document, settings, first_index=index):
            index = chunk.index + 1
            yield chunk


@dataclass(slots=True)
class _Pack:
    """The units of a chunk in the making."""

    units: list[Unit]
    load: Load
    before: tuple[str, ...]  # the headings that it begins under
    trail: tuple[str, ...]  # the headings that all of it is under
    repeated: str  # a table's header, or the overlap
    reserved: int  # tokens of prompt and repeated text
    fresh: bool  # nothing but headings is in it


class _Chunking:
    def __init__(self, document: Document, settings: ChunkSettings) -> None:
        self._document = document
        self._settings = settings
        self._spec = model_spec(settings.model)
        self._capacity = Capacity(self._spec, settings.backend, settings.max_tokens)
        self._root = () if document.title is None else (document.title,)
        self._open = list(document.open_headings)
        self._overlap = ""
        self._borders = {element.start for element in document.elements} | {len(document.text)}

    def chunks(self, index: int) -> Iterator[Chunk]:
        blank_from: int | None = None
        waiting: _Pack | None = None
        for pack in self._packs():
            # What has nothing to embed joins its neighbour, so that the spans leave no gap.
            if not self._has_content(pack):
                if waiting is not None:
                    waiting.units += pack.units
                elif blank_from is None:
                    blank_from = pack.units[0].start
                continue
            if waiting is not None:
                for chunk in self._made(waiting, index, blank_from):
                    yield chunk
                    index = chunk.index + 1
                blank_from = None
            waiting = pack
        if waiting is not None:
            yield from self._made(waiting, index, blank_from)

    def _packs(self) -> Iterator[_Pack]:
        text = self._document.text
        pack: _Pack | None = None
        for cluster in clusters(self._document):
            pending = [cluster]
            while pending:
                group = pending.pop()
                load = self._capacity.load(group)
                heading = group[0].element.kind is ElementKind.HEADING
                if (
                    pack is not None
                    and pack.units
                    and (
                        pack.units[-1].alone
                        or _next_window(pack.units[-1], group[0])
                        or (
                            heading
                            and pack.load.text + pack.load.media >= self._settings.min_tokens
                        )
                    )
                ):
                    yield self._closed(pack)
                    pack = None
                if pack is None or not pack.units:
                    pack = self._opened(group)
                elif pack.fresh:
                    self._name(pack, group)
                together = pack.load.plus(load)
                if self._capacity.fits(together, pack.reserved):
                    self._put(pack, group, together)
                    continue
                if pack.units and self._capacity.fits(load, self._opened(group).reserved):
                    yield self._closed(pack)
                    pack = None
                    pending.append(group)
                    continue
                smaller = finer(text, group, self._most(pack))
                if smaller is not None:
                    pending += reversed(smaller)
                    continue
                if pack.units:
                    yield self._closed(pack)
                    pack = self._opened(group)
                self._put(pack, group, load)
                yield self._closed(pack)
                pack = None
        if pack is not None and pack.units:
            yield self._closed(pack)

    def _most(self, pack: _Pack) -> int:
        return max(1, self._spec.max_input_tokens - pack.reserved)

    def _opened(self, group: Sequence[Unit]) -> _Pack:
        """A new pack, to begin with a group of units."""
        first = group[0]
        level = first.element.level
        before = self._trail([one for one in self._open if not level or one[0] < level])
        if before == (first.element.heading,):
            before = ()  # the document's title, and its first heading says it as well
        repeated = self._header(first)
        if not repeated and not _is_heading(first):
            repeated = self._overlap
        if repeated and count_tokens(repeated) > self._settings.max_tokens // _REPEATED_SHARE:
            repeated = ""
        pack = _Pack([], Load(), before, (), repeated, 0, fresh=True)
        self._name(pack, group)
        return pack

    def _name(self, pack: _Pack, group: Sequence[Unit]) -> None:
        """Set the trail of a pack that holds no text yet, if a group comes into it."""
        headings: Sequence[tuple[int, str]] = self._open
        for unit in group:  # headings that follow each other without a text between
            if _is_heading(unit):
                headings = _under(headings, unit)
            elif not _is_preface(unit):
                break
        pack.trail = self._trail(headings)
        prompt = document_prompt(self._title(pack.trail))
        line = document_prompt(None) + self._heading_line(pack.before)
        pack.reserved = (
            max(count_tokens(prompt), count_tokens(line)) + count_tokens(pack.repeated) + 2
        )

    def _put(self, pack: _Pack, group: Sequence[Unit], load: Load) -> None:
        for unit in group:
            if _is_heading(unit):
                self._open = _under(self._open, unit)
                if not pack.fresh:  # sections put together: what all of them are under
                    pack.trail = _common(pack.trail, self._trail(self._open))
            elif not _is_preface(unit):
                pack.fresh = False
            pack.units.append(unit)
        pack.load = load

    def _closed(self, pack: _Pack) -> _Pack:
        number = self._settings.overlap_sentences
        if number:
            self._overlap = self._last_sentences(pack, number)
        return pack

    def _trail(self, opened: Sequence[tuple[int, str]]) -> tuple[str, ...]:
        headings = tuple(text for _, text in opened if text)
        return headings if headings[:1] == self._root else self._root + headings

    def _title(self, trail: Sequence[str]) -> str | None:
        """The trail as one text, its outer headings left out where it would be too long."""
        share = self._settings.max_tokens // _REPEATED_SHARE
        kept = [heading for heading in trail if heading]
        while kept and count_tokens(TRAIL.join(kept)) > share:
            if len(kept) == 1:
                kept = [_shortened(kept[0], share)]
                break
            kept = kept[1:]
        return TRAIL.join(kept) or None

    def _heading_line(self, before: Sequence[str]) -> str:
        title = self._title(before) if self._settings.heading_line else None
        # The text of a heading is plain: what it has of Markdown's signs mustn't come alive.
        return f"# {title}\n\n".replace("![", r"!\[") if title else ""

    def _header(self, unit: Unit) -> str:
        """The header of a table that begins in its middle."""
        element = unit.element
        if element.kind is not ElementKind.TABLE or unit.start == element.start:
            return ""
        end = element.start + element.table_header
        if not element.table_header or unit.start < end:
            return ""
        header: list[str] = []
        position = element.start
        for link in element.links:  # its pictures stay where they are
            if link.end <= end:
                header += [self._document.text[position : link.start], link.media.alt]
                position = link.end
        return "".join([*header, self._document.text[position:end]]).lstrip("\n")

    def _last_sentences(self, pack: _Pack, number: int) -> str:
        """The last whole sentences of a pack's running text, without its media."""
        kinds = (ElementKind.PARAGRAPH, ElementKind.LIST_ITEM, ElementKind.OTHER)
        last = pack.units[-1]
        if last.element.kind not in kinds:
            return ""
        start = next((u.start for u in pack.units if u.element is last.element), last.start)
        text = self._document.text
        ends = sentences(text, start, last.end)
        start = ends[-number - 1] if len(ends) > number else start
        pieces: list[str] = []
        for unit in pack.units:
            for link in unit.links:
                if start <= link.start:
                    pieces.append(text[start : link.start])
                    start = link.end
        pieces.append(text[start : last.end])
        found = " ".join("".join(pieces).split())
        if not found or any(sign in found for sign in _OPENERS):
            return ""
        return f"{found}\n\n"

    def _has_content(self, pack: _Pack) -> bool:
        return any(
            unit.links or not self._document.text[unit.start : unit.end].isspace()
            for unit in pack.units
        )

    def _made(self, pack: _Pack, index: int, start: int | None) -> Iterator[Chunk]:
        """The chunk of a pack, or its parts, or both."""
        document = self._document
        pieces = pieces_of(document, pack.units)
        if start is not None:
            pieces.insert(0, Piece(start, pieces[0].start, ""))
        sure = (
            document.parsed
            and pack.units[0].start in self._borders
            and pack.units[-1].end in self._borders
            and not any(_risky(document.text, unit) for unit in pack.units)
        )
        body, written = body_of(pieces, sure=sure)
        line = self._heading_line(pack.before)
        title = self._title(pack.trail)
        content = Content(_parts(pack.repeated, written), title)
        span = (pieces[0].start, pieces[-1].end)
        granularity = self._settings.granularity
        whole = self._chunk(pack, line, pack.repeated, body, content, span, index, None)
        if granularity != "part":
            yield whole
            index += 1
        if granularity == "chunk" or (granularity == "both" and len(content.parts) == 1):
            return
        repeated = pack.repeated
        for group in _part_groups(written):
            span = (group[0].start, group[-1].end)
            named = next((piece for piece in group if piece.media is not None), None)
            if named is not None:  # a medium is embedded bare
                content = Content(_parts("", [named]), title)
                made = self._chunk(pack, "", "", named.text, content, span, index, whole.id)
            else:
                content = Content(_parts(repeated, group), title)
                body = "".join(piece.text for piece in group).strip("\n")
                made = self._chunk(pack, line, repeated, body, content, span, index, whole.id)
            repeated, line = "", self._heading_line(pack.trail)
            yield made
            index += 1

    def _chunk(
        self,
        pack: _Pack,
        line: str,
        repeated: str,
        body: str,
        content: Content,
        local: tuple[int, int],
        index: int,
        parent_id: str | None,
    ) -> Chunk:
        document = self._document
        text = line + repeated + body
        span = (document.offset + local[0], document.offset + local[1])
        units = [u for u in pack.units if u.start < local[1] and local[0] < u.end] or pack.units
        page, bbox, seconds = _place(units)
        key = f"{parent_id}\n{text}" if parent_id else text
        return Chunk(
            text=text,
            content=content,
            source=document.source,
            span=span,
            headings=pack.trail,
            index=index,
            id=chunk_id(document.source, span, key),
            parent_id=parent_id,
            media=content.media,
            page=page,
            bbox=bbox,
            seconds=seconds,
            heading_line=line,
            repeated=repeated,
            document_metadata=document.metadata,
            media_root=document.media_root,
        )


def _is_heading(unit: Unit) -> bool:
    return unit.element.level > 0 and unit.start == unit.element.start


def _is_preface(unit: Unit) -> bool:
    """True for front matter, which stands before the first heading and belongs under it."""
    return unit.element.kind is ElementKind.OTHER and unit.element.keep_with == "next"


def _under(opened: Sequence[tuple[int, str]], unit: Unit) -> list[tuple[int, str]]:
    """The open headings when one more is met."""
    element = unit.element
    return [one for one in opened if one[0] < element.level] + [(element.level, element.heading)]


def _next_window(last: Unit, unit: Unit) -> bool:
    """Each window of a recording has a vector of its own, or no moment could be found in it."""
    windows = all(
        one.element.kind is ElementKind.MEDIA and one.element.seconds is not None
        for one in (last, unit)
    )
    return windows and last.element is not unit.element


def _risky(text: str, unit: Unit) -> bool:
    """A table's rows are read one by one, but a backtick may reach from one into the next."""
    if not unit.links:
        return False
    return "`" in (piece := text[unit.start : unit.end]) and "|" in piece


def _parts(repeated: str, pieces: Sequence[Piece]) -> tuple[str | Media, ...]:
    """Texts and media, without blank texts; what is repeated belongs to the first text."""
    parts: list[str | Media] = []
    for piece in pieces:
        if piece.media is not None:
            if repeated:
                parts.append(repeated)
            parts.append(piece.media)
        elif piece.text.strip():
            parts.append(repeated + piece.text)
        else:
            continue
        repeated = ""
    return tuple(parts)


def _part_groups(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Each medium and each text between; blank text goes with what is before it."""
    groups: list[list[Piece]] = []
    blank: list[Piece] = []
    for piece in pieces:
        if piece.media is None and not piece.text.strip():
            (groups[-1] if groups else blank).append(piece)
        else:
            groups.append([*blank, piece])
            blank = []
    return groups


def _place(
    units: Sequence[Unit],
) -> tuple[int | None, BBox | None, tuple[float, float] | None]:
    """Page, box and time of units."""
    elements = [unit.element for unit in units]
    pages = {element.page for element in elements if element.page is not None}
    page = min(pages, default=None)
    boxes = [element.bbox for element in elements if element.bbox is not None]
    bbox = None
    if boxes and len(pages) <= 1:
        lefts, tops, rights, bottoms = zip(*boxes, strict=True)
        bbox = (min(lefts), min(tops), max(rights), max(bottoms))
    times = [element.seconds for element in elements if element.seconds is not None]
    seconds = (min(t[0] for t in times), max(t[1] for t in times)) if times else None
    return page, bbox, seconds


def _common(one: Sequence[str], other: Sequence[str]) -> tuple[str, ...]:
    common: list[str] = []
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        common.append(left)
    return tuple(common)


def _shortened(heading: str, max_tokens: int) -> str:
    words: list[str] = []
    used = 1
    for word in heading.split():
        used += count_tokens(word)
        if used > max_tokens:
            break
        words.append(word)
    return " ".join(words) + "…"
