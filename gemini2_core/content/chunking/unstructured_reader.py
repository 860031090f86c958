"""Reads unstructured's elements from their JSON, and the elements inside its chunks."""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast
from urllib.parse import quote

from gemini2_core.content.chunking.document import (
    JSON,
    BBox,
    Document,
    DocumentBuilder,
    ElementKind,
    KeepWith,
)
from gemini2_core.content.chunking.media_dir import MediaDir
from gemini2_core.content.chunking.policy import MediaPolicy, OnMissing
from gemini2_core.content.chunking.writing import (
    Place,
    Writer,
    fenced,
    formula,
    json_text,
    plain_inline,
    plain_markdown,
)
from gemini2_core.content.media import Media
from gemini2_core.errors import ConfigurationError, InvalidInputError, LimitError

__all__ = ["MAX_UNPACKED", "is_unstructured", "read_unstructured"]

#: Most bytes that the ``orig_elements`` of one chunk are unpacked to (unstructured's own bound).
MAX_UNPACKED = 200_000_000
#: Of all chunks together, beside what is allowed for their size.
_FREE_UNPACKED = 64_000_000
_MAX_RATIO = 32
_MAX_NESTING = 4
#: A3 is 1,191 points high; unstructured renders pages at 350 dots an inch.
_MAX_PAGE_POINTS = 1250

_Item = Mapping[str, object]

_PICTURES = frozenset({"Image", "Picture", "Figure"})
_CAPTIONS = frozenset({"FigureCaption", "Caption"})
_TABLES = frozenset({"Table", "TableChunk"})
_HEADINGS = frozenset({"Title", "Headline", "Subheadline", "Section-header"})
_LIST_ITEMS = frozenset({"ListItem", "List-item", "BulletedText"})
_FURNITURE = frozenset(
    {"Header", "Footer", "PageNumber", "Page-header", "Page-footer", "PageBreak"}
)
_BOXES = {
    "Checked": "[x] ",
    "CheckBoxChecked": "[x] ",
    "RadioButtonChecked": "[x] ",
    "Unchecked": "[ ] ",
    "CheckBoxUnchecked": "[ ] ",
    "RadioButtonUnchecked": "[ ] ",
}
_TYPES = (
    _PICTURES
    | _CAPTIONS
    | _TABLES
    | _HEADINGS
    | _LIST_ITEMS
    | _FURNITURE
    | _BOXES.keys()
    | {
        "Abstract",
        "Address",
        "CheckBox",
        "CodeSnippet",
        "CompositeElement",
        "DocumentData",
        "EmailAddress",
        "Field-Name",
        "Footnote",
        "Form",
        "FormKeysValues",
        "Formula",
        "Link",
        "List",
        "NarrativeText",
        "Paragraph",
        "Text",
        "Threading",
        "UncategorizedText",
        "Value",
    }
)


def is_unstructured(value: object) -> bool:
    """True for a list of unstructured's elements, as dicts or as objects."""
    if not isinstance(value, list | tuple) or not value:
        return False
    first = value[0]
    if isinstance(first, Mapping):
        return str(first.get("type")) in _TYPES and ("element_id" in first or "metadata" in first)
    return hasattr(first, "to_dict") and hasattr(first, "metadata") and hasattr(first, "category")


def read_unstructured(
    value: Sequence[object] | str | bytes | os.PathLike[str],
    *,
    source: str | None = None,
    title: str | None = None,
    metadata: Mapping[str, JSON] | None = None,
    furniture: bool = False,
    media_root: str | os.PathLike[str] | None = None,
    base: str | os.PathLike[str] | None = None,
    media_dir: MediaDir | str | os.PathLike[str] | None = None,
    on_missing: OnMissing = "error",
    allow_remote: bool = False,
    mime_types: Collection[str] | None = None,
) -> Iterator[Document]:
    """Read what ``elements_to_json`` or ``elements_to_dicts`` wrote, or unstructured's API sent.

    unstructured needn't be installed. Chunks of its own chunkers (``CompositeElement``,
    ``TableChunk``) are unpacked to the elements they were made of (``orig_elements``), so that
    the pictures come back; an element that was cut into several chunks is read once. A chunk
    without them is read as its text. A picture's text (OCR, or its ``alt``) becomes its
    alternative text. A table is read from its HTML (``text_as_html``), or is the picture of it if
    there is no HTML. Boxes are kept where they are in points (fast strategy), not where they are
    pixels of a rendering whose resolution the elements don't tell.

    unstructured keeps pictures only if it is told to (``extract_image_block_types=["Image"]``,
    ``extract_image_block_to_payload=True``): a picture without its image counts as missing.

    Args:
        value: The elements as dicts or objects, their JSON (or one element a line), or its file.
        source: Name of the source; None takes the file name that the elements tell.
        title: Title of the document.
        metadata: What goes with every chunk.
        furniture: Whether page headers, footers and page numbers are read.
        media_root: As ``MediaPolicy``, like the rest.
        base: Folder that relative paths of pictures start from.
        media_dir: Where embedded pictures are written.
        on_missing: What becomes of pictures that are missing.
        allow_remote: Whether ``https:`` pictures are taken.
        mime_types: The types that are taken.

    Raises:
        InvalidInputError: No elements, or damaged ones.
        LimitError: ``orig_elements`` that unpack to more than they should.
        MediaNotFoundError: A picture isn't there (``on_missing="error"``).
        ConfigurationError: Embedded pictures and no ``media_dir``.
        MissingExtraError: Tables as HTML, and lxml isn't installed.
    """
    raw = _load(value)
    path = os.fspath(value) if isinstance(value, os.PathLike) else None
    names = (_text(_metadata(item).get("filename")) for item in raw)
    file_name = next(filter(None, names), None)
    name = source or path or file_name or "unstructured elements"
    policy = MediaPolicy(
        source=name,
        media_root=media_root,
        base=base,
        media_dir=media_dir,
        on_missing=on_missing,
        allow_remote=allow_remote,
        mime_types=mime_types,
    )
    builder = DocumentBuilder(
        source=name,
        title=title,
        metadata={**({"filename": file_name} if file_name else {}), **(metadata or {})},
        media_root=policy.link_root,
    )
    writer = Writer(builder)
    _Reader(policy, writer, furniture).read(_Unpacker(name).elements(raw))
    writer.finish()
    yield builder.build()


class _Unpacker:
    """The elements that chunks were made of, each once, under one bound for all of them."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._left = _FREE_UNPACKED

    def elements(self, items: Sequence[_Item], nesting: int = 0) -> Iterator[_Item]:
        before: list[_Item] = []
        for number, item in enumerate(items):
            metadata = _metadata(item)
            packed = metadata.get("orig_elements")
            if not packed:
                before = []
                yield item
                continue
            if nesting >= _MAX_NESTING:
                raise LimitError(f"{self._source}: elements inside elements, {nesting} deep")
            where = f"{self._source}, element {number}"
            originals = packed if isinstance(packed, list) else self._unpacked(packed, where)
            inner = [one for one in originals if isinstance(one, Mapping)]
            # Chunks that one long element was cut into all bring the whole of it.
            again = bool(metadata.get("is_continuation")) or item.get("type") == "TableChunk"
            fresh = inner[_shared(before, inner) :] if again else inner
            before = inner
            yield from self.elements(fresh, nesting + 1)

    def _unpacked(self, packed: object, where: str) -> list[object]:
        """Elements of base64 of deflated JSON (zlib's format; gzip's is taken, too)."""
        try:
            data = base64.b64decode(str(packed).encode("ascii"), validate=True)
            self._left += _MAX_RATIO * len(data)
            most = min(self._left, MAX_UNPACKED)
            inflater = zlib.decompressobj(wbits=47)
            text = inflater.decompress(data, most)
        except (ValueError, zlib.error):
            raise InvalidInputError(
                f"{where}: its orig_elements are damaged: they are no deflated base64"
            ) from None
        if not inflater.eof and (inflater.unconsumed_tail or len(text) >= most):
            raise LimitError(f"{where}: its orig_elements unpack to more than {most:,} bytes")
        self._left -= len(text)
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            raise InvalidInputError(f"{where}: its orig_elements are damaged: no JSON") from None
        return found if isinstance(found, list) else []


def _shared(before: Sequence[_Item], inner: Sequence[_Item]) -> int:
    """How many elements at the beginning of ``inner`` the chunk before it ended with."""
    for count in range(min(len(before), len(inner)), 0, -1):
        if list(before[-count:]) == list(inner[:count]):
            return count
    return 0


class _Reader:
    """Writes elements one after the other."""

    def __init__(self, policy: MediaPolicy, writer: Writer, furniture: bool) -> None:
        self._policy = policy
        self._writer = writer
        self._furniture = furniture
        self._number = -1

    def read(self, items: Iterator[_Item]) -> None:
        """Read all, each with a look at its neighbours, for captions."""
        before: str | None = None
        waiting: _Item | None = None
        for item in items:
            if not self._left_out(item):
                if waiting is not None:
                    before = self._write(waiting, before, _kind(item))
                waiting = item
        if waiting is not None:
            self._write(waiting, before, None)

    def _left_out(self, item: _Item) -> bool:
        kind = json_text(item.get("type"))
        return kind == "PageBreak" or (kind in _FURNITURE and not self._furniture)

    def _write(self, item: _Item, before: str | None, after: str | None) -> str:
        """Write an element that stands between two of such kinds; return its own."""
        self._number += 1
        kind, text = json_text(item.get("type")), json_text(item.get("text"))
        metadata = _metadata(item)
        place = _place(metadata)
        write = self._writer.add
        if kind in _PICTURES or (_has_image(metadata) and kind not in _TABLES):
            return self._picture(item, metadata, place)
        if kind in _TABLES:
            return self._table(item, metadata, place)
        if kind in _HEADINGS:
            level = 1 + min(max(_integer(metadata.get("category_depth")), 0), 5)
            plain = " ".join(text.split())
            if plain:
                parts = ["#" * level + " ", plain_inline(text)]
                write(ElementKind.HEADING, parts, place, level=level, heading=plain[:1000])
        elif kind in _LIST_ITEMS:
            depth = 1 + max(_integer(metadata.get("category_depth")), 0)
            if text.strip():
                write(ElementKind.LIST_ITEM, ["- ", plain_inline(text)], place, depth=depth)
        elif kind == "CodeSnippet":
            if text.strip():
                write(ElementKind.CODE, [fenced(text)], place)
        elif kind == "Formula":
            if text.strip():
                write(ElementKind.FORMULA, [formula(text)], place)
        elif kind in _CAPTIONS:
            keep: KeepWith = "previous" if before == "floating" else "none"
            if keep == "none" and after == "floating":
                keep = "next"
            write(ElementKind.CAPTION, [plain_markdown(text)], place, keep_with=keep)
        else:
            box = _BOXES.get(kind, "")
            if kind == "CheckBox":
                box = "[x] " if item.get("checked") is True else "[ ] "
            write(ElementKind.PARAGRAPH, [box + plain_markdown(text)], place)
        return _kind(item)

    def _picture(self, item: _Item, metadata: _Item, place: Place) -> str:
        media = self._medium(item, metadata, place)
        if media is not None:
            self._writer.add(ElementKind.MEDIA, [media], place)
            return "floating"
        words = self._policy.instead(json_text(item.get("text")))
        self._writer.add(ElementKind.PARAGRAPH, [plain_markdown(words)], place)
        return "text"

    def _table(self, item: _Item, metadata: _Item, place: Place) -> str:
        html = json_text(metadata.get("text_as_html"))
        if html.strip():
            from gemini2_core.content.chunking.html_reader import read_html

            for document in read_html(
                html,
                source=self._where(place),
                media_root=self._policy.media_root,
                media_dir=self._policy.media_dir,
                on_missing=self._policy.on_missing,
                allow_remote=self._policy.allow_remote,
                mime_types=self._policy.mime_types,
            ):
                if document.elements:
                    self._writer.copy(document, place)
                    return "floating"
        if _has_image(metadata):
            return self._picture(item, metadata, place)
        text = plain_markdown(json_text(item.get("text")))
        self._writer.add(ElementKind.PARAGRAPH, [text], place)
        return "text"

    def _medium(self, item: _Item, metadata: _Item, place: Place) -> Media | None:
        alt = " ".join(json_text(item.get("text")).split())
        declared = _text(metadata.get("image_mime_type"))
        held, path = _text(metadata.get("image_base64")), _text(metadata.get("image_path"))
        url = _text(metadata.get("image_url"))
        try:
            if held:
                if held[:5].lower() != "data:":
                    held = f"data:{declared or ''};base64,{held}"
                return self._policy.link(held, alt=alt, mime_type=declared)
            if path:
                return self._policy.link(quote(path), alt=alt, mime_type=declared)
            if url:
                return self._policy.link(url, alt=alt, mime_type=declared)
            if self._policy.on_missing != "error":
                return None
            raise InvalidInputError(
                f"{self._policy.source}: a picture has no image in it: partition with "
                "extract_image_block_types=['Image'] and extract_image_block_to_payload=True, or "
                "pass on_missing='alt'"
            )
        except (InvalidInputError, ConfigurationError) as error:
            error.message = f"{error.message} ({self._at(place)})"
            raise

    def _at(self, place: Place) -> str:
        page = f", page {place.page}" if place.page else ""
        return f"element {self._number}{page}"

    def _where(self, place: Place) -> str:
        return f"{self._policy.source}, {self._at(place)}"


def _kind(item: _Item) -> str:
    """What matters of an element to the caption beside it."""
    floating = json_text(item.get("type")) in _PICTURES | _TABLES or _has_image(_metadata(item))
    return "floating" if floating else "text"


def _load(value: Sequence[object] | str | bytes | os.PathLike[str]) -> list[_Item]:
    raw: object = value
    try:
        if isinstance(raw, os.PathLike):
            raw = Path(raw).read_bytes()
        if isinstance(raw, str | bytes):
            raw = _parsed(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"this is no JSON: {type(error).__name__}") from None
    except OSError as error:
        raise InvalidInputError(f"the file can't be read: {type(error).__name__}") from None
    if isinstance(raw, list | tuple) and not raw:
        return []
    if not is_unstructured(raw):
        raise InvalidInputError(
            "these are no elements of unstructured: pass what elements_to_json() or "
            "elements_to_dicts() gives"
        )
    items: list[_Item] = []
    for one in cast("Sequence[object]", raw):
        convert = getattr(one, "to_dict", None)
        item = one if isinstance(one, Mapping) or convert is None else convert()
        if not isinstance(item, Mapping):
            raise InvalidInputError(f"element {len(items)} is a {type(one).__name__}")
        items.append(item)
    return items


def _parsed(text: str | bytes) -> object:
    """JSON, or JSON by lines, as ``elements_to_ndjson`` writes it."""
    try:
        return json.loads(text)
    except ValueError:
        return [json.loads(line) for line in text.splitlines() if line.strip()]


def _place(metadata: _Item) -> Place:
    page = metadata.get("page_number")
    number = page if isinstance(page, int) and not isinstance(page, bool) and page > 0 else None
    start = _number(metadata.get("segment_start_seconds"))
    end = _number(metadata.get("segment_end_seconds"))
    timed = start is not None and end is not None and 0 <= start <= end
    span = (start, end) if timed else None
    return Place(number, _box(metadata), cast("tuple[float, float] | None", span))


def _box(metadata: _Item) -> BBox | None:
    """The box in points from the top left corner, if it is in points."""
    coordinates = metadata.get("coordinates")
    if not isinstance(coordinates, Mapping):
        return None
    width = _number(coordinates.get("layout_width"))
    height = _number(coordinates.get("layout_height"))
    points = coordinates.get("points")
    if width is None or height is None or not isinstance(points, list | tuple):
        return None
    system = coordinates.get("system")
    if system == "PixelSpace":
        # The fast strategy calls a PDF's points pixels, too; a rendering is never this small.
        pdf = metadata.get("filetype") == "application/pdf"
        if not pdf or max(width, height) > _MAX_PAGE_POINTS:
            return None
    elif system != "PointSpace":
        return None
    across: list[float] = []
    along: list[float] = []
    for point in points:
        if not isinstance(point, list | tuple) or len(point) != 2:
            return None
        x, y = _number(point[0]), _number(point[1])
        if x is None or y is None:
            return None
        across.append(x)
        along.append(y)
    if not across:
        return None
    top, bottom = min(along), max(along)
    if system == "PointSpace":
        top, bottom = height - bottom, height - top
    sides = (min(across), top, max(across), bottom)
    return cast("BBox", tuple(round(side, 3) for side in sides))


def _metadata(item: _Item) -> _Item:
    found = item.get("metadata")
    return found if isinstance(found, Mapping) else {}


def _has_image(metadata: _Item) -> bool:
    return any(_text(metadata.get(f"image_{name}")) for name in ("base64", "path", "url"))


def _integer(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _number(value: object) -> float | None:
    ok = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9
    return float(cast("float", value)) if ok else None


def _text(value: object) -> str | None:
    return json_text(value) or None
