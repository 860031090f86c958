"""Collections as sources: whoever made them, with ids and payloads as they are, never marked."""

from __future__ import annotations

import base64
import gc
import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cookbooks.qdrant_on_loopback import serve
from gemini2_core.corpus import CollectionSource, DocumentsSource, Item, Policy
from gemini2_core.corpus.sources import SkippedWarning
from gemini2_core.errors import (
    ConfigurationError,
    IndexLockedError,
    IndexUnavailableError,
    InvalidInputError,
)
from gemini2_core.index import MatryoshkaCollection
from tests.samples import png

pytest.importorskip("qdrant_client")
from qdrant_client import QdrantClient, models

SPACE = "gemini-embedding-2/RETRIEVAL"


@pytest.fixture
def client() -> Iterator[QdrantClient]:
    made = QdrantClient(":memory:")
    yield made
    made.close()


def put(client: QdrantClient, payloads: Mapping[int | str, dict[str, Any]]) -> None:
    """A collection as others make it: one unnamed vector."""
    client.create_collection("old", models.VectorParams(size=4, distance=models.Distance.COSINE))
    points = [
        models.PointStruct(id=own, vector=[1.0, 0, 0, 0], payload=payload)
        for own, payload in payloads.items()
    ]
    if points:
        client.upsert("old", points)


def read(client: QdrantClient, **options: Any) -> list[Item]:
    source = CollectionSource("old", client=client, **options)
    found = list(source)
    assert list(source) == found
    assert source.count() == len(found)
    return found


@pytest.mark.parametrize("where", ["memory", "folder"])
def test_a_collection_of_ours_gives_the_items_it_was_made_from(where: str, tmp_path: Path) -> None:
    pytest.importorskip("qdrant_edge")
    items = [
        Item(own, f"text {own}", "T", {"page_content": f"text {own}", "metadata": {"title": "T"}})
        for own in ("a", "b", 3, "6f0f6a5e-3c0c-5d6b-9a55-0d3d3c1c7a02")
    ]
    kept = QdrantClient(":memory:")
    at: dict[str, Any] = {"path": tmp_path} if where == "folder" else {"client": kept}
    with MatryoshkaCollection("old", space=SPACE, tiers=(4, 8), **at) as collection:
        collection.add(
            [item.id for item in items],
            np.eye(4, 8, dtype=np.float32),
            [item.payload for item in items],
        )
    with CollectionSource("old", page=2, **at) as source:
        assert sorted(source, key=str) == sorted(items, key=str)
        assert source.count() == 4
        assert source.name.startswith("collection 'old' at ")


def test_langchain_qdrants_collection_is_read_and_not_marked(client: QdrantClient) -> None:
    langchain_qdrant = pytest.importorskip("langchain_qdrant")
    from langchain_core.documents import Document
    from langchain_core.embeddings import DeterministicFakeEmbedding

    put(client, {})
    store = langchain_qdrant.QdrantVectorStore(client, "old", DeterministicFakeEmbedding(size=4))
    documents = [
        Document("one", id="0b1f6f6e-3a0c-5d5e-9a43-6d0f6a3f2e57", metadata={"title": "T", "n": 1}),
        Document("two", id="1b1f6f6e-3a0c-5d5e-9a43-6d0f6a3f2e57"),
    ]
    store.add_documents(documents)
    before = client.get_collection("old").config
    found = read(client)
    assert found == list(DocumentsSource(documents))
    assert client.get_collection("old").config == before


@pytest.mark.parametrize(
    ("payload", "options", "content", "title"),
    [
        ({"text": "one", "title": "T"}, {}, "one", "T"),
        ({"content": "one"}, {}, "one", None),
        ({"body": "one", "text": "two"}, {"text_key": "body"}, "one", None),
        ({"doc": {"body": "one"}}, {"text_key": "doc.body"}, "one", None),
        ({"page_content": "one", "metadata": {"name": "T"}}, {"title_key": "name"}, "one", "T"),
        ({"page_content": "one", "metadata": {"title": "T"}}, {"title_key": None}, "one", None),
    ],
)
def test_a_text_is_found_by_its_field(
    client: QdrantClient,
    payload: dict[str, Any],
    options: dict[str, Any],
    content: str,
    title: str | None,
) -> None:
    put(client, {7: payload})
    assert read(client, **options) == [Item(7, content, title, payload)]


def test_a_point_without_a_text_is_an_error_that_names_it_and_its_fields(
    client: QdrantClient,
) -> None:
    put(client, {1: {"page_content": "one"}, 2: {"price": 3}, 3: {"page_content": ""}})
    with pytest.raises(InvalidInputError, match=r"point 2: no field .* are price; .*text_key="):
        list(CollectionSource("old", client=client))
    source = CollectionSource("old", client=client, policy=Policy.lenient())
    with pytest.warns(SkippedWarning, match="1 unreadable, 1 empty"):
        assert [item.id for item in source] == [1]


def test_a_filter_narrows_what_is_read(client: QdrantClient) -> None:
    put(client, {n: {"text": f"{n}", "lang": "en" if n % 2 else "de"} for n in range(6)})
    assert [item.id for item in read(client, filter={"lang": "en"})] == [1, 3, 5]


def test_a_folder_of_qdrant_client_is_told_from_the_engines(tmp_path: Path) -> None:
    made = QdrantClient(path=str(tmp_path))
    put(made, {1: {"text": "one"}})
    made.close()
    with CollectionSource("old", path=tmp_path) as source:
        assert [item.content for item in source] == ["one"]


def test_what_is_not_there_is_told(client: QdrantClient, tmp_path: Path) -> None:
    pytest.importorskip("qdrant_edge")
    with pytest.raises(IndexUnavailableError, match="there is no collection 'none'"):
        list(CollectionSource("none", client=client))
    with pytest.raises(ConfigurationError, match="no folder"):
        CollectionSource("none", path=tmp_path / "gone")
    assert not (tmp_path / "gone").exists()
    with pytest.raises(IndexUnavailableError, match="there is no collection 'none'"):
        list(CollectionSource("none", path=tmp_path))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigurationError, match="one of path="):
        CollectionSource("none")


def test_a_server_and_an_alias_are_read_too() -> None:
    with serve() as server:
        with MatryoshkaCollection("old", space=SPACE, tiers=(4,), url=server) as made:
            made.add(range(5), np.ones((5, 4), np.float32), [{"text": f"{n}"} for n in range(5)])
        remote = QdrantClient(url=server, check_compatibility=False)
        alias = models.CreateAlias(collection_name="old", alias_name="live")
        remote.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
        remote.close()
        with CollectionSource("live", url=server, page=2) as source:
            assert [item.id for item in source] == [0, 1, 2, 3, 4]


def test_a_servers_password_is_in_no_name() -> None:
    source = CollectionSource("old", url="http://user:secret@127.0.0.1:1")
    assert "secret" not in source.name + repr(source)
    with pytest.raises(IndexUnavailableError, match=r"127\.0\.0\.1:1 didn't answer") as caught:
        list(source)
    assert "secret" not in str(caught.value)


# ---- LlamaIndex


def nodes(folder: Path) -> list[Any]:
    pytest.importorskip("llama_index.core")
    from llama_index.core.schema import ImageNode, MediaResource, Node, TextNode

    (folder / "pump 1.png").write_bytes(png(200))
    path = folder / "pump 1.png"
    return [
        TextNode(id_="1", text="plain"),
        TextNode(id_="2", text="titled", metadata={"title": " T ", "page": 3}),
        TextNode(
            id_="3",
            text="hidden",
            metadata={"title": "T", "page": 3},
            excluded_embed_metadata_keys=["title"],
        ),
        TextNode(
            id_="4",
            text="formed",
            metadata={"a": 1, "b": [1, 2]},
            metadata_template="<{key}={value}> ",
            metadata_separator=";",
            text_template="{metadata_str}|| {content}",
        ),
        Node(
            id_="5",
            text_resource=MediaResource(text="with a picture"),
            image_resource=MediaResource(path=path),
            metadata={"title": "T"},
        ),
        Node(id_="6", image_resource=MediaResource(path=path), metadata={"title": "T"}),
        ImageNode(id_="7", text="an image node", image_path=str(path)),
        ImageNode(id_="8", image=base64.b64encode(png(9)).decode(), metadata={"n": 1}),
    ]


def test_llama_index_payloads_are_embedded_as_the_nodes_themselves(tmp_path: Path) -> None:
    made = nodes(tmp_path)
    from llama_index_gemini2 import NodesSource

    direct = list(NodesSource(made))
    made[0].embedding = [0.125] * 3
    assert list(NodesSource(made)) == direct, "an old vector isn't moved along"
    client = QdrantClient(":memory:")
    put(client, {int(str(item.id)): item.payload for item in direct})
    stored = read(client, media_root=tmp_path)
    assert [(as_told(item), item.title) for item in stored] == [
        (as_told(item), item.title) for item in direct
    ]
    assert [item.payload for item in stored] == [item.payload for item in direct]
    client.close()


@pytest.mark.parametrize(
    "template",
    ["{oops}", "{0}", "{", "{value.__class__}", "{value:>999999999}", "{value:q}", "{value:{x}}"],
)
def test_a_template_that_asks_for_more_than_its_fields_is_told(
    template: str, client: QdrantClient
) -> None:
    node = {"text": "one", "metadata": {"n": 1}, "metadata_template": template}
    good = {"text": "two", "metadata": {"n": 2}, "metadata_template": "{key!r:>4}={value}"}
    put(client, {n: {"_node_content": json.dumps(one)} for n, one in enumerate((node, good))})
    source = CollectionSource("old", client=client, policy=Policy.lenient())
    with pytest.warns(SkippedWarning, match=r"left out 1 .*point 0: a template of the node"):
        assert [item.content for item in source] == ["'n'=2\n\ntwo"]


def test_a_folder_that_others_have_open_or_that_is_damaged_is_told(tmp_path: Path) -> None:
    client = QdrantClient(path=str(tmp_path))
    with warnings.catch_warnings():
        # What can't be opened leaves its lock's file to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        with pytest.raises(IndexLockedError, match="in another process"):
            CollectionSource("old", path=tmp_path)
        client.close()
        (tmp_path / "meta.json").write_text("{")
        with pytest.raises(IndexUnavailableError, match="no folder of a QdrantClient"):
            CollectionSource("old", path=tmp_path)
        gc.collect()


def as_told(item: Item) -> list[object]:
    """The parts of an item: texts, and the bytes of media."""
    from gemini2_core.content import Content

    parts = Content.of(item.content).parts
    return [part if isinstance(part, str) else part.read() for part in parts]


def test_a_file_that_a_stored_node_names_is_read_from_the_media_root_alone(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "media").mkdir()
    made = [node for node in nodes(tmp_path / "secret") if node.node_id == "6"]
    from llama_index_gemini2 import NodesSource

    client = QdrantClient(":memory:")
    put(client, {6: next(iter(NodesSource(made))).payload})
    with pytest.raises(InvalidInputError, match=r"point 6: .*give media_root"):
        list(CollectionSource("old", client=client))
    with pytest.raises(InvalidInputError, match=r"point 6: .*leads out of media_root"):
        list(CollectionSource("old", client=client, media_root=tmp_path / "media"))
    client.close()


def test_nodes_in_a_finished_collection_open_in_llama_index(tmp_path: Path) -> None:
    made = nodes(tmp_path)
    from llama_index_gemini2 import MatryoshkaVectorStore, NodesSource

    items = list(NodesSource(made))
    with MatryoshkaCollection("n", space=SPACE, tiers=(4,), location=":memory:") as collection:
        collection.add(
            [item.id for item in items],
            np.ones((len(items), 4), np.float32),
            [item.payload for item in items],
        )
        store = MatryoshkaVectorStore(collection=collection)
        assert store.get_nodes([node.node_id for node in made]) == made


def test_documents_in_a_finished_collection_open_in_langchain() -> None:
    pytest.importorskip("langchain_core")
    from langchain_core.documents import Document
    from langchain_core.embeddings import DeterministicFakeEmbedding

    from langchain_gemini2 import MatryoshkaVectorStore

    documents = [
        Document("one", id="a", metadata={"title": "T", "deep": {"n": [1, 2]}}),
        Document("two", id="b"),
    ]
    items = list(DocumentsSource(documents))
    with MatryoshkaCollection("n", space=SPACE, tiers=(4,), location=":memory:") as collection:
        collection.add(
            [item.id for item in items],
            np.ones((len(items), 4), np.float32),
            [item.payload for item in items],
        )
        store = MatryoshkaVectorStore(DeterministicFakeEmbedding(size=4), collection=collection)
        assert store.get_by_ids(["a", "b"]) == documents
