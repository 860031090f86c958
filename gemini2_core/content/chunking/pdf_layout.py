"""From the lines and pictures of a PDF's page to paragraphs, headings, lists and figures."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gemini2_core.content.chunking.document import BBox, ElementKind, KeepWith
from gemini2_core.content.chunking.pdf_extract import PdfFigure, PdfLine, PdfPage

__all__ = ["PdfBlock", "body_size", "page_blocks"]

_CAPTION = re.compile(
    r"(?:fig(?:ure|\.)?|table|photo|plate|scheme|chart|diagram|exhibit|illustration|image|picture"
    r"|abb(?:ildung|\.)?|bild|tab(?:elle|\.)?|tableau|figura|tabla|foto|图|圖|図|表)"
    r"\s*[A-Z]?[\d][\w.–-]*(?=\s*[:.\-–—|]|\s+\S|$)",
    re.IGNORECASE,
)
#: "Figure 3 shows the pump.": a sentence about a figure is no caption.
_SENTENCE = re.compile(
    r"\s+(?:shows?|is|are|was|were|illustrates?|depicts?|presents?|gives?|lists?|and|in|of)\b",
    re.IGNORECASE,
)
_BULLET = re.compile(r"[•●▪◦‣∙·○■□➢✓–*-]\s+(?=\S)")
_ITEM = re.compile(r"(?:[•●▪◦‣∙·○■□➢✓–*-]|\(?\d{1,3}[.)]|\(?[a-z][.)])\s+\S")
_CAPTION_GAP = 40.0
_LONGEST_CAPTION = 600
_LONGEST_HEADING = 200


@dataclass(slots=True)
class PdfBlock:
    """What becomes an element: a text, or a picture.

    Attributes:
        kind: What it is.
        text: Its text, lines joined.
        box: Where on the page.
        figure: The picture.
        level: Level of a heading.
        keep_with: As in ``Element``.
        label: Of a picture with a caption: its name ("Figure 3").
    """

    kind: ElementKind
    text: str
    box: BBox
    figure: PdfFigure | None = None
    level: int = 0
    keep_with: KeepWith = "none"
    label: str = ""


def body_size(pages: Iterable[PdfPage]) -> float:
    """The font size that most characters of some pages have."""
    sizes: Counter[float] = Counter()
    for page in pages:
        for line in page.lines:
            sizes[round(line.size)] += len(line.text)
    return sizes.most_common(1)[0][0] if sizes else 10.0


def page_blocks(
    page: PdfPage, *, body: float, outline: Sequence[tuple[int, str]] = ()
) -> list[PdfBlock]:
    """The blocks of a page in reading order.

    Text keeps the order of the text layer. A picture stands behind the last line that is over it
    in its column, and a caption next to it ("Figure 3: …") is tied to it.

    Args:
        page: The page.
        body: Font size of its running text.
        outline: Level and title of the bookmarks that lead to it.
    """
    titles = {_plain(title): level for level, title in outline}
    blocks: list[PdfBlock] = []
    group: list[PdfLine] = []
    figures = _placed(page)
    for number, line in enumerate(page.lines):
        here = figures.get(number, ())
        if group and (here or not _continues(group, line, titles)):
            blocks.append(_text_block(group, body, titles))
            group = []
        blocks += [_figure_block(figure) for figure in here]
        group.append(line)
    if group:
        blocks.append(_text_block(group, body, titles))
    blocks += [_figure_block(figure) for figure in figures.get(len(page.lines), ())]
    _tie_captions(blocks)
    return blocks


def _placed(page: PdfPage) -> dict[int, list[PdfFigure]]:
    """The pictures by the number of the line that they stand in front of."""
    places: dict[int, list[PdfFigure]] = {}
    for figure in sorted(page.figures, key=lambda one: (one.box[1], one.box[0])):
        left, top, right, bottom = figure.box
        behind = before = None
        for number, line in enumerate(page.lines):
            x0, y0, x1, y1 = line.box
            if x1 <= left or x0 >= right:
                continue
            middle = (y0 + y1) / 2
            if middle <= top:
                behind = number
            elif before is None and middle >= bottom:
                before = number
        if behind is not None:
            place = behind + 1
        elif before is not None:
            place = before
        else:  # no text in its column: by height alone
            over = [n for n, line in enumerate(page.lines) if line.box[3] <= top]
            place = max(over) + 1 if over else 0
        places.setdefault(place, []).append(figure)
    return places


def _continues(group: Sequence[PdfLine], line: PdfLine, titles: dict[str, int]) -> bool:
    """Whether a line belongs to the paragraph of the lines before it."""
    last, first = group[-1], group[0]
    if abs(line.size - last.size) > 0.1 * last.size + 0.3:
        return False
    same_row = abs(line.box[1] - last.box[1]) < 0.4 * last.size
    gap = line.box[1] - last.box[3]
    if not same_row and not -0.9 * line.size < gap < 0.45 * line.size:
        return False
    if line.bold != last.bold and (last.bold and all(one.bold for one in group)):
        return False
    if _ITEM.match(line.text) or _caption(line.text):
        return False
    if titles and (_plain(line.text) in titles or _plain(first.text) in titles):
        return _plain(" ".join([*(one.text for one in group), line.text])) in titles
    # An indented line begins a paragraph where the one before ended short.
    indented = line.box[0] - last.box[0] > 0.8 * line.size
    return not (indented and not same_row and len(group) > 1 and last.text[-1:] in ".!?:")


def _text_block(group: Sequence[PdfLine], body: float, titles: dict[str, int]) -> PdfBlock:
    box = _around([line.box for line in group])
    text = _joined(group, box)
    level = titles.get(_plain(text), 0)
    if not level and not titles:
        level = _level(group, text, body)
    if level:
        return PdfBlock(ElementKind.HEADING, " ".join(text.split()), box, level=min(level, 6))
    if _caption(text) and len(text) <= _LONGEST_CAPTION:
        return PdfBlock(ElementKind.CAPTION, text, box)
    if _ITEM.match(text):
        return PdfBlock(ElementKind.LIST_ITEM, _BULLET.sub("- ", text, count=1), box)
    return PdfBlock(ElementKind.PARAGRAPH, text, box)


def _joined(group: Sequence[PdfLine], box: BBox) -> str:
    """The lines as a text: on where they fill the column, else on lines of their own."""
    pieces: list[str] = []
    for line, following in zip(group, [*group[1:], None], strict=True):
        text = line.text
        if following is None:
            pieces.append(text.replace("\u00ad", "-") if text.endswith("\u00ad") else text)
        elif text.endswith("\u00ad"):
            pieces.append(text[:-1])  # a word that was parted here
        elif line.box[2] >= box[2] - 0.2 * (box[2] - box[0]) or line.box[3] > following.box[1] + 2:
            pieces.append(f"{text} ")
        else:
            pieces.append(f"{text}\n")
    return "".join(pieces).replace("\u00ad", "")


def _level(group: Sequence[PdfLine], text: str, body: float) -> int:
    """Level of a heading, by the size of its letters; 0 for other text."""
    if len(text) > _LONGEST_HEADING or len(group) > 3 or not any(map(str.isalpha, text)):
        return 0
    ratio = group[0].size / body
    if ratio >= 1.7:
        return 1
    if ratio >= 1.35:
        return 2
    if ratio >= 1.12:
        return 3
    short = len(group) == 1 and len(text) <= 80 and text[-1] not in ".,;:"
    return 4 if ratio >= 0.95 and short and group[0].bold and not _caption(text) else 0


def _tie_captions(blocks: list[PdfBlock]) -> None:
    for number, block in enumerate(blocks):
        if block.kind is not ElementKind.CAPTION:
            continue
        over = blocks[number - 1] if number else None
        under = blocks[number + 1] if number + 1 < len(blocks) else None
        if over and over.figure and not over.label and _near(over.box, block.box):
            _tie(over, block, "previous")
        elif under and under.figure and _near(block.box, under.box):
            _tie(under, block, "next")
        elif not block.text.lower().startswith(("tab", "表")):
            block.kind = ElementKind.PARAGRAPH


def _tie(picture: PdfBlock, caption: PdfBlock, keep: KeepWith) -> None:
    match = _CAPTION.match(caption.text)
    picture.label = match[0].rstrip(".:–-") if match else ""
    caption.keep_with = keep
    if keep == "previous":
        picture.keep_with = "next"


def _near(upper: BBox, lower: BBox) -> bool:
    return lower[1] - upper[3] < _CAPTION_GAP and upper[0] < lower[2] and lower[0] < upper[2]


def _caption(text: str) -> bool:
    match = _CAPTION.match(text)
    return match is not None and not _SENTENCE.match(text, match.end())


def _figure_block(figure: PdfFigure) -> PdfBlock:
    return PdfBlock(ElementKind.MEDIA, "", figure.box, figure=figure)


def _around(boxes: Sequence[BBox]) -> BBox:
    left, top, right, bottom = zip(*boxes, strict=True)
    return min(left), min(top), max(right), max(bottom)


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
