"""Vector stores, the record manager and retrievers, with text and media in one index."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from langchain_core.documents import Document
from langchain_core.indexing import IndexingResult, InMemoryRecordManager, aindex, index
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore

from gemini2_core.emulator import Emulator
from langchain_gemini2 import Gemini2Embeddings
from tests.samples import png
from tests.wire import kinds, sent

if TYPE_CHECKING:
    from langchain_chroma import Chroma

Make = Callable[..., Gemini2Embeddings]

PUMP = "![Engine-driven fuel pump, exploded view](figures/fuel-pump.png)"
STRAINER = "![Fuel strainer, section](figures/strainer.png)"
HORN = "Listen: ![](sounds/low-pressure-horn.wav)"
DOCUMENTS = [
    Document("Before work on the fuel system, put the battery switch off.", metadata={"n": 0}),
    Document(f"Replace the diaphragm every 500 hours. {PUMP}", metadata={"n": 1}),
    Document(f"Clean the bowl every 50 hours. {STRAINER}", metadata={"n": 2}),
    Document(HORN, metadata={"n": 3}),
]


@pytest.fixture
def embeddings(make: Make, corpus: Path) -> Gemini2Embeddings:
    return make(media_root=corpus)


def _in_memory(embeddings: Gemini2Embeddings) -> VectorStore:
    return InMemoryVectorStore(embeddings)


def _chroma(embeddings: Gemini2Embeddings) -> VectorStore:
    chroma = pytest.importorskip("langchain_chroma")
    chromadb = pytest.importorskip("chromadb")
    settings = chromadb.Settings(anonymized_telemetry=False)
    store: VectorStore = chroma.Chroma(
        "manual", embeddings, client=chromadb.EphemeralClient(settings)
    )
    store.reset_collection()  # type: ignore[attr-defined]
    return store


def _qdrant(embeddings: Gemini2Embeddings) -> VectorStore:
    qdrant = pytest.importorskip("langchain_qdrant")
    from qdrant_client import QdrantClient
    from qdrant_client.models import Distance, VectorParams

    client = QdrantClient(":memory:")
    client.create_collection("manual", VectorParams(size=768, distance=Distance.COSINE))
    store: VectorStore = qdrant.QdrantVectorStore(client, "manual", embeddings)
    return store


STORES = pytest.mark.parametrize("open_store", [_in_memory, _chroma, _qdrant])


@STORES
def test_add_documents_makes_any_store_multimodal(
    embeddings: Gemini2Embeddings,
    emulator: Emulator,
    open_store: Callable[[Gemini2Embeddings], VectorStore],
) -> None:
    store = open_store(embeddings)
    emulator.reset()
    store.add_documents(DOCUMENTS)
    assert sorted(kinds(parts)[-1] for parts in sent(emulator)) == [
        "audio/wav",
        "image/png",
        "image/png",
        "title: none | text: Before work on the fuel system, put the battery switch off.",
    ]
    hits = store.similarity_search("fuel pump exploded view", k=1)
    assert [hit.metadata["n"] for hit in hits] == [1]
    assert hits[0].page_content == DOCUMENTS[1].page_content, "the text went through untouched"
    # The recording is found by what is in its file: its document says nothing of it.
    hits = store.similarity_search("low fuel pressure warning horn", k=1)
    assert [hit.metadata["n"] for hit in hits] == [3]


@STORES
async def test_a_retriever_awaited_finds_the_same(
    embeddings: Gemini2Embeddings, open_store: Callable[[Gemini2Embeddings], VectorStore]
) -> None:
    store = open_store(embeddings)
    await store.aadd_documents(DOCUMENTS)
    retriever = store.as_retriever(search_kwargs={"k": 2})
    question = "How often is the strainer bowl cleaned?"
    assert await retriever.ainvoke(question) == retriever.invoke(question)
    assert retriever.invoke(question)[0].metadata["n"] == 2


def test_a_picture_finds_the_document_that_shows_it(
    embeddings: Gemini2Embeddings, corpus: Path
) -> None:
    store = InMemoryVectorStore(embeddings)
    store.add_documents(DOCUMENTS)
    photo = embeddings.embed_query_content(corpus / "figures" / "strainer.png")
    (hit,) = store.similarity_search_by_vector(photo, k=1)
    assert hit.metadata["n"] == 2


@pytest.fixture
def chroma(make: Make) -> Chroma:
    return cast("Chroma", _chroma(make()))


def test_chroma_takes_pictures_and_searches_by_them(chroma: Chroma, tmp_path: Path) -> None:
    paths = []
    for name, colour in {"red": (255, 0, 0), "blue": (0, 0, 255), "grey": (9, 9, 9)}.items():
        paths.append(tmp_path / f"{name}.png")
        paths[-1].write_bytes(png(*colour))
    uris = [str(path) for path in paths]
    ids = chroma.add_images(uris, metadatas=[{"uri": uri} for uri in uris])
    assert len(ids) == 3
    for uri in uris:
        (hit,) = chroma.similarity_search_by_image(uri, k=1)
        assert hit.metadata["uri"] == uri


def test_index_skips_what_is_there_and_embeds_what_changed(
    embeddings: Gemini2Embeddings, emulator: Emulator
) -> None:
    store, records = InMemoryVectorStore(embeddings), InMemoryRecordManager("manual")
    records.create_schema()

    def run(documents: list[Document]) -> IndexingResult:
        options: dict[str, Any] = {"cleanup": "full", "key_encoder": "sha256"}
        return index(documents, records, store, **options)

    assert run(DOCUMENTS)["num_added"] == 4
    emulator.reset()
    assert run(DOCUMENTS)["num_skipped"] == 4
    assert emulator.requests == []
    changed = [*DOCUMENTS[:3], Document("Listen once more.", metadata={"n": 3})]
    told = run(changed)
    assert (told["num_added"], told["num_skipped"], told["num_deleted"]) == (1, 3, 1)
    assert len(sent(emulator)) == 1


async def test_aindex_embeds_everything_once(
    embeddings: Gemini2Embeddings, emulator: Emulator
) -> None:
    store, records = InMemoryVectorStore(embeddings), InMemoryRecordManager("manual")
    await records.acreate_schema()
    told = await aindex(DOCUMENTS, records, store, key_encoder="sha256")
    assert told["num_added"] == 4
    assert len(sent(emulator)) == 4


def test_on_empty_zero_keeps_a_stores_texts_and_vectors_together(make: Make) -> None:
    store = InMemoryVectorStore(make(on_empty="zero"))
    store.add_texts(["pump", "", "strainer"])
    assert store.similarity_search("strainer", k=1)[0].page_content == "strainer"
