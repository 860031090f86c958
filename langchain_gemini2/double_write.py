"""``DoubleWriteVectorStore``: documents go to two stores while a corpus moves between them."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import orjson
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore, VectorStoreRetriever

from gemini2_core.corpus.switchover.catching_up import CaughtUp, catch_up
from gemini2_core.corpus.switchover.journal import Journal
from gemini2_core.errors import ConfigurationError, InvalidInputError
from langchain_gemini2.embeddings import Gemini2Embeddings
from langchain_gemini2.vectorstore import MatryoshkaVectorStore

__all__ = ["DoubleWriteVectorStore"]

_log = logging.getLogger(__name__)
_TITLE = "title"
#: What langchain-qdrant puts into the metadata of what it finds; the first instead of ``id``.
_ID = "_id"
_ADDED = (_ID, "_collection_name")


class DoubleWriteVectorStore(VectorStore):
    """Reads from the live store, and writes to it and to the new one, each with its own embeddings.

    For the time of a move: production uses it in place of its store from before the re-embedding
    begins until the alias is switched, and then the new store alone. Both sides get the same ids.
    An error of the live side is the caller's, and the new side isn't told. An error of the new
    side is logged and kept in the journal, and the caller notices nothing; ``owed`` counts those.
    Once the re-embedding is done, ``catch_up`` makes the new side agree: with what it missed, and
    with what the re-embedding, which reads the corpus as it was, wrote over or put back.

    A write waits for both sides. With ``retry_seconds=2``, say, the new side's model gives up soon
    where its service is down, and ``catch_up`` does the rest; the default waits for minutes.

    Example:
        >>> new = MatryoshkaVectorStore(embeddings, "docs_v2", url=url)  # doctest: +SKIP
        >>> store = DoubleWriteVectorStore(live, new, journal="move.sqlite")  # doctest: +SKIP
        >>> store.add_documents(documents)  # doctest: +SKIP
        >>> print(store.catch_up())  # doctest: +SKIP

    Args:
        live: The store that is read: any of LangChain's.
        new: The store of the new collection.
        journal: A file (SQLite) on this machine's disk. Processes of this machine may share it;
            where several machines write, each has its own and catches up.

    Raises:
        ConfigurationError: The journal is something else, or both are one collection.
    """

    def __init__(
        self, live: VectorStore, new: MatryoshkaVectorStore, *, journal: str | Path
    ) -> None:
        if live is new:
            raise ConfigurationError("live and new are one store")
        self._live = live
        self._new = new
        self._journal = Journal(journal)

    @property
    def live(self) -> VectorStore:
        """The store that is read."""
        return self._live

    @property
    def new(self) -> MatryoshkaVectorStore:
        """The store that takes over."""
        return self._new

    @property
    def owed(self) -> int:
        """How many documents and deletions the new side hasn't, as far as is known."""
        return self._journal.owed

    @property
    def embeddings(self) -> Embeddings | None:
        """The live side's."""
        return self._live.embeddings

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._live!r}, {self._new!r}, owed={self.owed})"

    def close(self) -> None:
        """Let go of the journal; both stores stay open."""
        self._journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- writing

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[Any, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Store texts on both sides under the same ids.

        Args:
            texts: Texts.
            metadatas: One a text; a ``title`` is told to the new side's model, as the
                re-embedding tells it.
            ids: One a text; a text without one gets a new UUID.
            kwargs: More for the live side.

        Returns:
            The ids.

        Raises:
            Exception: What the live side raises; the new side is then not told.
        """
        documents = _documents(list(texts), metadatas, ids)
        numbers = self._journal.put(_json_by_id(documents))
        told = self._live.add_texts(*_given(documents), ids=_ids(documents), **kwargs)
        documents, numbers = self._as_told(documents, told, numbers)
        try:
            _write(self._new, documents)
        except Exception as error:  # noqa: BLE001  # whatever it is, production goes on
            self._owe(numbers, error)
        else:
            self._journal.done(numbers)
        return _ids(documents)

    async def aadd_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[Any, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """``add_texts``, awaited."""
        documents = _documents(list(texts), metadatas, ids)
        numbers = await asyncio.to_thread(self._journal.put, _json_by_id(documents))
        told = await self._live.aadd_texts(*_given(documents), ids=_ids(documents), **kwargs)
        documents, numbers = await asyncio.to_thread(self._as_told, documents, told, numbers)
        try:
            await self._new.aadd_texts(
                *_given(documents), ids=_ids(documents), titles=_titles(self._new, documents)
            )
        except Exception as error:  # noqa: BLE001  # whatever it is, production goes on
            await asyncio.to_thread(self._owe, numbers, error)
        else:
            await asyncio.to_thread(self._journal.done, numbers)
        return _ids(documents)

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool | None:
        """Delete documents by id from both sides.

        Args:
            ids: Which.
            kwargs: More for the live side; nothing that chooses other documents.

        Raises:
            ConfigurationError: No ids: what that means differs from store to store.
        """
        numbers = self._journal.delete(_named(ids))
        told = self._live.delete(ids, **kwargs)
        try:
            self._new.delete(ids)
        except Exception as error:  # noqa: BLE001  # whatever it is, production goes on
            self._owe(numbers, error)
        else:
            self._journal.done(numbers)
        return told

    async def adelete(self, ids: list[str] | None = None, **kwargs: Any) -> bool | None:
        """``delete``, awaited."""
        numbers = await asyncio.to_thread(self._journal.delete, _named(ids))
        told = await self._live.adelete(ids, **kwargs)
        try:
            await self._new.adelete(ids)
        except Exception as error:  # noqa: BLE001  # whatever it is, production goes on
            await asyncio.to_thread(self._owe, numbers, error)
        else:
            await asyncio.to_thread(self._journal.done, numbers)
        return told

    def catch_up(self) -> CaughtUp:
        """Make the new side agree with what was written and deleted through this store.

        To be called when the re-embedding is done, before the new collection is verified; and
        again, if it is done again. What is the same already isn't embedded anew. Where the live
        side finds documents by id, it says what is right; else the journal does.

        Raises:
            Gemini2Error: The new side still fails; what is owed stays in the journal.
        """
        return catch_up(self._journal, _Sides(self._live, self._new))

    async def acatch_up(self) -> CaughtUp:
        """``catch_up`` in a thread of its own, for a running loop."""
        return await asyncio.to_thread(self.catch_up)

    @classmethod
    def from_texts(cls, *_: Any, **__: Any) -> Self:
        """There is none: it takes two stores that are there.

        Raises:
            ConfigurationError: Always.
        """
        raise ConfigurationError("make both stores, and from them a DoubleWriteVectorStore")

    def _as_told(
        self, documents: list[Document], told: Sequence[str], numbers: list[int]
    ) -> tuple[list[Document], list[int]]:
        """The documents under the ids that the live side gave them, if it took none."""
        if list(told) == _ids(documents):
            return documents, numbers
        if len(told) != len(documents):
            raise InvalidInputError(f"{len(documents)} documents got {len(told)} ids")
        renamed = [
            Document(one.page_content, metadata=one.metadata, id=own)
            for one, own in zip(documents, told, strict=True)
        ]
        self._journal.forget(numbers)
        return renamed, self._journal.put(_json_by_id(renamed))

    def _owe(self, numbers: Sequence[int], error: Exception) -> None:
        self._journal.owe(numbers, f"{type(error).__name__}: {error}")
        _log.warning(
            "the new side (%s) has not taken %d documents, which are kept in %s: %s",
            self._new.collection.name,
            len(numbers),
            self._journal.path,
            error,
        )

    # ---- reading, from the live side alone

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The live side's."""
        return self._live.get_by_ids(ids)

    async def aget_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The live side's."""
        return await self._live.aget_by_ids(ids)

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """The live side's."""
        return self._live.similarity_search(query, k, **kwargs)

    async def asimilarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """The live side's."""
        return await self._live.asimilarity_search(query, k, **kwargs)

    def similarity_search_with_score(
        self, *args: Any, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """The live side's."""
        return self._live.similarity_search_with_score(*args, **kwargs)

    async def asimilarity_search_with_score(
        self, *args: Any, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """The live side's."""
        return await self._live.asimilarity_search_with_score(*args, **kwargs)

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, **kwargs: Any
    ) -> list[Document]:
        """The live side's."""
        return self._live.similarity_search_by_vector(embedding, k, **kwargs)

    async def asimilarity_search_by_vector(
        self, embedding: list[float], k: int = 4, **kwargs: Any
    ) -> list[Document]:
        """The live side's."""
        return await self._live.asimilarity_search_by_vector(embedding, k, **kwargs)

    def similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """The live side's."""
        return self._live.similarity_search_with_relevance_scores(query, k, **kwargs)

    async def asimilarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """The live side's."""
        return await self._live.asimilarity_search_with_relevance_scores(query, k, **kwargs)

    def max_marginal_relevance_search(self, *args: Any, **kwargs: Any) -> list[Document]:
        """The live side's."""
        return self._live.max_marginal_relevance_search(*args, **kwargs)

    async def amax_marginal_relevance_search(self, *args: Any, **kwargs: Any) -> list[Document]:
        """The live side's."""
        return await self._live.amax_marginal_relevance_search(*args, **kwargs)

    def max_marginal_relevance_search_by_vector(self, *args: Any, **kwargs: Any) -> list[Document]:
        """The live side's."""
        return self._live.max_marginal_relevance_search_by_vector(*args, **kwargs)

    async def amax_marginal_relevance_search_by_vector(
        self, *args: Any, **kwargs: Any
    ) -> list[Document]:
        """The live side's."""
        return await self._live.amax_marginal_relevance_search_by_vector(*args, **kwargs)

    def as_retriever(self, **kwargs: Any) -> VectorStoreRetriever:
        """The live side's retriever."""
        return self._live.as_retriever(**kwargs)


class _Sides:
    """LangChain's stores as ``catch_up`` wants them."""

    def __init__(self, live: VectorStore, new: MatryoshkaVectorStore) -> None:
        self._live, self._new = live, new

    def live(self, ids: Sequence[str]) -> Mapping[str, str] | None:
        try:
            found = self._live.get_by_ids(ids)
        except (NotImplementedError, ValueError):
            return None  # langchain-chroma can't read what was written without metadata
        # Some stores find documents, and don't say which is which.
        return _json_by_id(found) if all(map(_own, found)) else None

    def new(self, ids: Sequence[str]) -> Mapping[str, str]:
        return _json_by_id(self._new.get_by_ids(ids))

    def same(self, one: str, other: str) -> bool:
        return one == other

    def matching(self, what: str) -> Iterable[str]:
        raise AssertionError(f"LangChain deletes by id, not {what!r}")

    def write(self, documents: Mapping[str, str]) -> None:
        read = [(own, orjson.loads(told)) for own, told in documents.items()]
        _write(
            self._new,
            [Document(one["page_content"], metadata=one["metadata"], id=own) for own, one in read],
        )

    def remove(self, ids: Sequence[str]) -> None:
        self._new.delete(list(ids))


def _documents(
    texts: Sequence[str],
    metadatas: Sequence[Mapping[Any, Any]] | None,
    ids: Sequence[str | None] | None,
) -> list[Document]:
    for what, told in (("metadatas", metadatas), ("ids", ids)):
        if told is not None and len(told) != len(texts):
            raise InvalidInputError(f"{len(texts)} documents with {len(told)} {what}")
    own = [one or str(uuid.uuid4()) for one in ids or [None] * len(texts)]
    return [
        Document(text, metadata=dict(metadata), id=one)
        for text, metadata, one in zip(texts, metadatas or [{}] * len(texts), own, strict=True)
    ]


def _given(documents: Sequence[Document]) -> tuple[list[str], list[dict[Any, Any]]]:
    return [one.page_content for one in documents], [one.metadata for one in documents]


def _ids(documents: Sequence[Document]) -> list[str]:
    return [str(one.id) for one in documents]


def _titles(store: VectorStore, documents: Sequence[Document]) -> list[str | None] | None:
    """As ``corpus.DocumentsSource`` and ``corpus.CollectionSource`` tell them."""
    if not isinstance(store.embeddings, Gemini2Embeddings):
        return None
    titles = (one.metadata.get(_TITLE) for one in documents)
    return [one if isinstance(one, str) and one.strip() else None for one in titles]


def _write(store: MatryoshkaVectorStore, documents: Sequence[Document]) -> None:
    store.add_texts(*_given(documents), ids=_ids(documents), titles=_titles(store, documents))


def _json_by_id(documents: Iterable[Document]) -> dict[str, str]:
    """Each document in one spelling; what isn't JSON in its metadata as the text it has."""
    found = {}
    for one in documents:
        metadata = {key: value for key, value in one.metadata.items() if key not in _ADDED}
        told = {"page_content": one.page_content, "metadata": metadata}
        options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
        found[_own(one) or ""] = orjson.dumps(told, default=str, option=options).decode()
    return found


def _own(document: Document) -> str | None:
    own = document.id or document.metadata.get(_ID)
    return None if own is None else str(own)


def _named(ids: list[str] | None) -> list[str]:
    if ids is None:
        raise ConfigurationError(
            "delete takes the ids: without them each store deletes other things"
        )
    return ids
