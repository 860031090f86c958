"""The embeddings at a collection's largest tier, of which every other is cut."""

from __future__ import annotations

import asyncio

from langchain_core.embeddings import Embeddings

from gemini2_core.embedding import Aggregate, Gemini2Embedder
from gemini2_core.errors import IndexMismatchError
from gemini2_core.index import MatryoshkaCollection, VectorsLike
from gemini2_core.model import MODELS, EmbeddingSpace, Side
from langchain_gemini2.embeddings import Gemini2Embeddings
from langchain_gemini2.incoming import Incoming, only_text
from langchain_gemini2.inputs import Embeddable, contents_of

__all__ = ["LargestTier"]


class LargestTier:
    """Embeds documents and queries for a collection, whatever ``dimensions`` was asked for.

    Args:
        embeddings: ``Gemini2Embeddings``, or any other, which then knows only text and must
            give vectors of the right size by itself.
        collection: The collection; opened when something is embedded.
    """

    def __init__(self, embeddings: Embeddings, collection: MatryoshkaCollection) -> None:
        self._embeddings = embeddings
        self._collection = collection
        self._embedder: Gemini2Embedder | None = None

    def documents(self, part: Incoming, aggregate: Aggregate) -> VectorsLike:
        """Vectors of documents; the collection has to be open."""
        embedder = self._sized()
        if embedder is None:
            return self._embeddings.embed_documents(part.only_texts())
        return embedder.embed_contents(part.contents, titles=part.titles, aggregate=aggregate)

    async def adocuments(self, part: Incoming, aggregate: Aggregate) -> VectorsLike:
        """``documents``, awaited."""
        embedder = self._sized()
        if embedder is None:
            return await self._embeddings.aembed_documents(part.only_texts())
        return await embedder.aembed_contents(
            part.contents, titles=part.titles, aggregate=aggregate
        )

    def query(self, query: Embeddable, aggregate: Aggregate = "joint") -> VectorsLike:
        """The vector of a query; opens the collection."""
        self._collection.open()
        embedder = self._sized()
        if embedder is None:
            return self._embeddings.embed_query(only_text(query))
        plain, titles = contents_of([query], None)
        side: Side = "query"
        return embedder.embed_contents(plain, side=side, titles=titles, aggregate=aggregate)

    async def aquery(self, query: Embeddable, aggregate: Aggregate = "joint") -> VectorsLike:
        """``query``, awaited."""
        await self._collection.aopen()
        embedder = self._sized()
        if embedder is None:
            return await self._embeddings.aembed_query(only_text(query))
        # Only a Blob is read here; texts needn't wait for a thread.
        inline = isinstance(query, str)
        plain, titles = (
            contents_of([query], None)
            if inline
            else await asyncio.to_thread(contents_of, [query], None)
        )
        side: Side = "query"
        return await embedder.aembed_contents(plain, side=side, titles=titles, aggregate=aggregate)

    def _sized(self) -> Gemini2Embedder | None:
        """The embedder at the largest tier, for an open collection; None for other embeddings."""
        embeddings = self._embeddings
        size, held = self._collection.dimensions, self._collection.space
        if not isinstance(embeddings, Gemini2Embeddings):
            _check_model(embeddings, held, self._collection.name)
            return None
        if held != embeddings.space:
            raise IndexMismatchError(
                f"collection {self._collection.name!r} holds vectors of {held}, and the embeddings "
                f"are of {embeddings.space}: they can't be compared"
            )
        if self._embedder is None or self._embedder.dimensions != size:
            self._embedder = embeddings.embedder.variant(
                dimensions=size,
                task_type=embeddings.task_type,
                batch_size=embeddings.batch_size,
            )
        return self._embedder


def _check_model(embeddings: Embeddings, held: EmbeddingSpace, name: str) -> None:
    """See that other embeddings, as far as they say what model they ask, are of a space.

    Raises:
        IndexMismatchError: They aren't.
    """
    inner = getattr(embeddings, "underlying_embeddings", embeddings)  # CacheBackedEmbeddings
    for attribute in ("model", "model_name"):
        told = getattr(inner, attribute, None)
        spec = MODELS.get(told.removeprefix("models/")) if isinstance(told, str) else None
        if spec is not None and spec.space != held.model:
            raise IndexMismatchError(
                f"collection {name!r} holds vectors of {held}, and the embeddings "
                f"({type(inner).__name__}) are of {told}: they can't be compared"
            )
