"""What a framework's store wrote with one model, it reads after the move to another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.documents import Document
from llama_index.core import VectorStoreIndex
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters
from pydantic import SecretStr
from qdrant_client import QdrantClient

from gemini2_core import Gemini2Embedder
from gemini2_core.corpus import CollectionSource, reindex
from gemini2_core.emulator import Emulator, serve
from gemini2_core.index import MatryoshkaCollection
from langchain_gemini2 import Gemini2Embeddings
from langchain_gemini2 import MatryoshkaVectorStore as LangChainStore
from llama_index_gemini2 import Gemini2Embedding
from llama_index_gemini2 import MatryoshkaVectorStore as LlamaIndexStore
from tests.corpus.corpora import made_up

OLD, NEW = "gemini-embedding-001", "gemini-embedding-2"


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with serve() as running:
        yield running


@pytest.fixture
def client() -> QdrantClient:
    return QdrantClient(":memory:")


def moved(emulator: Emulator, client: QdrantClient, checkpoint: Path) -> MatryoshkaCollection:
    """Collection ``old`` embedded anew as ``new``."""
    with Gemini2Embedder(NEW, api_key="any", base_url=emulator.base_url) as embedder:
        target = MatryoshkaCollection("new", space=embedder.space, client=client)
        source = CollectionSource("old", client=client)
        report = reindex(source, embedder, target, checkpoint=checkpoint)
    assert report.finished
    assert report.stored == source.count()
    return target


def test_langchains_store_finds_the_same_documents_with_the_new_model(
    emulator: Emulator, client: QdrantClient, tmp_path: Path
) -> None:
    def embeddings(model: str) -> Gemini2Embeddings:
        return Gemini2Embeddings(
            model=model, api_key=SecretStr("any"), base_url=emulator.base_url, dimensions=3072
        )

    documents = [
        Document(str(made_up(n).content), metadata={"n": n, "title": f"Nr. {n}"}, id=f"doc-{n}")
        for n in range(40)
    ]
    LangChainStore(embeddings(OLD), "old", client=client).add_documents(documents)
    target = moved(emulator, client, tmp_path / "c")
    store = LangChainStore(embeddings(NEW), collection=target)
    assert store.get_by_ids([str(one.id) for one in documents]) == documents
    assert store.similarity_search(documents[17].page_content, 1) == [documents[17]]
    assert store.similarity_search("pump", 40, filter={"n": 7}) == [documents[7]]


def test_llama_indexes_store_finds_the_same_nodes_with_the_new_model(
    emulator: Emulator, client: QdrantClient, tmp_path: Path
) -> None:
    def embedding(model: str) -> Gemini2Embedding:
        return Gemini2Embedding(
            model_name=model, api_key="any", base_url=emulator.base_url, dimensions=3072
        )

    nodes = [
        TextNode(id_=f"node-{n}", text=str(made_up(n).content), metadata={"n": n})
        for n in range(40)
    ]
    old = LlamaIndexStore(embedding(OLD), "old", client=client)
    index = VectorStoreIndex.from_vector_store(old, embed_model=embedding(OLD))
    index.insert_nodes(nodes)
    target = moved(emulator, client, tmp_path / "c")
    new = LlamaIndexStore(embedding(NEW), collection=target)
    index = VectorStoreIndex.from_vector_store(new, embed_model=embedding(NEW))
    found = index.as_retriever(similarity_top_k=1).retrieve(nodes[17].text)[0].node
    assert (found.node_id, found.get_content(), found.metadata) == (
        "node-17",
        nodes[17].text,
        {"n": 17},
    )
    wanted = MetadataFilters(filters=[MetadataFilter(key="n", value=7)])
    [seven] = index.as_retriever(similarity_top_k=40, filters=wanted).retrieve("pump")
    assert seven.node.node_id == "node-7"
