"""A whole move while production goes on writing: nothing is lost, nothing older stays."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from langchain_core.documents import Document
from pydantic import SecretStr
from qdrant_client import QdrantClient, models

from cookbooks.qdrant_on_loopback import serve as serve_qdrant
from gemini2_core.corpus import (
    CollectionSource,
    DocumentsSource,
    Item,
    Source,
    kept_old,
    reindex,
    rollback,
    switch,
    verify,
)
from gemini2_core.embedding import Gemini2Embedder
from gemini2_core.emulator import Emulator, serve
from gemini2_core.errors import SwitchRefusedError
from gemini2_core.index import MatryoshkaCollection
from langchain_gemini2 import DoubleWriteVectorStore, Gemini2Embeddings, MatryoshkaVectorStore
from tests.wire import KEY

OLD, NEW = "gemini-embedding-001", "gemini-embedding-2"
IDS = [str(uuid.UUID(int=n)) for n in range(60)]


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with serve() as running:
        yield running


class Meanwhile:
    """A source that is read as it was while something goes on in the middle of it."""

    def __init__(self, source: Source, happens: Callable[[], None]) -> None:
        self.name = source.name
        self._items = list(source)
        self._happens: list[Callable[[], None]] = [happens]

    def count(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Item]:
        for at, item in enumerate(self._items):
            if at == 24 and self._happens:
                self._happens.pop()()
            yield item


def document(n: int, text: str = "as it was") -> Document:
    return Document(f"part {n}, {text}", metadata={"n": n, "title": f"Part {n % 5}"}, id=IDS[n])


def test_documents_written_during_the_move_are_the_ones_that_stay(
    emulator: Emulator, tmp_path: Path
) -> None:
    qdrant = pytest.importorskip("langchain_qdrant")
    client = QdrantClient(":memory:")
    params = models.VectorParams(size=768, distance=models.Distance.COSINE)
    client.create_collection("v1", vectors_config=params)
    told = models.CreateAlias(collection_name="v1", alias_name="docs")
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=told)])
    at = emulator.base_url
    with (
        Gemini2Embeddings(model=OLD, dimensions=768, api_key=SecretStr(KEY), base_url=at) as old,
        Gemini2Embeddings(model=NEW, dimensions=3072, api_key=SecretStr(KEY), base_url=at) as new,
        MatryoshkaVectorStore(new, "v2", client=client) as green,
    ):
        live = qdrant.QdrantVectorStore(client, "docs", old)
        live.add_documents([document(n) for n in range(50)])
        store = DoubleWriteVectorStore(live, green, journal=tmp_path / "journal")

        def production() -> None:
            """What goes on while the corpus is read as it was; pages of it are in flight."""
            store.add_documents([document(3, "newer"), document(45, "newer"), document(55)])
            store.delete([IDS[4], IDS[46]])
            with pytest.raises(SwitchRefusedError, match="still being filled"):
                switch("docs", green.collection, force=True)

        source = CollectionSource("docs", client=client)
        report = reindex(
            Meanwhile(source, production),
            new.embedder,
            green.collection,
            checkpoint=tmp_path / "checkpoint",
            page=8,
        )
        assert report.finished

        def held() -> dict[str, object]:
            return {str(one.id): one.payload["page_content"] for one in green.collection.scroll()}

        assert (held()[IDS[45]], IDS[46] in held()) == ("part 45, as it was", True)
        assert store.catch_up().deleted >= 1
        assert store.owed == 0
        expected = {IDS[n]: document(n).page_content for n in [*range(50), 55] if n not in {4, 46}}
        expected |= {IDS[n]: document(n, "newer").page_content for n in (3, 45)}
        assert held() == expected

        found = verify(green.collection, source=source, embedder=new.embedder, sample=60)
        assert found.reasons == []
        assert found.sampled == 49
        assert switch("docs", green.collection, verification=found).before == "v1"
        with MatryoshkaVectorStore(new, "docs", client=client) as production_now:
            assert production_now.get_by_ids([IDS[3]])[0].page_content == "part 3, newer"
        assert kept_old("docs", green.collection) == "v1"
        assert rollback("docs", green.collection).now == "v1"
        assert live.similarity_search("part 55", k=1)[0].page_content
        store.close()


def test_who_tries_all_the_time_gets_there_when_the_last_point_is_stored(
    emulator: Emulator, tmp_path: Path
) -> None:
    """Two shards, one after the other, and a thread that would switch at any moment."""
    documents = [document(n) for n in range(40)]
    counts: list[int] = []
    refusals: list[str] = []
    ended, refused = threading.Event(), threading.Event()

    def until_it_was_refused() -> None:
        refused.clear()
        assert refused.wait(30)

    with (
        serve_qdrant() as url,
        Gemini2Embedder(NEW, api_key=KEY, base_url=emulator.base_url) as embedder,
        MatryoshkaCollection("v2", space=embedder.space, url=str(url)) as green,
        MatryoshkaCollection("v2", space=None, url=str(url)) as seen,
    ):

        def impatient() -> None:
            while not counts and not ended.is_set():
                try:
                    switch("docs", seen, force=True)
                    counts.append(seen.count())
                except SwitchRefusedError as error:
                    refusals.append(str(error))
                    refused.set()

        thread = threading.Thread(target=impatient)
        thread.start()
        try:
            for number in (0, 1):
                source = Meanwhile(DocumentsSource(documents), until_it_was_refused)
                place = tmp_path / f"checkpoint-{number}"
                reindex(source, embedder, green, checkpoint=place, shard=(number, 2), page=5)
                if number == 0:
                    until_it_was_refused()
                    assert counts == []
            thread.join(timeout=30)
        finally:
            ended.set()
            thread.join()
        assert counts == [40]
        assert any("shard 0/2, 1/2" in told for told in refusals)
        assert any("(shard 1/2)" in told for told in refusals)
