"""LlamaIndex's nodes in a Matryoshka collection, in memory and in a folder."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import Document, MockEmbedding, StorageContext, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import (
    ImageNode,
    NodeRelationship,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores.simple import SimpleVectorStore
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)

from cookbooks.qdrant_on_loopback import serve
from gemini2_core.emulator import Emulator
from gemini2_core.errors import (
    ConfigurationError,
    IndexMismatchError,
    IndexUnavailableError,
    InvalidInputError,
)
from gemini2_core.index import MatryoshkaCollection
from llama_index_gemini2 import Gemini2Embedding, MatryoshkaRetriever, MatryoshkaVectorStore
from tests.llama_index.conftest import Make

TIERS = (128, 256)
TEXTS = {
    "gasket": "The gasket of the pump is replaced every second year.",
    "motor": "The motor hums while the fan turns slowly.",
    "valve": "A red valve closes the water pipe below the boiler.",
    "sieve": "Rinse the sieve under clear water when the flow drops.",
}

Open = Callable[..., MatryoshkaVectorStore]

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*dimensions.*:UserWarning"),
]


@pytest.fixture
def model(make: Make) -> Gemini2Embedding:
    return make(dimensions=256)


@pytest.fixture(params=["memory", "folder"])
def open_store(
    request: pytest.FixtureRequest, tmp_path: Path, model: Gemini2Embedding
) -> Iterator[Open]:
    """Stores at one place: what one wrote, the next finds."""
    made: list[MatryoshkaVectorStore] = []
    shared: list[Any] = []

    def build(embed_model: Gemini2Embedding | None = model, **options: Any) -> Any:
        if request.param == "folder":
            pytest.importorskip("qdrant_edge")
            for one in made:
                one.close()
            options = {"path": tmp_path / "index", **options}
        else:
            from qdrant_client import QdrantClient

            shared[:] = shared or [QdrantClient(":memory:")]
            options = {"client": shared[0], **options}
        made.append(MatryoshkaVectorStore(embed_model, **{"tiers": TIERS, **options}))
        return made[-1]

    yield build
    for one in made:
        one.close()


def nodes() -> list[TextNode]:
    """One node a text, each of a document of its own."""
    return [
        TextNode(
            id_=name,
            text=text,
            metadata={"source": f"{name}.md", "page": page, "tags": ["water", name], "half": 0.5},
            excluded_embed_metadata_keys=["source", "page", "tags", "half"],
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=f"doc-{name}")},
        )
        for page, (name, text) in enumerate(TEXTS.items(), start=1)
    ]


def index_over(store: MatryoshkaVectorStore, model: Gemini2Embedding) -> VectorStoreIndex:
    context = StorageContext.from_defaults(vector_store=store)
    return VectorStoreIndex(nodes(), storage_context=context, embed_model=model)


def items(emulator: Emulator) -> int:
    return sum(one.items for one in emulator.requests)


def test_an_index_embeds_each_node_once_and_finds_it(
    emulator: Emulator, open_store: Open, model: Gemini2Embedding
) -> None:
    store = open_store(tiers=(64, 128, 256))
    index = index_over(store, model)
    assert items(emulator) == len(TEXTS)
    assert store.collection.tiers == (64, 128, 256)
    best = index.as_retriever(similarity_top_k=2, vector_store_kwargs={"shortlist": 3}).retrieve(
        TEXTS["valve"]
    )
    assert [len(best), best[0].node.node_id] == [2, "valve"]
    assert best[0].score is not None
    assert best[1].score is not None
    assert best[0].score > best[1].score
    assert items(emulator) == len(TEXTS) + 1


def test_a_node_comes_back_as_it_was(open_store: Open, model: Gemini2Embedding) -> None:
    store = open_store()
    given = nodes()
    given[0].metadata["_id"] = "of another database"
    model(given)
    vectors = [node.embedding for node in given]
    assert store.add(given) == list(TEXTS)
    assert [node.embedding for node in given] == vectors
    for node, back in zip(given, store.get_nodes(list(TEXTS)), strict=True):
        assert type(back) is TextNode
        assert back.embedding is None
        assert back.to_dict() == {**node.to_dict(), "embedding": None}


def test_a_store_is_found_again_when_it_is_reopened(
    open_store: Open, model: Gemini2Embedding
) -> None:
    index_over(open_store(), model)
    again = open_store(tiers=None)
    assert again.collection.tiers == TIERS
    index = VectorStoreIndex.from_vector_store(again, embed_model=model)
    assert index.as_retriever().retrieve(TEXTS["sieve"])[0].node.get_content() == TEXTS["sieve"]


def test_a_pipeline_embeds_only_what_changed_and_replaces_it(
    emulator: Emulator, open_store: Open, model: Gemini2Embedding
) -> None:
    store = open_store()
    pipeline = IngestionPipeline(
        transformations=[SentenceSplitter(chunk_size=200), model],
        docstore=SimpleDocumentStore(),
        vector_store=store,
        docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
    )
    documents = [Document(id_=name, text=text) for name, text in TEXTS.items()]
    pipeline.run(documents=documents)
    assert store.collection.count() == items(emulator) == len(TEXTS)
    documents[0] = Document(id_="gasket", text="The gasket lasts for ten years now.")
    pipeline.run(documents=documents[:-1])
    assert items(emulator) == len(TEXTS) + 1
    left = {node.get_content() for node in store.get_nodes()}
    assert left == {documents[0].text, TEXTS["motor"], TEXTS["valve"]}


async def test_a_pipeline_and_an_index_run_on_the_loop(
    emulator: Emulator, open_store: Open, model: Gemini2Embedding
) -> None:
    store = open_store()
    pipeline = IngestionPipeline(transformations=[model], vector_store=store)
    await pipeline.arun(nodes=nodes())
    assert items(emulator) == len(TEXTS)
    index = VectorStoreIndex.from_vector_store(store, embed_model=model)
    found = await index.as_retriever(similarity_top_k=1).aretrieve(TEXTS["motor"])
    assert [one.node.node_id for one in found] == ["motor"]
    assert [node.node_id for node in await store.aget_nodes(["valve", "motor", "none"])] == [
        "valve",
        "motor",
    ]
    await store.adelete("doc-motor")
    await store.adelete_nodes(["valve"])
    assert {node.node_id for node in await store.aget_nodes()} == {"gasket", "sieve"}
    await store.aclear()
    assert await store.collection.acount() == 0
    await store.aclose()


def test_the_same_node_again_replaces_the_first(open_store: Open, model: Gemini2Embedding) -> None:
    store = open_store()
    index = index_over(store, model)
    changed = TextNode(id_="valve", text="A green valve.")
    index.insert_nodes([changed])
    assert store.collection.count() == len(TEXTS)
    assert store.get_nodes(["valve"])[0].get_content() == "A green valve."


def test_a_document_is_deleted_with_all_its_nodes(
    open_store: Open, model: Gemini2Embedding
) -> None:
    store = open_store()
    index = index_over(store, model)
    index.delete_ref_doc("doc-valve")
    assert {node.node_id for node in store.get_nodes()} == TEXTS.keys() - {"valve"}


def test_nodes_are_deleted_by_id_by_filter_or_all(
    open_store: Open, model: Gemini2Embedding
) -> None:
    store = open_store()
    index_over(store, model)
    late = MetadataFilters(filters=[by("page", ">=", 3)])
    store.delete_nodes(["gasket", "valve"], late)
    assert {node.node_id for node in store.get_nodes()} == {"gasket", "motor", "sieve"}
    store.delete_nodes(filters=late)
    assert {node.node_id for node in store.get_nodes()} == {"gasket", "motor"}
    store.delete_nodes(["motor"])
    assert [node.node_id for node in store.get_nodes()] == ["gasket"]
    with pytest.raises(ConfigurationError, match="clear"):
        store.delete_nodes()
    store.clear()
    assert store.get_nodes() == []
    index_over(store, model)
    assert store.collection.count() == len(TEXTS)


def by(key: str, operator: str, value: Any) -> MetadataFilter:
    return MetadataFilter(key=key, value=value, operator=FilterOperator(operator))


@pytest.mark.parametrize(
    ("condition", "filters", "expected"),
    [
        ("and", [by("source", "==", "motor.md")], "motor"),
        ("and", [by("half", "==", 0.5), by("page", "<", 2)], "gasket"),
        ("and", [by("page", ">", 1), by("page", "<=", 3)], "motor valve"),
        ("or", [by("page", "==", 1), by("page", ">=", 4)], "gasket sieve"),
        ("not", [by("page", "==", 1), by("page", "==", 4)], "motor valve"),
        ("and", [by("source", "!=", "motor.md")], "gasket valve sieve"),
        ("and", [by("source", "in", ["motor.md", "none.md"])], "motor"),
        ("and", [by("page", "nin", [1, 2])], "valve sieve"),
        ("and", [by("tags", "any", ["valve", "sieve"])], "valve sieve"),
        ("and", [by("tags", "all", ["water", "sieve"])], "sieve"),
        ("and", [by("tags", "contains", "motor")], "motor"),
        ("and", [by("author", "is_empty", None)], "gasket motor valve sieve"),
        (
            "or",
            [
                by("page", "==", 4),
                MetadataFilters(filters=[by("page", "<", 3), by("tags", "contains", "motor")]),
            ],
            "motor sieve",
        ),
        ("and", [], "gasket motor valve sieve"),
    ],
)
def test_metadata_filters_choose(
    open_store: Open,
    model: Gemini2Embedding,
    condition: str,
    filters: list[MetadataFilter | MetadataFilters],
    expected: str,
) -> None:
    store = open_store()
    index = index_over(store, model)
    chosen = MetadataFilters(filters=filters, condition=FilterCondition(condition))
    found = index.as_retriever(filters=chosen, similarity_top_k=10).retrieve("water")
    assert {one.node.node_id for one in found} == set(expected.split())
    assert {node.node_id for node in store.get_nodes(filters=chosen)} == set(expected.split())


def test_a_filter_that_qdrant_lacks_is_refused(open_store: Open) -> None:
    store = open_store()
    for one in (by("source", "text_match_insensitive", "A"), by("tags", "all", "water")):
        with pytest.raises(InvalidInputError, match="field"):
            store.get_nodes(filters=MetadataFilters(filters=[one]))


def test_plain_filters_documents_and_ids_narrow_a_search_together(
    open_store: Open, model: Gemini2Embedding
) -> None:
    store = open_store()
    index_over(store, model)

    def found(**options: Any) -> set[str]:
        retriever = MatryoshkaRetriever(store, similarity_top_k=10, **options)
        return {one.node.node_id for one in retriever.retrieve("water")}

    assert found(filter={"page": {"gte": 3}}) == {"valve", "sieve"}
    assert found(doc_ids=["doc-motor", "doc-valve"]) == {"motor", "valve"}
    assert found(node_ids=["gasket", "valve"]) == {"gasket", "valve"}
    pages = MetadataFilters(filters=[by("page", "<", 4)])
    assert found(node_ids=["gasket", "valve"], filter={"page": [3, 4]}, filters=pages) == {"valve"}
    assert found(node_ids=[]) == set()


def test_one_index_holds_texts_and_pictures_and_a_picture_asks_it(
    open_store: Open, make: Make, media: Path, emulator: Emulator
) -> None:
    model = make(dimensions=256, media_root=media)
    store = open_store(model)
    pictures = [
        ImageNode(id_=name, text=f"{name} lamp", image_path=str(media / f"{name}.png"))
        for name in ("red", "blue")
    ]
    model(pictures)
    context = StorageContext.from_defaults(vector_store=store)
    index = VectorStoreIndex([*nodes(), *pictures], storage_context=context, embed_model=model)
    assert items(emulator) == len(TEXTS) + len(pictures)
    retriever = MatryoshkaRetriever(index, similarity_top_k=6, shortlist=6)
    blue = QueryBundle("blue lamp", image_path=str(media / "blue.png"))
    found = retriever.retrieve(blue)
    assert found[0].node.node_id == "blue"
    assert isinstance(found[0].node, ImageNode)
    assert len(found) == 6
    assert blue.embedding is None
    asked = [retriever.retrieve(model.get_query_bundle([media / "red.png", "red lamp"]))[0]]
    asked += retriever.retrieve(QueryBundle("", image_path=str(media / "red.png")))[:1]
    assert [one.node.node_id for one in asked] == ["red", "red"]
    # The framework's own retriever names the index's pictures alone, and still finds texts.
    plain = index.as_retriever(similarity_top_k=6).retrieve(TEXTS["motor"])
    assert plain[0].node.node_id == "motor"


async def test_a_picture_asks_on_the_loop(open_store: Open, make: Make, media: Path) -> None:
    model = make(dimensions=256)
    store = open_store(model)
    pictures = [ImageNode(id_=n, image_path=str(media / f"{n}.png")) for n in ("red", "blue")]
    await store.async_add(list(await model.acall(pictures)))
    retriever = MatryoshkaRetriever(store, similarity_top_k=1)
    found = await retriever.aretrieve(QueryBundle("", image_path=str(media / "blue.png")))
    assert [one.node.node_id for one in found] == ["blue"]
    words = await retriever.aretrieve("anything")
    assert len(words) == 1
    await store.aclose()


def test_a_model_smaller_than_the_largest_tier_is_told_before_it_embeds(
    emulator: Emulator, open_store: Open, make: Make
) -> None:
    small = make(dimensions=128)
    with pytest.raises(IndexMismatchError, match="dimensions=256"):
        open_store(small)
    with pytest.raises(IndexMismatchError, match="dimensions=3072"):
        MatryoshkaVectorStore(make())
    open_store().collection.open()
    with pytest.raises(IndexMismatchError, match="dimensions=256"):
        open_store(small, tiers=None)
    assert items(emulator) == 0


def test_vectors_that_are_too_small_or_missing_are_refused(open_store: Open, make: Make) -> None:
    store = open_store()
    some = nodes()
    with pytest.raises(InvalidInputError, match="node gasket has no embedding") as raised:
        store.add(some)
    assert raised.value.index == 0
    make(dimensions=128)(some)
    with pytest.raises(IndexMismatchError, match="dimensions=256"):
        store.add(some)
    some[1].embedding = [0.5] * 256
    with pytest.raises(InvalidInputError, match="node motor has 256"):
        store.add(some)
    assert store.collection.count() == 0
    assert store.add([]) == []


def test_vectors_of_another_task_are_refused(
    open_store: Open, make: Make, model: Gemini2Embedding
) -> None:
    store = open_store()
    index_over(store, model)
    other = make(dimensions=256, task_type="CLUSTERING")
    with pytest.raises(IndexMismatchError, match="CLUSTERING"):
        MatryoshkaRetriever(store, embed_model=other).retrieve("water")
    with pytest.raises(IndexMismatchError, match="CLUSTERING"):
        MatryoshkaVectorStore(other, collection=store.collection)
    with pytest.raises(IndexMismatchError, match="CLUSTERING"):
        open_store(other).collection.open()


def test_words_and_vectors_are_fused_in_one_search(
    open_store: Open, model: Gemini2Embedding, emulator: Emulator
) -> None:
    index = index_over(open_store(hybrid=True), model)
    vector = model.get_query_embedding(TEXTS["valve"])
    store = index.vector_store

    def found(mode: VectorStoreQueryMode, words: str | None, k: int = 1, **more: Any) -> list[str]:
        query = VectorStoreQuery(vector, k, query_str=words, mode=mode, **more)
        return store.query(query, shortlist=1).ids or []

    assert found(VectorStoreQueryMode.DEFAULT, "gasket") == ["valve"]
    # Both are first in one list, so either may be first in the fused one.
    assert set(found(VectorStoreQueryMode.HYBRID, "gasket", 2)) == {"valve", "gasket"}
    assert len(found(VectorStoreQueryMode.HYBRID, "gasket", hybrid_top_k=2)) == 2
    assert found(VectorStoreQueryMode.HYBRID, None) == ["valve"], "no words: the vector alone"
    for mode in (VectorStoreQueryMode.SPARSE, VectorStoreQueryMode.TEXT_SEARCH):
        assert found(mode, "the sieve, rinsed", 4)[0] == "sieve"
        assert found(mode, "zeppelin", 4) == []
        source = MetadataFilters(filters=[MetadataFilter(key="source", value="motor.md")])
        assert found(mode, "the pump or the fan", 4, filters=source) == ["motor"]
        with pytest.raises(InvalidInputError, match="needs words"):
            found(mode, " ")
    with pytest.raises(ConfigurationError, match="alpha has no effect"):
        found(VectorStoreQueryMode.HYBRID, "gasket", alpha=0.5)
    with pytest.raises(ConfigurationError, match="'svm' isn't there; there are default, hybr"):
        found(VectorStoreQueryMode.SVM, "gasket")


async def test_mmr_prefers_what_is_unlike(open_store: Open, model: Gemini2Embedding) -> None:
    store = open_store()
    twins = [TextNode(id_=f"twin-{n}", text="The pump hums.") for n in range(3)]
    other = TextNode(id_="other", text="The pump of the boiler leaks water at night.")
    store.add(model([*twins, other]))
    index = VectorStoreIndex.from_vector_store(store, embed_model=model)

    def retriever(**options: Any) -> BaseRetriever:
        return index.as_retriever(
            vector_store_query_mode="mmr", similarity_top_k=2, vector_store_kwargs=options
        )

    ours = MatryoshkaRetriever(
        index, vector_store_query_mode="mmr", similarity_top_k=2, mmr_threshold=0.2
    )
    for found in (
        retriever(mmr_threshold=0.2).retrieve("pump hums"),
        await retriever(mmr_threshold=0.2).aretrieve("pump hums"),
        ours.retrieve("pump hums"),
        await ours.aretrieve("pump hums"),
    ):
        first, second = (one.node.node_id for one in found)
        assert first.startswith("twin")
        assert second == "other"
        assert found[0].get_score() > found[1].get_score()
    for options in ({"mmr_threshold": 1.0}, {"mmr_threshold": 0.2, "fetch_k": 2}):
        nearest = retriever(**options).retrieve("pump hums")
        assert "other" not in {one.node.node_id for one in nearest}


async def test_retrievers_take_the_mode(
    open_store: Open, model: Gemini2Embedding, emulator: Emulator
) -> None:
    index = index_over(open_store(hybrid=True), model)
    before = items(emulator)
    for mode in ("sparse", "text_search"):
        ours = MatryoshkaRetriever(index, vector_store_query_mode=mode, similarity_top_k=1)
        theirs = index.as_retriever(vector_store_query_mode=mode, similarity_top_k=1)
        for retriever in (ours, theirs):
            assert [one.node.node_id for one in retriever.retrieve("humming motor")] == ["motor"]
            found = await retriever.aretrieve("humming motor")
            assert [one.node.node_id for one in found] == ["motor"]
    assert items(emulator) == before, "words alone are embedded by nobody"
    hybrid = MatryoshkaRetriever(index, vector_store_query_mode="hybrid", similarity_top_k=2)
    assert hybrid.retrieve("boiler")[0].node.node_id == "valve"
    with pytest.raises(ConfigurationError, match="mode 'fuzzy'"):
        MatryoshkaRetriever(index, vector_store_query_mode="fuzzy")


def test_what_cant_be_stored_is_told_before_it_is_embedded(
    make: Make, emulator: Emulator, model: Gemini2Embedding
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(IndexUnavailableError, match=r"didn't answer.*Is it running"):
        index_over(MatryoshkaVectorStore(model, url=url, tiers=TIERS), model)
    with serve() as server:
        index_over(MatryoshkaVectorStore(model, url=server, tiers=TIERS), model)
        before = items(emulator)
        other = make(dimensions=256, task_type="CLUSTERING")
        with pytest.raises(IndexMismatchError, match=r"RETRIEVAL.*CLUSTERING"):
            index_over(MatryoshkaVectorStore(other, url=server), other)
        small = make(dimensions=128)
        with pytest.raises(IndexMismatchError, match=r"makes 128 numbers.* has 256"):
            index_over(MatryoshkaVectorStore(small, url=server), small)
        assert items(emulator) == before
        store = MatryoshkaVectorStore(model, url=server)
        assert store.collection.count() == len(TEXTS)
        store.close()


def test_a_server_that_dies_in_the_middle_has_whole_nodes_alone(
    model: Gemini2Embedding,
) -> None:
    many = model([TextNode(id_=f"n{n}", text=f"Screw {n}.") for n in range(150)])
    with serve() as server:
        store = MatryoshkaVectorStore(model, url=server, tiers=TIERS, retry_seconds=0.5, parallel=1)
        server.die_after(1)
        with pytest.raises(IndexUnavailableError, match="100 of 150 points are stored"):
            store.add(many)
        server.revive()
        assert len(store.get_nodes()) == 100
        found = store.query(VectorStoreQuery(many[42].get_embedding()))
        assert found.ids == ["n42"]
        store.add(many)
        assert {node.node_id for node in store.get_nodes()} == {node.node_id for node in many}
        store.close()


def test_a_collection_of_langchain_qdrants_is_never_mixed_with_ours(
    make: Make, emulator: Emulator
) -> None:
    """Made with gemini-embedding-001, without a mark: refused, and nothing is sent or written."""
    qdrant = pytest.importorskip("langchain_qdrant")
    from langchain_core.embeddings import DeterministicFakeEmbedding
    from qdrant_client import QdrantClient, models

    client = QdrantClient(":memory:")
    config = {"dense": models.VectorParams(size=256, distance=models.Distance.COSINE)}
    client.create_collection("old", vectors_config=config)
    embeddings = DeterministicFakeEmbedding(size=256)
    qdrant.QdrantVectorStore(client, "old", embeddings, vector_name="dense").add_texts(["an old"])
    ours = make(dimensions=256)
    for options, message in (
        ({}, "no mark.*adopt=True"),
        ({"adopt": True, "tiers": TIERS}, "tier 128 needs exactly one.*256 cosine"),
    ):
        with pytest.raises(IndexMismatchError, match=message):
            MatryoshkaVectorStore(ours, "old", client=client, **options).collection.open()  # type: ignore[arg-type]
    assert client.count("old").count == 1
    assert client.get_collection("old").config.metadata is None
    theirs = make(model_name="gemini-embedding-001", dimensions=256)
    adopted = MatryoshkaVectorStore(theirs, "old", client=client, adopt=True, tiers=[256])
    with pytest.raises(IndexMismatchError, match="isn't a node of LlamaIndex"):
        adopted.query(VectorStoreQuery(embeddings.embed_query("an old")))
    with pytest.raises(IndexMismatchError, match="holds vectors of gemini-embedding-001"):
        MatryoshkaVectorStore(ours, "old", client=client, tiers=[256]).collection.open()
    assert items(emulator) == 0


def test_what_a_query_cannot_mean_is_refused(open_store: Open) -> None:
    store = open_store()
    with pytest.raises(ConfigurationError, match="hybrid"):
        store.query(VectorStoreQuery([0.1] * 256, mode=VectorStoreQueryMode.HYBRID))
    modes: list[Any] = ["hybrid", "sparse", "svm", None]
    for mode in modes:
        with pytest.raises(ConfigurationError):
            store.query(VectorStoreQuery([0.1] * 256, query_str="words", mode=mode))
    with pytest.raises(ConfigurationError, match="short_list"):
        store.query(VectorStoreQuery([0.1] * 256), short_list=5)
    with pytest.raises(InvalidInputError, match="embedding"):
        store.query(VectorStoreQuery())
    retriever = MatryoshkaRetriever(store)
    with pytest.raises(InvalidInputError, match="no words"):
        retriever.retrieve(QueryBundle(""))
    blind = MatryoshkaRetriever(store, embed_model=MockEmbedding(embed_dim=256))
    with pytest.raises(ConfigurationError, match="MockEmbedding"):
        blind.retrieve(QueryBundle("", image_path="red.png"))


def test_a_retriever_needs_this_store_and_a_model(open_store: Open) -> None:
    embedding = MockEmbedding(embed_dim=256)
    other = VectorStoreIndex.from_documents([], embed_model=embedding)
    assert isinstance(other.vector_store, SimpleVectorStore)
    with pytest.raises(ConfigurationError, match="SimpleVectorStore"):
        MatryoshkaRetriever(other)
    bare = open_store(None, space="gemini-embedding-2/RETRIEVAL")
    with pytest.raises(ConfigurationError, match="embed_model="):
        MatryoshkaRetriever(bare)


def test_the_official_stores_first_argument_is_told_to_be_a_name() -> None:
    names: list[Any] = ["manual", MockEmbedding(embed_dim=256)]
    for name in names:
        with pytest.raises(ConfigurationError, match="collection_name="):
            MatryoshkaVectorStore(name)
    assert MatryoshkaVectorStore(collection_name="manual").collection_name == "manual"


def test_a_collection_that_was_handed_in_stays_open(model: Gemini2Embedding) -> None:
    with MatryoshkaCollection(space=model.space, tiers=TIERS) as collection:
        store = MatryoshkaVectorStore(model, collection=collection)
        index_over(store, model)
        store.close()
        assert store.client.count() == len(TEXTS)
        with pytest.raises(ConfigurationError, match="tiers="):
            MatryoshkaVectorStore(model, collection=collection, tiers=TIERS)


def test_importing_the_package_imports_no_engine() -> None:
    code = (
        "import sys, llama_index_gemini2 as package; package.MatryoshkaVectorStore;"
        "sys.exit(bool({'qdrant_client', 'qdrant_edge'} & sys.modules.keys()))"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
