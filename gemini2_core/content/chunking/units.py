"""What a chunk is packed of: pieces of elements, never the inside of a sentence, row or code."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from gemini2_core.content.chunking.document import Document, Element, ElementKind, Placed
from gemini2_core.content.markdown import tick_runs
from gemini2_core.content.windows import sentence_ends, split_text
from gemini2_core.model import count_tokens

__all__ = ["Unit", "clusters", "finer", "sentences", "text_tokens"]

_FIGURES = (ElementKind.MEDIA, ElementKind.CAPTION)
#: Not split before the model itself couldn't read them at once.
_ATOMS = (ElementKind.CODE, ElementKind.FORMULA, ElementKind.HEADING, ElementKind.RULE)
#: A list item as long as this leads to the picture under it as a whole.
_LEADING_ITEM_TOKENS = 200

_LIST_SIGN = re.compile(r"(?:^|\n)[ \t>]*(?:[0-9A-Za-z]{1,9}[.)]|[-*+])[ \t]*$")
_ABBREVIATION = re.compile(
    r"\b(?:Abb|Bd|Dr|Eq|Fig|Figs|Hr|Mr|Mrs|Ms|No|Nos|Nr|Prof|Ref|Sec|St|Tab|Vol|approx|art|ca|cf|"
    r"e\.g|etc|fig|i\.e|no|p|pp|vs|z\.B)\.\s+$"
)
_LOOK_BACK = 24
_LINK = re.compile(r"\[[^\[\]\n]{0,300}\]\([^()\s]{0,2000}\)")
_FENCE = re.compile(
    r"^[ \t>]*(?:[-*+][ \t]+|[0-9]{1,9}[.)][ \t]+)*(`{3,}|~{3,})[^\n]*\n?", re.MULTILINE
)
_ROW = re.compile(r"^[ \t>]*\|[^\n]*\n?", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Unit:
    """A piece of an element that is packed as one.

    Attributes:
        element: What it is a piece of.
        start: Where it begins in the document's text.
        end: Where it ends.
        tokens: Tokens of its text, without its media links.
        links: The media in it.
        bonded: True if it mustn't be parted from the unit before it.
        split: How finely it was split already (``finer``).
        alone: True if nothing may follow it in its chunk (a code block that is cut).
    """

    element: Element
    start: int
    end: int
    tokens: int
    links: tuple[Placed, ...]
    bonded: bool = False
    split: int = 0
    alone: bool = False


def text_tokens(text: str, start: int, end: int, links: Sequence[Placed]) -> int:
    """Tokens of ``text[start:end]`` without its media links."""
    total = 0
    for link in links:
        total += count_tokens(text[start : link.start])
        start = link.end
    return total + count_tokens(text[start:end])


def sentences(text: str, start: int, end: int) -> list[int]:
    """Where the sentences of ``text[start:end]`` end, ``end`` included.

    A full stop after a list's number or an abbreviation ends none; nor does any inside a code
    span, a fenced block, a table's row or a link.
    """
    piece = text[start:end]
    taken = _Taken(piece)
    ends = [
        start + position
        for position in sentence_ends(piece)
        if position < len(piece) and not taken.has(position) and not _no_end(piece, position)
    ]
    return [*ends, end]


def _with_lead(text: str, unit: Unit) -> Iterator[Unit]:
    """A paragraph as what comes before its last sentence, and that."""
    start = _last_sentence(text, unit.start, unit.end)
    if start == unit.start:
        yield unit
        return
    inside = bisect_left(unit.links, start, key=lambda link: link.start)
    links = unit.links[inside:]
    tokens = text_tokens(text, start, unit.end, links)
    before = max(0, unit.tokens - tokens)
    yield Unit(unit.element, unit.start, start, before, unit.links[:inside], unit.bonded)
    yield Unit(unit.element, start, unit.end, tokens, links)


def _last_sentence(text: str, start: int, end: int) -> int:
    """Where the last sentence of ``text[start:end]`` begins."""
    piece = text[start:end]
    last = len(piece.rstrip())
    taken = _Taken(piece)
    for position in reversed(list(sentence_ends(piece))):
        if position < last and not taken.has(position) and not _no_end(piece, position):
            return start + position
    return start


def clusters(document: Document) -> Iterator[list[Unit]]:
    """The document as groups of units that belong together.

    A heading goes with what follows it; a caption, its picture and the sentence that leads to it
    go together.
    """
    group: list[Unit] = []
    for unit in _bonded(document):
        if group and not unit.bonded:
            yield group
            group = []
        group.append(unit)
    if group:
        yield group


def finer(text: str, group: Sequence[Unit], max_tokens: int) -> list[list[Unit]] | None:
    """A group that fits in no chunk as smaller groups; None if it can't be split any more.

    Args:
        text: The document's text.
        group: The units.
        max_tokens: The most that the model reads: longer atoms are cut, come what may.
    """
    step = min(unit.split for unit in group)
    if step == 0:  # its paragraphs by sentence, its tables by row
        pieces: list[Unit] = []
        for unit in group:
            pieces.extend(_pieces(text, unit) if unit.split == 0 else [unit])
        return _grouped(pieces)
    if len(group) > 1:  # what belongs together, apart
        return [[replace(unit, bonded=False)] for unit in group]
    unit = group[0]
    if unit.split == 1 and len(unit.links) > 1:  # a sentence of pictures, by picture
        return [[piece] for piece in _between_links(text, unit)]
    if unit.split < 3 and unit.tokens > max_tokens:
        return [[piece] for piece in _cut(text, unit, max_tokens)]
    return None


def _bonded(document: Document) -> Iterator[Unit]:
    text = document.text
    bond = False
    elements = document.elements
    for index, element in enumerate(elements):
        following = elements[index + 1] if index + 1 < len(elements) else None
        leads = following is not None and _led_to(element, following)
        tokens = text_tokens(text, element.start, element.end, element.links)
        bonded = bond or element.keep_with == "previous"
        unit = Unit(element, element.start, element.end, tokens, element.links, bonded)
        bond = element.kind is ElementKind.HEADING or element.keep_with == "next"
        if leads and element.kind is ElementKind.PARAGRAPH:
            yield from _with_lead(text, unit)
            bond = True
            continue
        if leads and tokens <= _LEADING_ITEM_TOKENS:
            bond = True
        yield unit


def _led_to(element: Element, following: Element) -> bool:
    """True if the end of one element leads to the picture that follows it."""
    if element.kind not in (ElementKind.PARAGRAPH, ElementKind.LIST_ITEM):
        return False
    if following.kind is ElementKind.CAPTION:
        return following.keep_with == "next"
    if following.kind is ElementKind.MEDIA:
        return True
    return bool(following.links) and following.links[0].start - following.start <= 2


def _pieces(text: str, unit: Unit) -> list[Unit]:
    kind = unit.element.kind
    if kind in _ATOMS:
        ends = [unit.end]
    elif kind is ElementKind.TABLE:
        ends = _row_ends(text, unit)
    else:
        ends = sentences(text, unit.start, unit.end)
    return [replace(piece, split=1) for piece in _split(text, unit, ends)]


def _row_ends(text: str, unit: Unit) -> list[int]:
    """Where rows end; the header and the first row are one."""
    ends: list[int] = []
    position = unit.element.start + unit.element.table_header
    if position <= unit.start or text[position : unit.end].strip() == "":
        position = unit.start
    while (position := text.find("\n", position, unit.end)) >= 0:
        position += 1
        ends.append(position)
    while ends and not text[ends[-1] : unit.end].strip():
        ends.pop()
    return [*ends, unit.end]


def _split(text: str, unit: Unit, ends: Sequence[int]) -> list[Unit]:
    """A unit at its borders; ``ends`` without the unit's start, its end last."""
    borders = [end for end in ends if unit.start < end <= unit.end]
    if not borders or borders[-1] != unit.end:
        borders.append(unit.end)
    if len(borders) == 1:
        return [unit]
    pieces: list[Unit] = []
    positions = [link.start for link in unit.links]
    start = unit.start
    for end in borders:
        links = unit.links[bisect_left(positions, start) : bisect_left(positions, end)]
        pieces.append(
            replace(
                unit,
                start=start,
                end=end,
                tokens=text_tokens(text, start, end, links),
                links=links,
                bonded=unit.bonded and not pieces,
            )
        )
        start = end
    return pieces


def _between_links(text: str, unit: Unit) -> list[Unit]:
    borders = [link.end for link in unit.links[:-1]]
    return [replace(piece, split=2) for piece in _split(text, unit, [*borders, unit.end])]


def _cut(text: str, unit: Unit, max_tokens: int) -> Iterator[Unit]:
    """What is too long for the model itself, cut where it hurts least, and outside of links."""
    code = unit.element.kind is ElementKind.CODE
    ends: list[int] = []
    position = unit.start
    for window in split_text(text[unit.start : unit.end], max_tokens):
        position += len(window)
        inside = next((link for link in unit.links if link.start < position < link.end), None)
        ends.append(inside.end if inside else position)
    for piece in _split(text, unit, ends):
        yield replace(piece, split=3, alone=code)


def _grouped(units: Sequence[Unit]) -> list[list[Unit]]:
    groups: list[list[Unit]] = []
    for unit in units:
        if groups and unit.bonded:
            groups[-1].append(unit)
        else:
            groups.append([unit])
    return groups


def _no_end(text: str, position: int) -> bool:
    before = text[max(0, position - _LOOK_BACK) : position]
    if not before.endswith((" ", "\t", "\n")):
        return False
    return bool(_LIST_SIGN.search(before.rstrip()) or _ABBREVIATION.search(before)) and (
        "\n\n" not in before[-3:]
    )


class _Taken:
    """The parts of a text that no border may lie inside."""

    def __init__(self, text: str) -> None:
        spans = [*_code_spans(text), *_fenced(text)]
        if "](" in text:
            spans += [match.span() for match in _LINK.finditer(text)]
        if "|" in text:
            spans += [match.span() for match in _ROW.finditer(text)]
        spans.sort()
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in spans:
            if self._ends and start < self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], end)
            else:
                self._starts.append(start)
                self._ends.append(end)

    def has(self, position: int) -> bool:
        index = bisect_right(self._starts, position) - 1
        return index >= 0 and self._starts[index] < position < self._ends[index]


def _code_spans(text: str) -> Iterator[tuple[int, int]]:
    if "`" not in text:
        return
    runs = tick_runs(text)
    starts = sorted((start, length) for length, found in runs.items() for start in found)
    position = 0
    for start, length in starts:
        if start < position:
            continue
        same = runs[length]
        index = bisect_right(same, start)
        if index < len(same):
            position = same[index] + length
            yield start, position


def _fenced(text: str) -> Iterator[tuple[int, int]]:
    if "```" not in text and "~~~" not in text:
        return
    opening: re.Match[str] | None = None
    for match in _FENCE.finditer(text):
        if opening is None:
            opening = match
        elif match[1][0] == opening[1][0] and len(match[1]) >= len(opening[1]):
            yield opening.start(), match.end()
            opening = None
    if opening is not None:
        yield opening.start(), len(text)
