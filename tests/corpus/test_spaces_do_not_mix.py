"""An old 001 collection and the new one can't be mixed by accident, through either framework."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import VectorStoreQuery
from qdrant_client import QdrantClient, models

from gemini2_core.corpus import rollback, switch
from gemini2_core.emulator import Emulator, serve
from gemini2_core.errors import ConfigurationError, IndexMismatchError
from gemini2_core.index import MatryoshkaCollection, copy_collection
from langchain_gemini2 import Gemini2Embeddings
from langchain_gemini2 import MatryoshkaVectorStore as LangChainStore
from llama_index_gemini2 import Gemini2Embedding
from llama_index_gemini2 import MatryoshkaVectorStore as LlamaIndexStore
from tests.wire import KEY

OLD, NEW = "gemini-embedding-001", "gemini-embedding-2"
BOTH_OLD_FIRST = rf"{OLD}/RETRIEVAL.*{NEW}/RETRIEVAL"
BOTH_NEW_FIRST = rf"{NEW}/RETRIEVAL.*{OLD}/RETRIEVAL"

Mix: TypeAlias = "Callable[[QdrantClient, str, str], object]"


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with serve() as running:
        yield running


@pytest.fixture
def client() -> QdrantClient:
    return QdrantClient(":memory:")


@pytest.fixture
def models_of(emulator: Emulator) -> Iterator[Callable[[str, str], Any]]:
    """``models_of("langchain", model)``: that framework's embeddings, closed after the test."""
    made: list[Any] = []

    def build(framework: str, model: str) -> Any:
        kind = Gemini2Embeddings if framework == "langchain" else Gemini2Embedding
        told = {"model" if framework == "langchain" else "model_name": model}
        made.append(kind(**told, api_key=KEY, base_url=emulator.base_url, dimensions=3072))  # type: ignore[arg-type]  # either class takes these
        return made[-1]

    yield build
    for one in made:
        one.close()


def opened(framework: str, by: Any, name: str, client: QdrantClient) -> Any:
    kind = LangChainStore if framework == "langchain" else LlamaIndexStore
    return kind(by, name, client=client)


def fill(store: Any, by: Any) -> None:
    if isinstance(store, LangChainStore):
        store.add_documents([Document("the fuel pump", id="a")])
    else:
        store.add(by([TextNode(text="the fuel pump", id_="a")]))


def attempts(store: Any, by: Any) -> dict[str, Callable[[], object]]:
    """Everything that could mix, with vectors of the store's own model."""
    if isinstance(store, LangChainStore):
        return {
            "search": lambda: store.similarity_search("pump"),
            "hits": lambda: store.hits("pump"),
            "retriever": lambda: store.as_retriever().invoke("pump"),
            "by vector": lambda: store.similarity_search_by_vector(by.embed_query("pump")),
            "add": lambda: store.add_texts(["the tank"]),
            "contents": lambda: store.add_contents(["the tank"]),
        }

    def indexed() -> object:
        context = StorageContext.from_defaults(vector_store=store)
        nodes = [TextNode(text="the tank")]
        return VectorStoreIndex(nodes, storage_context=context, embed_model=by)

    def retrieved() -> object:
        return VectorStoreIndex.from_vector_store(store, by).as_retriever().retrieve("pump")

    vector = by.get_query_embedding("pump")
    return {
        "query": lambda: store.query(VectorStoreQuery(query_embedding=vector)),
        "add": lambda: store.add(by([TextNode(text="the tank")])),
        "index": indexed,
        "retriever": retrieved,
    }


def refusals(framework: str, by: Any, client: QdrantClient) -> list[str]:
    """What opening a store of a model says, or else everything that is done with it."""
    try:
        store = opened(framework, by, "docs", client)
    except IndexMismatchError as error:
        return [str(error)]
    found = []
    for attempt in attempts(store, by).values():
        with pytest.raises(IndexMismatchError) as told:
            attempt()
        found.append(str(told.value))
    return found


@pytest.mark.parametrize(
    ("framework", "made_by"), [("langchain", "llama-index"), ("llama-index", "langchain")]
)
@pytest.mark.parametrize(("there", "other"), [(OLD, NEW), (NEW, OLD)])
def test_a_store_of_the_other_model_is_refused_in_everything(
    framework: str,
    made_by: str,
    there: str,
    other: str,
    client: QdrantClient,
    models_of: Callable[[str, str], Any],
) -> None:
    maker = models_of(made_by, there)
    first = opened(made_by, maker, "docs", client)
    fill(first, maker)
    for told in refusals(framework, models_of(framework, other), client):
        assert re.search(rf"{there}/RETRIEVAL.*{other}/RETRIEVAL", told)
    assert first.collection.count() == 1


@pytest.mark.parametrize("framework", ["langchain", "llama-index"])
@pytest.mark.parametrize("vector", ["", "768+3072"])
def test_what_others_made_is_refused_until_somebody_says_whose_it_is(
    framework: str, vector: str, client: QdrantClient, models_of: Callable[[str, str], Any]
) -> None:
    """As langchain-qdrant and LlamaIndex's Qdrant store make them with 001: no mark."""
    sizes = [int(size) for size in vector.split("+") if size]
    cosine = models.Distance.COSINE
    config: Any = {str(size): models.VectorParams(size=size, distance=cosine) for size in sizes}
    client.create_collection(
        "docs", vectors_config=config or models.VectorParams(size=3072, distance=cosine)
    )
    for told in refusals(framework, models_of(framework, NEW), client):
        assert "no mark" in told
        assert f"{NEW}/RETRIEVAL" in told
    assert client.count("docs").count == 0


def test_langchain_qdrants_own_store_is_refused_by_the_new_collection(
    client: QdrantClient, models_of: Callable[[str, str], Any]
) -> None:
    """The old program, still running with 001 after the alias was switched."""
    qdrant = pytest.importorskip("langchain_qdrant")
    old, new = models_of("langchain", OLD), models_of("langchain", NEW)
    params = models.VectorParams(size=3072, distance=models.Distance.COSINE)
    client.create_collection("v1", vectors_config=params)
    told = models.CreateAlias(collection_name="v1", alias_name="docs")
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=told)])
    production = qdrant.QdrantVectorStore(client, "docs", old)
    production.add_texts(["the fuel pump"])
    with opened("langchain", new, "v2", client) as store:
        store.add_texts(["the fuel pump"])
        switch("docs", store.collection, force=True)
        with pytest.raises(ValueError, match="not found"):
            production.similarity_search("pump")
        with pytest.raises(ValueError, match=r"Not existing vector name|not found"):
            production.add_texts(["the tank"])
        assert store.collection.count() == 1
        assert rollback("docs", store.collection).now == "v1"
        assert production.similarity_search("pump")[0].page_content == "the fuel pump"


@pytest.mark.parametrize("framework", ["langchain", "llama-index"])
def test_a_reader_that_is_open_while_the_alias_is_switched_is_refused(
    framework: str, client: QdrantClient, models_of: Callable[[str, str], Any]
) -> None:
    old, new = models_of(framework, OLD), models_of(framework, NEW)
    v1 = opened(framework, old, "v1", client)
    fill(v1, old)
    switch("docs", v1.collection, force=True)
    v2 = opened(framework, new, "v2", client)
    fill(v2, new)
    reader = opened(framework, old, "docs", client)
    tries = attempts(reader, old)
    for attempt in list(tries.values())[:1]:
        attempt()
    switch("docs", v2.collection, force=True)
    for attempt in tries.values():
        with pytest.raises(IndexMismatchError, match=BOTH_NEW_FIRST):
            attempt()
    assert v2.collection.count() == 1
    rollback("docs", v2.collection)
    for attempt in list(tries.values())[:1]:
        attempt()
    with pytest.raises(IndexMismatchError, match=BOTH_OLD_FIRST):
        opened(framework, new, "docs", client).collection.open()


class Unknown(Embeddings):
    """Embeddings of another package, that say of themselves no more than their model."""

    def __init__(self, inner: Gemini2Embeddings) -> None:
        self._inner = inner
        self.model = f"models/{inner.model}"

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self._inner.embed_documents(texts)

    def embed_query(self, text: str) -> list[float]:
        return self._inner.embed_query(text)


def test_a_reader_that_said_no_space_keeps_to_the_one_it_found(
    client: QdrantClient, models_of: Callable[[str, str], Any]
) -> None:
    old, new = models_of("langchain", OLD), models_of("langchain", NEW)
    v1, v2 = (opened("langchain", by, name, client) for by, name in ((old, "v1"), (new, "v2")))
    for store, by in ((v1, old), (v2, new)):
        fill(store, by)
    switch("docs", v1.collection, force=True)
    reader = MatryoshkaCollection("docs", space=None, client=client)
    vector = old.embed_query("pump")
    assert reader.search(vector)[0].id == "a"
    switch("docs", v2.collection, force=True)
    with pytest.raises(IndexMismatchError, match=BOTH_NEW_FIRST):
        reader.search(vector)
    with pytest.raises(IndexMismatchError, match=BOTH_NEW_FIRST):
        reader.add(["b"], [vector])
    assert v2.collection.count() == 1


def test_other_packages_embeddings_of_the_other_model_are_refused(
    client: QdrantClient, models_of: Callable[[str, str], Any]
) -> None:
    new = models_of("langchain", NEW)
    fill(opened("langchain", new, "docs", client), new)
    official = Unknown(models_of("langchain", OLD))
    store = LangChainStore(official, "docs", client=client)
    for attempt in (lambda: store.similarity_search("pump"), lambda: store.add_texts(["tank"])):
        with pytest.raises(ConfigurationError, match=rf"{NEW}/RETRIEVAL.*{OLD}"):
            attempt()
    assert store.collection.count() == 1
    same = LangChainStore(Unknown(new), "docs", client=client)
    assert same.similarity_search("pump")[0].id == "a"


def test_a_copy_between_spaces_is_refused(
    client: QdrantClient, models_of: Callable[[str, str], Any]
) -> None:
    old = models_of("langchain", OLD)
    v1 = opened("langchain", old, "v1", client)
    fill(v1, old)
    target = MatryoshkaCollection("v2", space=f"{NEW}/RETRIEVAL", client=client)
    with pytest.raises(IndexMismatchError, match=BOTH_OLD_FIRST):
        copy_collection(v1.collection, target)
