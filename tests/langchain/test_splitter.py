"""Documents into interleaved chunks, through real stores and the record manager."""

from __future__ import annotations

import base64
import json
import pickle
import re
import uuid
import zlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.documents.base import Blob
from langchain_core.indexing import IndexingResult, InMemoryRecordManager, index
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore

from gemini2_core.content import find_media_links
from gemini2_core.emulator import Emulator
from gemini2_core.errors import ConfigurationError, InvalidInputError, MediaNotFoundError
from langchain_gemini2 import (
    Gemini2Embeddings,
    MultimodalBlobParser,
    MultimodalSplitter,
    content_blocks,
    document_key,
)
from tests.langchain.conftest import Make
from tests.samples import png, wav
from tests.wire import kinds, sent

Open = Callable[[Gemini2Embeddings], VectorStore]

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
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "pump.png").write_bytes(png(255))
    (tmp_path / "figures" / "strainer.png").write_bytes(png(0, 0, 255))
    (tmp_path / "idle.wav").write_bytes(wav())
    (tmp_path / "manual.md").write_text(MANUAL, encoding="utf-8")
    return tmp_path


def _splitter(manual: Path, **options: Any) -> MultimodalSplitter:
    return MultimodalSplitter(**{"media_root": manual, "max_tokens": 64, **options})


def _documents() -> list[Document]:
    return [Document(MANUAL, metadata={"source": "manual.md", "revision": 7})]


def _targets(documents: list[Document]) -> list[str]:
    return [link.target for d in documents for link in find_media_links(d.page_content)]


def test_every_medium_is_in_one_chunk_in_order_and_no_text_is_lost(manual: Path) -> None:
    chunks = _splitter(manual, headings_in_text=False).split_documents(_documents())
    assert len(chunks) > 1
    assert _targets(chunks) == ["figures/pump.png", "figures/strainer.png", "idle.wav"]
    spans = [(chunk.metadata["start"], chunk.metadata["end"]) for chunk in chunks]
    assert all(before[1] == after[0] for before, after in pairwise(spans))
    assert "".join(MANUAL[start:end] for start, end in spans) == MANUAL
    without = re.compile(r' "sha256:[0-9a-f]{64}"')
    for chunk, (start, end) in zip(chunks, spans, strict=True):
        assert without.sub("", chunk.page_content) == MANUAL[start:end].strip()


def test_metadata_are_flat_and_keep_the_documents_own(manual: Path) -> None:
    chunks = _splitter(manual).split_documents(_documents())
    for number, chunk in enumerate(chunks):
        assert all(isinstance(value, str | int | float) for value in chunk.metadata.values())
        assert json.loads(json.dumps(chunk.metadata)) == chunk.metadata
        assert chunk.metadata["source"] == "manual.md"
        assert chunk.metadata["revision"] == 7
        assert chunk.metadata["chunk_index"] == number
        assert chunk.id == chunk.metadata["chunk_id"] == str(uuid.UUID(chunk.id))
    (strainer,) = (c for c in chunks if "strainer.png" in c.page_content)
    assert strainer.metadata["headings"] == "Fuel system > Strainer"
    medium = json.loads(strainer.metadata["media"])[0]
    assert medium["reference"] == "figures/strainer.png"
    assert medium["mime_type"] == "image/png"
    assert (medium["width"], medium["height"]) == (8, 8)


def test_headings_lead_the_text_unless_that_is_not_wanted(manual: Path) -> None:
    long = "# Fuel system\n\n## Pump\n\n" + "It hums in the left wing.\n\n" * 20
    first, second, *_ = _splitter(manual).split_text(long)
    assert first.startswith("# Fuel system\n\n## Pump\n\nIt hums")
    assert second.startswith("# Fuel system > Pump\n\nIt hums")
    _, bare, *_ = _splitter(manual, headings_in_text=False).split_text(long)
    assert bare.startswith("It hums")


def test_the_same_documents_make_the_same_ids_and_a_changed_picture_another(manual: Path) -> None:
    splitter = _splitter(manual)
    first = splitter.split_documents(_documents())
    assert splitter.split_documents(_documents()) == first
    (manual / "figures" / "strainer.png").write_bytes(png(1, 2, 3))
    again = splitter.split_documents(_documents())
    changed = [a.id != b.id for a, b in zip(first, again, strict=True)]
    assert changed == ["strainer.png" in chunk.page_content for chunk in first]


async def test_every_door_makes_the_same_chunks(manual: Path) -> None:
    splitter = _splitter(manual)
    chunks = splitter.split_documents(_documents())
    metadata = {"source": "manual.md", "revision": 7}
    assert splitter.transform_documents(_documents()) == chunks
    assert await splitter.atransform_documents(_documents()) == chunks
    assert list(splitter.lazy_split(iter(_documents()))) == chunks
    assert splitter.create_documents([MANUAL], [metadata]) == chunks
    assert list(splitter.read(MANUAL, metadata)) == chunks
    assert splitter.split_text(MANUAL) == [chunk.page_content for chunk in chunks]
    assert pickle.loads(pickle.dumps(splitter)).split_documents(_documents()) == chunks
    blob = Blob.from_data(MANUAL, mime_type="text/markdown", metadata=metadata)
    assert MultimodalBlobParser(splitter).parse(blob) == chunks


def test_links_start_from_the_folder_of_the_source(manual: Path) -> None:
    chapter = manual / "chapters" / "28.md"
    chapter.parent.mkdir()
    chapter.write_text("![pump](../figures/pump.png)", encoding="utf-8")
    ids = set()
    for source in ("chapters/28.md", str(chapter)):
        document = Document(chapter.read_text(), metadata={"source": source})
        (chunk,) = _splitter(manual).split_documents([document])
        assert _targets([chunk]) == ["figures/pump.png"]
        assert chunk.metadata["source"] == source
        ids.add(chunk.id)
    assert len(ids) == 1, "the same wherever the folder lies"


def test_parts_lists_and_content_blocks_are_read_in_order(manual: Path) -> None:
    splitter = _splitter(manual, media_dir=manual / "held")
    picture = manual / "figures" / "pump.png"
    (chunk,) = splitter.create_documents([["Before", picture, "after"]])
    assert _targets([chunk]) == ["figures/pump.png"]
    assert [b["type"] for b in content_blocks(chunk, media_root=manual)] == [
        "text",
        "image",
        "text",
    ]
    blocks = content_blocks("Blue: ![](figures/strainer.png)", media_root=manual, links=False)
    (held,) = splitter.create_documents([blocks])
    (target,) = _targets([held])
    assert (manual / target).read_bytes() == png(0, 0, 255), "written once, by its digest"


def test_both_gives_chunks_and_their_parts(manual: Path) -> None:
    chunks = _splitter(manual, granularity="both").split_documents(_documents())
    wholes = {c.id: c for c in chunks if "parent_id" not in c.metadata}
    parts = [c for c in chunks if "parent_id" in c.metadata]
    assert _targets([*wholes.values()]) == _targets(parts)
    for part in parts:
        whole = wholes[part.metadata["parent_id"]]
        assert whole.metadata["start"] <= part.metadata["start"]
        assert part.metadata["end"] <= whole.metadata["end"]
    assert len({chunk.id for chunk in chunks}) == len(chunks)


def test_errors_name_the_document_its_source_and_the_line(manual: Path) -> None:
    bad = Document("One line.\n\n![gone](gone.png)", metadata={"source": "bad.md"})
    with pytest.raises(MediaNotFoundError, match=r"input 1: bad\.md, line 3: .*gone\.png") as told:
        _splitter(manual).split_documents([*_documents(), bad])
    assert told.value.index == 1
    (chunk,) = _splitter(manual, on_missing="alt").split_documents([bad])
    assert chunk.page_content == "One line.\n\ngone"
    with pytest.raises(InvalidInputError, match="2 texts, but 1 metadatas"):
        _splitter(manual).create_documents(["a", "b"], [{}])
    with pytest.raises(ConfigurationError, match="max_tokens"):
        _splitter(manual, max_tokens=100_000)
    with pytest.raises(ConfigurationError, match="media_dir"):
        _splitter(manual, media_dir=manual.parent / "elsewhere")


def test_langchain_takes_it_for_a_text_splitter(manual: Path) -> None:
    splitters = pytest.importorskip("langchain_text_splitters")
    assert isinstance(_splitter(manual), splitters.TextSplitter)


# Blobs


def test_a_blob_of_any_kind_is_read(manual: Path) -> None:
    parser = MultimodalBlobParser(_splitter(manual))
    chunks = parser.parse(Blob.from_path(manual / "manual.md", metadata={"revision": 7}))
    assert _targets(chunks) == ["figures/pump.png", "figures/strainer.png", "idle.wav"]
    assert {chunk.metadata["source"] for chunk in chunks} == {str(manual / "manual.md")}
    assert {chunk.metadata["revision"] for chunk in chunks} == {7}
    (picture,) = parser.parse(Blob.from_path(manual / "figures" / "pump.png"))
    assert _targets([picture]) == ["figures/pump.png"]
    page = "<h1>Pump</h1><p>See <img src='figures/pump.png' alt='the pump'></p><script>x</script>"
    (chunk,) = parser.parse(Blob.from_data(page.encode(), mime_type="text/html", path="a.html"))
    assert _targets([chunk]) == ["figures/pump.png"]
    assert "script" not in chunk.page_content
    lazy = parser.lazy_parse(Blob.from_data("![gone](gone.png)", path="b.md"))
    assert isinstance(lazy, Iterator)
    with pytest.raises(MediaNotFoundError, match=r"b\.md, line 1"):
        next(lazy)


def test_a_pdf_is_pages_for_the_model_to_read(corpus: Path) -> None:
    parser = MultimodalBlobParser(MultimodalSplitter(media_root=corpus, pdf_mode="pages"))
    chunks = parser.parse(Blob.from_path(corpus / "SB-28-07.pdf"))
    targets = _targets(chunks)
    assert targets
    assert all(target.startswith("SB-28-07.pdf#page=") for target in targets)


def test_a_long_recording_is_cut_by_reference(manual: Path) -> None:
    (manual / "long.wav").write_bytes(wav(200))
    recording = Blob.from_path(manual / "long.wav")
    options = {"window": 80.0, "window_overlap": 10.0}
    chunks = MultimodalBlobParser(_splitter(manual, **options)).parse(recording)
    times = [(c.metadata["seconds_start"], c.metadata["seconds_end"]) for c in chunks]
    assert times[0] == (0, 80)
    assert times[1][0] == 70
    assert times[-1][1] == 200
    assert _targets(chunks)[:2] == ["long.wav#t=0,80", "long.wav#t=70,150"]
    (block,) = content_blocks(chunks[0], media_root=manual, links=False)
    assert block["type"] == "audio"


def test_the_pictures_that_unstructured_packed_come_back(manual: Path) -> None:
    element = {
        "type": "Image",
        "element_id": "1",
        "text": "Fuel pump",
        "metadata": {
            "image_base64": base64.b64encode(png(5, 5, 5)).decode(),
            "image_mime_type": "image/png",
        },
    }
    packed = base64.b64encode(zlib.compress(json.dumps([element]).encode())).decode()
    document = Document(
        "Fuel pump",
        metadata={"source": "a.pdf", "category": "CompositeElement", "orig_elements": packed},
    )
    (chunk,) = _splitter(manual, media_dir=manual / "held").split_documents([document])
    (target,) = _targets([chunk])
    assert (manual / target).read_bytes() == png(5, 5, 5)
    assert "orig_elements" not in chunk.metadata
    assert chunk.metadata["category"] == "CompositeElement"


def test_a_loaded_page_is_read_as_one_if_it_still_is(manual: Path) -> None:
    page = "<p>See <img src='figures/pump.png' alt='the pump'></p>"
    said = {"content_type": "text/html; charset=utf-8", "source": "https://x.invalid/a"}
    (chunk,) = _splitter(manual).split_documents([Document(page, metadata=said)])
    assert _targets([chunk]) == ["figures/pump.png"]
    (chunk,) = _splitter(manual).split_documents([Document("5 < 6 & more", metadata=said)])
    assert chunk.page_content == "5 < 6 & more"


# Stores


def _chroma(embeddings: Gemini2Embeddings) -> VectorStore:
    chroma = pytest.importorskip("langchain_chroma")
    chromadb = pytest.importorskip("chromadb")
    settings = chromadb.Settings(anonymized_telemetry=False)
    store: VectorStore = chroma.Chroma(
        "chunks", embeddings, client=chromadb.EphemeralClient(settings)
    )
    store.reset_collection()  # type: ignore[attr-defined]
    return store


def _qdrant(embeddings: Gemini2Embeddings) -> VectorStore:
    qdrant = pytest.importorskip("langchain_qdrant")
    from qdrant_client import QdrantClient
    from qdrant_client.models import Distance, VectorParams

    client = QdrantClient(":memory:")
    client.create_collection("chunks", VectorParams(size=768, distance=Distance.COSINE))
    store: VectorStore = qdrant.QdrantVectorStore(client, "chunks", embeddings)
    return store


STORES = pytest.mark.parametrize("open_store", [InMemoryVectorStore, _chroma, _qdrant])


@STORES
def test_a_store_finds_the_chunk_by_text_and_by_picture(
    make: Make, manual: Path, emulator: Emulator, open_store: Open
) -> None:
    embeddings = make(media_root=manual)
    store = open_store(embeddings)
    chunks = _splitter(manual).split_documents(_documents())
    emulator.reset()
    store.add_documents(chunks)
    media = sorted(kind for parts in sent(emulator) for kind in kinds(parts) if "/" in kind)
    assert [kind for kind in media if kind.startswith(("image/", "audio/"))] == [
        "audio/wav",
        "image/png",
        "image/png",
    ]
    (hit,) = store.similarity_search("How often is the strainer bowl cleaned?", k=1)
    assert _targets([hit])[0] == "figures/strainer.png"
    found = next(c for c in chunks if c.id == hit.metadata["chunk_id"])
    assert hit.metadata.items() >= found.metadata.items(), "nothing lost in the store"
    for figure in ("figures/pump.png", "figures/strainer.png"):
        photo = embeddings.embed_query_content(manual / figure)
        hits = store.similarity_search_by_vector(photo, k=len(chunks))
        assert _targets(hits).count(figure) == 1, "the picture comes back once"


@STORES
def test_parts_alone_are_found_by_their_picture(make: Make, manual: Path, open_store: Open) -> None:
    embeddings = make(media_root=manual)
    store = open_store(embeddings)
    store.add_documents(_splitter(manual, granularity="part").split_documents(_documents()))
    for figure in ("figures/pump.png", "figures/strainer.png"):
        photo = embeddings.embed_query_content(manual / figure)
        (hit,) = store.similarity_search_by_vector(photo, k=1)
        assert _targets([hit]) == [figure]


@STORES
def test_index_skips_what_is_there_and_notices_a_changed_picture(
    make: Make, manual: Path, emulator: Emulator, open_store: Open
) -> None:
    embeddings = make(media_root=manual)
    store, records = open_store(embeddings), InMemoryRecordManager("chunks")
    records.create_schema()

    def run() -> IndexingResult:
        chunks = _splitter(manual).split_documents(_documents())
        return index(
            chunks,
            records,
            store,
            cleanup="incremental",
            source_id_key="source",
            key_encoder=document_key,
        )

    first = run()
    assert first["num_added"] == len(_splitter(manual).split_text(MANUAL))
    emulator.reset()
    assert run()["num_skipped"] == first["num_added"]
    assert sent(emulator) == []
    (manual / "figures" / "strainer.png").write_bytes(png(0, 200))
    told = run()
    assert (told["num_added"], told["num_deleted"]) == (1, 1)
    assert told["num_skipped"] == first["num_added"] - 1
    ((*_, picture),) = [
        [part for part in parts if "inline_data" in part and "image" in kinds([part])[0]]
        for parts in sent(emulator)
    ]
    assert picture
    photo = embeddings.embed_query_content(manual / "figures" / "strainer.png")
    hits = store.similarity_search_by_vector(photo, k=10)
    assert _targets(hits).count("figures/strainer.png") == 1, "the old one is gone"


def test_two_pictures_never_share_a_vector_or_an_id(make: Make, manual: Path) -> None:
    splitter = _splitter(manual)
    documents = [Document(f"![](figures/{name}.png)") for name in ("pump", "strainer")]
    chunks = splitter.split_documents(documents)
    assert chunks[0].id != chunks[1].id
    assert document_key(chunks[0]) != document_key(chunks[1])
    red, blue = make(media_root=manual).embed_documents([c.page_content for c in chunks])
    assert red != blue
    # The same name, another picture.
    (manual / "figures" / "pump.png").write_bytes(png(7, 7, 7))
    (again,) = splitter.split_documents(documents[:1])
    assert again.id != chunks[0].id
    assert document_key(again) != document_key(chunks[0])
    assert make(media_root=manual).embed_documents([again.page_content])[0] != red
