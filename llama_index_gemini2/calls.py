"""The calls that LlamaIndex makes of an embedding model: texts, pictures, contents and nodes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_index.core.base.embeddings.base import Embedding, mean_agg
from llama_index.core.embeddings import MultiModalEmbedding
from llama_index.core.schema import BaseNode, ImageType, QueryBundle

from gemini2_core.content import Content, ContentLike, Media
from gemini2_core.embedding import Aggregate, EmbeddingResult, Gemini2Embedder
from gemini2_core.errors import Gemini2Error, InvalidInputError
from gemini2_core.model import Side
from llama_index_gemini2.nodes import node_content
from llama_index_gemini2.space_marks import marked
from llama_index_gemini2.watching import watched

__all__ = ["EmbeddingCalls"]


class EmbeddingCalls(MultiModalEmbedding):
    """What ``Gemini2Embedding`` does, once it is made; every call has its awaited twin.

    The framework's own public methods are overridden: they would send ``embed_batch_size`` items
    at a time, one batch after the other.
    """

    if TYPE_CHECKING:  # whoever is made has them
        title_metadata_keys: tuple[str, ...]
        allow_remote: bool

        @property
        def embedder(self) -> Gemini2Embedder: ...  # noqa: D102  # told where it is

    # Texts

    def get_query_embedding(self, query: str) -> Embedding:
        """Embed a question, told the query side of the task."""
        return self._one([query], "query")

    async def aget_query_embedding(self, query: str) -> Embedding:
        """``get_query_embedding``, awaited."""
        return await self._aone([query], "query")

    def get_text_embedding(self, text: str) -> Embedding:
        """Embed a document, told the document side of the task."""
        return self._one([text], "document")

    async def aget_text_embedding(self, text: str) -> Embedding:
        """``get_text_embedding``, awaited."""
        return await self._aone([text], "document")

    def get_text_embedding_batch(
        self, texts: list[str], show_progress: bool = False, **_: Any
    ) -> list[Embedding]:
        """Embed documents, all at once: requests of up to ``embed_batch_size``, concurrently.

        Returns:
            One vector a text, in order.

        Raises:
            InvalidInputError: A text can't be embedded; ``.index`` says which.
            ServiceError: The service kept failing; ``.partial`` holds what was embedded.
        """
        return self._all(texts, "document", show_progress=show_progress)

    async def aget_text_embedding_batch(
        self, texts: list[str], show_progress: bool = False, **_: Any
    ) -> list[Embedding]:
        """``get_text_embedding_batch``, awaited."""
        return await self._aall(texts, "document", show_progress=show_progress)

    def get_agg_embedding_from_queries(
        self, queries: list[str], agg_fn: Callable[..., Embedding] | None = None
    ) -> Embedding:
        """Embed several questions at once and aggregate their vectors, by the mean by default."""
        return self._aggregate(self._all(queries, "query"), agg_fn)

    async def aget_agg_embedding_from_queries(
        self, queries: list[str], agg_fn: Callable[..., Embedding] | None = None
    ) -> Embedding:
        """``get_agg_embedding_from_queries``, awaited."""
        return self._aggregate(await self._aall(queries, "query"), agg_fn)

    # Pictures, as ``MultiModalEmbedding`` has them

    def get_image_embedding(self, img_file_path: ImageType) -> Embedding:
        """Embed a picture (or any other medium).

        Args:
            img_file_path: A path, an ``https:``/``gs:``/``data:`` URI, or a ``BytesIO``.
        """
        return self._one(self._pictures([img_file_path]), "document")

    async def aget_image_embedding(self, img_file_path: ImageType) -> Embedding:
        """``get_image_embedding``, awaited."""
        return await self._aone(self._pictures([img_file_path]), "document")

    def get_image_embedding_batch(
        self, img_file_paths: list[ImageType], show_progress: bool = False
    ) -> list[Embedding]:
        """Embed pictures, one vector each, all at once."""
        return self._all(self._pictures(img_file_paths), "document", show_progress=show_progress)

    async def aget_image_embedding_batch(
        self, img_file_paths: list[ImageType], show_progress: bool = False
    ) -> list[Embedding]:
        """``get_image_embedding_batch``, awaited."""
        return await self._aall(
            self._pictures(img_file_paths), "document", show_progress=show_progress
        )

    # Interleaved contents

    def get_content_embedding(self, content: ContentLike, title: str | None = None) -> Embedding:
        """Embed one content for retrieval: its texts and media are fused into one vector.

        Args:
            content: A text, a path, a ``Media``, a content block, or a list of these in reading
                order.
            title: Told to the model with it.
        """
        return self._one([content], "document", titles=[title])

    async def aget_content_embedding(
        self, content: ContentLike, title: str | None = None
    ) -> Embedding:
        """``get_content_embedding``, awaited."""
        return await self._aone([content], "document", titles=[title])

    def get_content_embedding_batch(
        self,
        contents: Sequence[ContentLike],
        titles: Sequence[str | None] | None = None,
        *,
        aggregate: Aggregate = "joint",
        show_progress: bool = False,
    ) -> list[Embedding]:
        """Embed contents for retrieval, one vector each, all at once.

        Args:
            contents: Each as in ``get_content_embedding``.
            titles: One a content.
            aggregate: ``"joint"`` fuses a content's parts; ``"mean"`` embeds them apart and
                averages, for posts with several pictures.
            show_progress: Show a progress bar.
        """
        return self._all(
            contents, "document", titles=titles, aggregate=aggregate, show_progress=show_progress
        )

    async def aget_content_embedding_batch(
        self,
        contents: Sequence[ContentLike],
        titles: Sequence[str | None] | None = None,
        *,
        aggregate: Aggregate = "joint",
        show_progress: bool = False,
    ) -> list[Embedding]:
        """``get_content_embedding_batch``, awaited."""
        return await self._aall(
            contents, "document", titles=titles, aggregate=aggregate, show_progress=show_progress
        )

    def get_query_content_embedding(self, content: ContentLike) -> Embedding:
        """Embed a question that holds media, such as a picture and "which part is this?"."""
        return self._one([content], "query")

    async def aget_query_content_embedding(self, content: ContentLike) -> Embedding:
        """``get_query_content_embedding``, awaited."""
        return await self._aone([content], "query")

    def get_query_bundle(self, query: QueryBundle | ContentLike) -> QueryBundle:
        """Make a query that any retriever takes, its embedding filled in, media included.

        Vector retrievers read nothing but the text of a query; this embeds a ``QueryBundle``
        with its ``image_path``, or any content.

        Example:
            >>> question = model.get_query_bundle([Path("part.jpg"), "Which part is this?"])
            >>> index.as_retriever().retrieve(question)  # doctest: +SKIP
        """
        bundle, content = self._bundle(query)
        bundle.embedding = self.get_query_content_embedding(content)
        return bundle

    async def aget_query_bundle(self, query: QueryBundle | ContentLike) -> QueryBundle:
        """``get_query_bundle``, awaited."""
        bundle, content = self._bundle(query)
        bundle.embedding = await self.aget_query_content_embedding(content)
        return bundle

    # Nodes

    def __call__(self, nodes: Sequence[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:
        """Embed each node, text and media fused, and set its ``embedding``.

        Args:
            nodes: Text nodes, image nodes, nodes with several resources, mixed.
            **kwargs: ``show_progress``.

        Returns:
            The same nodes. One that was skipped as empty has no embedding.
        """
        contents, titles = self._nodes(nodes)
        if contents:
            show = bool(kwargs.get("show_progress", False))
            with self._watched(contents, show) as vectors, _naming(nodes):
                result = self.embedder.embed_contents(contents, titles=titles)
                vectors += marked(result.vectors, result.space)
            _assign(nodes, result, vectors)
        return nodes

    async def acall(self, nodes: Sequence[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:
        """``__call__``, awaited."""
        contents, titles = self._nodes(nodes)
        if contents:
            show = bool(kwargs.get("show_progress", False))
            with self._watched(contents, show) as vectors, _naming(nodes):
                result = await self.embedder.aembed_contents(contents, titles=titles)
                vectors += marked(result.vectors, result.space)
            _assign(nodes, result, vectors)
        return nodes

    def _nodes(self, nodes: Sequence[BaseNode]) -> tuple[list[ContentLike], list[str | None]]:
        contents: list[ContentLike] = []
        titles: list[str | None] = []
        for node in nodes:
            parts, title = node_content(node, self.title_metadata_keys)
            # A lone text goes the core's short way; without parts it's an empty text.
            contents.append("" if not parts else parts[0] if len(parts) == 1 else parts)
            titles.append(title)
        return contents, titles

    # What the framework's own public methods would call

    def _get_query_embedding(self, query: str) -> Embedding:
        return self._rows(self.embedder.embed_queries([query]), 1)[0]

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return self._rows(await self.embedder.aembed_queries([query]), 1)[0]

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._get_text_embeddings([text])[0]

    async def _aget_text_embedding(self, text: str) -> Embedding:
        return (await self._aget_text_embeddings([text]))[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return self._rows(self.embedder.embed_documents(texts), len(texts))

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return self._rows(await self.embedder.aembed_documents(texts), len(texts))

    def _get_image_embedding(self, img_file_path: ImageType) -> Embedding:
        return self._get_image_embeddings([img_file_path])[0]

    async def _aget_image_embedding(self, img_file_path: ImageType) -> Embedding:
        return (await self._aget_image_embeddings([img_file_path]))[0]

    def _get_image_embeddings(self, img_file_paths: list[ImageType]) -> list[Embedding]:
        pictures = self._pictures(img_file_paths)
        return self._rows(self.embedder.embed_contents(pictures), len(pictures))

    async def _aget_image_embeddings(self, img_file_paths: list[ImageType]) -> list[Embedding]:
        pictures = self._pictures(img_file_paths)
        return self._rows(await self.embedder.aembed_contents(pictures), len(pictures))

    # The one way to the core

    def _one(
        self,
        inputs: Sequence[ContentLike],
        side: Side,
        titles: Sequence[str | None] | None = None,
    ) -> Embedding:
        return self._all(inputs, side, titles=titles)[0]

    async def _aone(
        self,
        inputs: Sequence[ContentLike],
        side: Side,
        titles: Sequence[str | None] | None = None,
    ) -> Embedding:
        return (await self._aall(inputs, side, titles=titles))[0]

    def _all(
        self,
        inputs: Sequence[ContentLike],
        side: Side,
        *,
        titles: Sequence[str | None] | None = None,
        aggregate: Aggregate = "joint",
        show_progress: bool = False,
    ) -> list[Embedding]:
        if not inputs:
            return []
        with self._watched(inputs, show_progress) as vectors:
            result = self.embedder.embed_contents(
                inputs, side=side, titles=titles, aggregate=aggregate
            )
            vectors += self._rows(result, len(inputs))
        return [*vectors]  # the events keep their list

    async def _aall(
        self,
        inputs: Sequence[ContentLike],
        side: Side,
        *,
        titles: Sequence[str | None] | None = None,
        aggregate: Aggregate = "joint",
        show_progress: bool = False,
    ) -> list[Embedding]:
        if not inputs:
            return []
        with self._watched(inputs, show_progress) as vectors:
            result = await self.embedder.aembed_contents(
                inputs, side=side, titles=titles, aggregate=aggregate
            )
            vectors += self._rows(result, len(inputs))
        return [*vectors]  # the events keep their list

    def _bundle(self, query: QueryBundle | ContentLike) -> tuple[QueryBundle, ContentLike]:
        if not isinstance(query, QueryBundle):
            return QueryBundle("\n".join(Content.of(query).texts)), query
        parts: list[ContentLike] = [text for text in query.embedding_strs if text.strip()]
        parts += [self._picture(place) for place in query.embedding_image]
        return replace(query), parts

    def _watched(
        self, inputs: Sequence[ContentLike], show_progress: bool
    ) -> AbstractContextManager[list[Embedding]]:
        return watched(inputs, self.to_payload(), self.callback_manager, show_progress)

    def _rows(self, result: EmbeddingResult, count: int) -> list[Embedding]:
        """A vector an input, or an error: the framework matches them by position."""
        if len(result) != count:
            missing = min(set(range(count)) - set(result.indices.tolist()))
            error = InvalidInputError(
                "the text is empty, and a list of texts needs a vector each: leave it out, or use "
                "on_empty='zero' (on_empty='skip' is for nodes)"
            ).at(missing)
            error.partial = result
            raise error
        return marked(result.vectors, result.space)

    def _aggregate(
        self, vectors: list[Embedding], agg_fn: Callable[..., Embedding] | None
    ) -> Embedding:
        if agg_fn is not None:
            return agg_fn(vectors)  # the caller's, who alone knows what it is
        return marked([mean_agg(vectors)], self.embedder.space)[0]

    def _pictures(self, values: Sequence[ImageType]) -> list[ContentLike]:
        if isinstance(values, str | bytes | os.PathLike | BytesIO):
            raise InvalidInputError(
                f"a list of paths or URIs is wanted, not one {type(values).__name__}: put it in [ ]"
            )
        pictures: list[ContentLike] = []
        for index, value in enumerate(values):
            try:
                pictures.append(self._picture(value))
            except Gemini2Error as error:
                raise error.at(index) from error.__cause__
        return pictures

    def _picture(self, value: ImageType) -> ContentLike:
        if isinstance(value, BytesIO):
            return Media.from_bytes(value.getvalue())
        place = os.fspath(value)
        if "://" in place or place.startswith("data:"):
            return Media.from_uri(place, allow_remote=self.allow_remote)
        return Path(place)  # never a text here


@contextmanager
def _naming(nodes: Sequence[BaseNode]) -> Iterator[None]:
    """Note the node's id on an error about it: its position says little in a pipeline."""
    try:
        yield
    except Gemini2Error as error:
        if error.index is not None:
            error.add_note(f"input {error.index} is the node {nodes[error.index].node_id}")
        raise


def _assign(
    nodes: Sequence[BaseNode], result: EmbeddingResult, vectors: Sequence[Embedding]
) -> None:
    rows = dict(zip(result.indices.tolist(), vectors, strict=True))
    for index, node in enumerate(nodes):
        node.embedding = rows.get(index)
