"""PDFs: text in order with each picture once and in place, or pages; hostile ones bounded."""

from __future__ import annotations

import io
import time
import zlib
from functools import cache
from pathlib import Path
from typing import Literal

import pytest
from fpdf import FPDF
from PIL import Image

from gemini2_core.content.chunking import pdf_workers
from gemini2_core.content.chunking.document import Document, ElementKind
from gemini2_core.content.chunking.pdf_reader import PdfMode, read_pdf
from gemini2_core.content.markdown import find_media_links
from gemini2_core.errors import ConfigurationError, InvalidInputError, MediaNotFoundError
from tests.content.samples import pdf as blank_pdf


def read(
    pdf: Path | bytes,
    root: Path,
    mode: PdfMode = "text+figures",
    on_missing: Literal["error", "alt", "skip"] = "error",
    num_workers: int | None = None,
) -> list[Document]:
    documents = list(
        read_pdf(
            pdf,
            mode=mode,
            num_workers=num_workers,
            source="manual.pdf",
            media_root=root,
            media_dir=root / "embedded",
            on_missing=on_missing,
        )
    )
    offset = 0
    for document in documents:
        assert document.offset == offset
        offset += len(document.text)
        found = [(link.start, link.end) for link in find_media_links(document.text)]
        assert found == [(link.start, link.end) for link in document.links]
    return documents


@cache
def noise(kind: str, seed: int) -> bytes:
    buffer = io.BytesIO()
    gradient = Image.linear_gradient("L").resize((60, 40)).point(lambda v: (v * seed) % 256)
    gradient.convert("RGB").save(buffer, kind)
    return buffer.getvalue()


def manual() -> bytes:
    """Two pages of text with figures, a scanned page, an empty one."""
    pdf = FPDF()
    pdf.set_title("The manual")
    line = {"new_x": "LMARGIN", "new_y": "NEXT"}
    pdf.add_page()
    pdf.set_font("helvetica", "B", 20)
    pdf.cell(0, 10, "Fuel system", **line)  # type: ignore[arg-type]
    pdf.set_font("helvetica", "", 10)
    pdf.multi_cell(0, 5, "The pump draws fuel. " * 12 + "Figure 1 shows it.", **line)  # type: ignore[arg-type]
    pdf.ln(4)
    pdf.image(io.BytesIO(noise("PNG", 3)), w=60)
    pdf.cell(0, 6, "Figure 1: Fuel pump, exploded.", **line)  # type: ignore[arg-type]
    pdf.ln(6)
    pdf.multi_cell(0, 5, "1. Close the valve.\n2. Look at ![this](x.png).", **line)  # type: ignore[arg-type]
    pdf.add_page()
    pdf.set_font("helvetica", "B", 14)
    pdf.cell(0, 8, "Removal", **line)  # type: ignore[arg-type]
    pdf.set_font("helvetica", "", 10)
    pdf.multi_cell(0, 5, "Remove the bolts first. " * 10, **line)  # type: ignore[arg-type]
    pdf.ln(4)
    pdf.image(io.BytesIO(noise("JPEG", 5)), w=60)
    pdf.ln(4)
    pdf.multi_cell(0, 5, "Then lift the pump out.", **line)  # type: ignore[arg-type]
    pdf.add_page()
    pdf.image(io.BytesIO(noise("JPEG", 7)), x=0, y=0, w=210, h=297)
    pdf.add_page()
    return bytes(pdf.output())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "manual.pdf"
    path.write_bytes(manual())
    return path


def test_text_and_figures_in_reading_order(path: Path) -> None:
    (document,) = read(path, path.parent)
    assert document.title == "The manual"
    order = [
        "# Fuel system",
        "The pump draws",
        "![Figure 1](",
        "Figure 1: Fuel pump",
        "1. Close",
        "2. Look at \\![this]",
        "Removal",
        "Remove the bolts",
        "![](",
        "Then lift",
        "![](",
    ]
    position = 0
    for text in order:
        position = document.text.index(text, position) + 1
    assert len(document.media) == 3


def test_pictures_are_the_embedded_ones(path: Path) -> None:
    (document,) = read(path, path.parent)
    first, second, third = (media.read() for media in document.media)
    assert (
        Image.open(io.BytesIO(first)).tobytes() == Image.open(io.BytesIO(noise("PNG", 3))).tobytes()
    )
    assert (second, third) == (noise("JPEG", 5), noise("JPEG", 7))


def test_a_caption_is_tied_to_its_picture(path: Path) -> None:
    (document,) = read(path, path.parent)
    picture, caption = document.elements[2:4]
    assert (picture.kind, picture.keep_with) == (ElementKind.MEDIA, "next")
    assert (caption.kind, caption.keep_with) == (ElementKind.CAPTION, "previous")
    assert picture.page == caption.page == 1
    assert picture.bbox is not None
    assert caption.bbox is not None
    assert picture.bbox[3] <= caption.bbox[1] + 1


def test_headings_are_told_by_size(path: Path) -> None:
    (document,) = read(path, path.parent)
    headings = [e.heading for e in document.elements if e.kind is ElementKind.HEADING]
    assert headings == ["Fuel system", "Removal"]


def test_auto_takes_a_scan_as_a_page_and_leaves_out_an_empty_one(path: Path) -> None:
    (document,) = read(path, path.parent, "auto")
    *figures, page = document.media
    assert [media.modality.value for media in figures] == ["IMAGE", "IMAGE"]
    assert (page.source, str(page.fragment)) == (path, "page=3")


def test_pages_are_references_in_groups(tmp_path: Path) -> None:
    path = tmp_path / "blank.pdf"
    path.write_bytes(blank_pdf(40))
    documents = read(path, tmp_path, "pages")
    assert len(documents) == 3
    told = [str(media.fragment) for document in documents for media in document.media]
    assert told == [f"page={number}" for number in range(1, 41)]
    assert [e.page for d in documents for e in d.elements] == list(range(1, 41))


def test_bytes_are_written_for_their_pages(tmp_path: Path) -> None:
    (document,) = read(blank_pdf(2), tmp_path, "pages")
    assert {media.source for media in document.media} == set((tmp_path / "embedded").iterdir())
    with pytest.raises(ConfigurationError, match="media_dir"):
        list(read_pdf(blank_pdf(2), mode="pages"))


def test_processes_change_nothing(path: Path) -> None:
    one, here, three = (read(path, path.parent, num_workers=n) for n in (1, 0, 3))
    assert one == here == three


def test_headings_go_on_in_the_next_piece(tmp_path: Path) -> None:
    pdf = FPDF()
    for page in range(20):
        pdf.add_page()
        pdf.set_font("helvetica", "", 20 if page == 0 else 10)
        pdf.cell(0, 10, "Chapter one" if page == 0 else f"Text of page {page}. " * 4)
    first, second = read(bytes(pdf.output()), tmp_path)
    assert [text for _, text in second.open_headings] == ["Chapter one"]
    assert first.elements[-1].page == 16


def test_bookmarks_tell_the_headings(tmp_path: Path) -> None:
    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("helvetica", "", 10)
    pdf.start_section("Safety first")
    pdf.cell(0, 10, "Safety first", new_x="LMARGIN", new_y="NEXT")
    pdf.ln(5)
    pdf.multi_cell(0, 5, "Wear gloves. " * 20)
    (document,) = read(bytes(pdf.output()), tmp_path)
    assert document.text.startswith("# Safety first\n\nWear gloves.")


def test_a_running_head_comes_once(tmp_path: Path) -> None:
    pdf = FPDF()
    for _ in range(3):
        pdf.add_page()
        pdf.set_font("helvetica", "", 10)
        pdf.image(io.BytesIO(noise("JPEG", 3)), x=10, y=5, w=20)
        pdf.image(io.BytesIO(noise("JPEG", 5)), x=10, y=100, w=50)
    (document,) = read(bytes(pdf.output()), tmp_path)
    assert len(document.media) == 4


def test_no_file_no_pdf_no_mode(tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError):
        read(tmp_path / "gone.pdf", tmp_path)
    with pytest.raises(ConfigurationError, match="mode"):
        read(b"", tmp_path, "text")  # type: ignore[arg-type]
    (tmp_path / "text.pdf").write_text("no PDF")
    with pytest.raises(InvalidInputError):
        read(tmp_path / "text.pdf", tmp_path)


# ---------------------------------------------------------------- hostile ones


def _pdf(*objects: bytes) -> bytes:
    out = b"%PDF-1.7\n"
    places = []
    for number, body in enumerate((b"<</Type/Catalog/Pages 2 0 R>>", *objects), start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(places) + 1
    return out + (
        b"xref\n0 %d\n0000000000 65535 f \n%btrailer\n<</Size %d/Root 1 0 R>>\n"
        b"startxref\n%d\n%%%%EOF" % (size, table, size, len(out))
    )


def _stream(data: bytes, more: bytes = b"") -> bytes:
    return b"<</Length %d%b>>\nstream\n%b\nendstream" % (len(data), more, data)


def _zeros(megabytes: int) -> bytes:
    squeeze = zlib.compressobj(9)
    pieces = [squeeze.compress(b" " * 1_000_000) for _ in range(megabytes)]
    return b"".join(pieces) + squeeze.flush()


_ONE = b"<</Type/Pages/Kids[3 0 R]/Count 1>>"
_PAGE = (
    b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 300]/Resources<</XObject<</I 5 0 R>>/Font"
    b"<</F<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>/Contents 4 0 R>>"
)
_DRAW = _stream(b"q 200 0 0 200 10 10 cm /I Do Q BT /F 12 Tf 20 250 Td (Hello there.) Tj ET")
_IMAGE = b"/Type/XObject/Subtype/Image/ColorSpace/DeviceGray/BitsPerComponent 8/Filter/FlateDecode"
_DOT = _stream(zlib.compress(b"\x80" * 100), _IMAGE + b"/Width 10/Height 10")


def _locked() -> bytes:
    pdf = FPDF()
    pdf.add_page()
    pdf.set_encryption(owner_password="o", user_password="u")
    return bytes(pdf.output())


_HOSTILE = {
    "100,000 pages claimed": _pdf(b"<</Type/Pages/Kids[3 0 R]/Count 100000>>", _PAGE, _DRAW, _DOT),
    "1,000 pages claimed": _pdf(b"<</Type/Pages/Kids[3 0 R]/Count 1000>>", _PAGE, _DRAW, _DOT),
    "a loop": _pdf(b"<</Type/Pages/Kids[2 0 R]/Count 5>>", _PAGE, _DRAW, _DOT),
    "a loop beside a page": _pdf(b"<</Type/Pages/Kids[3 0 R 2 0 R]/Count 2>>", _PAGE, _DRAW, _DOT),
    "10 gigapixels": _pdf(
        _ONE, _PAGE, _DRAW, _stream(b"x", _IMAGE + b"/Width 100000/Height 100000")
    ),
    "a bomb in a bomb": _pdf(
        _ONE,
        _PAGE,
        _stream(zlib.compress(_zeros(3000)), b"/Filter[/FlateDecode/FlateDecode]"),
        _DOT,
    ),
    "a form in itself": _pdf(
        _ONE,
        _PAGE,
        _DRAW,
        _stream(
            b"/I Do " * 1000,
            b"/Type/XObject/Subtype/Form/BBox[0 0 300 300]/Resources<</XObject<</I 5 0 R>>>>",
        ),
    ),
    "locked": _locked(),
    "cut off": manual()[:1500],
    "brackets": b"%PDF-1.7\n" + b"[" * 10_000_000,
}


@pytest.mark.parametrize("name", _HOSTILE)
def test_hostile_files_end_in_a_clear_error_or_the_policy(tmp_path: Path, name: str) -> None:
    path = tmp_path / "hostile.pdf"
    path.write_bytes(_HOSTILE[name])
    begin = time.monotonic()
    with pytest.raises(InvalidInputError, match=r"manual\.pdf"):
        read(path, tmp_path)
    read(path, tmp_path, on_missing="skip")
    read(path, tmp_path, "pages", on_missing="skip")
    assert time.monotonic() - begin < 60


def test_a_bomb_in_a_small_picture_does_no_harm(tmp_path: Path) -> None:
    image = _stream(_zeros(200), _IMAGE + b"/Width 10/Height 10")
    (document,) = read(_pdf(_ONE, _PAGE, _DRAW, image), tmp_path)
    assert document.media[0].measure().width == 10


def test_a_page_that_takes_too_long_is_given_up(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pdf_workers._end_idle()
    monkeypatch.setattr(pdf_workers, "PAGE_SECONDS", 0.001)
    with pytest.raises(InvalidInputError, match="to read"):
        read(path, path.parent)
    monkeypatch.undo()
    assert read(path, path.parent)
