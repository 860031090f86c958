"""The vector store where something is wrong with the collection, or with the server it is on."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from functools import partial

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding

from cookbooks.qdrant_on_loopback import Loopback, serve
from gemini2_core.emulator import Emulator
from gemini2_core.errors import IndexMismatchError, IndexUnavailableError
from gemini2_core.index import MatryoshkaCollection
from langchain_gemini2 import MatryoshkaVectorStore
from tests.langchain.conftest import Make
from tests.wire import sent

MODEL_001 = "gemini-embedding-001"
TEXTS = [f"Screw number {n} is tightened crosswise." for n in range(8)]
IDS = [f"screw-{n}" for n in range(8)]


@pytest.fixture
def server() -> Iterator[Loopback]:
    with serve() as url:
        yield url


def test_a_server_that_isnt_there_costs_no_embedding(make: Make, emulator: Emulator) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    store = MatryoshkaVectorStore(make(), url=url)
    for call in (lambda: store.add_texts(TEXTS), lambda: store.similarity_search("screw")):
        with pytest.raises(IndexUnavailableError, match=r"didn't answer.*Is it running"):
            call()
    assert sent(emulator) == []


def test_a_server_that_dies_in_the_middle_has_whole_documents_alone(
    make: Make, emulator: Emulator, server: Loopback
) -> None:
    store = MatryoshkaVectorStore(make(), url=server, retry_seconds=0.5)
    server.die_after(2)
    with pytest.raises(IndexUnavailableError, match="0 of 2 points are stored") as failed:
        store.add_texts(TEXTS, ids=IDS, batch_size=2)
    paid = failed.value.partial
    assert paid is not None
    assert (paid.indices.tolist(), paid.dimensions) == ([4, 5], 3072)
    assert len(sent(emulator)) == 6, "what could no longer be stored wasn't embedded"
    server.revive()
    assert [one.id for one in store.get_by_ids(IDS)] == IDS[:4]
    assert store.similarity_search(TEXTS[3], k=1)[0].page_content == TEXTS[3]
    store.add_texts(TEXTS, ids=IDS)
    assert store.collection.count() == len(TEXTS)


async def test_awaited_it_is_the_same(make: Make, server: Loopback) -> None:
    async with MatryoshkaVectorStore(make(), url=server, retry_seconds=0.5) as store:
        await store.aadd_texts(TEXTS[:2], ids=IDS[:2])
        server.die_after(0)
        with pytest.raises(IndexUnavailableError, match="didn't answer"):
            await store.aadd_texts(TEXTS[2:], ids=IDS[2:])
        server.revive()
        found = await store.asimilarity_search(TEXTS[1], k=2)
        assert [one.id for one in found] == ["screw-1", "screw-0"]


def test_a_collection_of_langchain_qdrants_is_never_mixed_with_ours(
    make: Make, emulator: Emulator
) -> None:
    """Made with gemini-embedding-001, without a mark: refused, and nothing is sent or written."""
    qdrant = pytest.importorskip("langchain_qdrant")
    from qdrant_client import QdrantClient, models

    client = QdrantClient(":memory:")
    vectors = models.VectorParams(size=3072, distance=models.Distance.COSINE)
    old = DeterministicFakeEmbedding(size=3072)
    for name, config, vector in (
        ("unnamed", vectors, ""),
        ("named", {"dense": vectors}, "dense"),
    ):
        client.create_collection(name, vectors_config=config)
        theirs = qdrant.QdrantVectorStore(client, name, old, vector_name=vector)
        theirs.add_documents([Document("an old text", metadata={"source": "a.md"})])
        ours = MatryoshkaVectorStore(make(), name, client=client)
        for call in (partial(ours.add_texts, ["new"]), partial(ours.similarity_search, "q")):
            with pytest.raises(IndexMismatchError, match=r"no mark.*adopt=True.*embed its content"):
                call()
        wrong = MatryoshkaVectorStore(make(), name, client=client, adopt=True)
        with pytest.raises(IndexMismatchError, match=r"tier 768 needs exactly one.*3072 cosine"):
            wrong.similarity_search("q")
        assert client.count(name).count == 1
        assert client.get_collection(name).config.metadata is None
    with pytest.raises(IndexMismatchError, match=r"needs exactly one named.*\(unnamed\): 3072"):
        MatryoshkaVectorStore(
            make(), "unnamed", client=client, adopt=True, tiers=[3072]
        ).collection.open()
    assert sent(emulator) == []

    # For what it is, it can be adopted, searched, and told from gemini-embedding-2 from then on.
    own = make(model=MODEL_001)
    adopted = MatryoshkaVectorStore(own, "named", client=client, adopt=True, tiers=[3072])
    (found,) = adopted.similarity_search_by_vector(old.embed_query("an old text"), k=1)
    assert (found.page_content, found.metadata["source"]) == ("an old text", "a.md")
    with pytest.raises(IndexMismatchError, match=rf"holds vectors of {MODEL_001}"):
        MatryoshkaVectorStore(make(), "named", client=client).similarity_search("q")


def test_what_lacks_a_tier_is_not_adopted() -> None:
    from qdrant_client import QdrantClient, models

    client = QdrantClient(":memory:")
    sizes = {"small": 8, "large": 32}
    vectors = {
        name: models.VectorParams(size=size, distance=models.Distance.COSINE)
        for name, size in sizes.items()
    }
    client.create_collection("docs", vectors_config=vectors)
    client.upsert(
        "docs",
        [
            models.PointStruct(id=1, vector={"small": [1.0] * 8, "large": [1.0] * 32}),
            models.PointStruct(id=2, vector={"small": [1.0] * 8}),
        ],
    )
    space = "gemini-embedding-2/RETRIEVAL"
    both = MatryoshkaCollection("docs", space=space, tiers=(8, 32), client=client, adopt=True)
    with pytest.raises(IndexMismatchError, match=r"1 of its points have no vector 'large'"):
        both.open()
    small = MatryoshkaCollection("docs", space=space, tiers=[8], client=client, adopt=True)
    assert len(small.search([1.0] * 8)) == 2
