"""Reads a DoclingDocument from its JSON, in reading order, with pictures and captions."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import quote, unquote, urlsplit

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
    code_span,
    fenced,
    formula,
    json_text,
    plain_inline,
    plain_markdown,
    table_parts,
)
from gemini2_core.content.media import Media
from gemini2_core.errors import ConfigurationError, InvalidInputError

__all__ = ["MAX_CELLS", "is_docling", "read_docling"]

#: Most cells of one table, blank ones counted; more is a claim that no page makes.
MAX_CELLS = 2_000_000

_Item = Mapping[str, object]
_Part = str | Media
_LISTS = (
    "texts",
    "pictures",
    "tables",
    "groups",
    "key_value_items",
    "form_items",
    "field_regions",
    "field_items",
)
_FLOATING = ("pictures", "tables", "texts")
_HEADINGS = ("title", "section_header", "field_heading")
_BOXES = {"checkbox_selected": "[x] ", "checkbox_unselected": "[ ] "}


@dataclass(frozen=True, slots=True)
class _Step:
    """An item to be written, and how deep in lists it is."""

    ref: str
    depth: int = 0


def is_docling(value: object) -> bool:
    """True for the JSON object of a DoclingDocument."""
    return isinstance(value, Mapping) and (
        value.get("schema_name") == "DoclingDocument"
        or (isinstance(value.get("body"), Mapping) and "self_ref" in value["body"])
    )


def read_docling(
    value: Mapping[str, object] | str | bytes | os.PathLike[str],
    *,
    source: str | None = None,
    title: str | None = None,
    metadata: Mapping[str, JSON] | None = None,
    layers: Collection[str] = ("body",),
    media_root: str | os.PathLike[str] | None = None,
    base: str | os.PathLike[str] | None = None,
    media_dir: MediaDir | str | os.PathLike[str] | None = None,
    on_missing: OnMissing = "error",
    allow_remote: bool = False,
    mime_types: Collection[str] | None = None,
) -> Iterator[Document]:
    """Read what ``DoclingDocument.export_to_dict()`` or ``save_as_json()`` wrote.

    docling needn't be installed. The order is that of the body's tree. A caption is written with
    its picture or table: before it if the tree has it before, behind it otherwise. Words that
    docling found inside a picture are left out where the picture itself is there, and written
    where it isn't. A picture's description becomes its alternative text. The headings begin with
    the title, so a section of level 1 is a heading of level 2, as in docling's own Markdown.

    docling keeps pictures only if it is told to (``PdfPipelineOptions.generate_picture_images``):
    a picture without its image counts as missing.

    Args:
        value: The JSON object, its text, or a file of it.
        source: Name of the source; None takes the file, the document's origin or its name.
        title: Title; None takes the document's own.
        metadata: What goes with every chunk.
        layers: docling's content layers to read: ``"body"``, ``"furniture"`` (page headers and
            footers), ``"notes"`` …
        media_root: As ``MediaPolicy``, like the rest.
        base: Folder that relative paths of pictures start from.
        media_dir: Where embedded pictures are written.
        on_missing: What becomes of pictures that are missing.
        allow_remote: Whether ``https:`` pictures are taken.
        mime_types: The types that are taken.

    Raises:
        InvalidInputError: No DoclingDocument, or a reference in it that leads nowhere.
        MediaNotFoundError: A picture isn't there (``on_missing="error"``).
        ConfigurationError: Embedded pictures and no ``media_dir``.
    """
    raw = _load(value)
    origin = raw.get("origin")
    file_name = origin.get("filename") if isinstance(origin, Mapping) else None
    path = os.fspath(value) if isinstance(value, os.PathLike) else None
    name = source or path or _text(file_name) or _text(raw.get("name")) or "a DoclingDocument"
    policy = MediaPolicy(
        source=name,
        media_root=media_root,
        base=base,
        media_dir=media_dir,
        on_missing=on_missing,
        allow_remote=allow_remote,
        mime_types=mime_types,
    )
    reader = _Reader(raw, policy, frozenset(layers))
    builder = DocumentBuilder(
        source=name,
        title=title or reader.title(),
        metadata={**({"filename": file_name} if _text(file_name) else {}), **(metadata or {})},
        media_root=policy.link_root,
    )
    writer = Writer(builder)
    reader.write(writer)
    writer.finish()
    yield builder.build()


class _Reader:
    """The tree of one document; every item of it is written once, whatever points at it."""

    def __init__(self, raw: _Item, policy: MediaPolicy, layers: frozenset[str]) -> None:
        self._policy = policy
        self._layers = layers
        self._items: dict[str, _Item] = {}
        for name in _LISTS:
            for index, item in enumerate(_objects(raw.get(name))):
                self._items[f"#/{name}/{index}"] = item
        self._root = cast("_Item", raw["body"]) if isinstance(raw.get("body"), Mapping) else {}
        self._heights = _page_heights(raw.get("pages"))
        self._done: set[str] = set()
        self._passed: dict[str, None] = {}
        self._order = self._reading_order()
        self._owners = self._caption_owners()

    def title(self) -> str | None:
        """The first title of the body."""
        for ref in self._order:
            item = self._items[ref]
            if item.get("label") == "title":
                return " ".join(self._plain(item).split())[:1000] or None
        return None

    def write(self, writer: Writer) -> None:
        steps = [_Step(ref) for ref in reversed(_refs(self._root.get("children")))]
        while steps:
            step = steps.pop()
            if step.ref in self._done:
                continue
            item = self._item(step.ref)
            owner = self._owners.get(step.ref, step.ref)
            if owner != step.ref and owner not in self._done:
                self._passed[step.ref] = None  # a caption that its picture will bring
                continue
            self._done.add(step.ref)
            steps += reversed(self._write(writer, step, item))
        for ref in self._passed:  # captions of what turned out not to be there
            if ref not in self._done:
                self._add_captions(writer, [ref], "none")

    def _write(self, writer: Writer, step: _Step, item: _Item) -> list[_Step]:
        """Write an item; return what is to be written behind it."""
        kind, label = step.ref.split("/")[1], item.get("label")
        children = [_Step(r, step.depth) for r in _refs(item.get("children"))]
        if kind == "groups":
            if label in ("list", "ordered_list"):
                return [_Step(child.ref, step.depth + 1) for child in children]
            if label == "inline":
                if self._visible(item):
                    words = self._inline(_refs(item.get("children")))
                    writer.add(ElementKind.PARAGRAPH, words, self._place(item))
                return []
            return children
        if not self._visible(item):
            return children
        if kind == "pictures":
            return self._picture(writer, step.ref, item, children)
        if kind == "tables":
            return self._table(writer, step.ref, item, children)
        if kind in ("key_value_items", "form_items"):
            self._form(writer, item)
            return children
        return self._text_item(writer, step, item, children)

    def _text_item(
        self, writer: Writer, step: _Step, item: _Item, children: list[_Step]
    ) -> list[_Step]:
        label, text = item.get("label"), json_text(item.get("text"))
        parts: list[_Part] = []
        if not text.strip():  # a text of several formats: its words are in an inline group
            while children and self._is_inline(children[0].ref):
                parts += self._inline([children.pop(0).ref])
        if label in _HEADINGS:
            level = 1 if label == "title" else 1 + _integer(item.get("level"), 1, 5)
            signs = "#" * level + " "
            parts = [signs, *(parts or [self._formatted(item, plain_inline(text))])]
            if parts != [signs, ""]:
                plain = " ".join(self._plain(item).split())[:1000]
                writer.add(
                    ElementKind.HEADING, parts, self._place(item), level=level, heading=plain
                )
        elif label == "list_item":
            number = json_text(item.get("marker")).strip()
            sign = number if item.get("enumerated") and number[:-1].isdigit() else "-"
            words = parts or [self._formatted(item, plain_inline(text))]
            if any(words):
                listed = [f"{sign} ", *words]
                writer.add(ElementKind.LIST_ITEM, listed, self._place(item), depth=step.depth)
        elif label == "code":
            before, behind = self._captions(step.ref, item)
            self._add_captions(writer, before, "next")
            language = json_text(item.get("code_language")).lower()
            if text.strip():
                code = fenced(text, "" if language == "unknown" else language)
                writer.add(ElementKind.CODE, [code], self._place(item))
            self._add_captions(writer, behind, "previous")
        elif label == "formula":
            latex = text or json_text(item.get("orig"))
            if latex.strip():
                writer.add(ElementKind.FORMULA, [formula(latex)], self._place(item))
        else:
            kind = ElementKind.CAPTION if label == "caption" else ElementKind.PARAGRAPH
            words = parts or [self._formatted(item, plain_markdown(text))]
            if any(words):
                writer.add(kind, [_BOXES.get(json_text(label), ""), *words], self._place(item))
        return children

    def _picture(self, writer: Writer, ref: str, item: _Item, children: list[_Step]) -> list[_Step]:
        before, behind = self._captions(ref, item)
        media = self._medium(ref, item)
        self._add_captions(writer, before, "next" if media else "none")
        if media is not None:
            writer.add(ElementKind.MEDIA, [media], self._place(item))
            # What is written in the picture is in the picture; pictures inside it aren't.
            children = [child for child in children if not child.ref.startswith("#/texts/")]
        else:
            alt = plain_markdown(self._policy.instead(_description(item)))
            if alt:
                writer.add(ElementKind.PARAGRAPH, [alt], self._place(item))
        self._add_captions(writer, behind, "previous" if media else "none")
        return children

    def _table(self, writer: Writer, ref: str, item: _Item, children: list[_Step]) -> list[_Step]:
        before, behind = self._captions(ref, item)
        rows, headers = self._rows(ref, item)
        self._add_captions(writer, before, "next")
        if rows:
            parts, header = table_parts(_joined(rows[:headers]), rows[headers:])
            writer.add(ElementKind.TABLE, parts, self._place(item), table_header=header)
        elif isinstance(item.get("image"), Mapping):  # a table that was only photographed
            media = self._medium(ref, item)
            if media is not None:
                writer.add(ElementKind.MEDIA, [media], self._place(item))
        self._add_captions(writer, behind, "previous")
        return children

    def _rows(self, ref: str, item: _Item) -> tuple[list[list[str | list[_Part]]], int]:
        """The cells by row and column, and how many rows are header."""
        data = item.get("data")
        cells = _objects(data.get("table_cells")) if isinstance(data, Mapping) else []
        if not cells and isinstance(data, Mapping):
            cells = [cell for row in _lists(data.get("grid")) for cell in _objects(row)]
        # Rows and columns that no cell begins in are left out, whatever number the table claims.
        row_at = {at: i for i, at in enumerate(sorted({_start(cell, "row") for cell in cells}))}
        column_at = {at: i for i, at in enumerate(sorted({_start(cell, "col") for cell in cells}))}
        if len(row_at) * len(column_at) > MAX_CELLS:
            raise InvalidInputError(
                f"{self._policy.source}: the table {ref} has {len(row_at):,} rows and "
                f"{len(column_at):,} columns: {MAX_CELLS:,} cells at most"
            )
        rows: list[list[str | list[_Part]]] = [[""] * len(column_at) for _ in row_at]
        header_rows: set[int] = set()
        for cell in cells:
            row, column = row_at[_start(cell, "row")], column_at[_start(cell, "col")]
            content = self._cell(cell)
            rows[row][column] = content
            if cell.get("column_header"):
                header_rows.add(row)
                end = _integer(cell.get("end_col_offset_idx"), 0)
                if isinstance(content, str):  # the head of several columns is the head of each
                    for at, other in column_at.items():
                        if _start(cell, "col") < at < end and not rows[row][other]:
                            rows[row][other] = content
        headers = next((i for i in range(len(rows)) if i not in header_rows), len(rows))
        return rows, max(headers, 1)

    def _cell(self, cell: _Item) -> str | list[_Part]:
        ref = _ref(cell.get("ref"))
        if ref is None:
            return json_text(cell.get("text"))
        self._item(ref)
        return self._inline([ref], in_table=True) or json_text(cell.get("text"))

    def _form(self, writer: Writer, item: _Item) -> None:
        graph = item.get("graph")
        cells = _objects(graph.get("cells")) if isinstance(graph, Mapping) else []
        words = [
            plain_inline(json_text(cell.get("text"))) for cell in cells if not cell.get("item_ref")
        ]
        if any(words):
            writer.add(ElementKind.PARAGRAPH, ["\n".join(filter(None, words))], self._place(item))

    def _inline(self, refs: Sequence[str], *, in_table: bool = False) -> list[_Part]:
        """What stands in one line under ``refs``: words, code, formulas and pictures."""
        found: list[tuple[_Item, str] | Media] = []
        steps = list(reversed(refs))
        while steps:
            ref = steps.pop()
            if ref in self._done:
                continue
            self._done.add(ref)
            item = self._item(ref)
            inner = _refs(item.get("children"))
            if self._visible(item) and ref.startswith("#/pictures/"):
                media = self._medium(ref, item)
                if media is not None:
                    found.append(media)
                    inner = [child for child in inner if not child.startswith("#/texts/")]
                elif alt := self._policy.instead(_description(item)):
                    found.append(({}, alt))
            elif self._visible(item):
                text = json_text(item.get("text"))
                if text.strip():
                    found.append((item, text))
                found += [({}, cell) for cell in self._flat_cells(item)]
            steps += reversed([*inner, *_refs(item.get("captions"))])
        beside = in_table or any(isinstance(one, Media) for one in found)
        parts: list[_Part] = []
        for one in found:
            if parts:
                parts.append(" ")
            if isinstance(one, Media):
                parts.append(one)
            else:
                parts.append(self._inline_text(one[0], one[1], beside))
        return parts

    def _flat_cells(self, item: _Item) -> list[str]:
        """A table inside a cell of a table: its words, row by row."""
        data = item.get("data")
        cells = _objects(data.get("table_cells")) if isinstance(data, Mapping) else []
        return [text for cell in cells if (text := json_text(cell.get("text"))).strip()]

    def _inline_text(self, item: _Item, text: str, beside: bool) -> str:
        if item.get("label") == "code":
            return code_span(text)
        if item.get("label") == "formula":
            return f"${plain_inline(text, beside_media=False)}$"
        return self._formatted(item, plain_inline(text, beside_media=beside))

    def _formatted(self, item: _Item, text: str) -> str:
        """Markdown of a text with docling's format and link."""
        form = item.get("formatting")
        if not text or "\n" in text:
            return text
        if isinstance(form, Mapping):
            text = f"**{text}**" if form.get("bold") is True else text
            text = f"*{text}*" if form.get("italic") is True else text
            text = f"~~{text}~~" if form.get("strikethrough") is True else text
        link = _text(item.get("hyperlink"))
        if link and not any(sign in text for sign in "[]"):
            return f"[{text}]({quote(link, safe=_URL_SIGNS)})"
        return text

    def _plain(self, item: _Item) -> str:
        """The words of an item and of the inline groups under it, without their format."""
        words, steps = [json_text(item.get("text"))], list(reversed(_refs(item.get("children"))))
        if words[0].strip():
            return words[0]
        for _ in range(1000):
            if not steps:
                break
            ref = steps.pop()
            inner = self._items.get(ref, {})
            if inner.get("label") in ("inline", "text", "code", "formula"):
                words.append(json_text(inner.get("text")))
                steps += reversed(_refs(inner.get("children")))
        return " ".join(filter(None, words))

    def _is_inline(self, ref: str) -> bool:
        return ref.startswith("#/groups/") and self._item(ref).get("label") == "inline"

    def _captions(self, ref: str, item: _Item) -> tuple[list[str], list[str]]:
        """The captions and footnotes that are to be written before an item, and behind it."""
        before: list[str] = []
        behind: list[str] = []
        for field in ("captions", "footnotes"):
            for caption in _refs(item.get(field)):
                if caption in self._done or self._owners.get(caption, ref) != ref:
                    continue
                self._done.add(caption)
                (before if caption in self._passed else behind).append(caption)
        return before, behind

    def _add_captions(self, writer: Writer, captions: Sequence[str], keep_with: KeepWith) -> None:
        for ref in captions:
            item = self._item(ref)
            text = self._formatted(item, plain_markdown(json_text(item.get("text"))))
            parts: list[_Part] = [text] if text else self._inline(_refs(item.get("children")))
            if any(parts):
                writer.add(ElementKind.CAPTION, parts, self._place(item), keep_with=keep_with)

    def _medium(self, ref: str, item: _Item) -> Media | None:
        image = item.get("image")
        uri = _text(image.get("uri")) if isinstance(image, Mapping) else None
        page = _provenance(item).get("page_no")
        where = f"{ref}, page {page}" if isinstance(page, int) else ref
        if uri is None:
            if self._policy.on_missing == "error":
                raise InvalidInputError(
                    f"{self._policy.source}: the picture {where} has no image in it: convert with "
                    "generate_picture_images=True, or pass on_missing='alt'"
                )
            return None
        declared = _text(image.get("mimetype")) if isinstance(image, Mapping) else None
        try:
            return self._policy.link(
                _link_of(uri),
                alt=_description(item),
                mime_type=declared,
            )
        except (InvalidInputError, ConfigurationError) as error:
            error.message = f"{error.message} (the picture {where})"
            raise

    def _place(self, item: _Item) -> Place:
        """Where an item is: the first place of those it has."""
        page, bbox = self._box(item)
        return Place(page, bbox, _track(item))

    def _box(self, item: _Item) -> tuple[int | None, BBox | None]:
        """Page, and box in points from its top left corner."""
        place = _provenance(item)
        page = place.get("page_no")
        if not isinstance(page, int) or isinstance(page, bool) or page < 1:
            return None, None
        box = place.get("bbox")
        if not isinstance(box, Mapping):
            return page, None
        sides = [_number(box.get(side)) for side in "ltrb"]
        if any(side is None for side in sides):
            return page, None
        left, top, right, bottom = cast("list[float]", sides)
        if box.get("coord_origin") == "BOTTOMLEFT":
            height = self._heights.get(page)
            if height is None:
                return page, None
            top, bottom = height - top, height - bottom
        return page, (
            round(min(left, right), 3),
            round(min(top, bottom), 3),
            round(max(left, right), 3),
            round(max(top, bottom), 3),
        )

    def _reading_order(self) -> dict[str, None]:
        """All that the body reaches, in order; a loop in the tree is walked once."""
        order: dict[str, None] = {}
        steps = list(reversed(_refs(self._root.get("children"))))
        while steps:
            ref = steps.pop()
            if ref not in order:
                order[ref] = None
                steps += reversed(_refs(self._item(ref).get("children")))
        return order

    def _caption_owners(self) -> dict[str, str]:
        """Which picture or table that is read brings a caption."""
        owners: dict[str, str] = {}
        for ref in self._order:
            item = self._items[ref]
            if ref.split("/")[1] in _FLOATING and self._visible(item):
                for field in ("captions", "footnotes"):
                    for caption in _refs(item.get(field)):
                        owners.setdefault(caption, ref)
        return owners

    def _visible(self, item: _Item) -> bool:
        return str(item.get("content_layer", "body")) in self._layers

    def _item(self, ref: str) -> _Item:
        try:
            return self._items[ref]
        except KeyError:
            raise InvalidInputError(
                f"{self._policy.source}: the reference {ref[:60]!r} leads nowhere in this "
                "DoclingDocument"
            ) from None


_URL_SIGNS = "%:/?#@!$&'*+,;=~-._"


def _load(value: Mapping[str, object] | str | bytes | os.PathLike[str]) -> Mapping[str, object]:
    raw: object = value
    try:
        if isinstance(raw, os.PathLike):
            raw = Path(raw).read_bytes()
        if isinstance(raw, str | bytes):
            raw = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"this is no JSON: {type(error).__name__}") from None
    except OSError as error:
        raise InvalidInputError(f"the file can't be read: {type(error).__name__}") from None
    if not is_docling(raw):
        raise InvalidInputError(
            "this is no DoclingDocument: pass what export_to_dict() or save_as_json() gives"
        )
    return cast("Mapping[str, object]", raw)


def _joined(rows: Sequence[Sequence[str | list[_Part]]]) -> list[str | list[_Part]]:
    """Several header rows as one, for GFM has one: each column's heads joined by a dash."""
    if len(rows) == 1:
        return list(rows[0])
    columns: list[str | list[_Part]] = []
    for cells in zip(*rows, strict=True):
        if all(isinstance(cell, str) for cell in cells):
            columns.append(" - ".join(dict.fromkeys(filter(None, cast("tuple[str]", cells)))))
        else:
            parts: list[_Part] = []
            for cell in cells:
                parts += [plain_inline(cell, beside_media=True)] if isinstance(cell, str) else cell
                parts.append(" ")
            columns.append(parts)
    return columns


def _link_of(uri: str) -> str:
    """A link that ``MediaPolicy.link`` reads, of a URI or of a path as docling writes it."""
    if uri[:5].lower() == "file:":
        return quote(unquote(urlsplit(uri).path))
    if "://" in uri or uri[:5].lower() == "data:":
        return uri
    return quote(uri)


def _description(item: _Item) -> str:
    """What a model or the source said that the picture shows."""
    meta = item.get("meta")
    said = meta.get("description") if isinstance(meta, Mapping) else None
    if isinstance(said, Mapping) and _text(said.get("text")):
        return " ".join(json_text(said["text"]).split())
    for note in _objects(item.get("annotations")):
        if note.get("kind") == "description":
            return " ".join(json_text(note.get("text")).split())
    return ""


def _provenance(item: _Item) -> _Item:
    return next(iter(_objects(item.get("prov"))), {})


def _track(item: _Item) -> tuple[float, float] | None:
    """Where in a recording a transcribed text is."""
    for source in (*_objects(item.get("source")), _provenance(item)):
        start, end = _number(source.get("start_time")), _number(source.get("end_time"))
        if start is not None and end is not None and 0 <= start <= end:
            return start, end
    return None


def _page_heights(pages: object) -> dict[int, float]:
    heights: dict[int, float] = {}
    for page in pages.values() if isinstance(pages, Mapping) else ():
        size = page.get("size") if isinstance(page, Mapping) else None
        height = _number(size.get("height")) if isinstance(size, Mapping) else None
        if height is not None and isinstance(page.get("page_no"), int):
            heights[page["page_no"]] = height
    return heights


def _ref(value: object) -> str | None:
    return _text(value.get("$ref", value.get("cref"))) if isinstance(value, Mapping) else None


def _refs(value: object) -> list[str]:
    return [ref for one in _objects(value) if (ref := _ref(one)) is not None]


def _lists(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _objects(value: object) -> list[_Item]:
    return [one for one in _lists(value) if isinstance(one, Mapping)]


def _start(cell: _Item, direction: str) -> int:
    return _integer(cell.get(f"start_{direction}_offset_idx"), 0)


def _integer(value: object, lowest: int, highest: int | None = None) -> int:
    number = value if isinstance(value, int) and not isinstance(value, bool) else lowest
    return max(lowest, number if highest is None else min(number, highest))


def _number(value: object) -> float | None:
    ok = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9
    return float(cast("float", value)) if ok else None


def _text(value: object) -> str | None:
    return json_text(value) or None
