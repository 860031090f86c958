"""Documents into interleaved nodes, through pipelines, docstores, caches and indices."""

from __future__ import annotations

import json
import pickle
import re
import uuid
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import (
    Document,
    SimpleDirectoryReader,
    StorageContext,
    VectorStoreIndex,
    load_index_from_storage,
)
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.postprocessor import PrevNextNodePostprocessor
from llama_index.core.schema import (
    BaseNode,
    ImageDocument,
    MediaResource,
    MetadataMode,
    NodeWithScore,
    ObjectType,
    TextNode,
)
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.storage.docstore.utils import doc_to_json, json_to_doc
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index.core.vector_stores.utils import node_to_metadata_dict

from gemini2_core.content import find_media_links
from gemini2_core.emulator import Emulator
from gemini2_core.errors import ConfigurationError, MediaNotFoundError
from llama_index_gemini2 import (
    Gemini2Embedding,
    MultimodalNodeParser,
    file_document,
    node_blocks,
)
from tests.llama_index.conftest import Make
from tests.samples import png, wav
from tests.wire import kinds, sent

MANUAL = """\
# Fuel system

Put the battery switch off before any work.

## Pump

Replace the diaphragm every 500 hours.

![Fuel pump, exploded view](figures/pump.png)

The bolts are tightened crosswise.

## Strainer

Clean the bowl every 50 hours, as shown:

![Fuel strainer, section](figures/strainer.png)

Listen to the engine at idle: ![idle](idle.wav)
"""


@pytest.fixture
def manual(tmp_path: Path) -> Path:
    """A folder with a manual, two figures and a sound."""
    root = tmp_path / "manual"
    (root / "figures").mkdir(parents=True)
    (root / "figures" / "pump.png").write_bytes(png(255))
    (root / "figures" / "strainer.png").write_bytes(png(0, 0, 255))
    (root / "idle.wav").write_bytes(wav())
    (root / "manual.md").write_text(MANUAL, encoding="utf-8")
    return root


def _parser(manual: Path, **options: Any) -> MultimodalNodeParser:
    return MultimodalNodeParser(**{"media_root": manual, "max_tokens": 64, **options})


def _document(**options: Any) -> Document:
    metadata = {"source": "manual.md", "revision": 7}
    return Document(**{"text": MANUAL, "metadata": metadata, "id_": "the-manual", **options})


def _illustrated(manual: Path, figure: str, text: str, **options: Any) -> Document:
    """A document with a picture as a resource, as the issue has it."""
    return Document(
        text=text, image_resource=MediaResource(path=manual / "figures" / figure), **options
    )


def _targets(nodes: list[Any]) -> list[str]:
    return [link.target for n in nodes for link in find_media_links(n.get_content())]


def _text(node: BaseNode) -> TextNode:
    assert type(node) is TextNode
    return node


def test_every_medium_is_in_one_node_in_order_and_no_text_is_lost(manual: Path) -> None:
    nodes = _parser(manual).get_nodes_from_documents([_document()])
    assert len(nodes) > 1
    assert _targets(nodes) == ["figures/pump.png", "figures/strainer.png", "idle.wav"]
    spans = [(_text(node).start_char_idx, _text(node).end_char_idx) for node in nodes]
    assert all(before[1] == after[0] for before, after in pairwise(spans))
    assert "".join(MANUAL[start:end] for start, end in spans) == MANUAL
    without = re.compile(r' "sha256:[0-9a-f]{64}"')
    for node, (start, end) in zip(nodes, spans, strict=True):
        assert without.sub("", node.get_content()) == MANUAL[start:end].strip()


def test_metadata_are_flat_and_keep_the_documents_own(manual: Path) -> None:
    document = _document(excluded_embed_metadata_keys=["revision"], metadata_separator=" | ")
    nodes = _parser(manual).get_nodes_from_documents([document])
    for number, node in enumerate(nodes):
        node_to_metadata_dict(node, flat_metadata=True)  # what Chroma's store checks
        assert all(value is not None for value in node.metadata.values())
        assert node.metadata["source"] == "manual.md"
        assert node.metadata["revision"] == 7
        assert node.metadata["chunk_index"] == number
        assert node.metadata_separator == " | "
    strainer = next(node for node in nodes if "strainer.png" in node.get_content())
    trail = "Fuel system > Strainer"
    assert strainer.metadata["title"] == strainer.metadata["headings"] == trail
    assert strainer.get_metadata_str(MetadataMode.EMBED) == f"title: {trail}"
    assert "sha256" not in strainer.get_metadata_str(MetadataMode.LLM)
    medium = json.loads(strainer.metadata["media"])[0]
    assert (medium["reference"], medium["width"]) == ("figures/strainer.png", 8)
    alone = _parser(manual, include_metadata=False).get_nodes_from_documents([document])
    assert all("revision" not in node.metadata for node in alone)


def test_the_title_is_told_to_the_model_in_its_prompt(
    make: Make, manual: Path, emulator: Emulator
) -> None:
    nodes = _parser(manual).get_nodes_from_documents([_document(metadata={})])
    make(media_root=manual)(nodes)
    prompts = [kinds(parts)[0] for parts in sent(emulator)]
    assert any(p.startswith("title: Fuel system > Strainer | text: ## Strainer") for p in prompts)


def test_relationships_lead_through_the_document_and_to_it(manual: Path) -> None:
    document = _document()
    nodes = _parser(manual).get_nodes_from_documents([document, _document(id_="other")])
    for node in nodes:
        assert node.source_node is not None
        assert node.source_node.node_id == node.ref_doc_id
        assert node.source_node.node_type == ObjectType.DOCUMENT
    first = [node for node in nodes if node.ref_doc_id == "the-manual"]
    assert first[0].source_node is not None
    assert first[0].source_node.hash == document.hash
    for before, after in pairwise(first):
        assert before.next_node is not None
        assert after.prev_node is not None
        assert (before.next_node.node_id, before.next_node.hash) == (after.node_id, after.hash)
        assert (after.prev_node.node_id, after.prev_node.hash) == (before.node_id, before.hash)
    assert first[0].prev_node is None
    assert first[-1].next_node is None
    apart = _parser(manual, include_prev_next_rel=False).get_nodes_from_documents([document])
    assert all(node.next_node is None for node in apart)


def test_both_gives_chunks_and_their_parts(manual: Path) -> None:
    parser = _parser(manual, granularity="both")
    nodes = {node.node_id: node for node in parser.get_nodes_from_documents([_document()])}
    wholes = [node for node in nodes.values() if node.parent_node is None]
    parts = [node for node in nodes.values() if node.parent_node is not None]
    assert _targets(wholes) == _targets(parts) != []
    for part in parts:
        assert part.parent_node is not None
        parent = nodes[part.parent_node.node_id]
        assert part.node_id in [child.node_id for child in parent.child_nodes or []]
    for level in (wholes, parts):
        for before, after in pairwise(level):
            assert before.next_node is not None
            assert before.next_node.node_id == after.node_id
    # A picture as a part of its own is embedded bare.
    alone = [part for part in parts if part.get_content().startswith("![Fuel")]
    assert {part.get_content(MetadataMode.EMBED)[:2] for part in alone} <= {"![", "re"}


async def test_every_door_makes_the_same_nodes(manual: Path) -> None:
    parser = _parser(manual)
    nodes = parser.get_nodes_from_documents([_document()])
    assert parser([_document()]) == nodes
    assert await parser.acall([_document()]) == nodes
    assert await parser.aget_nodes_from_documents([_document()]) == nodes
    assert pickle.loads(pickle.dumps(parser))([_document()]) == nodes
    again = MultimodalNodeParser.from_dict(parser.to_dict())
    assert again([_document()]) == nodes
    assert [json_to_doc(doc_to_json(node)) for node in nodes] == nodes


def test_ids_stay_and_a_changed_picture_makes_another(manual: Path) -> None:
    parser = _parser(manual)
    first = parser([_document()])
    assert all(str(uuid.UUID(node.node_id)) == node.node_id for node in first)
    (manual / "figures" / "strainer.png").write_bytes(png(1, 2, 3))
    again = parser([_document()])
    changed = [
        (a.node_id, a.hash) != (b.node_id, b.hash) for a, b in zip(first, again, strict=True)
    ]
    assert changed == ["strainer.png" in node.get_content() for node in first]
    mine = _parser(manual, id_func=lambda number, document: f"{document.node_id}-{number}")
    assert [n.node_id for n in mine([_document()])][:2] == ["the-manual-0", "the-manual-1"]


def test_alike_documents_of_one_source_keep_ids_of_their_own(manual: Path) -> None:
    blank = [Document(text="This page is left blank.", metadata={"source": "a"}) for _ in range(3)]
    nodes = _parser(manual)(blank)
    assert len({node.node_id for node in nodes}) == 3
    assert [node.node_id for node in _parser(manual)(blank)] == [node.node_id for node in nodes]


def test_a_directory_reader_s_documents_find_their_pictures(manual: Path) -> None:
    (manual / "chapters").mkdir()
    chapter = manual / "chapters" / "28.md"
    chapter.write_text("# Pump\n\n![pump](../figures/pump.png)\n", encoding="utf-8")
    documents = SimpleDirectoryReader(input_files=[chapter]).load_data()
    # Its Markdown reader takes the documents apart by headings, and leaves links as they are.
    (node,) = (n for n in _parser(manual)(documents) if "![" in n.get_content())
    assert _targets([node]) == ["figures/pump.png"]
    assert node.metadata["source"] == "chapters/28.md"
    assert node.metadata["file_path"] == str(chapter)
    assert "source" not in node.get_metadata_str(MetadataMode.LLM)


def test_a_picture_of_the_document_s_own_comes_after_its_text(manual: Path) -> None:
    (node,) = _parser(manual)([_illustrated(manual, "pump.png", "The pump.", id_="a")])
    assert [block.block_type for block in node_blocks(node, media_root=manual)] == ["text", "image"]
    assert _targets([node]) == ["figures/pump.png"]
    old = ImageDocument(text="The pump.", image_path=str(manual / "figures" / "pump.png"), id_="a")
    assert [n.get_content() for n in _parser(manual)([old])] == [node.get_content()]


def test_bytes_are_written_to_the_media_dir(manual: Path) -> None:
    document = Document(text="Held.", image_resource=MediaResource(data=png(1, 2, 3)))
    with pytest.raises(ConfigurationError, match="media_dir"):
        _parser(manual)([document])
    (node,) = _parser(manual, media_dir=manual / "held")([document])
    (target,) = _targets([node])
    assert (manual / target).read_bytes() == png(1, 2, 3)


def test_files_are_read_by_reference(manual: Path) -> None:
    parser = _parser(manual)
    document = file_document(manual / "manual.md", revision=7)
    assert document.id_ == file_document(manual / "manual.md").id_
    nodes = parser([document])
    assert _targets(nodes) == ["figures/pump.png", "figures/strainer.png", "idle.wav"]
    assert {node.metadata["revision"] for node in nodes} == {7}
    assert json_to_doc(doc_to_json(document)) == document
    (picture,) = parser([file_document(manual / "figures" / "pump.png")])
    assert _targets([picture]) == ["figures/pump.png"]
    before = document.hash
    (manual / "manual.md").write_text("# Other\n", encoding="utf-8")
    assert file_document(manual / "manual.md", revision=7).hash != before


def test_a_long_recording_is_cut_by_reference(manual: Path) -> None:
    (manual / "long.wav").write_bytes(wav(200))
    nodes = _parser(manual, window=80, window_overlap=10)([file_document(manual / "long.wav")])
    assert _targets(nodes)[:2] == ["long.wav#t=0,80", "long.wav#t=70,150"]
    assert [node.metadata["seconds_start"] for node in nodes][:2] == [0, 70]
    sound = Document(text="At idle.", audio_resource=MediaResource(path=manual / "long.wav"))
    assert len(_targets(_parser(manual, window=80)([sound]))) == 3


def test_errors_name_the_document_its_source_and_the_line(manual: Path) -> None:
    bad = Document(text="One.\n\n![gone](gone.png)", metadata={"source": "bad.md"}, id_="the-bad")
    with pytest.raises(MediaNotFoundError, match=r"input 1: bad\.md, line 3: .*gone\.png") as told:
        _parser(manual)([_document(), bad])
    assert told.value.__notes__ == ["input 1 is the document the-bad"]
    (node,) = _parser(manual, on_missing="alt")([bad])
    assert node.get_content() == "One.\n\ngone"
    with pytest.raises(ConfigurationError, match="max_tokens"):
        _parser(manual, max_tokens=100_000)


def test_callbacks_are_told(manual: Path) -> None:
    handler = LlamaDebugHandler(print_trace_on_end=False)
    parser = _parser(manual, callback_manager=CallbackManager([handler]))
    parser.get_nodes_from_documents([_document()])
    assert len(handler.get_event_pairs(CBEventType.NODE_PARSING)) == 1


# Pages

PAGE = (
    "<html><body><h1>Pump</h1><p>Replace it every 500 hours.</p>"
    '<figure><img src="figures/pump.png" alt="Fuel pump"><figcaption>Fuel pump</figcaption>'
    "</figure><p>Tighten the bolts.</p></body></html>"
)


def test_a_page_keeps_its_pictures(manual: Path) -> None:
    page = Document(text_resource=MediaResource(text=PAGE, mimetype="text/html"))
    (node,) = _parser(manual, max_tokens=2048).get_nodes_from_documents([page])
    assert _targets([node]) == ["figures/pump.png"]
    fragment = Document(text=PAGE[12:-14], metadata={"file_type": "text/html"})
    (node,) = _parser(manual, max_tokens=2048).get_nodes_from_documents([fragment])
    assert _targets([node]) == ["figures/pump.png"]


# Pipelines


def _pipeline(make: Make, manual: Path, **options: Any) -> IngestionPipeline:
    return IngestionPipeline(
        transformations=[_parser(manual), make(media_root=manual)],
        docstore=SimpleDocumentStore(),
        vector_store=SimpleVectorStore(stores_text=False),
        **options,
    )


def test_two_pictures_never_share_a_vector_or_an_id(make: Make, manual: Path) -> None:
    """The pipeline's own cache knows nothing but text: two pictures look alike to it."""
    pipeline = IngestionPipeline(transformations=[_parser(manual), make(media_root=manual)])
    (red,) = pipeline.run(documents=[_illustrated(manual, "pump.png", "")])
    (blue,) = pipeline.run(documents=[_illustrated(manual, "strainer.png", "")])
    assert red.node_id != blue.node_id
    assert red.embedding != blue.embedding
    assert _targets([red, blue]) == ["figures/pump.png", "figures/strainer.png"]


def test_the_pipeline_s_cache_may_be_let_in(manual: Path) -> None:
    parser = _parser(manual, ingestion_cache=True)
    pipeline = IngestionPipeline(transformations=[parser])
    first = pipeline.run(documents=[_document()])
    assert pipeline.run(documents=[_document()]) == first


def test_a_docstore_skips_what_is_there_and_notices_a_changed_picture(
    make: Make, manual: Path, emulator: Emulator
) -> None:
    pipeline = _pipeline(make, manual, docstore_strategy=DocstoreStrategy.UPSERTS)
    parser = _parser(manual)

    def run() -> list[str]:
        documents = parser.with_digests([_document(), Document(text="Other.", id_="other")])
        return sorted({str(node.ref_doc_id) for node in pipeline.run(documents=documents)})

    assert run() == ["other", "the-manual"]
    emulator.reset()
    assert run() == []
    assert sent(emulator) == []
    (manual / "figures" / "pump.png").write_bytes(png(3, 3, 3))
    assert run() == ["the-manual"]


def test_the_digest_of_the_media_is_told_to_no_model(manual: Path) -> None:
    parser = _parser(manual)
    given = _document()
    (document,) = parser.with_digests([given])
    assert "content_sha256" not in given.metadata
    assert len(document.metadata["content_sha256"]) == 64
    for mode in (MetadataMode.EMBED, MetadataMode.LLM):
        assert "content_sha256" not in document.get_metadata_str(mode)
    assert parser([document])[0].metadata == parser([given])[0].metadata


def test_a_pipeline_with_workers_makes_the_same_nodes(manual: Path) -> None:
    documents = [_document(id_=f"manual-{number}") for number in range(2)]
    pipeline = IngestionPipeline(transformations=[_parser(manual)])
    alone = pipeline.run(documents=documents)
    shared = pipeline.run(documents=documents, num_workers=2)
    assert {node.node_id for node in shared} <= {node.node_id for node in alone}
    assert [node.get_content() for node in shared] == [node.get_content() for node in alone]


# Indices


def _deduplicating(manual: Path, model: Gemini2Embedding) -> IngestionPipeline:
    return IngestionPipeline(
        transformations=[_parser(manual), model],
        docstore=SimpleDocumentStore(),
        docstore_strategy=DocstoreStrategy.DUPLICATES_ONLY,
    )


def test_an_illustrated_document_survives_pipeline_index_and_disk(
    make: Make, manual: Path, tmp_path: Path, emulator: Emulator
) -> None:
    """Cache, docstore, index, disk: found by text and by picture, once, where it belongs."""
    model = make(media_root=manual)
    documents = [
        _illustrated(manual, "pump.png", "Replace the diaphragm every 500 hours.", id_="pump"),
        _illustrated(manual, "strainer.png", "Clean the bowl every 50 hours.", id_="strainer"),
        Document(text="Put the battery switch off.", id_="battery"),
    ]
    pipeline = _deduplicating(manual, model)
    nodes = list(pipeline.run(documents=documents))
    assert pipeline.run(documents=documents) == [], "the docstore knows them"
    pipeline.persist(str(tmp_path / "pipeline"))
    restarted = _deduplicating(manual, model)
    restarted.load(str(tmp_path / "pipeline"))
    assert restarted.run(documents=documents) == []

    index = VectorStoreIndex(nodes, embed_model=model)
    index.storage_context.persist(str(tmp_path / "index"))
    context = StorageContext.from_defaults(persist_dir=str(tmp_path / "index"))
    reloaded: Any = load_index_from_storage(context, embed_model=model)

    retriever = reloaded.as_retriever(similarity_top_k=3)
    by_text = retriever.retrieve("How often is the bowl cleaned?")
    assert by_text[0].node.ref_doc_id == "strainer"
    assert _targets([found.node for found in by_text]).count("figures/strainer.png") == 1
    for figure, name in (("pump.png", "pump"), ("strainer.png", "strainer")):
        picture = model.get_image_embedding(str(manual / "figures" / figure))
        by_picture = _nearest(reloaded, picture)
        assert by_picture[0].node.ref_doc_id == name
        assert _targets([found.node for found in by_picture]).count(f"figures/{figure}") == 1
        blocks = node_blocks(by_picture[0], media_root=manual)
        assert [block.block_type for block in blocks] == ["text", "image"]


def _nearest(index: Any, vector: list[float]) -> list[NodeWithScore]:
    from llama_index.core.schema import QueryBundle

    found: list[NodeWithScore] = index.as_retriever(similarity_top_k=3).retrieve(
        QueryBundle("a picture", embedding=vector)
    )
    return found


def test_an_index_embeds_nodes_with_their_media_itself(
    make: Make, manual: Path, emulator: Emulator
) -> None:
    model = make(media_root=manual)
    index = VectorStoreIndex.from_documents(
        [_document()], transformations=[_parser(manual)], embed_model=model
    )
    media = [kind for parts in sent(emulator) for kind in kinds(parts)]
    assert sorted(m for m in media if m in ("image/png", "audio/wav")) == [
        "audio/wav",
        "image/png",
        "image/png",
    ]
    found = index.as_retriever(similarity_top_k=1).retrieve("How often is the bowl cleaned?")
    assert _targets([found[0].node])[0] == "figures/strainer.png"
    around = PrevNextNodePostprocessor(docstore=index.docstore, num_nodes=1, mode="both")
    assert len(around.postprocess_nodes(found)) > 1
