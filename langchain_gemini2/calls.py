"""The calls that LangChain makes of an embedding model: texts, interleaved contents, media."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, TypeAlias

from langchain_core.embeddings import Embeddings

from gemini2_core.content import Media
from gemini2_core.embedding import Aggregate, Gemini2Embedder
from gemini2_core.model import Modality, Side, TaskType
from langchain_gemini2.inputs import Embeddable, contents_of, media_of
from langchain_gemini2.official import side_of, task_type_of, titles_of

__all__ = ["EmbeddingCalls"]

_Uri: TypeAlias = "str | PathLike[str] | bytes | Media"


class EmbeddingCalls(Embeddings):
    """What ``Gemini2Embeddings`` does, once it is made; every call has its awaited twin."""

    if TYPE_CHECKING:  # whoever is made has them
        task_type: TaskType | None
        dimensions: int
        batch_size: int
        allow_remote: bool

        @property
        def embedder(self) -> Gemini2Embedder: ...  # noqa: D102  # told where it is

    # Text, as LangChain calls it

    def embed_documents(
        self,
        texts: list[str],
        *,
        batch_size: int | None = None,
        task_type: TaskType | str | None = None,
        titles: Sequence[str | None] | None = None,
        output_dimensionality: int | None = None,
    ) -> list[list[float]]:
        """Embed documents, told the document side of the task.

        Args:
            texts: Texts; Markdown with media links, if there is a ``media_root``.
            batch_size: Most texts in a request, for this call.
            task_type: Another task for this call. ``"RETRIEVAL_QUERY"`` embeds the texts as
                queries.
            titles: One a text, told to the model with it.
            output_dimensionality: Another size for this call.

        Returns:
            One vector a text, in order, of unit length.

        Raises:
            InvalidInputError: A text can't be embedded; ``.index`` says which.
            ServiceError: The service kept failing; ``.partial`` holds what was embedded.
        """
        embedder, side = self._for_call("document", task_type, output_dimensionality, batch_size)
        return embedder.embed_contents(texts, side=side, titles=titles).tolist()

    async def aembed_documents(
        self,
        texts: list[str],
        *,
        batch_size: int | None = None,
        task_type: TaskType | str | None = None,
        titles: Sequence[str | None] | None = None,
        output_dimensionality: int | None = None,
    ) -> list[list[float]]:
        """``embed_documents``, awaited."""
        embedder, side = self._for_call("document", task_type, output_dimensionality, batch_size)
        result = await embedder.aembed_contents(texts, side=side, titles=titles)
        return result.tolist()

    def embed_query(
        self,
        text: str,
        *,
        task_type: TaskType | str | None = None,
        title: str | None = None,
        output_dimensionality: int | None = None,
    ) -> list[float]:
        """Embed a query, told the query side of the task.

        Args:
            text: The query; its media links are only read with ``media_in_queries=True``.
            task_type: Another task for this call. ``"RETRIEVAL_DOCUMENT"`` embeds the text as a
                document.
            title: Title of a text that is embedded as a document; a query has none.
            output_dimensionality: Another size for this call.

        Returns:
            A vector of unit length.

        Raises:
            InvalidInputError: The text can't be embedded.
            ServiceError: The service kept failing.
        """
        embedder, side = self._for_call("query", task_type, output_dimensionality)
        titles = titles_of(title, side, stacklevel=2)
        return embedder.embed_contents([text], side=side, titles=titles).tolist()[0]

    async def aembed_query(
        self,
        text: str,
        *,
        task_type: TaskType | str | None = None,
        title: str | None = None,
        output_dimensionality: int | None = None,
    ) -> list[float]:
        """``embed_query``, awaited."""
        embedder, side = self._for_call("query", task_type, output_dimensionality)
        titles = titles_of(title, side, stacklevel=2)
        result = await embedder.aembed_contents([text], side=side, titles=titles)
        return result.tolist()[0]

    # Text and media together

    def embed_contents(
        self,
        contents: Sequence[Embeddable],
        *,
        titles: Sequence[str | None] | None = None,
        aggregate: Aggregate = "joint",
    ) -> list[list[float]]:
        """Embed interleaved documents, one vector each.

        Args:
            contents: Each a list of content blocks, a message or its content, a ``Document`` or
                ``Blob``, a ``Path``, a ``PIL`` image, a ``Content``, a text, or a list of these.
            titles: One a content; a ``Document`` brings its ``metadata["title"]``.
            aggregate: ``"joint"`` fuses the parts of a content into one vector; ``"mean"`` embeds
                them apart and averages, for posts with several pictures.

        Returns:
            One vector a content, in order, of unit length.

        Raises:
            InvalidInputError: A content can't be embedded; ``.index`` says which.
            ServiceError: The service kept failing; ``.partial`` holds what was embedded.
        """
        plain, titles = contents_of(contents, titles)
        return self.embedder.embed_contents(plain, titles=titles, aggregate=aggregate).tolist()

    async def aembed_contents(
        self,
        contents: Sequence[Embeddable],
        *,
        titles: Sequence[str | None] | None = None,
        aggregate: Aggregate = "joint",
    ) -> list[list[float]]:
        """``embed_contents``, awaited."""
        plain, titles = await asyncio.to_thread(contents_of, contents, titles)
        result = await self.embedder.aembed_contents(plain, titles=titles, aggregate=aggregate)
        return result.tolist()

    def embed_query_content(
        self, content: Embeddable, *, aggregate: Aggregate = "joint"
    ) -> list[float]:
        """Embed a query that holds media, or is one: a photo, a recording.

        Args:
            content: What ``embed_contents`` takes as one content. Media given as such are read;
                links in a text only with ``media_in_queries=True``.
            aggregate: As there.

        Returns:
            A vector of unit length.
        """
        plain, titles = contents_of([content], None)
        result = self.embedder.embed_contents(
            plain, side="query", titles=titles, aggregate=aggregate
        )
        return result.tolist()[0]

    async def aembed_query_content(
        self, content: Embeddable, *, aggregate: Aggregate = "joint"
    ) -> list[float]:
        """``embed_query_content``, awaited."""
        plain, titles = await asyncio.to_thread(contents_of, [content], None)
        result = await self.embedder.aembed_contents(
            plain, side="query", titles=titles, aggregate=aggregate
        )
        return result.tolist()[0]

    # Media alone, by path or URI

    def embed_image(self, uris: Sequence[_Uri]) -> list[list[float]]:
        """Embed pictures; Chroma's ``add_images`` and ``similarity_search_by_image`` call it.

        Args:
            uris: Each a local path of yours, which may lie anywhere; a ``data:``, ``file:`` or
                ``gs:`` URI; a file of the Files API; with ``allow_remote=True`` an ``https:``
                address. A medium is sent bare, so it's the same vector as query and as document.

        Returns:
            One vector a picture, in order, of unit length.

        Raises:
            InvalidInputError: Not there, or no picture; ``.index`` says which.
        """
        return self._embed_media(uris, Modality.IMAGE)

    def embed_audio(self, uris: Sequence[_Uri]) -> list[list[float]]:
        """Embed sounds, up to 180 s each (``"idle.wav#t=0,30"`` is a span of one).

        See ``embed_image``.
        """
        return self._embed_media(uris, Modality.AUDIO)

    def embed_video(self, uris: Sequence[_Uri]) -> list[list[float]]:
        """Embed films, up to 120 s each (``"start.mp4#t=10,30"`` is a span of one).

        See ``embed_image``.
        """
        return self._embed_media(uris, Modality.VIDEO)

    def embed_pdf(self, uris: Sequence[_Uri]) -> list[list[float]]:
        """Embed PDFs, up to 6 pages each (``"manual.pdf#page=3"`` is one page).

        See ``embed_image``.
        """
        return self._embed_media(uris, Modality.DOCUMENT)

    async def aembed_image(self, uris: Sequence[_Uri]) -> list[list[float]]:
        """``embed_image``, awaited."""
        return await self._aembed_media(uris, Modality.IMAGE)

    async def aembed_audio(self, uris: Sequence[_Uri]) -> list[list[float]]:
        """``embed_audio``, awaited."""
        return await self._aembed_media(uris, Modality.AUDIO)

    async def aembed_video(self, uris: Sequence[_Uri]) -> list[list[float]]:
        """``embed_video``, awaited."""
        return await self._aembed_media(uris, Modality.VIDEO)

    async def aembed_pdf(self, uris: Sequence[_Uri]) -> list[list[float]]:
        """``embed_pdf``, awaited."""
        return await self._aembed_media(uris, Modality.DOCUMENT)

    def _embed_media(self, uris: Sequence[_Uri], modality: Modality) -> list[list[float]]:
        media = media_of(uris, modality, allow_remote=self.allow_remote)
        return self.embedder.embed_contents(media).tolist()

    async def _aembed_media(self, uris: Sequence[_Uri], modality: Modality) -> list[list[float]]:
        media = await asyncio.to_thread(media_of, uris, modality, allow_remote=self.allow_remote)
        return (await self.embedder.aembed_contents(media)).tolist()

    def _for_call(
        self,
        side: Side,
        task: TaskType | str | None,
        dimensions: int | None,
        batch_size: int | None = None,
    ) -> tuple[Gemini2Embedder, Side]:
        """The embedder for one call's own arguments, and the side it is on."""
        if task is None and dimensions is None and batch_size is None:
            return self.embedder, side
        called = self.task_type if task is None else task_type_of(task)
        embedder = self.embedder.variant(
            task_type=called,
            dimensions=self.dimensions if dimensions is None else dimensions,
            batch_size=self.batch_size if batch_size is None else batch_size,
        )
        return embedder, side if task is None else side_of(called, side)
