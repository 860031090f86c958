"""``DoubleWriteVectorStore``: nodes go to two stores while a corpus moves between them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryResult,
)
from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict
from pydantic import PrivateAttr

from gemini2_core.corpus.switchover.catching_up import CaughtUp, catch_up
from gemini2_core.corpus.switchover.journal import Journal
from gemini2_core.errors import ConfigurationError
from llama_index_gemini2.embedding import Gemini2Embedding
from llama_index_gemini2.vectorstore import MatryoshkaVectorStore

__all__ = ["DoubleWriteVectorStore"]

_log = logging.getLogger(__name__)
_REF_DOC = "doc_id"


class DoubleWriteVectorStore(BasePydanticVectorStore):
    """Reads from the live store, and writes to it and to the new one, each with its own model.

    For the time of a move: an index uses it in place of its store from before the re-embedding
    begins until the alias is switched, and then the new store alone. Nodes come with the live
    model's embedding; for the new side they are embedded anew, under the same ids. An error of
    the live side is the caller's, and the new side isn't told. An error of the new side is logged
    and kept in the journal, and the caller notices nothing; ``owed`` counts those. Once the
    re-embedding is done, ``catch_up`` makes the new side agree: with what it missed, and with what
    the re-embedding, which reads the corpus as it was, wrote over or put back.

    A write waits for both sides. With ``retry_seconds=2``, say, the new side's model gives up soon
    where its service is down, and ``catch_up`` does the rest; the default waits for minutes.

    Example:
        >>> new = MatryoshkaVectorStore(model, "docs_v2", url=url)  # doctest: +SKIP
        >>> store = DoubleWriteVectorStore(live, new, journal="move.sqlite")  # doctest: +SKIP
        >>> index = VectorStoreIndex.from_vector_store(store, old_model)  # doctest: +SKIP
        >>> index.insert(document)  # doctest: +SKIP
        >>> print(store.catch_up())  # doctest: +SKIP

    Args:
        live: The store that is read: any of LlamaIndex's.
        new: The store of the new collection, made with its embedding model.
        journal: A file (SQLite) on this machine's disk. Processes of this machine may share it;
            where several machines write, each has its own and catches up.

    Raises:
        ConfigurationError: The journal is something else, both are one store, or the new one was
            made without its model.
    """

    _live: BasePydanticVectorStore = PrivateAttr()
    _new: MatryoshkaVectorStore = PrivateAttr()
    _model: Gemini2Embedding = PrivateAttr()
    _journal: Journal = PrivateAttr()

    def __init__(
        self, live: BasePydanticVectorStore, new: MatryoshkaVectorStore, *, journal: str | Path
    ) -> None:
        super().__init__(stores_text=live.stores_text, is_embedding_query=live.is_embedding_query)
        if live is new:
            raise ConfigurationError("live and new are one store")
        if new.embed_model is None:
            raise ConfigurationError(
                "the new store needs its model, to embed what is written: "
                "MatryoshkaVectorStore(embed_model, …)"
            )
        self._live, self._new, self._model = live, new, new.embed_model
        self._journal = Journal(journal)

    @classmethod
    def class_name(cls) -> str:
        """Name in serialized form."""
        return "DoubleWriteVectorStore"

    @property
    def live(self) -> BasePydanticVectorStore:
        """The store that is read."""
        return self._live

    @property
    def new(self) -> MatryoshkaVectorStore:
        """The store that takes over."""
        return self._new

    @property
    def client(self) -> Any:
        """The live side's."""
        return self._live.client

    @property
    def owed(self) -> int:
        """How many nodes and deletions the new side hasn't, as far as is known."""
        return self._journal.owed

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._live!r}, {self._new!r}, owed={self.owed})"

    def close(self) -> None:
        """Let go of the journal; both stores stay open."""
        self._journal.close()

    # ---- writing

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Store nodes on both sides, on the new one with embeddings of its own model.

        Args:
            nodes: With the live model's embeddings; they stay as they are.
            kwargs: More for the live side.

        Returns:
            The live side's ids.

        Raises:
            Exception: What the live side raises; the new side is then not told.
        """
        numbers = self._journal.put(_json_by_id(nodes), _families(nodes))
        told = self._live.add(list(nodes), **kwargs)
        try:
            _write(self._new, self._model, nodes)
        except Exception as error:  # noqa: BLE001  # whatever it is, production goes on
            self._owe(numbers, error)
        else:
            self._journal.done(numbers)
        return told

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """``add``, awaited."""
        numbers = await asyncio.to_thread(self._journal.put, _json_by_id(nodes), _families(nodes))
        told = await self._live.async_add(list(nodes), **kwargs)
        try:
            embedded = await self._model.acall(_bare(nodes))
            await self._new.async_add(_not_empty(embedded))
        except Exception as error:  # noqa: BLE001  # whatever it is, production goes on
            await asyncio.to_thread(self._owe, numbers, error)
        else:
            await asyncio.to_thread(self._journal.done, numbers)
        return told

    def delete(self, ref_doc_id: str, **kwargs: Any) -> None:
        """Delete all nodes of a document from both sides; ``kwargs`` are more for the live one."""
        numbers = self._journal.delete_where(_where(ref_doc_id=ref_doc_id))
        self._live.delete(ref_doc_id, **kwargs)
        self._journal.void_family(ref_doc_id, numbers[0])
        try:
            self._new.delete(ref_doc_id)
        except Exception as error:  # noqa: BLE001  # whatever it is, production goes on
            self._owe(numbers, error)
        else:
            self._journal.done(numbers)

    async def adelete(self, ref_doc_id: str, **kwargs: Any) -> None:
        """``delete``, awaited."""
        where = _where(ref_doc_id=ref_doc_id)
        numbers = await asyncio.to_thread(self._journal.delete_where, where)
        await self._live.adelete(ref_doc_id, **kwargs)
        await asyncio.to_thread(self._journal.void_family, ref_doc_id, numbers[0])
        try:
            await self._new.adelete(ref_doc_id)
        except Exception as error:  # noqa: BLE001  # whatever it is, production goes on
            await asyncio.to_thread(self._owe, numbers, error)
        else:
            await asyncio.to_thread(self._journal.done, numbers)

    def delete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **kwargs: Any,
    ) -> None:
        """Delete nodes by id, by filters or both from both sides.

        Raises:
            ConfigurationError: Neither: ``clear`` deletes everything.
        """
        numbers = self._begin_deleting(node_ids, filters)
        self._live.delete_nodes(node_ids, filters, **kwargs)
        try:
            self._new.delete_nodes(node_ids, filters)
        except Exception as error:  # noqa: BLE001  # whatever it is, production goes on
            self._owe(numbers, error)
        else:
            self._journal.done(numbers)

    async def adelete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **kwargs: Any,
    ) -> None:
        """``delete_nodes``, awaited."""
        numbers = await asyncio.to_thread(self._begin_deleting, node_ids, filters)
        await self._live.adelete_nodes(node_ids, filters, **kwargs)
        try:
            await self._new.adelete_nodes(node_ids, filters)
        except Exception as error:  # noqa: BLE001  # whatever it is, production goes on
            await asyncio.to_thread(self._owe, numbers, error)
        else:
            await asyncio.to_thread(self._journal.done, numbers)

    def clear(self) -> None:
        """Delete every node from both sides."""
        numbers = self._journal.delete_where(_where())
        self._live.clear()
        try:
            self._new.clear()
        except Exception as error:  # noqa: BLE001  # whatever it is, production goes on
            self._owe(numbers, error)
        else:
            self._journal.done(numbers)

    async def aclear(self) -> None:
        """``clear``, awaited."""
        numbers = await asyncio.to_thread(self._journal.delete_where, _where())
        await self._live.aclear()
        try:
            await self._new.aclear()
        except Exception as error:  # noqa: BLE001  # whatever it is, production goes on
            await asyncio.to_thread(self._owe, numbers, error)
        else:
            await asyncio.to_thread(self._journal.done, numbers)

    def catch_up(self) -> CaughtUp:
        """Make the new side agree with what was written and deleted through this store.

        To be called when the re-embedding is done, before the new collection is verified; and
        again, if it is done again. What is the same already isn't embedded anew. Where the live
        side gives nodes by id, it says what is right; else the journal does.

        Raises:
            Gemini2Error: The new side still fails; what is owed stays in the journal.
        """
        return catch_up(self._journal, _Sides(self._live, self._new, self._model))

    async def acatch_up(self) -> CaughtUp:
        """``catch_up`` in a thread of its own, for a running loop."""
        return await asyncio.to_thread(self.catch_up)

    def _begin_deleting(
        self, node_ids: list[str] | None, filters: MetadataFilters | None
    ) -> list[int]:
        if filters is not None:
            return self._journal.delete_where(_where(node_ids=node_ids, filters=filters))
        if node_ids is None:
            raise ConfigurationError("delete_nodes takes node_ids or filters; see clear()")
        return self._journal.delete(node_ids)

    def _owe(self, numbers: Sequence[int], error: Exception) -> None:
        self._journal.owe(numbers, f"{type(error).__name__}: {error}")
        _log.warning(
            "the new side (%s) has not taken %d nodes or deletions, which are kept in %s: %s",
            self._new.collection.name,
            len(numbers),
            self._journal.path,
            error,
        )

    # ---- reading, from the live side alone

    def get_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
    ) -> list[BaseNode]:
        """The live side's."""
        return self._live.get_nodes(node_ids, filters)

    async def aget_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
    ) -> list[BaseNode]:
        """The live side's."""
        return await self._live.aget_nodes(node_ids, filters)

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """The live side's."""
        return self._live.query(query, **kwargs)

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """The live side's."""
        return await self._live.aquery(query, **kwargs)

    def persist(self, persist_path: str, fs: Any = None) -> None:
        """The live side's."""
        self._live.persist(persist_path, fs)


class _Sides:
    """LlamaIndex's stores as ``catch_up`` wants them."""

    def __init__(
        self, live: BasePydanticVectorStore, new: MatryoshkaVectorStore, model: Gemini2Embedding
    ) -> None:
        self._live, self._new, self._model = live, new, model

    def live(self, ids: Sequence[str]) -> Mapping[str, str] | None:
        try:
            return _json_by_id(self._live.get_nodes(list(ids)))
        except NotImplementedError:
            return None

    def new(self, ids: Sequence[str]) -> Mapping[str, str]:
        return _json_by_id(self._new.get_nodes(list(ids)))

    def same(self, one: str, other: str) -> bool:
        first, second = _node(one), _node(other)
        return (first.hash, first.ref_doc_id) == (second.hash, second.ref_doc_id)

    def matching(self, what: str) -> Iterable[str]:
        told = json.loads(what)
        if told.get("ref_doc_id") is not None:
            is_of = MetadataFilter(key=_REF_DOC, value=told["ref_doc_id"])
            found = self._new.get_nodes(filters=MetadataFilters(filters=[is_of]))
        elif told.get("filters") is not None:
            filters = MetadataFilters.model_validate(told["filters"])
            found = self._new.get_nodes(told.get("node_ids"), filters)
        else:
            return [str(record.id) for record in self._new.collection.scroll()]
        return [node.node_id for node in found]

    def write(self, documents: Mapping[str, str]) -> None:
        _write(self._new, self._model, [_node(told) for told in documents.values()])

    def remove(self, ids: Sequence[str]) -> None:
        self._new.delete_nodes(list(ids))


def _write(
    store: MatryoshkaVectorStore, model: Gemini2Embedding, nodes: Sequence[BaseNode]
) -> None:
    store.add(_not_empty(model(_bare(nodes))))


def _bare(nodes: Sequence[BaseNode]) -> list[BaseNode]:
    """Copies without the live model's vectors."""
    return [node.model_copy(update={"embedding": None}) for node in nodes]


def _not_empty(nodes: Sequence[BaseNode]) -> list[BaseNode]:
    """Without those that a model with ``on_empty="skip"`` left out."""
    return [node for node in nodes if node.embedding is not None]


def _json_by_id(nodes: Iterable[BaseNode]) -> dict[str, str]:
    return {
        node.node_id: json.dumps(node_to_metadata_dict(bare), ensure_ascii=False, default=str)
        for node in nodes
        for bare in _bare([node])
    }


def _families(nodes: Iterable[BaseNode]) -> dict[str, str]:
    return {node.node_id: node.ref_doc_id for node in nodes if node.ref_doc_id}


def _node(told: str) -> BaseNode:
    return metadata_dict_to_node(json.loads(told))


def _where(
    *,
    ref_doc_id: str | None = None,
    node_ids: list[str] | None = None,
    filters: MetadataFilters | None = None,
) -> str:
    """What a deletion matches, in one spelling; nothing at all matches everything."""
    told = {
        "ref_doc_id": ref_doc_id,
        "node_ids": node_ids,
        "filters": None if filters is None else filters.model_dump(mode="json"),
    }
    return json.dumps(told, sort_keys=True)
