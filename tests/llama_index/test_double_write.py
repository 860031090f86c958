"""Both sides of a move get every node, each with its own model, whatever fails in between."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.schema import (
    BaseNode,
    Document,
    MediaResource,
    Node,
    NodeRelationship,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.vector_stores.simple import SimpleVectorStore
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryResult,
)
from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict
from pydantic import PrivateAttr

from gemini2_core.corpus import verify
from gemini2_core.emulator import Emulator
from gemini2_core.errors import ConfigurationError, IndexUnavailableError
from llama_index_gemini2 import (
    DoubleWriteVectorStore,
    Gemini2Embedding,
    MatryoshkaVectorStore,
    NodesSource,
)
from tests.wire import items, texts

pytest.importorskip("qdrant_client")

Make: TypeAlias = "Callable[..., Gemini2Embedding]"


class Theirs(BasePydanticVectorStore):
    """A store that keeps nodes as llama-index-vector-stores-qdrant does, and finds them by id."""

    stores_text: bool = True
    _rows: dict[str, tuple[dict[str, Any], list[float]]] = PrivateAttr(default_factory=dict)

    @property
    def client(self) -> None:
        return None

    def add(self, nodes: Any, **_: Any) -> list[str]:
        for node in nodes:
            self._rows[node.node_id] = (node_to_metadata_dict(node), node.get_embedding())
        return [node.node_id for node in nodes]

    def delete(self, ref_doc_id: str, **_: Any) -> None:
        for own, (told, _row) in list(self._rows.items()):
            if told["doc_id"] == ref_doc_id:
                del self._rows[own]

    def delete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **_: Any,
    ) -> None:
        wanted = [(one.key, one.value) for one in filters.filters] if filters else []  # type: ignore[union-attr]  # none are nested here
        for own, (told, _row) in list(self._rows.items()):
            matches = all(told.get(key) == value for key, value in wanted)
            if matches and (node_ids is None or own in node_ids):
                del self._rows[own]

    def clear(self) -> None:
        self._rows.clear()

    def get_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        wanted = self._rows if node_ids is None else [one for one in node_ids if one in self._rows]
        return [metadata_dict_to_node(self._rows[own][0]) for own in wanted]

    def query(self, query: VectorStoreQuery, **_: Any) -> VectorStoreQueryResult:
        assert query.query_embedding is not None
        vector = query.query_embedding
        rows = {own: row for own, (_, row) in self._rows.items()}
        scores = {own: sum(a * b for a, b in zip(vector, rows[own], strict=True)) for own in rows}
        ids = sorted(scores, key=lambda own: -scores[own])[: query.similarity_top_k]
        return VectorStoreQueryResult(
            nodes=self.get_nodes(ids), similarities=[scores[own] for own in ids], ids=ids
        )


class Blind(Theirs):
    """The same, and it finds nothing by id."""

    def get_nodes(self, *_: Any, **__: Any) -> list[BaseNode]:
        raise NotImplementedError


def node(own: str, text: str, document: str = "doc", **metadata: Any) -> TextNode:
    """A node as it comes: with a vector of the live model."""
    found = TextNode(id_=own, text=text, metadata=metadata, embedding=[1.0, float(len(text))])
    found.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=document)
    return found


@pytest.fixture
def new(make: Make) -> Iterator[MatryoshkaVectorStore]:
    store = MatryoshkaVectorStore(make(), "new", tiers=(256, 768))
    yield store
    store.close()


@pytest.fixture
def store(new: MatryoshkaVectorStore, tmp_path: Path) -> Iterator[DoubleWriteVectorStore]:
    made = DoubleWriteVectorStore(Theirs(), new, journal=tmp_path / "journal")
    yield made
    made.close()


def held(store: BasePydanticVectorStore, ids: str = "abcdef") -> dict[str, str]:
    return {one.node_id: one.get_content() for one in store.get_nodes(list(ids))}


class Broken:
    """The new side's collection, which can be made to fail."""

    def __init__(self, new: MatryoshkaVectorStore, patched: pytest.MonkeyPatch) -> None:
        self.on = True
        for name in ("add", "delete"):
            patched.setattr(new.collection, name, self._called(getattr(new.collection, name)))
            awaited = self._awaited(getattr(new.collection, f"a{name}"))
            patched.setattr(new.collection, f"a{name}", awaited)

    def _fail(self) -> None:
        if self.on:
            raise IndexUnavailableError("Qdrant at new didn't answer")

    def _called(self, real: Any) -> Any:
        def called(*args: Any, **kwargs: Any) -> Any:
            self._fail()
            return real(*args, **kwargs)

        return called

    def _awaited(self, real: Any) -> Any:
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            self._fail()
            return await real(*args, **kwargs)

        return awaited


def test_nodes_are_embedded_anew_for_the_new_side(
    store: DoubleWriteVectorStore, emulator: Emulator
) -> None:
    given = [node("a", "the pump", title="Pumps"), node("b", "the tank")]
    assert store.add(given) == ["a", "b"]
    assert texts(emulator) == ["title: Pumps | text: the pump", "title: none | text: the tank"]
    assert [one.embedding for one in given] == [[1.0, 8.0], [1.0, 8.0]]  # as they came
    assert held(store.live) == held(store.new) == {"a": "the pump", "b": "the tank"}
    assert store.new.collection.get(["a"], with_vectors=True)[0].vector is not None
    assert store.new.get_nodes(["a"])[0].ref_doc_id == "doc"
    assert store.owed == 0
    emulator.reset()
    assert str(store.catch_up()) == "2 looked at, 0 written, 0 deleted"
    assert emulator.requests == []


def test_media_of_a_node_reach_the_new_side(
    make: Make, emulator: Emulator, media: Path, tmp_path: Path
) -> None:
    new = MatryoshkaVectorStore(make(dimensions=3072), "new")
    store = DoubleWriteVectorStore(Theirs(), new, journal=tmp_path / "journal")
    picture = Node(
        id_="a",
        text_resource=MediaResource(text="a red square"),
        image_resource=MediaResource(path=media / "red.png"),
        embedding=[1.0, 0.0],
    )
    store.add([picture])
    (item,) = items(emulator)
    assert len(item["content"]["parts"]) == 2
    assert store.catch_up().written == 0
    new.close()


@pytest.mark.parametrize("by", ["ref_doc_id", "ids", "filters", "clear"])
def test_deletions_reach_both_sides_and_nothing_is_put_back(
    store: DoubleWriteVectorStore, by: str
) -> None:
    snapshot = [node("a", "old a", "one", n=1), node("b", "old b", "two", n=2)]
    store.add(snapshot)
    match by:
        case "ref_doc_id":
            store.delete("one")
        case "ids":
            store.delete_nodes(["a"])
        case "filters":
            store.delete_nodes(filters=MetadataFilters(filters=[MetadataFilter(key="n", value=1)]))
        case "clear":
            store.clear()
            store.add([snapshot[1]])
    assert held(store.live) == held(store.new) == {"b": "old b"}
    reindexed(store.new, snapshot)
    assert set(held(store.new)) == {"a", "b"}
    assert store.catch_up().deleted == 1
    assert held(store.new) == {"b": "old b"}
    with pytest.raises(ConfigurationError, match="clear"):
        store.delete_nodes()


@pytest.mark.parametrize("by", ["ref_doc_id", "ids", "filters", "clear"])
async def test_deletions_reach_both_sides_async(store: DoubleWriteVectorStore, by: str) -> None:
    await store.async_add([node("a", "old a", "one", n=1)])
    match by:
        case "ref_doc_id":
            await store.adelete("one")
        case "ids":
            await store.adelete_nodes(["a"])
        case "filters":
            where = MetadataFilters(filters=[MetadataFilter(key="n", value=1)])
            await store.adelete_nodes(filters=where)
        case "clear":
            await store.aclear()
    assert held(store.live) == held(store.new) == {}
    assert store.owed == 0


def test_what_the_new_side_refused_is_kept_and_made_good(
    store: DoubleWriteVectorStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = Broken(store.new, monkeypatch)
    store.add([node("a", "the pump", "one"), node("b", "the tank", "two")])
    store.delete("one")
    assert store.owed == 3
    assert "(new) has not taken 2 nodes or deletions, which are kept in" in caplog.text
    with pytest.raises(IndexUnavailableError):
        store.catch_up()
    broken.on = False
    assert store.catch_up().written == 1
    assert held(store.new) == held(store.live) == {"b": "the tank"}
    assert store.owed == 0


async def test_what_the_new_side_refused_is_made_good_async(
    store: DoubleWriteVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Broken(store.new, monkeypatch)
    await store.async_add([node("a", "the pump", "one"), node("b", "the tank", "two")])
    await store.adelete("one")
    assert store.owed == 3
    broken.on = False
    assert (await store.acatch_up()).written == 1
    assert held(store.new) == {"b": "the tank"}


def test_an_error_of_the_live_side_is_the_callers(
    store: DoubleWriteVectorStore, monkeypatch: pytest.MonkeyPatch, emulator: Emulator
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ValueError("the live side is down")

    monkeypatch.setattr(Theirs, "add", fails)
    with pytest.raises(ValueError, match="live side is down"):
        store.add([node("a", "the pump")])
    assert emulator.requests == []
    assert store.catch_up().written == 0
    assert held(store.new) == {}


def reindexed(new: MatryoshkaVectorStore, snapshot: list[TextNode]) -> None:
    """What re-embedding a snapshot does: the older text over the newer, the deleted put back."""
    assert new.embed_model is not None
    copies = [one.model_copy(update={"embedding": None}) for one in snapshot]
    new.add(new.embed_model(copies))


def test_an_index_writes_through_it_and_reads_the_live_side(
    make: Make, new: MatryoshkaVectorStore, tmp_path: Path
) -> None:
    """LlamaIndex's own store, which keeps no text and finds nothing by id."""
    old = make(model_name="gemini-embedding-001")
    for live in (Theirs(), SimpleVectorStore()):
        new.clear()
        journal = tmp_path / type(live).__name__
        store = DoubleWriteVectorStore(live, new, journal=journal)
        context = StorageContext.from_defaults(vector_store=store)
        documents = [Document(text="fuel pump", id_="one"), Document(text="drain", id_="two")]
        index = VectorStoreIndex.from_documents(documents, context, embed_model=old)
        assert index.as_retriever(similarity_top_k=1).retrieve("fuel pump")[0].text == "fuel pump"
        assert new.collection.count() == 2
        index.delete_ref_doc("one", delete_from_docstore=True)
        assert [one.get_content() for one in new.get_nodes()] == ["drain"]
        assert store.catch_up().written == 0
        after = VectorStoreIndex.from_vector_store(new, new.embed_model)  # the move is over
        assert after.as_retriever().retrieve("drain")[0].text == "drain"
        store.close()


def test_what_was_written_twice_is_what_re_embedding_would_have_written(
    store: DoubleWriteVectorStore, new: MatryoshkaVectorStore
) -> None:
    nodes = [node("a", "the pump", title="Pumps", n=1), node("b", "the tank", n=2)]
    store.add(nodes)
    assert new.embed_model is not None
    embedder = new.embed_model.embedder
    assert verify(new.collection, source=NodesSource(nodes), embedder=embedder).reasons == []


def test_what_cant_work_is_said(make: Make, tmp_path: Path) -> None:
    new = MatryoshkaVectorStore(space="gemini-embedding-2/RETRIEVAL")
    with pytest.raises(ConfigurationError, match="needs its model"):
        DoubleWriteVectorStore(Theirs(), new, journal=tmp_path / "journal")
    with pytest.raises(ConfigurationError, match="one store"):
        DoubleWriteVectorStore(new, new, journal=tmp_path / "journal")


_OPERATION = st.tuples(
    st.sampled_from(["put", "put", "ids", "ref_doc_id", "filters", "clear", "reindex"]),
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True),
    st.booleans(),
)


@pytest.fixture(scope="module")
def shared(_server: Emulator) -> Iterator[Gemini2Embedding]:
    model = Gemini2Embedding(api_key="any", base_url=_server.base_url, dimensions=768)
    yield model
    model.close()


@settings(max_examples=5)
@given(st.lists(_OPERATION, max_size=6), st.booleans())
def test_whatever_happened_catching_up_makes_both_sides_agree(
    shared: Gemini2Embedding, operations: list[tuple[str, list[str], bool]], blind: bool
) -> None:
    live = Blind() if blind else Theirs()
    new = MatryoshkaVectorStore(shared, "new", tiers=(768,))
    snapshot = [node(own, f"old {own}", own, n=ord(own)) for own in "abcd"]
    live.add(snapshot)
    reindexed(new, snapshot)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        store = DoubleWriteVectorStore(live, new, journal=Path(folder) / "journal")
        broken = Broken(new, patched)
        for at, (what, ids, broken.on) in enumerate(operations):
            first = MetadataFilter(key="n", value=ord(ids[0]))
            match what:
                case "put":
                    store.add([node(own, f"{own} {at}", own, n=ord(own)) for own in ids])
                case "ids":
                    store.delete_nodes(ids)
                case "ref_doc_id":
                    store.delete(ids[0])
                case "filters":
                    store.delete_nodes(filters=MetadataFilters(filters=[first]))
                case "clear":
                    store.clear()
                case "reindex":
                    broken.on = False
                    reindexed(new, [one for one in snapshot if one.node_id in ids])
        broken.on = False
        store.catch_up()
        truth = {own: told["_node_content"] for own, (told, _) in live._rows.items()}
        assert set(held(new, "abcd")) == set(truth)
        assert all(text in truth[own] for own, text in held(new, "abcd").items())
        assert store.owed == 0
        again = store.catch_up()
        assert (again.written, again.deleted) == (0, 0)
        store.close()
    new.close()
