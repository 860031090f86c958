from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemini2_core.content import find_media_links
from gemini2_core.content.chunking import Document
from gemini2_core.content.chunking.docling_reader import is_docling, read_docling
from gemini2_core.errors import (
    ConfigurationError,
    InvalidInputError,
    MediaAccessError,
    MediaNotFoundError,
)

FILE = Path(__file__).parent / "data" / "docling.json"
MANUAL: dict[str, Any] = json.loads(FILE.read_text())


def read(value: Any, folder: Path, **options: Any) -> Document:
    options = {"media_root": folder, "media_dir": folder / "media", **options}
    (document,) = read_docling(value, **options)
    return document


def manual() -> dict[str, Any]:
    return copy.deepcopy(MANUAL)


def texts_only(*texts: str, **fields: Any) -> dict[str, Any]:
    """A document of paragraphs, as docling writes it."""
    refs = [{"$ref": f"#/texts/{number}"} for number in range(len(texts))]
    return {
        "schema_name": "DoclingDocument",
        "name": "texts",
        "body": {"self_ref": "#/body", "children": refs},
        "texts": [
            {"self_ref": ref["$ref"], "label": "text", "text": text, "children": []}
            for ref, text in zip(refs, texts, strict=True)
        ],
        **fields,
    }


def test_everything_comes_in_reading_order(tmp_path: Path) -> None:
    document = read(manual(), tmp_path)
    shown = document.text
    for number, placed in enumerate(document.links):
        shown = shown.replace(document.text[placed.start : placed.end], f"<{number}>")
    assert shown == (
        "# The manual\n\n## Fuel system\n\nThe pump is shown here:\n\nFigure 1: the pump\n\n<0>\n\n"
        "1. Close the valve.\n2. Press <1> **twice**\n    - not thrice\n\n"
        "Table 1: torque\n\n| Bolt | Nm \\| lb |\n| --- | --- |\n| M6 | see <2> |\n\n"
        "```python\nx = 1\nprint(x)\n```\n\n$$\nE=mc^2\n$$\n\n<3>\n\nFigure 2: the valve\n\n"
        "Not a picture: \\![x](y.png)\n\n"
    )


def test_every_picture_is_there_once_and_its_bytes_are_the_ones_docling_held(
    tmp_path: Path,
) -> None:
    document = read(manual(), tmp_path)
    held = [Path(media.name).name for media in document.media]
    assert len(set(held)) == len(MANUAL["pictures"]) == 4
    assert [media.measure().width for media in document.media] == [4] * 4
    found = find_media_links(document.text)
    assert [(one.start, one.end) for one in found] == [
        (one.start, one.end) for one in document.links
    ]


def test_captions_keep_with_their_pictures(tmp_path: Path) -> None:
    elements = read(manual(), tmp_path).elements
    kinds = [(str(one.kind), one.keep_with, str(two.kind)) for one, two in pairwise(elements)]
    assert ("caption", "next", "media") in kinds
    assert ("caption", "next", "table") in kinds
    assert ("media", "none", "caption") in kinds
    assert [e.keep_with for e in elements if e.kind == "caption"] == ["next", "next", "previous"]


def test_boxes_start_at_the_top_left_whatever_their_origin(tmp_path: Path) -> None:
    elements = read(manual(), tmp_path).elements
    # The first from the bottom of a page 792 points high, the other from the top.
    boxes = [elements[0].bbox, elements[2].bbox]
    assert boxes == [(72, 72, 540, 92), (72, 100, 540, 120)]
    assert [elements[0].page, elements[-3].page] == [1, 2]


def test_a_box_from_the_bottom_of_a_page_of_unknown_height_is_left_out(tmp_path: Path) -> None:
    raw = manual()
    raw["pages"] = {}
    elements = read(raw, tmp_path).elements
    assert [one.bbox for one in elements[:3]] == [None, None, (72, 100, 540, 120)]
    assert elements[0].page == 1


def test_title_and_headings_have_docling_s_levels(tmp_path: Path) -> None:
    document = read(manual(), tmp_path)
    headings = [(one.level, one.heading) for one in document.elements if one.level]
    assert headings == [(1, "The manual"), (2, "Fuel system")]
    assert document.title == "The manual"
    assert document.source == "manual.pdf"
    assert document.metadata == {"filename": "manual.pdf"}


def test_the_description_of_a_picture_is_its_alternative_text(tmp_path: Path) -> None:
    assert [media.alt for media in read(manual(), tmp_path).media][-1] == "a grey valve"


def test_page_headers_are_read_where_they_are_asked_for(tmp_path: Path) -> None:
    assert "Page 2" not in read(manual(), tmp_path).text
    assert "Page 2" in read(manual(), tmp_path, layers=["body", "furniture"]).text


def test_a_table_header_s_length_ends_before_its_rows(tmp_path: Path) -> None:
    document = read(manual(), tmp_path)
    (table,) = (one for one in document.elements if one.kind == "table")
    header = document.text[table.start : table.start + table.table_header]
    assert header == "| Bolt | Nm \\| lb |\n| --- | --- |"


@pytest.mark.parametrize("form", ["dict", "text", "bytes", "path"])
def test_json_is_taken_in_every_form(form: str, tmp_path: Path) -> None:
    value = {
        "dict": MANUAL,
        "text": FILE.read_text(),
        "bytes": FILE.read_bytes(),
        "path": FILE,
    }[form]
    assert read(value, tmp_path).text == read(manual(), tmp_path).text


def test_pictures_in_files_are_read_under_media_root(tmp_path: Path) -> None:
    first = read(manual(), tmp_path).media[0]
    raw = manual()
    # docling writes the absolute path, or one relative to the JSON's folder
    raw["pictures"][0]["image"]["uri"] = str(first.source)
    raw["pictures"][1]["image"]["uri"] = f"media/{Path(str(first.source)).name}"
    raw["pictures"][2]["image"]["uri"] = Path(str(first.source)).as_uri()
    assert [m.source for m in read(raw, tmp_path).media[:3]] == [
        Path(str(first.source)).resolve()
    ] * 3
    raw["pictures"][0]["image"]["uri"] = "/etc/passwd"
    with pytest.raises(MediaNotFoundError, match="#/pictures/0, page 1"):
        read(raw, tmp_path)
    raw["pictures"][0]["image"]["uri"] = "../../secret.png"
    with pytest.raises(MediaAccessError, match="out of media_root"):
        read(raw, tmp_path)


def test_a_picture_without_its_image_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    raw = manual()
    del raw["pictures"][3]["image"]
    with pytest.raises(InvalidInputError, match=r"#/pictures/3, page 2.*generate_picture_images"):
        read(raw, tmp_path)


def test_a_missing_picture_leaves_its_words(tmp_path: Path) -> None:
    raw = manual()
    del raw["pictures"][3]["image"]
    told = read(raw, tmp_path, on_missing="alt").text
    assert "a grey valve\n\nFigure 2: the valve\n\nlabel in the picture" in told
    left = read(raw, tmp_path, on_missing="skip").text
    assert "a grey valve" not in left
    assert "Figure 2: the valve\n\nlabel in the picture" in left


def test_embedded_pictures_need_a_media_dir(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="media_dir"):
        read(manual(), tmp_path, media_dir=None)


def test_several_header_rows_become_one(tmp_path: Path) -> None:
    raw = texts_only()
    cells = [(0, 0, 1, "", True), (0, 1, 3, "Size", True), (1, 1, 2, "mm", True)]
    cells += [(1, 2, 3, "in", True), (2, 0, 1, "M6", False), (2, 1, 2, "6", False)]
    raw["body"]["children"] = [{"$ref": "#/tables/0"}]
    raw["tables"] = [
        {
            "self_ref": "#/tables/0",
            "label": "table",
            "data": {
                "num_rows": 10**9,  # a claim; only cells count
                "num_cols": 10**9,
                "table_cells": [
                    {
                        "start_row_offset_idx": row,
                        "start_col_offset_idx": start,
                        "end_col_offset_idx": end,
                        "text": text,
                        "column_header": header,
                    }
                    for row, start, end, text, header in cells
                ],
            },
        }
    ]
    assert read(raw, tmp_path).text == (
        "|  | Size - mm | Size - in |\n| --- | --- | --- |\n| M6 | 6 |  |\n\n"
    )


def test_a_loop_in_the_tree_is_walked_once(tmp_path: Path) -> None:
    raw = texts_only("one", "two")
    raw["texts"][0]["children"] = [{"$ref": "#/texts/1"}]
    raw["texts"][1]["children"] = [{"$ref": "#/texts/0"}, {"$ref": "#/texts/1"}]
    assert read(raw, tmp_path).text == "one\n\ntwo\n\n"


def test_a_chain_of_100_000_groups_is_read(tmp_path: Path) -> None:
    raw = texts_only("deep", "shallow")
    count = 100_000
    raw["groups"] = [
        {"label": "list", "children": [{"$ref": f"#/groups/{number + 1}"}]}
        for number in range(count)
    ] + [{"label": "section", "children": [{"$ref": "#/texts/0"}]}]
    raw["body"]["children"] = [{"$ref": "#/groups/0"}, {"$ref": "#/texts/1"}]
    assert read(raw, tmp_path).text == "deep\n\nshallow\n\n"


def test_a_reference_to_nothing_is_named(tmp_path: Path) -> None:
    raw = texts_only("one")
    raw["body"]["children"].append({"$ref": "#/texts/7"})
    with pytest.raises(InvalidInputError, match="'#/texts/7' leads nowhere"):
        read(raw, tmp_path)


@pytest.mark.parametrize("value", ["[]", "{}", "no JSON", b"\xff", "[" * 100_000, {"body": 1}])
def test_what_is_no_docling_document_is_refused(value: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"no DoclingDocument|no JSON"):
        read(value, tmp_path)


def test_a_lone_surrogate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="lone surrogate"):
        read(texts_only("a \ud800"), tmp_path)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else ()
    for key, one in enumerate(value) if isinstance(value, list) else inner:
        yield from _places(one, (*path, key))


ODD: list[Any] = [
    None,
    True,
    -1,
    10**30,
    1e308,
    float("nan"),
    "",
    "\ud800",
    "x\0y",
    "#/texts/0",
    "list",
]
ODD += ["data:image/png;base64,xx", "http://[bad", "file:///x%zz", [], {}, [None], [[1]]]
ODD += [{"$ref": "#/texts/1"}, [{"$ref": "#/pictures/0"}], {"$ref": "#/body"}]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data(), st.sampled_from(["error", "alt", "skip"]))
def test_whatever_stands_in_the_json_it_is_read_or_refused(
    tmp_path: Path, data: st.DataObject, on_missing: Any
) -> None:
    raw = manual()
    for path in data.draw(st.lists(st.sampled_from(list(_places(MANUAL))[1:]), max_size=3)):
        holder: Any = raw
        with suppress(KeyError, IndexError, TypeError):  # replaced already
            for key in path[:-1]:
                holder = holder[key]
            holder[path[-1]] = copy.deepcopy(data.draw(st.sampled_from(ODD)))
    try:
        document = read(raw, tmp_path, on_missing=on_missing)
    except (InvalidInputError, ConfigurationError):
        return
    assert [(one.start, one.end) for one in find_media_links(document.text)] == [
        (one.start, one.end) for one in document.links
    ]


def test_the_caption_of_a_picture_that_isn_t_read_is_kept(tmp_path: Path) -> None:
    raw = manual()
    raw["pictures"][0]["content_layer"] = "furniture"
    assert "Figure 1: the pump" in read(raw, tmp_path).text


def test_is_docling_tells_it_from_other_json() -> None:
    assert is_docling(MANUAL)
    assert not is_docling({"type": "image"})
    assert not is_docling([MANUAL])


@given(st.lists(st.text(alphabet="a \n\t`~<>![]()\\#-|&;$!/?.:_*\"'1", max_size=40), max_size=6))
def test_no_text_hides_or_imitates_a_picture(texts: list[str]) -> None:
    raw = texts_only(*[part for text in texts for part in (text, "")])
    raw["pictures"] = []
    children = []
    for number, ref in enumerate(raw["body"]["children"]):
        if number % 2:
            raw["pictures"].append(
                {"label": "picture", "image": {"uri": "gs://b/a.png", "mimetype": "image/png"}}
            )
            children.append({"$ref": f"#/pictures/{len(raw['pictures']) - 1}"})
        else:
            children.append(ref)
    raw["body"]["children"] = children
    (document,) = read_docling(raw, allow_remote=True)
    assert len(document.links) == len(texts)
    assert [(one.start, one.end) for one in find_media_links(document.text)] == [
        (one.start, one.end) for one in document.links
    ]


@given(st.lists(st.text(alphabet="a \n`~<>![]()\\#-|&$*", max_size=20), min_size=4, max_size=4))
def test_no_cell_of_a_table_hides_a_picture_in_it(texts: list[str]) -> None:
    raw = texts_only(texts[0])
    raw["pictures"] = [
        {"label": "picture", "image": {"uri": "gs://b/a.png", "mimetype": "image/png"}}
    ]
    raw["groups"] = [{"children": [{"$ref": "#/texts/0"}, {"$ref": "#/pictures/0"}]}]
    raw["tables"] = [{"label": "table", "data": {"table_cells": []}}]
    for number, text in enumerate(texts):
        cell = {"start_row_offset_idx": number // 2, "start_col_offset_idx": number % 2}
        ref = {"ref": {"$ref": "#/groups/0"}} if number == 1 else {}
        raw["tables"][0]["data"]["table_cells"].append({**cell, "text": text, **ref})
    raw["body"]["children"] = [{"$ref": "#/tables/0"}]
    (document,) = read_docling(raw, allow_remote=True)
    assert [(one.start, one.end) for one in find_media_links(document.text)] == [
        (one.start, one.end) for one in document.links
    ]
    assert len(document.links) == 1
