from __future__ import annotations

import base64
import copy
import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemini2_core.content import find_media_links
from gemini2_core.content.chunking import Document
from gemini2_core.content.chunking.unstructured_reader import is_unstructured, read_unstructured
from gemini2_core.errors import (
    ConfigurationError,
    InvalidInputError,
    LimitError,
    MediaAccessError,
    MediaNotFoundError,
)

DATA = Path(__file__).parent / "data"
ELEMENTS: list[dict[str, Any]] = json.loads((DATA / "unstructured.json").read_text())
CHUNKS: list[dict[str, Any]] = json.loads((DATA / "unstructured_chunks.json").read_text())


def read(value: Any, folder: Path, **options: Any) -> Document:
    options = {"media_root": folder, "media_dir": folder / "media", **options}
    (document,) = read_unstructured(value, **options)
    return document


def element(kind: str, text: str = "", **metadata: Any) -> dict[str, Any]:
    return {"type": kind, "element_id": "x", "text": text, "metadata": metadata}


def packed(*elements: dict[str, Any]) -> str:
    """As ``elements_to_base64_gzipped_json`` does it, which deflates without gzip's header."""
    return base64.b64encode(zlib.compress(json.dumps(elements).encode())).decode()


def outline(document: Document) -> list[tuple[str, str]]:
    return [
        (str(one.kind), document.text[one.start : one.end].strip()[:20])
        for one in document.elements
    ]


def test_elements_come_in_order_with_pictures_captions_and_tables(tmp_path: Path) -> None:
    document = read(ELEMENTS, tmp_path)
    assert outline(document) == [
        ("heading", "# Fuel system"),
        ("paragraph", "The pump is shown he"),
        ("media", "![PUMP 12](media/4e2"),
        ("caption", "Figure 1: the pump"),
        ("list_item", "- Close the valve."),
        ("list_item", "- Press twice."),
        ("caption", "Table 1: torque"),
        ("table", "| Bolt | Nm |\n| --- "),
        ("paragraph", "Turn it slowly to th"),
        ("media", "![VALVE](media/aad7e"),
        ("formula", "$$\nE=mc^2\n$$"),
    ]
    keeps = [one.keep_with for one in document.elements if one.kind == "caption"]
    assert keeps == ["previous", "next"]
    assert document.source == "manual.pdf"
    assert [one.page for one in document.elements] == [1] * 6 + [2] * 5


def test_chunks_are_unpacked_to_the_very_elements_they_were_made_of(tmp_path: Path) -> None:
    assert [chunk["type"] for chunk in CHUNKS].count("CompositeElement") > 3
    whole, unpacked = read(ELEMENTS, tmp_path), read(CHUNKS, tmp_path)
    assert unpacked.text == whole.text
    assert unpacked.media == whole.media
    assert len(unpacked.media) == 2


def test_chunks_without_their_elements_are_read_as_text(tmp_path: Path) -> None:
    chunks = [element("CompositeElement", "one\n\ntwo"), element("CompositeElement", "three")]
    assert read(chunks, tmp_path).text == "one\n\ntwo\n\nthree\n\n"


def test_the_same_words_in_two_chunks_are_read_twice(tmp_path: Path) -> None:
    note = packed(element("NarrativeText", "Mind the gap."))
    chunks = [element("CompositeElement", "Mind the gap.", orig_elements=note)] * 2
    assert read(chunks, tmp_path).text == "Mind the gap.\n\nMind the gap.\n\n"


def test_a_gzip_header_and_elements_as_a_plain_list_are_taken(tmp_path: Path) -> None:
    inner = [element("NarrativeText", "inside")]
    zipped = base64.b64encode(gzip.compress(json.dumps(inner).encode())).decode()
    for form in (zipped, inner):
        chunks = [element("CompositeElement", "inside", orig_elements=form)]
        assert read(chunks, tmp_path).text == "inside\n\n"


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    bomb = base64.b64encode(zlib.compress(b"[" + b" " * 100_000_000 + b"]")).decode()
    with pytest.raises(LimitError, match=r"element 0: its orig_elements unpack to more than"):
        read([element("CompositeElement", orig_elements=bomb)], tmp_path)


def test_many_small_bombs_are_refused(tmp_path: Path) -> None:
    bomb = base64.b64encode(zlib.compress(b"[" + b" " * 10_000_000 + b"]")).decode()
    with pytest.raises(LimitError, match="unpack to more than"):
        read([element("CompositeElement", orig_elements=bomb)] * 100, tmp_path)


def test_elements_inside_elements_have_an_end(tmp_path: Path) -> None:
    inner = element("NarrativeText", "core")
    for _ in range(10):
        inner = element("CompositeElement", "shell", orig_elements=packed(inner))
    with pytest.raises(LimitError, match="elements inside elements"):
        read([inner], tmp_path)


@pytest.mark.parametrize("damaged", ["!!", "bm8gemxpYg==", packed()[:-6], "ä"])
def test_damaged_orig_elements_are_named(damaged: str, tmp_path: Path) -> None:
    chunks = [element("Title", "a"), element("CompositeElement", "b", orig_elements=damaged)]
    with pytest.raises(InvalidInputError, match="element 1: its orig_elements are damaged"):
        read(chunks, tmp_path)


def test_pictures_in_files_are_read_under_media_root(tmp_path: Path) -> None:
    picture = base64.b64decode(ELEMENTS[3]["metadata"]["image_base64"])
    (tmp_path / "figure-1-1.png").write_bytes(picture)
    document = read([element("Image", image_path=str(tmp_path / "figure-1-1.png"))], tmp_path)
    assert document.text == "![](figure-1-1.png)\n\n"
    with pytest.raises(MediaNotFoundError, match="element 0, page 3"):
        read([element("Image", image_path="/etc/passwd", page_number=3)], tmp_path)


def test_pictures_on_the_web_are_taken_where_they_are_allowed(tmp_path: Path) -> None:
    elements = [element("Image", "a pump", image_url="https://example.org/pump.png")]
    with pytest.raises(MediaAccessError, match="allow_remote"):
        read(elements, tmp_path)
    assert read(elements, tmp_path, on_missing="alt").text == "a pump\n\n"
    allowed = read(elements, tmp_path, allow_remote=True)
    assert allowed.text == "![a pump](https://example.org/pump.png)\n\n"


def test_a_picture_without_its_image_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    elements = [element("Image", "PUMP 12", page_number=1), element("Text", "behind")]
    with pytest.raises(InvalidInputError, match=r"extract_image_block_to_payload.*page 1"):
        read(elements, tmp_path)
    assert read(elements, tmp_path, on_missing="alt").text == "PUMP 12\n\nbehind\n\n"
    assert read(elements, tmp_path, on_missing="skip").text == "behind\n\n"


def test_damaged_pictures_follow_the_policy(tmp_path: Path) -> None:
    elements = [element("Image", "PUMP", image_base64="bm8gcGljdHVyZQ==")]
    with pytest.raises(InvalidInputError, match="element 0"):
        read(elements, tmp_path)
    assert read(elements, tmp_path, on_missing="alt").text == "PUMP\n\n"


def test_embedded_pictures_need_a_media_dir(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="media_dir"):
        read(ELEMENTS, tmp_path, media_dir=None)


def test_a_table_without_html_is_its_picture(tmp_path: Path) -> None:
    picture = ELEMENTS[3]["metadata"]["image_base64"]
    document = read([element("Table", "M6 10", image_base64=picture)], tmp_path)
    assert [str(one.kind) for one in document.elements] == ["media"]
    assert document.media[0].alt == "M6 10"
    assert read([element("Table", "M6 10")], tmp_path).text == "M6 10\n\n"


def test_boxes_are_kept_where_they_are_points(tmp_path: Path) -> None:
    points = [[72, 692], [72, 672], [540, 672], [540, 692]]
    sizes = {"layout_width": 612, "layout_height": 792, "points": points}

    def box(filetype: str = "application/pdf", **fields: Any) -> Any:
        coordinates = {**sizes, **fields}
        one = element("Text", "a", page_number=1, filetype=filetype, coordinates=coordinates)
        return read([one], tmp_path).elements[0].bbox

    assert box(system="PointSpace") == (72, 100, 540, 120)
    assert box(system="PixelSpace") == (72, 672, 540, 692)  # the fast strategy's points
    assert box(system="PixelSpace", layout_width=2975, layout_height=3850) is None
    assert box(system="PixelSpace", filetype="image/png") is None
    assert box(system="RelativeCoordinateSystem") is None
    assert box(system="PointSpace", points=[[1, "x"]]) is None


def test_speech_keeps_its_time(tmp_path: Path) -> None:
    spoken = element("NarrativeText", "Hello", segment_start_seconds=1.5, segment_end_seconds=3)
    assert read([spoken], tmp_path).elements[0].seconds == (1.5, 3)


def test_page_furniture_is_read_where_it_is_asked_for(tmp_path: Path) -> None:
    assert "Workshop" not in read(ELEMENTS, tmp_path).text
    assert read(ELEMENTS, tmp_path, furniture=True).text.startswith("Workshop\n\n# Fuel system")


def test_boxes_to_tick_and_code_are_written_as_such(tmp_path: Path) -> None:
    elements = [
        {"type": "CheckBox", "element_id": "x", "text": "", "checked": True, "metadata": {}},
        element("CheckBoxUnchecked", "oil"),
        element("CodeSnippet", "a = '```'"),
    ]
    assert read(elements, tmp_path).text == "[x] \n\n[ ] oil\n\n````\na = '```'\n````\n\n"


@pytest.mark.parametrize("form", ["list", "text", "lines", "path"])
def test_json_is_taken_in_every_form(form: str, tmp_path: Path) -> None:
    value = {
        "list": ELEMENTS,
        "text": json.dumps(ELEMENTS),
        "lines": "\n".join(map(json.dumps, ELEMENTS)),
        "path": DATA / "unstructured.json",
    }[form]
    assert read(value, tmp_path).text == read(copy.deepcopy(ELEMENTS), tmp_path).text


def test_elements_as_objects_are_taken(tmp_path: Path) -> None:
    class Element:
        """unstructured's own, as far as it counts."""

        def __init__(self, form: dict[str, Any]) -> None:
            self.form, self.metadata, self.category = form, object(), form["type"]

        def to_dict(self) -> dict[str, Any]:
            return self.form

    assert read(list(map(Element, ELEMENTS)), tmp_path).text == read(ELEMENTS, tmp_path).text


@pytest.mark.parametrize("value", ["{}", "no JSON", [1], [{"type": "text"}], "[" * 100_000])
def test_what_are_no_elements_is_refused(value: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"no elements|no JSON"):
        read(value, tmp_path)


def test_no_elements_are_an_empty_document(tmp_path: Path) -> None:
    assert read([], tmp_path).text == ""


def test_is_unstructured_tells_elements_from_content_blocks() -> None:
    assert is_unstructured(ELEMENTS)
    assert is_unstructured(CHUNKS)
    assert not is_unstructured([{"type": "text", "text": "a"}])
    assert not is_unstructured(["Text"])
    assert not is_unstructured({"type": "Text"})


KINDS = ["Title", "ListItem", "NarrativeText", "Formula", "CodeSnippet", "FigureCaption", "Image"]
SIGNS = st.text(alphabet="a \n\t`~<>![]()\\#-|&;$!/?.:_*\"'1", max_size=40)


@given(st.lists(st.tuples(st.sampled_from(KINDS), SIGNS), max_size=12))
def test_no_text_hides_or_imitates_a_picture(pieces: list[tuple[str, str]]) -> None:
    elements = [
        element(kind, text, **({"image_url": "gs://b/a.png"} if kind == "Image" else {}))
        for kind, text in pieces
    ]
    (document,) = read_unstructured(elements)
    assert len(document.links) == sum(kind == "Image" for kind, _ in pieces)
    assert [(one.start, one.end) for one in find_media_links(document.text)] == [
        (one.start, one.end) for one in document.links
    ]
