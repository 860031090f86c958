"""Nothing of real READMEs and PDFs is lost, whatever their authors wrote."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from io import BytesIO
from pathlib import Path
from urllib.parse import urldefrag

import pytest
from fpdf import FPDF
from lxml import html
from markdown_it import MarkdownIt
from PIL import Image

from gemini2_core.content import Content
from gemini2_core.content.chunking import (
    Chunk,
    ChunkSettings,
    Document,
    ElementKind,
    OnMissing,
    PdfMode,
    chunk_documents,
    read_markdown,
    read_pdf,
)
from gemini2_core.content.limits import check_limits
from gemini2_core.model import Backend, Modality, count_tokens, document_prompt, model_spec

_REPO = Path(__file__).parents[3]
_CORPUS = _REPO / "cookbooks" / "corpus"
_SPEC = model_spec("gemini-embedding-2")
_BUDGETS = (120, 2048)
#: What is longer than the budget alone makes a longer chunk.
_ATOMS = (ElementKind.CODE, ElementKind.TABLE)


@cache
def _readmes() -> dict[str, str]:
    """The long descriptions in Markdown of all that is installed here."""
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        about = distribution.metadata.json
        kind, text = about.get("description_content_type"), about.get("description")
        if str(kind).startswith("text/markdown") and isinstance(text, str) and text.strip():
            found[str(about["name"])] = text
    return dict(sorted(found.items()))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def _check(
    documents: Sequence[Document], settings: ChunkSettings, *, allow_remote: bool = False
) -> list[Chunk]:
    """What must hold of all chunks of a source."""
    chunks = list(chunk_documents(documents, settings))
    text = "".join(document.text for document in documents)
    assert not text.strip() or chunks
    spans = [chunk.span for chunk in chunks]
    assert "".join(text[start:end] for start, end in spans) == (text if chunks else "")
    assert [medium.source for chunk in chunks for medium in chunk.media] == [
        medium.source for document in documents for medium in document.media
    ]
    places = [
        (document.offset + link.start, document.offset + link.end)
        for document in documents
        for link in document.links
    ]
    for index, chunk in enumerate(chunks):
        assert chunk.index == index
        _check_text(chunk, text, places)
        _check_size(chunk, documents, settings.max_tokens)
        assert chunk.media_root is not None
        read = Content.from_markdown(
            chunk.text, media_root=chunk.media_root, allow_remote=allow_remote
        )
        assert [(m.source, m.fragment) for m in read.media] == [
            (m.source, m.fragment) for m in chunk.media
        ]
    assert len({chunk.id for chunk in chunks}) == len(chunks)
    return chunks


def _check_text(chunk: Chunk, text: str, places: Sequence[tuple[int, int]]) -> None:
    """A chunk says every word of its span, and links what is linked there."""
    position, end = chunk.span
    inside = [place for place in places if position <= place[0] < end]
    assert len(inside) == len(chunk.media)
    pieces: list[str] = []
    for link in inside:
        pieces.append(text[position : link[0]])
        position = link[1]
    pieces.append(text[position:end])
    said = "\n".join(part for part in chunk.content.parts if isinstance(part, str))
    assert said.startswith(chunk.repeated)
    assert _words(said[len(chunk.repeated) :]) == _words("\n".join(pieces))


def _check_size(chunk: Chunk, documents: Sequence[Document], budget: int) -> None:
    images = [m for m in chunk.media if m.remote or m.modality is Modality.IMAGE]
    assert len(images) <= 6
    if not any(medium.remote for medium in chunk.media):  # the rest is known when it is fetched
        check_limits(chunk.content, _SPEC, Backend.GEMINI_API, index=chunk.index)
    texts = "".join(part for part in chunk.content.parts if isinstance(part, str))
    tokens = count_tokens(document_prompt(chunk.title) + texts)
    assert tokens <= _SPEC.max_input_tokens
    if tokens <= budget:
        return
    kinds = {
        element.kind
        for document in documents
        for element in document.elements
        if document.offset + element.start < chunk.span[1]
        and chunk.span[0] < document.offset + element.end
    }
    one_sentence = not re.search(r"(?<![0-9])[.!?]\s+[A-Z]", texts[len(chunk.repeated) :])
    assert one_sentence or kinds & set(_ATOMS) or "```" in texts, (chunk.text, tokens)


def test_there_is_a_collection_of_readmes() -> None:
    assert len(_readmes()) >= 30
    assert sum("![" in text or "<img" in text for text in _readmes().values()) >= 20


@pytest.mark.parametrize("name", _readmes())
def test_a_readme_is_chunked_without_loss(name: str, tmp_path: Path) -> None:
    text = _readmes()[name]
    remote = list(
        read_markdown(
            text,
            source=name,
            media_root=tmp_path,
            media_dir=tmp_path,
            on_missing="skip",
            allow_remote=True,
        )
    )
    found = [str(m.source) for document in remote for m in document.media if m.remote]
    assert found == _pictures(text)
    policies: tuple[OnMissing, ...] = ("alt", "skip")
    for policy in policies:
        plain = list(
            read_markdown(
                text, source=name, media_root=tmp_path, media_dir=tmp_path, on_missing=policy
            )
        )
        assert not any(medium.remote for document in plain for medium in document.media)
        for budget in _BUDGETS:
            _check(plain, ChunkSettings(max_tokens=budget))
    for budget in _BUDGETS:
        _check(remote, ChunkSettings(max_tokens=budget), allow_remote=True)


def _pictures(text: str) -> list[str]:
    """The addresses of pictures as a renderer and an HTML parser see them."""
    parser = MarkdownIt("commonmark").enable("table")
    page = html.fromstring(f"<body>{parser.render(text)}</body>")
    found = [urldefrag(picture.get("src", "")).url for picture in page.iter("img")]
    return [address for address in found if address.startswith("http")]


@pytest.mark.parametrize(
    "path", [_REPO / "README.md", *sorted(_CORPUS.glob("*.md"))], ids=lambda path: path.name
)
def test_our_own_markdown_is_chunked_without_loss(path: Path) -> None:
    text = path.read_text()
    documents = list(
        read_markdown(text, source=path.name, media_root=path.parent, on_missing="alt")
    )
    if path.parent == _CORPUS:  # its media are all there, so nothing is written otherwise
        assert "".join(document.text for document in documents) == text
    for budget in _BUDGETS:
        _check(documents, ChunkSettings(max_tokens=budget))


def _pdf(pages: int, sentences: int, pictures: int) -> tuple[bytes, list[str]]:
    """Pages of numbered sentences, with pictures between them; and the sentences."""
    pdf = FPDF()
    pdf.set_font("helvetica", "", 10)
    said: list[str] = []
    for page in range(1, pages + 1):
        pdf.add_page()
        for number in range(1, sentences + 1):
            said.append(f"Sentence {number} of page {page} names part {page * number}.")
            pdf.multi_cell(0, 6, said[-1], new_x="LMARGIN", new_y="NEXT")
            if number <= pictures:
                buffer = BytesIO()
                Image.new("RGB", (40, 30), (page, 40 * number, 90)).save(buffer, "PNG")
                pdf.image(buffer, w=40)
                pdf.multi_cell(
                    0, 6, f"Figure {number}: Part {page}-{number}.", new_x="LMARGIN", new_y="NEXT"
                )
    return bytes(pdf.output()), said


_PDFS = {
    "pictures": (3, 5, 3),
    "long text": (25, 40, 0),
    "no text": (9, 0, 0),
    "more pictures than a chunk takes": (4, 5, 5),
}
_MODES: tuple[PdfMode, ...] = ("pages", "text+figures", "auto")


@pytest.mark.parametrize("mode", _MODES)
@pytest.mark.parametrize("name", _PDFS)
def test_a_pdf_is_chunked_without_loss(name: str, mode: PdfMode, tmp_path: Path) -> None:
    pages, sentences, pictures = _PDFS[name]
    data, said = _pdf(pages, sentences, pictures)
    documents = _read_pdf(data, mode, tmp_path)
    media = [medium for document in documents for medium in document.media]
    if mode == "pages":
        assert [str(m.fragment) for m in media] == [f"page={n + 1}" for n in range(pages)]
    else:  # empty pages are left out
        assert len(media) == pages * pictures
        text = " ".join("".join(document.text for document in documents).split())
        positions = [text.find(sentence) for sentence in said]
        assert -1 not in positions
        assert positions == sorted(positions)
    for budget in _BUDGETS:
        _check(documents, ChunkSettings(max_tokens=budget))


@pytest.mark.parametrize("mode", _MODES)
@pytest.mark.parametrize("path", sorted(_CORPUS.glob("*.pdf")), ids=lambda path: path.name)
def test_our_own_pdfs_are_chunked_without_loss(path: Path, mode: PdfMode, tmp_path: Path) -> None:
    documents = _read_pdf(path.read_bytes(), mode, tmp_path)
    assert documents
    for budget in _BUDGETS:
        assert _check(documents, ChunkSettings(max_tokens=budget))


def _read_pdf(data: bytes, mode: PdfMode, folder: Path) -> list[Document]:
    (folder / "manual.pdf").write_bytes(data)
    return list(
        read_pdf(
            folder / "manual.pdf",
            mode=mode,
            num_workers=0,
            media_root=folder,
            media_dir=folder / "embedded",
        )
    )
