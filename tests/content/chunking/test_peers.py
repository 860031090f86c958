"""What other parsers keep of a picture, beside what ours keep: measured, not said.

A node carries a picture if a multimodal model could be given it: as the node's own resource, or
as a link that names a file and its digest.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.node_parser import (
    HTMLNodeParser,
    MarkdownNodeParser,
    NodeParser,
    SentenceSplitter,
)
from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageDocument,
    ImageNode,
    MediaResource,
    Node,
)

from gemini2_core.content import Content, find_media_links
from gemini2_core.content.chunking.docling_reader import read_docling
from gemini2_core.content.chunking.unstructured_reader import read_unstructured
from llama_index_gemini2 import MultimodalNodeParser
from tests.samples import png

DATA = Path(__file__).parent / "data"
WORDS = "The pump turns in its housing and feeds the rail with fuel. " * 60
LINK = "![Exploded view](pump.png)"
MARKDOWN = f"# Pump\n\n{WORDS}\n\nIt is shown here:\n\n{LINK}\n\nFigure 1.\n\n## Valve\n\n{WORDS}"
HTML = (
    f"<html><body><h1>Pump</h1><p>{WORDS}</p><figure><img src='pump.png' alt='Exploded view'>"
    f"<figcaption>Figure 1</figcaption></figure><p>{WORDS}</p></body></html>"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pump.png").write_bytes(png(200))
    return tmp_path


def ours(folder: Path) -> MultimodalNodeParser:
    return MultimodalNodeParser(media_root=folder, media_dir=folder / "media", max_tokens=512)


def splitter() -> SentenceSplitter:
    return SentenceSplitter(chunk_size=256, chunk_overlap=0)


def carried(parser: NodeParser, document: Document, folder: Path) -> list[int]:
    """How many pictures each node carries."""
    return [_pictures(node, folder) for node in parser.get_nodes_from_documents([document])]


def _pictures(node: BaseNode, folder: Path) -> int:
    held = isinstance(node, Node) and node.image_resource is not None
    held = held or (isinstance(node, ImageNode) and bool(node.image_path or node.image))
    media = Content.of(node.get_content(), media_root=folder).media
    return held + sum(medium.digest is not None for medium in media)


def test_a_document_with_text_and_an_image_loses_the_image_elsewhere(folder: Path) -> None:
    document = Document(
        text_resource=MediaResource(text=WORDS * 3),
        image_resource=MediaResource(path=folder / "pump.png", mimetype="image/png"),
    )
    assert sum(carried(splitter(), document, folder)) == 0
    assert sum(carried(MarkdownNodeParser(), document, folder)) == 0
    assert carried(HTMLNodeParser(), document, folder) == []  # not even its text
    kept = carried(ours(folder), document, folder)
    assert sum(kept) == 1
    assert len(kept) > 1


def test_an_image_document_is_copied_to_every_node_elsewhere(folder: Path) -> None:
    path = str(folder / "pump.png")
    document = ImageDocument(text=WORDS * 3, image_path=path, image_mimetype="image/png")
    copies = carried(splitter(), document, folder)
    assert copies == [1] * len(copies)
    assert len(copies) > 5
    assert sum(carried(ours(folder), document, folder)) == 1


def test_html_loses_its_pictures_elsewhere(folder: Path) -> None:
    document = Document(text=HTML, metadata={"file_type": "text/html"})
    nodes = HTMLNodeParser().get_nodes_from_documents([document])
    assert nodes
    assert not any("pump.png" in node.get_content() for node in nodes)
    assert sum(carried(ours(folder), document, folder)) == 1


@pytest.mark.parametrize("parser", [splitter(), MarkdownNodeParser()], ids=["sentence", "markdown"])
def test_a_picture_in_markdown_is_but_text_elsewhere(parser: NodeParser, folder: Path) -> None:
    document = Document(text=MARKDOWN, id_="manual")
    nodes = parser.get_nodes_from_documents([document])
    assert sum(LINK in node.get_content() for node in nodes) == 1
    assert sum(carried(parser, document, folder)) == 0
    assert sum(carried(ours(folder), document, folder)) == 1


def test_a_changed_picture_goes_unnoticed_elsewhere(folder: Path) -> None:
    document = Document(text=MARKDOWN, id_="manual")

    def hashes(parser: NodeParser) -> list[str]:
        return [node.hash for node in parser.get_nodes_from_documents([document])]

    parsers: Sequence[NodeParser] = (splitter(), MarkdownNodeParser(), ours(folder))
    before = [hashes(parser) for parser in parsers]
    (folder / "pump.png").write_bytes(png(0, 200))
    after = [hashes(parser) for parser in parsers]
    assert before[:2] == after[:2]
    changed = [old != new for old, new in zip(before[2], after[2], strict=True)]
    assert sum(changed) == 1


def test_a_link_is_cut_in_two_elsewhere(folder: Path) -> None:
    link = f"![The pump. {'Its lid is off. ' * 20}](pump.png)"
    document = Document(text=f"Look at this:\n\n{link}\n\nIt is the pump.")
    small = SentenceSplitter(chunk_size=40, chunk_overlap=0)
    texts = [node.get_content() for node in small.get_nodes_from_documents([document])]
    assert not any(find_media_links(text) for text in texts)
    assert any("![" in text for text in texts)
    parser = MultimodalNodeParser(media_root=folder, max_tokens=40)
    assert sum(carried(parser, document, folder)) == 1


def test_unstructured_s_chunks_hold_their_pictures_packed_away(folder: Path) -> None:
    chunks: list[dict[str, Any]] = json.loads((DATA / "unstructured_chunks.json").read_text())
    assert not any("image_base64" in chunk["metadata"] for chunk in chunks)
    (document,) = read_unstructured(chunks, media_root=folder, media_dir=folder / "media")
    assert len(document.media) == 2


def test_docling_s_chunker_keeps_the_caption_and_drops_the_picture(folder: Path) -> None:
    document_module = pytest.importorskip("docling_core.types.doc")
    chunker_module = pytest.importorskip("docling_core.transforms.chunker.hierarchical_chunker")
    raw = json.loads((DATA / "docling.json").read_text())
    document = document_module.DoclingDocument.model_validate(raw)
    texts = [chunk.text for chunk in chunker_module.HierarchicalChunker().chunk(document)]
    assert any("Figure 1: the pump" in text for text in texts)
    # The one link that is found is none: the document's text says "![x](y.png)".
    links = [link.target for text in texts for link in find_media_links(text)]
    assert links == ["y.png"]
    (read,) = read_docling(raw, media_root=folder, media_dir=folder / "media")
    assert len(read.media) == len(raw["pictures"])
