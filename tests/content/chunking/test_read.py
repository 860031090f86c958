from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gemini2_core.content import Media
from gemini2_core.content.chunking import Document
from gemini2_core.content.chunking.read import read
from gemini2_core.errors import InvalidInputError, MediaAccessError, MediaNotFoundError
from tests.content.samples import pdf, picture, wav

DATA = Path(__file__).parent / "data"
PAGE = "<!DOCTYPE html><title>T</title><h1>Pump</h1><p>One.<img src='a.png' alt='red'>"


def read_one(value: Any, folder: Path, **options: Any) -> Document:
    options = {"media_root": folder, "media_dir": folder / "media", **options}
    (document,) = read(value, **options)
    return document


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.png").write_bytes(picture())
    return tmp_path


@pytest.mark.parametrize(
    ("name", "data", "kinds"),
    [
        ("a.md", b"# Pump\n\n![x](a.png)\n", ["heading", "media"]),
        ("README", b"# Pump\n\n![x](a.png)\n", ["heading", "media"]),
        ("bom.md", "\ufeff# Pump\n".encode(), ["heading"]),
        ("wide.txt", "# Pump\n".encode("utf-16"), ["heading"]),
        ("a.html", b"<h1>Pump</h1><img src=a.png>", ["heading", "media"]),
        ("page", PAGE.encode(), ["heading", "paragraph"]),
        (
            "drawing.md",
            b"# Pump\n\n<svg><path/></svg>\n\ntext\n",
            ["heading", "paragraph", "paragraph"],
        ),
        ("b.png", picture(), ["media"]),
        ("no-suffix", picture("JPEG"), ["media"]),
        ("wrong.txt", picture(), ["media"]),
        ("a.wav", wav(), ["media"]),
        ("d.json", (DATA / "docling.json").read_bytes(), None),
        ("u.json", (DATA / "unstructured.json").read_bytes(), None),
        ("other.json", b'{"a": 1}', ["paragraph"]),
    ],
)
def test_a_file_is_what_its_content_says(
    name: str, data: bytes, kinds: list[str] | None, folder: Path
) -> None:
    path = folder / name
    path.write_bytes(data)
    document = read_one(path, folder)
    assert document.source == name
    found = [str(one.kind) for one in document.elements]
    assert found == kinds if kinds is not None else "table" in found
    # The same bytes without a name are the same document, but for what only a name tells.
    if not name.endswith((".html", ".wav")):
        assert [str(one.kind) for one in read_one(data, folder).elements] == found


def test_a_pdf_is_read_page_by_page(folder: Path) -> None:
    (folder / "m.pdf").write_bytes(pdf(3))
    for value in (folder / "m.pdf", Media.from_path(folder / "m.pdf")):
        documents = list(read(value, media_root=folder, pdf_mode="pages"))
        media = [medium for document in documents for medium in document.media]
        assert [str(medium.fragment) for medium in media] == ["page=1", "page=2", "page=3"]


def test_a_long_sound_is_cut_wherever_it_comes_from(folder: Path) -> None:
    (folder / "long.wav").write_bytes(wav(200))
    alone = read_one(folder / "long.wav", folder)
    assert [one.seconds for one in alone.elements] == [
        (0, 60),
        (60, 120),
        (120, 180),
        (180, 200),
    ]
    among = read_one(["Listen:", folder / "long.wav"], folder, window=100)
    assert [one.seconds for one in among.elements] == [None, (0, 100), (100, 200)]
    assert "long.wav#t=100,200" in among.text


def test_a_str_is_markdown_and_never_a_path(folder: Path) -> None:
    assert read_one(str(folder / "a.png"), folder).media == ()
    assert len(read_one("![x](a.png)", folder).media) == 1


def test_a_str_that_begins_as_a_page_or_is_said_to_be_one_is_html(folder: Path) -> None:
    assert read_one(PAGE, folder).title == "T"
    assert read_one(f"<!-- c -->\n{PAGE}", folder).title == "T"
    inner = "<h1>Pump</h1><img src=a.png>"
    assert len(read_one(inner, folder, mime_type="text/html; charset=utf-8").media) == 1
    # A loader has made text of it already, and says where it comes from.
    assert read_one("# Pump\n", folder, mime_type="text/html").elements[0].heading == "Pump"
    assert read_one("# Pump\n", folder, mime_type="application/pdf").elements[0].heading == "Pump"


@pytest.mark.parametrize("name", ["docling", "unstructured", "unstructured_chunks"])
def test_json_of_docling_and_unstructured_is_known_in_every_form(name: str, folder: Path) -> None:
    text = (DATA / f"{name}.json").read_text()
    raw = json.loads(text)
    expected = read_one(raw, folder).text
    assert "Fuel system" in expected
    for form in (text, f"\n{json.dumps(raw, indent=2)}", text.encode(), DATA / f"{name}.json"):
        assert read_one(form, folder, source="same").text == expected


def test_a_docling_document_itself_is_taken(folder: Path) -> None:
    class DoclingDocument:
        def export_to_dict(self) -> Any:
            return json.loads((DATA / "docling.json").read_text())

    assert read_one(DoclingDocument(), folder).title == "The manual"


def test_everything_else_is_blocks(folder: Path) -> None:
    for value in (["a", folder / "a.png"], ["a", {"type": "text", "text": "b"}], ("a", "b")):
        assert len(read_one(value, folder).elements) == 2
    assert len(read_one((picture(), "image/png"), folder).media) == 1
    assert read_one((b"# Pump", "text/markdown"), folder).elements[0].level == 1
    assert len(read_one(Media.from_path(folder / "a.png", alt="red"), folder).media) == 1
    with pytest.raises(InvalidInputError, match="int is no content"):
        read_one(3, folder)


def test_links_of_a_file_start_in_its_folder(folder: Path) -> None:
    (folder / "part").mkdir()
    (folder / "part" / "b.png").write_bytes(picture())
    (folder / "part" / "a.md").write_text("![x](b.png) ![y](../a.png)")
    document = read_one(folder / "part" / "a.md", folder)
    assert document.source == "part/a.md"
    names = [Path(str(medium.source)).relative_to(folder.resolve()) for medium in document.media]
    assert names == [Path("part/b.png"), Path("a.png")]


def test_policies_are_passed_on_to_every_reader(folder: Path) -> None:
    page = "<html><p>a<img src=gone.png alt=lost>"
    for text in ("a ![lost](gone.png)", page, ["a", "![lost](gone.png)"]):
        with pytest.raises(MediaNotFoundError, match=r"gone\.png"):
            read_one(text, folder)
        assert "lost" in read_one(text, folder, on_missing="alt").text
        assert "lost" not in read_one(text, folder, on_missing="skip").text
        with pytest.raises(InvalidInputError, match="media_root"):
            read_one(text, folder, media_root=None, media_dir=None)
    for text in ("![x](https://e.org/a.png)", "<html><img src=https://e.org/a.png>"):
        with pytest.raises(MediaAccessError, match="allow_remote"):
            read_one(text, folder)
        assert read_one(text, folder, allow_remote=True).media[0].remote
    for value in (folder / "a.png", "![x](a.png)", "<html><img src=a.png>", [folder / "a.png"]):
        with pytest.raises(InvalidInputError, match="which the model doesn't read"):
            read_one(value, folder, mime_types={"image/jpeg"})


def test_title_and_metadata_are_passed_on_to_every_reader(folder: Path) -> None:
    (folder / "m.pdf").write_bytes(pdf(1))
    values = [
        "text",
        PAGE,
        folder / "a.png",
        ["a"],
        json.loads((DATA / "docling.json").read_text()),
    ]
    for value in values:
        document = read_one(value, folder, title="Mine", metadata={"k": 1}, source="S")
        assert (document.title, document.metadata["k"], document.source) == ("Mine", 1, "S")
    (page,) = read(folder / "m.pdf", media_root=folder, title="Mine", pdf_mode="pages")
    assert (page.title, page.source) == ("Mine", "m.pdf")


def test_an_empty_text_is_no_document_or_an_empty_one(folder: Path) -> None:
    (folder / "empty.md").write_bytes(b"")
    for value in ("", b"", folder / "empty.md"):
        assert "".join(document.text for document in read(value)) == ""


def test_what_can_t_be_read_is_named(folder: Path) -> None:
    (folder / "old.md").write_bytes("Füllstand".encode("latin-1"))
    with pytest.raises(InvalidInputError, match=r"old\.md isn't UTF-8"):
        read_one(folder / "old.md", folder)
    with pytest.raises(MediaNotFoundError, match=r"gone\.md"):
        read_one(folder / "gone.md", folder)
    with pytest.raises(MediaAccessError, match="directory"):
        read_one(folder, folder)
    (folder / "odd.bin").write_bytes(b"\x00\x01\x02\x03" * 30)
    with pytest.raises(InvalidInputError, match=r"odd\.bin"):
        read_one(folder / "odd.bin", folder)
