"""The vector store over the emulator: one embedding a document, text and media, both engines."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.documents.base import Blob
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.indexing import InMemoryRecordManager, aindex, index
from langchain_core.messages import HumanMessage

from gemini2_core.emulator import Emulator
from gemini2_core.errors import (
    ConfigurationError,
    IndexMismatchError,
    InvalidInputError,
    MediaAccessError,
    ServiceError,
)
from gemini2_core.index import MatryoshkaCollection
from langchain_gemini2 import Gemini2Embeddings, MatryoshkaVectorStore, document_key
from tests.samples import png
from tests.wire import items, kinds, sent

pytest.importorskip("qdrant_client")

Make: TypeAlias = "Callable[..., Gemini2Embeddings]"
Open: TypeAlias = "Callable[..., MatryoshkaVectorStore]"

PUMP = "![Engine-driven fuel pump, exploded view](figures/fuel-pump.png)"
STRAINER = "![Fuel strainer, section](figures/strainer.png)"
HORN = "Listen: ![](sounds/low-pressure-horn.wav)"
DOCUMENTS = [
    Document(
        "Before work on the fuel system, put the battery switch off.",
        id="battery",
        metadata={"n": 0, "source": "general.md", "tags": ["safety"]},
    ),
    Document(
        f"Replace the diaphragm every 500 hours. {PUMP}",
        id="pump",
        metadata={"n": 1, "source": "pump.md", "tags": ["pump"]},
    ),
    Document(
        f"Clean the bowl every 50 hours. {STRAINER}",
        id="strainer",
        metadata={"n": 2, "source": "strainer.md", "tags": ["strainer"]},
    ),
    Document(HORN, id="horn", metadata={"n": 3, "source": "general.md", "tags": ["sound"]}),
]


@pytest.fixture(params=["memory", "folder"])
def open_store(
    request: pytest.FixtureRequest, make: Make, corpus: Path, tmp_path: Path
) -> Iterator[Open]:
    """Stores with the embeddings' default of 768 numbers, on either engine."""
    opened: list[MatryoshkaVectorStore] = []

    def build(embeddings: Gemini2Embeddings | None = None, **options: Any) -> MatryoshkaVectorStore:
        if request.param == "folder":
            pytest.importorskip("qdrant_edge")
            options["path"] = tmp_path / "index"
        opened.append(
            MatryoshkaVectorStore(embeddings or make(media_root=corpus), "manual", **options)
        )
        return opened[-1]

    yield build
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Open, emulator: Emulator) -> MatryoshkaVectorStore:
    found = open_store()
    found.add_documents(DOCUMENTS)
    emulator.reset()
    return found


def _ids(found: list[Document]) -> list[str | None]:
    return [document.id for document in found]


# One embedding


@pytest.mark.parametrize("tiers", [None, [3072], (128, 768, 3072), (768, 1536)])
@pytest.mark.parametrize("dimensions", [768, 3072])
def test_each_document_is_embedded_once_whatever_the_tiers(
    open_store: Open,
    make: Make,
    corpus: Path,
    emulator: Emulator,
    tiers: list[int] | None,
    dimensions: int,
) -> None:
    store = open_store(make(media_root=corpus, dimensions=dimensions), tiers=tiers)
    emulator.reset()
    assert store.add_documents(DOCUMENTS) == ["battery", "pump", "strainer", "horn"]
    assert len(sent(emulator)) == len(DOCUMENTS)
    (record,) = store.collection.get(["horn"], with_vectors=True)
    assert record.vector is not None
    assert len(record.vector) == max(tiers or [3072]), "a full row, whatever the embeddings' size"
    emulator.reset()
    assert _ids(store.similarity_search("low fuel pressure warning horn", k=1)) == ["horn"]
    assert len(sent(emulator)) == 1, "one embedding for all passes of a query"


async def test_awaited_each_is_embedded_once_too(open_store: Open, emulator: Emulator) -> None:
    store = open_store()
    emulator.reset()
    await store.aadd_documents(DOCUMENTS)
    assert len(sent(emulator)) == len(DOCUMENTS)


def test_an_embedding_and_the_rows_it_makes_are_the_same(store: MatryoshkaVectorStore) -> None:
    embeddings = store.embeddings
    assert isinstance(embeddings, Gemini2Embeddings)
    (own,) = embeddings.embed_documents([DOCUMENTS[1].page_content], output_dimensionality=3072)
    (record,) = store.collection.get(["pump"], with_vectors=True)
    assert record.vector is not None
    assert np.allclose(record.vector, own, atol=1e-6)


def test_a_wrong_collection_is_told_before_anything_is_embedded(
    make: Make, emulator: Emulator
) -> None:
    collection = MatryoshkaCollection("manual", space="gemini-embedding-2/CLUSTERING")
    store = MatryoshkaVectorStore(make(), collection=collection)
    emulator.reset()
    with pytest.raises(IndexMismatchError, match="CLUSTERING"):
        store.add_texts(["pump"])
    with pytest.raises(IndexMismatchError, match="CLUSTERING"):
        store.similarity_search("pump")
    assert emulator.requests == []
    assert collection.count() == 0
    collection.close()


# Ids


def test_ids_come_back_as_they_were_given(open_store: Open) -> None:
    store = open_store()
    plain = str(uuid.uuid4())
    ids = ["chapter 28 / pump", plain, str(uuid.uuid4()).upper(), "7"]
    assert store.add_texts(["a pump", "a hose", "a bowl", "a horn"], ids=ids) == ids
    assert _ids(store.get_by_ids([*reversed(ids), "nothing"])) == list(reversed(ids))
    assert set(_ids(store.similarity_search("pump", k=4))) == set(ids)
    assert store.delete([ids[0], "nothing"])
    assert _ids(store.get_by_ids(ids)) == ids[1:]


def test_documents_without_an_id_get_one(open_store: Open) -> None:
    ids = open_store().add_documents([Document("pump", id="own"), Document("hose")])
    assert ids[0] == "own"
    assert str(uuid.UUID(ids[1])) == ids[1]


def test_the_same_id_is_replaced(store: MatryoshkaVectorStore) -> None:
    store.add_texts(["Wash the bowl with naphtha."], [{"n": 9}], ids=["strainer"])
    assert store.collection.count() == len(DOCUMENTS)
    (document,) = store.get_by_ids(["strainer"])
    assert (document.page_content, document.metadata) == ("Wash the bowl with naphtha.", {"n": 9})


def test_index_takes_document_key_and_skips_what_is_there(
    open_store: Open, emulator: Emulator
) -> None:
    store, records = open_store(), InMemoryRecordManager("manual")
    records.create_schema()
    documents = [Document(one.page_content, metadata=one.metadata) for one in DOCUMENTS]

    def run(given: list[Document]) -> tuple[int, int, int]:
        told = index(given, records, store, cleanup="full", key_encoder=document_key)
        return told["num_added"], told["num_skipped"], told["num_deleted"]

    assert run(documents) == (4, 0, 0)
    emulator.reset()
    assert run(documents) == (0, 4, 0)
    assert emulator.requests == []
    documents[3] = Document("Listen once more.", metadata={"n": 3})
    assert run(documents) == (1, 3, 1)
    assert len(sent(emulator)) == 1
    key = document_key(documents[3])
    assert store.get_by_ids([key])[0].page_content == "Listen once more."


async def test_aindex_takes_langchains_own_keys_too(open_store: Open, emulator: Emulator) -> None:
    store, records = open_store(), InMemoryRecordManager("manual")
    await records.acreate_schema()
    emulator.reset()
    told = await aindex(DOCUMENTS, records, store, key_encoder="sha256")
    assert told["num_added"] == 4
    assert len(sent(emulator)) == 4
    assert await store.collection.acount() == 4


# Searches


def test_a_text_finds_text_and_media(store: MatryoshkaVectorStore) -> None:
    assert _ids(store.similarity_search("Before which work is the battery off?", k=1)) == [
        "battery"
    ]
    (found,) = store.similarity_search("low fuel pressure warning horn", k=1)
    assert found == DOCUMENTS[3]


def test_a_picture_a_sound_and_an_interleaved_query_find_documents(
    store: MatryoshkaVectorStore, corpus: Path, emulator: Emulator
) -> None:
    strainer, horn = corpus / "figures/strainer.png", corpus / "sounds/low-pressure-horn.wav"
    assert _ids(store.similarity_search_by_content(strainer, k=1)) == ["strainer"]
    assert _ids(store.similarity_search(horn, k=1)) == ["horn"]
    emulator.reset()
    query = ["How often is this cleaned?", strainer]
    assert _ids(store.similarity_search_by_content(query, k=1)) == ["strainer"]
    (parts,) = sent(emulator)
    assert kinds(parts) == ["task: search result | query: How often is this cleaned?", "image/png"]
    blob = Blob.from_path(str(strainer))
    assert _ids(store.similarity_search(blob, k=1)) == ["strainer"]
    message = HumanMessage([{"type": "text", "text": "fuel pump exploded view diaphragm"}])
    assert _ids(store.similarity_search(message, k=1)) == ["pump"]


async def test_awaited_the_same_is_found(store: MatryoshkaVectorStore, corpus: Path) -> None:
    picture = corpus / "figures/fuel-pump.png"
    question = "How often is the strainer bowl cleaned?"
    vector = store.embeddings.embed_query(question) * 4  # any 3,072 numbers
    assert await store.asimilarity_search(question) == store.similarity_search(question)
    assert await store.asimilarity_search_by_content(picture) == store.similarity_search_by_content(
        picture
    )
    assert await store.asimilarity_search_by_vector(vector) == store.similarity_search_by_vector(
        vector
    )
    assert await store.asimilarity_search_with_score(
        question
    ) == store.similarity_search_with_score(question)
    assert await store.asimilarity_search_with_score_by_vector(
        vector
    ) == store.similarity_search_with_score_by_vector(vector)
    assert await store.asimilarity_search_with_relevance_scores(
        question
    ) == store.similarity_search_with_relevance_scores(question)
    assert await store.amax_marginal_relevance_search(
        question, 2
    ) == store.max_marginal_relevance_search(question, 2)
    assert await store.amax_marginal_relevance_search_by_vector(
        vector, 2
    ) == store.max_marginal_relevance_search_by_vector(vector, 2)
    assert await store.aget_by_ids(["horn"]) == store.get_by_ids(["horn"])
    await store.adelete(["horn"])
    assert store.get_by_ids(["horn"]) == []


def test_scores_are_cosines_of_the_largest_tier(store: MatryoshkaVectorStore) -> None:
    embeddings = store.embeddings
    assert isinstance(embeddings, Gemini2Embeddings)
    question = "When is the diaphragm replaced?"
    query = np.array(embeddings.embed_query(question, output_dimensionality=3072))
    found = store.similarity_search_with_score(question, k=4)
    assert [score for _, score in found] == sorted((s for _, s in found), reverse=True)
    for document, score in found:
        (record,) = store.collection.get([document.id or ""], with_vectors=True)
        assert record.vector is not None
        assert score == pytest.approx(float(record.vector @ query), abs=1e-5)
    relevances = store.similarity_search_with_relevance_scores(question, k=4)
    assert [r for _, r in relevances] == pytest.approx([(s + 1) / 2 for _, s in found])
    best = relevances[0][1]
    assert len(store.similarity_search_with_relevance_scores(question, score_threshold=best)) == 1


def test_a_vector_too_short_says_which_size_is_wanted(store: MatryoshkaVectorStore) -> None:
    with pytest.raises(IndexMismatchError, match="dimensions=3072"):
        store.similarity_search_by_vector(store.embeddings.embed_query("pump"))


def test_mmr_prefers_what_is_unlike(open_store: Open) -> None:
    store = open_store()
    texts = ["fuel pump", "fuel pump", "fuel pump", "pump diaphragm of rubber"]
    store.add_texts(texts, ids=["1", "2", "3", "4"])
    assert "4" not in _ids(store.similarity_search("fuel pump", k=2))
    assert "4" in _ids(store.max_marginal_relevance_search("fuel pump", k=2, lambda_mult=0.1))
    assert store.max_marginal_relevance_search("fuel pump", k=1, fetch_k=1)
    nothing = store.max_marginal_relevance_search("fuel pump", filter={"source": "none.md"})
    assert nothing == []


def test_hits_show_both_scores_and_the_media(store: MatryoshkaVectorStore, corpus: Path) -> None:
    found = store.hits("fuel pump exploded view", k=2)
    assert found[0].id == "pump"
    assert all(hit.first_score is not None for hit in found)
    assert found.media_root == corpus
    assert "<img src=" in found._repr_html_()


# Filters


def _filters() -> list[Any]:
    from qdrant_client import models

    return [
        {"source": "general.md"},
        {"source": ["general.md", "none.md"], "n": {"gte": 0}},
        {"$or": [{"n": 0}, {"n": {"gt": 2}}]},
        models.Filter(
            must=[
                models.FieldCondition(
                    key="metadata.source", match=models.MatchValue(value="general.md")
                )
            ]
        ),
        models.FieldCondition(key="metadata.n", match=models.MatchAny(any=[0, 3])),
    ]


@pytest.mark.parametrize("given", _filters())
def test_filters_are_dicts_over_the_metadata_or_qdrants_own(
    store: MatryoshkaVectorStore, given: Any
) -> None:
    assert set(_ids(store.similarity_search("pump", filter=given))) == {"battery", "horn"}
    retriever = store.as_retriever(search_kwargs={"k": 1, "shortlist": 1, "filter": given})
    assert _ids(retriever.invoke("low fuel pressure warning horn")) == ["horn"], (
        "the filter is in the first pass, before the short list"
    )
    store.delete(filter=given)
    assert store.collection.count() == 2


def test_payload_indexes_name_fields_of_the_metadata(open_store: Open) -> None:
    store = open_store(payload_indexes={"source": "keyword", "metadata.n": "integer"})
    store.add_documents(DOCUMENTS)
    assert len(store.similarity_search("pump", filter={"source": "general.md", "n": 3})) == 1


def test_delete_without_saying_what_deletes_nothing(store: MatryoshkaVectorStore) -> None:
    with pytest.raises(ConfigurationError, match="ids or filter="):
        store.delete()
    assert store.collection.count() == len(DOCUMENTS)


# Retrievers


async def test_a_retriever_takes_a_shortlist_and_any_query(
    store: MatryoshkaVectorStore, corpus: Path
) -> None:
    retriever = store.as_retriever(search_kwargs={"k": 2, "shortlist": 3})
    question = "How often is the strainer bowl cleaned?"
    assert _ids(retriever.invoke(question))[0] == "strainer"
    assert len(retriever.invoke(question)) == 2
    assert await retriever.ainvoke(question) == retriever.invoke(question)
    picture: Any = corpus / "figures/fuel-pump.png"
    assert _ids(retriever.invoke(picture, k=1)) == ["pump"]
    assert _ids(await retriever.ainvoke(picture, k=1)) == ["pump"]
    with pytest.raises(ConfigurationError, match="shortlist"):
        store.as_retriever(search_kwargs={"shortlist": 0}).invoke(question)
    with pytest.raises(TypeError, match="shortlst"):
        store.as_retriever(search_kwargs={"shortlst": 9}).invoke(question)


@pytest.mark.parametrize("kind", ["mmr", "similarity_score_threshold"])
def test_the_other_kinds_of_retriever(store: MatryoshkaVectorStore, kind: str) -> None:
    options = {"k": 1, "score_threshold": 0.1} if kind != "mmr" else {"k": 1, "fetch_k": 4}
    retriever = store.as_retriever(search_type=kind, search_kwargs=options)
    assert _ids(retriever.invoke("low fuel pressure warning horn")) == ["horn"]


# Contents


def test_contents_are_stored_as_markdown_that_shows_their_media(
    open_store: Open, corpus: Path, emulator: Emulator
) -> None:
    store = open_store()
    emulator.reset()
    ids = store.add_contents(
        [["Exploded view:", corpus / "figures/fuel-pump.png"], DOCUMENTS[0], (png(9), "image/png")],
        ids=["figure", "text", "bytes"],
    )
    assert ids == ["figure", "text", "bytes"]
    assert len(sent(emulator)) == 3
    figure, text, held = store.get_by_ids(ids)
    assert "(figures/fuel-pump.png" in figure.page_content
    assert text.page_content == DOCUMENTS[0].page_content
    assert text.metadata == DOCUMENTS[0].metadata
    assert "data:image/png;base64," in held.page_content
    assert _ids(store.similarity_search(corpus / "figures/fuel-pump.png", k=1)) == ["figure"]


async def test_contents_awaited(open_store: Open, corpus: Path, emulator: Emulator) -> None:
    store = open_store()
    emulator.reset()
    contents = [corpus / "figures/strainer.png", corpus / "sounds/idle.wav"]
    ids = await store.aadd_contents(contents, [{"kind": "figure"}, {"kind": "sound"}])
    assert len(sent(emulator)) == 2
    found = await store.asimilarity_search(contents[1], k=1, filter={"kind": ["sound", "film"]})
    assert _ids(found) == ids[1:]


def test_a_file_elsewhere_needs_a_text_of_its_own(
    open_store: Open, tmp_path: Path, emulator: Emulator
) -> None:
    store = open_store()
    picture = tmp_path / "red.png"
    picture.write_bytes(png(255))
    emulator.reset()
    with pytest.raises(MediaAccessError):
        store.add_contents([picture])
    assert emulator.requests == []
    store.add_contents([picture], ids=["red"], texts=["A red square"])
    assert store.get_by_ids(["red"])[0].page_content == "A red square"


def test_titles_are_told_to_the_model(open_store: Open, emulator: Emulator) -> None:
    store = open_store()
    emulator.reset()
    store.add_texts(["Torque: 12 Nm"], titles=["Fuel pump"])
    ((part,),) = sent(emulator)
    assert part["text"] == "title: Fuel pump | text: Torque: 12 Nm"


# Refusals cost nothing


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"metadatas": [{}]}, InvalidInputError),
        ({"ids": ["1", "2", "3"]}, InvalidInputError),
        ({"metadatas": [{}, {"path": Path("pump.md")}]}, InvalidInputError),
        ({"texts": ["pump", None]}, InvalidInputError),
        ({"batch_size": 0}, ConfigurationError),
        ({"shortlist": 3}, TypeError),
    ],
)
def test_what_cannot_be_stored_is_not_embedded(
    open_store: Open, emulator: Emulator, arguments: dict[str, Any], error: type[Exception]
) -> None:
    store = open_store()
    emulator.reset()
    with pytest.raises(error):
        store.add_texts(**{"texts": ["pump", "hose"], **arguments})
    assert emulator.requests == []
    assert store.collection.count() == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"shortlst": 9}, TypeError),
        ({"filter": {"n": {"$near": 3}}}, InvalidInputError),
        ({"filter": lambda document: True}, InvalidInputError),
    ],
)
async def test_a_search_that_cannot_be_is_not_embedded(
    open_store: Open, emulator: Emulator, arguments: dict[str, Any], error: type[Exception]
) -> None:
    store = open_store()
    store.collection.open()
    emulator.reset()
    searches: list[Callable[..., object]] = [
        store.similarity_search,
        store.hits,
        store.max_marginal_relevance_search,
    ]
    for search in searches:
        with pytest.raises(error, match=next(iter(arguments))[:6]):
            search("pump", **arguments)
    with pytest.raises(error):
        await store.asimilarity_search_with_relevance_scores("pump", **arguments)
    assert emulator.requests == []


def test_a_failed_embedding_stores_nothing_of_its_batch(
    open_store: Open, make: Make, emulator: Emulator
) -> None:
    store = open_store(make(retry_seconds=0))
    emulator.configure(failure_rate=1.0, failures=("500",))
    with pytest.raises(ServiceError):
        store.add_texts(["pump", "hose"])
    assert store.collection.count() == 0


def test_batches_are_stored_one_after_the_other(open_store: Open, emulator: Emulator) -> None:
    store = open_store()
    emulator.reset()
    ids = store.add_texts([f"part {n}" for n in range(5)], batch_size=2)
    assert (store.collection.count(), len(set(ids)), len(items(emulator))) == (5, 5, 5)
    assert store.add_texts([]) == []


async def test_an_error_in_a_later_batch_names_the_text_and_what_is_stored(
    make: Make, emulator: Emulator
) -> None:
    texts = ["part 0", "part 1", "part 2", "", "part 4"]
    with MatryoshkaVectorStore(make()) as store:
        with pytest.raises(InvalidInputError, match="input 3: ") as told:
            store.add_texts(texts, batch_size=2)
        assert (told.value.index, store.collection.count()) == (3, 2)
        with pytest.raises(InvalidInputError, match="input 3: ") as told:
            await store.aadd_texts(texts, batch_size=1)
        assert (told.value.index, store.collection.count()) == (3, 5)


# Making one


def test_from_documents_and_again_from_the_folder(
    make: Make, corpus: Path, tmp_path: Path, emulator: Emulator
) -> None:
    pytest.importorskip("qdrant_edge")
    embeddings = make(media_root=corpus)
    store = MatryoshkaVectorStore.from_documents(DOCUMENTS, embeddings, path=tmp_path / "index")
    store.close()
    emulator.reset()
    with MatryoshkaVectorStore(embeddings, path=tmp_path / "index") as again:
        assert again.collection.tiers == (768, 3072)
        assert again.get_by_ids(["horn"]) == [DOCUMENTS[3]]
        assert emulator.requests == []


async def test_langchain_qdrants_arguments_work_here_too(make: Make, tmp_path: Path) -> None:
    embeddings, cls = make(), MatryoshkaVectorStore
    with pytest.raises(ConfigurationError, match="'manual'"):
        cls.from_existing_collection("manual", embeddings, path=tmp_path)
    assert not any(tmp_path.glob("manual*"))  # noqa: ASYNC240  # a test has time
    place: dict[str, Any] = {"collection_name": "manual", "path": tmp_path}
    for texts in (["pump", "hose"], ["valve"]):
        with cls.from_texts(texts, embeddings, force_recreate=True, **place) as store:
            assert (store.collection_name, store.collection.count()) == ("manual", len(texts))
    with cls.from_existing_collection("manual", embeddings, path=tmp_path) as store:
        retriever = store.as_retriever(search_kwargs={"score_threshold": 0.9})
        assert [found.page_content for found in retriever.invoke("valve")] == ["valve"]
        assert retriever.invoke("a lantern in the wind") == []
        assert len(store.similarity_search("valve", score_threshold=-1)) == 1
    async with await cls.afrom_texts(["a"], embeddings, force_recreate=True, **place) as store:
        assert await store.collection.acount() == 1
        await store.collection.apoint_alias("live")
    place["collection_name"] = "live"
    with pytest.raises(ConfigurationError, match="alias"):
        cls.from_texts(["b"], embeddings, force_recreate=True, **place)
    with pytest.raises(ConfigurationError, match="alias"):
        await cls.afrom_texts(["b"], embeddings, force_recreate=True, **place)
    with cls.from_existing_collection("live", embeddings, path=tmp_path) as store:
        assert store.collection.count() == 1


async def test_afrom_texts(make: Make) -> None:
    store = await MatryoshkaVectorStore.afrom_texts(["pump", "hose"], make(), ids=["1", "2"])
    async with store:
        assert _ids(await store.asimilarity_search("hose", k=1)) == ["2"]


def test_hybrid_searches_words_too_and_relevances_stay_cosines(make: Make) -> None:
    with MatryoshkaVectorStore(make(), hybrid=True) as store:
        store.add_texts(["Part number 62B26931", "Part number 62B26932"], ids=["31", "32"])
        assert _ids(store.similarity_search("62B26932", k=1)) == ["32"]
        ranks = store.similarity_search_with_score("62B26932", k=1)
        cosines = store.similarity_search_with_score("62B26932", k=1, hybrid=False)
        (relevance,) = store.similarity_search_with_relevance_scores("62B26932", k=1)
        assert relevance[1] == pytest.approx((cosines[0][1] + 1) / 2)
        assert ranks[0][1] != pytest.approx(cosines[0][1])


def test_other_embeddings_say_their_space_and_know_only_text() -> None:
    fake = DeterministicFakeEmbedding(size=6)
    with (
        pytest.raises(ConfigurationError, match="space"),
        MatryoshkaVectorStore(fake, tiers=(3, 6)) as store,
    ):
        store.add_texts(["pump"])
    with MatryoshkaVectorStore(fake, space="gemini-embedding-2/NONE", tiers=(3, 6)) as store:
        store.add_texts(["pump"])
        with pytest.raises(ConfigurationError, match="Gemini2Embeddings"):
            store.similarity_search(Path("pump.png"))
        with pytest.raises(ConfigurationError, match="Gemini2Embeddings"):
            store.add_texts(["pump"], titles=["Pump"])


def test_a_collection_that_is_handed_in_stays_open(make: Make) -> None:
    with MatryoshkaCollection("manual", space="gemini-embedding-2/RETRIEVAL") as collection:
        with MatryoshkaVectorStore(make(), collection=collection) as store:
            store.add_texts(["pump"], ids=["1"])
        assert collection.count() == 1
        with pytest.raises(ConfigurationError, match="tiers="):
            MatryoshkaVectorStore(make(), collection=collection, tiers=[768])
