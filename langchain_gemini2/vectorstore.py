"""``MatryoshkaVectorStore``: documents and media in one index, searched small, re-scored large."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from gemini2_core.embedding import Aggregate
from gemini2_core.errors import ConfigurationError, Gemini2Error
from gemini2_core.index import CollectionOptions, FilterLike, MatryoshkaCollection
from gemini2_core.index.modalities import MODALITIES_KEY
from gemini2_core.model import EmbeddingSpace
from langchain_gemini2.embeddings import Gemini2Embeddings
from langchain_gemini2.incoming import Incoming, incoming_contents, incoming_texts, told_of_all
from langchain_gemini2.inputs import Embeddable
from langchain_gemini2.largest import LargestTier
from langchain_gemini2.records import field_path, metadata_filter, to_document
from langchain_gemini2.retriever import MatryoshkaRetriever
from langchain_gemini2.searches import MatryoshkaSearches

__all__ = ["MatryoshkaVectorStore"]


class MatryoshkaVectorStore(MatryoshkaSearches):
    """A LangChain vector store over a ``MatryoshkaCollection``.

    Every document is embedded once, at the largest tier, whatever ``dimensions`` the embeddings
    have; a search runs over everything at the smallest tier and re-scores a short list at the
    largest, in one call to Qdrant. Wherever a search takes a query, that is a text or any content:
    a picture, a sound, content blocks, a ``Document``.

    Example:
        >>> from langchain_gemini2 import Gemini2Embeddings, MatryoshkaVectorStore
        >>> embeddings = Gemini2Embeddings(media_root="manual/")  # doctest: +SKIP
        >>> store = MatryoshkaVectorStore(embeddings, path="index/")  # doctest: +SKIP
        >>> store.add_documents(chunks)  # doctest: +SKIP
        >>> store.similarity_search(Path("photo.jpg"), filter={"source": "28.md"})  # doctest: +SKIP

    Args:
        embedding: ``Gemini2Embeddings``; or any other, which then must give vectors of the
            largest tier's size, and knows only text.
        collection_name: The collection's name.
        collection: A collection to use instead of opening one; it isn't closed here.
        space: The space of another embedding's vectors, for a new collection
            (``"gemini-embedding-2/RETRIEVAL"``, of a ``CacheBackedEmbeddings``, say).
        options: Where the collection is and what it is made like; nothing is ``:memory:``.

    Raises:
        ConfigurationError: Arguments that don't go together.
        MissingExtraError: The engine's package isn't installed.
    """

    def __init__(
        self,
        embedding: Embeddings,
        collection_name: str = "gemini2",
        *,
        collection: MatryoshkaCollection | None = None,
        space: EmbeddingSpace | str | None = None,
        **options: Unpack[CollectionOptions],
    ) -> None:
        self._embeddings = embedding
        self._owner = collection is None
        if collection is not None:
            if options or space is not None:
                given = ", ".join(f"{name}=" for name in (*options, *(["space"] * bool(space))))
                raise ConfigurationError(f"collection= is open already: {given} has no effect")
            self._collection = collection
            self._largest = LargestTier(embedding, collection)
            return
        if isinstance(embedding, Gemini2Embeddings):
            space = embedding.space if space is None else space
        fields = options.get("payload_indexes") or {}
        options["payload_indexes"] = {
            MODALITIES_KEY: "keyword",
            **{field_path(name): kind for name, kind in fields.items()},
        }
        self._collection = MatryoshkaCollection(collection_name, space=space, **options)
        self._largest = LargestTier(embedding, self._collection)

    @property
    def embeddings(self) -> Embeddings:
        """The embeddings it was made with."""
        return self._embeddings

    @property
    def collection(self) -> MatryoshkaCollection:
        """The collection underneath: tiers, counts, scrolling, ``add_tier``, ``drop``."""
        return self._collection

    @property
    def collection_name(self) -> str:
        """The collection's name."""
        return self._collection.name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._collection!r})"

    # ---- adding

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[Any, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        titles: Sequence[str | None] | None = None,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Embed texts once each, at the largest tier, and store them. Stored when it returns.

        Args:
            texts: Texts; Markdown with media, if the embeddings have a ``media_root``.
            metadatas: One a text, JSON values.
            ids: One a text; UUIDs or any other strings. A document whose id is there already is
                replaced; without an id it gets a new UUID.
            titles: One a text, told to the model with it.
            batch_size: Most texts embedded and stored at a time; None for all.
            kwargs: Nothing more.

        Returns:
            The ids.

        Raises:
            InvalidInputError: A text, id or metadata that can't be stored; ``.index`` says which.
            ServiceError: The embedding service or the database kept failing; ``.partial`` holds
                what was embedded and isn't stored.
            IndexMismatchError: The collection holds other vectors.
        """
        _nothing(kwargs)
        return self._add(incoming_texts(list(texts), metadatas, ids, titles), "joint", batch_size)

    async def aadd_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[Any, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        titles: Sequence[str | None] | None = None,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """``add_texts``, awaited."""
        _nothing(kwargs)
        return await self._aadd(
            incoming_texts(list(texts), metadatas, ids, titles), "joint", batch_size
        )

    def add_contents(
        self,
        contents: Sequence[Embeddable],
        metadatas: list[dict[Any, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        titles: Sequence[str | None] | None = None,
        texts: Sequence[str] | None = None,
        aggregate: Aggregate = "joint",
        batch_size: int | None = None,
    ) -> list[str]:
        """Embed interleaved contents, one vector each, and store them.

        Args:
            contents: What ``Gemini2Embeddings.embed_contents`` takes. A ``Document`` brings its
                metadata, id and ``metadata["title"]``.
            metadatas: One a content.
            ids: One a content; as for ``add_texts``.
            titles: One a content.
            texts: The ``page_content`` of each, for what is found. Without it that is the content
                as Markdown: links to files, relative to ``media_root``; bytes as ``data:`` URIs,
                which make payloads as large as they are.
            aggregate: ``"joint"`` fuses the parts of a content, ``"mean"`` averages them.
            batch_size: Most contents embedded and stored at a time; None for all.

        Returns:
            The ids.

        Raises:
            MediaAccessError: A file isn't under ``media_root``: give ``texts``.
            InvalidInputError: A content can't be embedded; ``.index`` says which.
        """
        batch = incoming_contents(
            contents, metadatas, ids, titles, texts, embeddings=self._embeddings
        )
        return self._add(batch, aggregate, batch_size)

    async def aadd_contents(
        self,
        contents: Sequence[Embeddable],
        metadatas: list[dict[Any, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        titles: Sequence[str | None] | None = None,
        texts: Sequence[str] | None = None,
        aggregate: Aggregate = "joint",
        batch_size: int | None = None,
    ) -> list[str]:
        """``add_contents``, awaited."""
        batch = await asyncio.to_thread(
            incoming_contents,
            contents,
            metadatas,
            ids,
            titles,
            texts,
            embeddings=self._embeddings,
        )
        return await self._aadd(batch, aggregate, batch_size)

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[Any, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        force_recreate: bool = False,
        **kwargs: Any,
    ) -> Self:
        """A store with these texts in it.

        Args:
            texts: Texts; see ``add_texts``.
            embedding: The embeddings.
            metadatas: One a text.
            ids: One a text.
            force_recreate: Drop the collection first, whoever made it and whatever is in it; one
                that an alias names is kept, and that is an error.
            kwargs: Arguments of the class.
        """
        store = cls(embedding, **kwargs)
        try:
            at = store.collection
            if force_recreate and at.name in {*at.collections(), *at.aliases()}:
                at.drop(unmarked=True)
            store.add_texts(texts, metadatas, ids=ids)
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    async def afrom_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[Any, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        force_recreate: bool = False,
        **kwargs: Any,
    ) -> Self:
        """``from_texts``, awaited."""
        store = cls(embedding, **kwargs)
        try:
            at = store.collection
            if force_recreate and at.name in {*await at.acollections(), *await at.aaliases()}:
                await at.adrop(unmarked=True)
            await store.aadd_texts(texts, metadatas, ids=ids)
        except BaseException:
            await store.aclose()
            raise
        return store

    @classmethod
    def from_existing_collection(
        cls, collection_name: str, embedding: Embeddings, **options: Unpack[CollectionOptions]
    ) -> Self:
        """A store over a collection, or an alias of one, that is there; to build one makes it.

        Raises:
            ConfigurationError: It isn't there.
            IndexMismatchError: It holds other vectors.
        """
        store = cls(embedding, collection_name, **options)
        try:
            at = store.collection
            there = sorted({*at.collections(), *at.aliases()})
            if collection_name not in there:
                raise ConfigurationError(
                    f"there is no collection {collection_name!r} at {at.where}; "
                    f"there are {', '.join(there) or 'none'}"
                )
            at.open()
        except BaseException:
            store.close()
            raise
        return store

    # ---- by id

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Documents by id, in the order of the ids; those that aren't there are left out."""
        return [to_document(record) for record in self._collection.get(ids)]

    async def aget_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """``get_by_ids``, awaited."""
        return [to_document(record) for record in await self._collection.aget(ids)]

    def delete(
        self,
        ids: list[str] | None = None,
        *,
        filter: FilterLike | None = None,  # noqa: A002  # LangChain's word
        **kwargs: Any,
    ) -> bool:
        """Delete documents by id, or all that a filter matches.

        Ids that aren't there are no error. ``collection.drop()`` deletes everything.

        Raises:
            ConfigurationError: Neither ids nor a filter, or both.
        """
        _nothing(kwargs)
        self._collection.delete(ids, filter=metadata_filter(filter))
        return True

    async def adelete(
        self,
        ids: list[str] | None = None,
        *,
        filter: FilterLike | None = None,  # noqa: A002  # LangChain's word
        **kwargs: Any,
    ) -> bool:
        """``delete``, awaited."""
        _nothing(kwargs)
        await self._collection.adelete(ids, filter=metadata_filter(filter))
        return True

    def as_retriever(self, **kwargs: Any) -> MatryoshkaRetriever:
        """A retriever; ``search_kwargs`` take ``k`` and ``SearchOptions``.

        Args:
            kwargs: ``search_type`` (``"similarity"``, ``"mmr"``,
                ``"similarity_score_threshold"``), ``search_kwargs``, ``k``, ``tags``.
        """
        tags = kwargs.pop("tags", None) or self._get_retriever_tags()
        return MatryoshkaRetriever(vectorstore=self, tags=tags, **kwargs)

    # ---- its end

    def close(self) -> None:
        """Let go of files and connections; embeddings and a collection of yours stay open."""
        if self._owner:
            self._collection.close()

    async def aclose(self) -> None:
        """``close``, awaited."""
        if self._owner:
            await self._collection.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    # ---- what the methods are made of

    def _add(self, batch: Incoming, aggregate: Aggregate, size: int | None) -> list[str]:
        # Opened before anything is embedded, so that a wrong collection costs nothing.
        hybrid = self._collection.open().hybrid
        stored: list[str] = []
        for part in batch.parts(size):
            try:
                vectors = self._largest.documents(part, aggregate)
                words = part.texts if hybrid else None
                self._collection.add(part.ids, vectors, part.payloads, texts=words)
            except Gemini2Error as error:
                raise told_of_all(error, stored) from error.__cause__
            stored += part.ids
        return batch.ids

    async def _aadd(self, batch: Incoming, aggregate: Aggregate, size: int | None) -> list[str]:
        hybrid = (await self._collection.aopen()).hybrid
        stored: list[str] = []
        for part in batch.parts(size):
            try:
                vectors = await self._largest.adocuments(part, aggregate)
                words = part.texts if hybrid else None
                await self._collection.aadd(part.ids, vectors, part.payloads, texts=words)
            except Gemini2Error as error:
                raise told_of_all(error, stored) from error.__cause__
            stored += part.ids
        return batch.ids


def _nothing(kwargs: Mapping[str, object]) -> None:
    """LangChain's signatures take any argument; one that has no effect is a mistake."""
    if kwargs:
        raise TypeError(f"there is no argument {', '.join(map(repr, kwargs))}")
