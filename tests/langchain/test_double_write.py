"""Both sides of a move get every document, whatever fails and whatever the re-embedding does."""

from __future__ import annotations

import random
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore
from langchain_tests.integration_tests import VectorStoreIntegrationTests

from gemini2_core.corpus import DocumentsSource, Item, verify
from gemini2_core.emulator import Emulator
from gemini2_core.errors import ConfigurationError, IndexUnavailableError
from gemini2_core.index import MatryoshkaCollection
from langchain_gemini2 import DoubleWriteVectorStore, Gemini2Embeddings, MatryoshkaVectorStore
from tests.wire import texts

pytest.importorskip("qdrant_client")

Make: TypeAlias = "Callable[..., Gemini2Embeddings]"
SPACE = "gemini-embedding-2/NONE"
LIVES = ("memory", "chroma", "qdrant")


def live_store(kind: str, embeddings: Any, tmp_path: Path) -> VectorStore:
    """A store of another make, with 16 numbers of another model."""
    if kind == "chroma":
        chroma = pytest.importorskip("langchain_chroma")
        name = f"c{uuid.uuid4().hex}"
        chromadb = pytest.importorskip("chromadb")
        # The settings of every test's: a process has one ephemeral Chroma.
        client = chromadb.EphemeralClient(chromadb.Settings(anonymized_telemetry=False))
        store: VectorStore = chroma.Chroma(name, embeddings, client=client)
        return store
    if kind == "qdrant":
        qdrant = pytest.importorskip("langchain_qdrant")
        from qdrant_client import QdrantClient, models

        client = QdrantClient(":memory:")
        params = models.VectorParams(size=16, distance=models.Distance.COSINE)
        client.create_collection("docs", vectors_config=params)
        found: VectorStore = qdrant.QdrantVectorStore(client, "docs", embeddings)
        return found
    return InMemoryVectorStore(embeddings)


def fake(size: int = 16) -> DeterministicFakeEmbedding:
    return DeterministicFakeEmbedding(size=size)


def new_store() -> MatryoshkaVectorStore:
    """The new side, with fake vectors of 32 numbers."""
    return MatryoshkaVectorStore(fake(32), "new", space=SPACE, tiers=(8, 32))


@pytest.fixture(params=LIVES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DoubleWriteVectorStore]:
    live = live_store(request.param, fake(), tmp_path)
    with DoubleWriteVectorStore(live, new_store(), journal=tmp_path / "journal") as made:
        yield made


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[DoubleWriteVectorStore]:
    live = InMemoryVectorStore(fake())
    with DoubleWriteVectorStore(live, new_store(), journal=tmp_path / "journal") as made:
        yield made


class Broken:
    """The new side's collection, which can be made to fail."""

    def __init__(self, store: DoubleWriteVectorStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.on = True
        for name in ("add", "aadd", "delete", "adelete"):
            monkeypatch.setattr(store.new.collection, name, self._wrapped(store, name))

    def _wrapped(self, store: DoubleWriteVectorStore, name: str) -> Any:
        real = getattr(store.new.collection, name)
        fails = IndexUnavailableError("Qdrant at new didn't answer")
        if name.startswith("a") and name != "add":

            async def awaited(*args: Any, **kwargs: Any) -> Any:
                if self.on:
                    raise fails
                return await real(*args, **kwargs)

            return awaited

        def called(*args: Any, **kwargs: Any) -> Any:
            if self.on:
                raise fails
            return real(*args, **kwargs)

        return called


def held(store: VectorStore, ids: list[str]) -> dict[str, str]:
    found = store.get_by_ids(ids)
    return {str(one.id or one.metadata["_id"]): one.page_content for one in found}


def uuids(n: int) -> list[str]:
    return [str(uuid.UUID(int=at + 1)) for at in range(n)]


DOCUMENTS = [
    Document("the pump", metadata={"n": 0, "title": "Pumps"}, id=uuids(2)[0]),
    Document("the tank", metadata={"n": 1}, id=uuids(2)[1]),
]


class TestStandard(VectorStoreIntegrationTests):
    """LangChain's own tests hold for it, since they hold for its live side."""

    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> Iterator[DoubleWriteVectorStore]:
        live = InMemoryVectorStore(self.get_embeddings())
        with DoubleWriteVectorStore(live, new_store(), journal=tmp_path / "journal") as store:
            yield store
            assert store.owed == 0


def test_both_sides_hold_the_same_under_the_same_ids(store: DoubleWriteVectorStore) -> None:
    ids = store.add_documents(DOCUMENTS)
    ids += store.add_texts(["the valve", "the hose"], [{"n": 2}, {"n": 3}])
    assert held(store.live, ids) == held(store.new, ids)
    assert store.new.collection.count() == 4
    assert store.owed == 0
    assert store.new.get_by_ids(ids)[0].metadata == {"n": 0, "title": "Pumps"}
    store.delete([ids[0], ids[2]])
    assert held(store.live, ids) == held(store.new, ids) == {ids[1]: "the tank", ids[3]: "the hose"}
    assert str(store.catch_up()) == "4 looked at, 0 written, 0 deleted"


async def test_both_sides_hold_the_same_async(store: DoubleWriteVectorStore) -> None:
    ids = await store.aadd_documents(DOCUMENTS)
    await store.adelete(ids[:1])
    assert held(store.live, ids) == held(store.new, ids) == {ids[1]: "the tank"}
    found = await store.asimilarity_search("the tank", k=1)
    assert found[0].page_content == "the tank"
    assert (await store.acatch_up()).written == 0


def test_only_the_live_side_is_read(plain: DoubleWriteVectorStore) -> None:
    plain.add_documents(DOCUMENTS)
    plain.live.add_texts(["only here"], ids=["x"])
    plain.new.add_texts(["only there"], ids=["y"])
    assert plain.similarity_search("only here", k=1)[0].page_content == "only here"
    assert plain.get_by_ids(["x", "y"])[0].page_content == "only here"
    found = plain.as_retriever(search_kwargs={"k": 10}).invoke("only there")
    assert "only there" not in [one.page_content for one in found]
    assert plain.embeddings is plain.live.embeddings


def test_an_error_of_the_live_side_is_the_callers_and_the_new_side_isnt_told(
    plain: DoubleWriteVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ValueError("the live side is down")

    with monkeypatch.context() as patched:
        patched.setattr(plain.live, "add_documents", fails)
        patched.setattr(plain.live, "delete", fails)
        with pytest.raises(ValueError, match="live side is down"):
            plain.add_texts(["the pump"], ids=["a"])
        with pytest.raises(ValueError, match="live side is down"):
            plain.delete(["b"])
    assert plain.new.collection.count() == 0
    assert plain.owed == 2  # nothing is known of them
    assert str(plain.catch_up()) == "2 looked at, 0 written, 0 deleted"
    assert plain.owed == 0


def test_what_the_new_side_refused_is_logged_kept_and_made_good(
    store: DoubleWriteVectorStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = Broken(store, monkeypatch)
    ids = store.add_documents(DOCUMENTS)
    store.delete(ids[:1])
    assert held(store.live, ids) == {ids[1]: "the tank"}
    assert store.owed == 2
    assert "(new) has not taken 2 documents, which are kept in" in caplog.text
    with pytest.raises(IndexUnavailableError):
        store.catch_up()
    assert store.owed >= 1
    broken.on = False
    assert store.catch_up().written == 1
    assert held(store.new, ids) == {ids[1]: "the tank"}
    assert store.owed == 0


async def test_what_the_new_side_refused_is_made_good_async(
    plain: DoubleWriteVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Broken(plain, monkeypatch)
    ids = await plain.aadd_documents(DOCUMENTS)
    await plain.adelete(ids[:1])
    assert plain.owed == 2
    broken.on = False
    await plain.acatch_up()
    assert held(plain.new, ids) == {ids[1]: "the tank"}


def test_another_process_makes_it_good_after_a_crash(
    plain: DoubleWriteVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(plain.new, "add_texts", killed)
        with pytest.raises(Killed):
            plain.add_documents(DOCUMENTS)
    with DoubleWriteVectorStore(plain.live, plain.new, journal=plain._journal.path) as after:
        assert after.owed == 2
        assert after.catch_up().written == 2
    assert plain.new.collection.count() == 2


def reindexed(new: MatryoshkaVectorStore, snapshot: list[Item]) -> None:
    """What re-embedding a snapshot does: the older text over the newer, the deleted put back."""
    for item in snapshot:
        payload = item.payload
        new.add_texts([str(item.content)], [payload["metadata"]], ids=[str(item.id)])  # type: ignore[list-item]  # it is a dict


def test_older_text_of_the_re_embedding_doesnt_stay(store: DoubleWriteVectorStore) -> None:
    ids = uuids(4)
    old = [Document(f"old {n}", metadata={"n": n}, id=ids[n]) for n in range(4)]
    store.live.add_documents(old)
    snapshot = list(DocumentsSource(old))
    store.add_documents([Document("newer", metadata={"n": 0}, id=ids[0])])
    store.delete([ids[1]])
    reindexed(store.new, snapshot)
    assert held(store.new, ids)[ids[0]] == "old 0"
    assert ids[1] in held(store.new, ids)
    done = store.catch_up()
    assert (done.written, done.deleted) == (1, 1)
    assert held(store.new, ids) == held(store.live, ids)
    assert held(store.new, ids) == {ids[0]: "newer", ids[2]: "old 2", ids[3]: "old 3"}


def test_what_agrees_already_isnt_paid_for_again(
    make: Make, emulator: Emulator, tmp_path: Path
) -> None:
    live = InMemoryVectorStore(make(model="gemini-embedding-001"))
    with (
        MatryoshkaVectorStore(make(), "new") as new,
        DoubleWriteVectorStore(live, new, journal=tmp_path / "journal") as store,
    ):
        store.add_documents(DOCUMENTS)
        assert texts(emulator)[2:] == [
            "title: Pumps | text: the pump",
            "title: none | text: the tank",
        ]
        emulator.reset()
        store.catch_up()
        assert emulator.requests == []
        # What was written twice is what the re-embedding would have written.
        embedder = make(dimensions=3072).embedder
        assert verify(new.collection, source=DocumentsSource(DOCUMENTS), embedder=embedder).passed


class Blind(InMemoryVectorStore):
    """A store that finds nothing by id, as some do."""

    def get_by_ids(self, ids: Any, /) -> list[Document]:
        raise NotImplementedError


def test_where_the_live_side_cant_be_asked_the_journal_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DoubleWriteVectorStore(Blind(fake()), new_store(), journal=tmp_path / "journal") as store:
        broken = Broken(store, monkeypatch)
        store.add_texts(["first", "second"], ids=["a", "b"])
        store.add_texts(["first, newer"], ids=["a"])
        store.delete(["b"])
        broken.on = False
        monkeypatch.setattr(store.live, "add_documents", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            store.add_texts(["never"], ids=["c"])
        done = store.catch_up()
        assert (done.written, done.deleted, done.unsure) == (1, 0, 1)
        assert held(store.new, ["a", "b", "c"]) == {"a": "first, newer"}


def test_a_live_side_that_stumbles_over_what_it_holds_isnt_asked(tmp_path: Path) -> None:
    live = live_store("chroma", fake(), tmp_path)
    with DoubleWriteVectorStore(live, new_store(), journal=tmp_path / "journal") as store:
        store.add_texts(["without metadata"], ids=["a"])
        store.new.delete(["a"])
        assert store.catch_up().written == 1


def test_a_live_side_that_gives_its_own_ids_is_followed(
    plain: DoubleWriteVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain.live, "add_documents", lambda *_, **__: ["theirs"])
    assert plain.add_texts(["the pump"]) == ["theirs"]
    assert held(plain.new, ["theirs"]) == {"theirs": "the pump"}
    assert plain.owed == 0


def test_metadata_that_isnt_json_doesnt_stop_production(plain: DoubleWriteVectorStore) -> None:
    plain.add_texts(["the pump"], [{"tags": {1}}], ids=["a"])
    assert (held(plain.live, ["a"]), plain.owed) == ({"a": "the pump"}, 1)
    plain.catch_up()
    assert plain.new.get_by_ids(["a"])[0].metadata == {"tags": "{1}"}


def test_what_cant_work_is_said(plain: DoubleWriteVectorStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="delete takes the ids"):
        plain.delete()
    with pytest.raises(ConfigurationError, match="one store"):
        DoubleWriteVectorStore(plain.new, plain.new, journal=tmp_path / "other")
    (tmp_path / "text").write_text("a letter to a friend, longer than a header of a database " * 9)
    with pytest.raises(ConfigurationError, match="can't be a journal"):
        DoubleWriteVectorStore(plain.live, plain.new, journal=tmp_path / "text")
    with pytest.raises(ConfigurationError, match="make both stores"):
        DoubleWriteVectorStore.from_texts(["a"], fake())
    assert plain.add_texts([]) == []


_OPERATION = st.tuples(
    st.sampled_from(["put", "put", "delete", "reindex"]),
    st.lists(st.sampled_from("abcde"), min_size=1, max_size=3, unique=True),
    st.booleans(),
)


@settings(max_examples=15)
@given(st.lists(_OPERATION, max_size=12), st.booleans())
def test_whatever_happened_catching_up_makes_both_sides_agree(
    operations: list[tuple[str, list[str], bool]], blind: bool
) -> None:
    """Writes that fail and don't, deletions, a re-embedding of the beginning in between."""
    import tempfile

    folder = tempfile.TemporaryDirectory()
    live = (Blind if blind else InMemoryVectorStore)(fake())
    new = new_store()
    snapshot = [Document(f"old {own}", id=own) for own in "abcde"]
    live.add_documents(snapshot)
    items = list(DocumentsSource(snapshot))
    with DoubleWriteVectorStore(live, new, journal=Path(folder.name) / "journal") as store:
        reindexed(new, items)
        with pytest.MonkeyPatch.context() as patched:
            broken = Broken(store, patched)
            for at, (what, ids, fails) in enumerate(operations):
                broken.on = fails
                if what == "put":
                    store.add_texts([f"{own} {at}" for own in ids], ids=ids)
                elif what == "delete":
                    store.delete(ids)
                else:
                    broken.on = False
                    reindexed(new, random.Random(at).sample(items, 2))
        store.catch_up()
        truth = {own: one["text"] for own, one in live.store.items()}
        assert held(new, list("abcde")) == truth
        assert store.owed == 0
        again = store.catch_up()
        assert (again.written, again.deleted) == (0, 0)
    folder.cleanup()


def test_the_journal_doesnt_grow_with_writes_of_the_same(
    plain: DoubleWriteVectorStore, tmp_path: Path
) -> None:
    for n in range(5):
        plain.add_texts([f"text {n}"], ids=["a"])
    rows = sqlite3.connect(tmp_path / "journal").execute("SELECT own, body FROM entries").fetchall()
    assert [own for own, _ in rows] == ["a"]
    assert "text 4" in rows[0][1]


def test_a_new_side_of_another_space_isnt_written_to(tmp_path: Path, make: Make) -> None:
    from qdrant_client import QdrantClient

    client = QdrantClient(":memory:")
    MatryoshkaCollection(
        "docs", space="gemini-embedding-001/RETRIEVAL", tiers=(768,), client=client
    ).open()
    new = MatryoshkaVectorStore(make(), "docs", client=client)
    live = InMemoryVectorStore(fake())
    with DoubleWriteVectorStore(live, new, journal=tmp_path / "journal") as store:
        store.add_texts(["the pump"], ids=["a"])
        assert store.owed == 1
        with pytest.raises(ConfigurationError, match="gemini-embedding-001/RETRIEVAL"):
            store.catch_up()
