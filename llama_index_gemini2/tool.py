"""``search_tool``: lets an agent search a Matryoshka index and see the pictures it finds."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llama_index.core.base.llms.types import (
    AudioBlock,
    DocumentBlock,
    ImageBlock,
    TextBlock,
    VideoBlock,
)
from llama_index.core.indices.vector_store.base import VectorStoreIndex
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.tools import FunctionTool, ToolMetadata, ToolOutput
from llama_index.core.vector_stores.types import MetadataFilters

from gemini2_core.errors import ConfigurationError, InvalidInputError, ServiceError
from gemini2_core.index import FilterLike, Shortlist
from gemini2_core.index.asking import Asked, Asking, FieldLike
from gemini2_core.index.telling import (
    Answer,
    Limits,
    failure,
    heading,
    nothing_found,
    opening,
    rule_for,
)
from gemini2_core.model import Modality
from llama_index_gemini2.blocks import Block, node_blocks
from llama_index_gemini2.embedding import Gemini2Embedding
from llama_index_gemini2.retriever import MatryoshkaRetriever
from llama_index_gemini2.vectorstore import MatryoshkaVectorStore

__all__ = ["search_tool"]

_DESCRIPTION = (
    "Search the indexed documents. Text, pictures, sound, film and PDF pages are in one index, "
    "and what is found is returned with its media."
)
_MODALITIES = ("text", "image", "audio", "video", "document")
_MEDIA = _MODALITIES[1:]


def search_tool(
    source: VectorStoreIndex | MatryoshkaVectorStore,
    *,
    name: str = "search_documents",
    description: str = _DESCRIPTION,
    fields: Mapping[str, FieldLike] | None = None,
    modalities: Sequence[str] = _MODALITIES,
    k: int = 4,
    max_k: int = 10,
    media_root: str | os.PathLike[str] | None = None,
    allow_remote: bool = False,
    show: Sequence[str] = _MEDIA,
    max_media: int = 8,
    max_bytes: int = 12_000_000,
    max_characters: int = 40_000,
    query_root: str | os.PathLike[str] | None = None,
    embed_model: Gemini2Embedding | None = None,
    shortlist: Shortlist | None = None,
    filters: MetadataFilters | None = None,
    filter: FilterLike | None = None,  # noqa: A002  # Qdrant's word
    doc_ids: Sequence[str] | None = None,
    node_ids: Sequence[str] | None = None,
) -> FunctionTool:
    """A tool for ``FunctionAgent`` that searches and returns text and media as content blocks.

    The model asks with words and, if it wants, a modality, conditions on the ``fields`` declared
    here, and ``k``. It gets a message of blocks: each result's source, heading trail and score,
    its text, and the media that this links to, in order. The output's ``raw_output`` is the nodes
    with their scores. Wrong arguments, an empty result and a failing service are told to the
    model in words (with ``is_error``); the developer's mistakes are raised. (The framework's own
    ``RetrieverTool`` embeds ``"input is …"`` in place of the question, and shows no media.)

    Args:
        source: A ``VectorStoreIndex`` over a ``MatryoshkaVectorStore``, or the store.
        name: What the model calls it by.
        description: When to use it, for the model.
        fields: The metadata that may be filtered by, and nothing else can be: a type
            (``{"page": int}``), the values allowed (``{"system": ["fuel", "oil"]}``), or a
            ``FilterField``. Index them: ``payload_indexes`` of the store.
        modalities: The modalities that may be asked for: hits then hold such a medium; () for none.
        k: How many results if the model doesn't say.
        max_k: How many it may ask for.
        media_root: The folder that links are read from; None for the embedding model's own.
            Without either, only text is shown, and media that nodes hold as resources.
        allow_remote: Fetch media from ``https:`` addresses.
        show: The media that your chat model reads: ``("image", "document")`` for one that
            doesn't hear. Others are named in words.
        max_media: Most media in one answer. What doesn't fit is said.
        max_bytes: Most bytes of media in one answer.
        max_characters: Most characters of documents in one answer.
        query_root: A folder. If given, the model may also search with a file in it that it
            names: where your application puts what users attach.
        embed_model: As in ``MatryoshkaRetriever``, like the others: they always hold, whatever
            the model asks for.
        shortlist: How many nodes the largest tier re-scores; None for 50.
        filters: LlamaIndex's filters.
        filter: A dict over the metadata, or a Qdrant filter.
        doc_ids: Only nodes of these documents.
        node_ids: Only these nodes.

    Raises:
        ConfigurationError: Arguments that can't work.

    Example:
        >>> tool = search_tool(index, fields={"source": str, "page": int})  # doctest: +SKIP
        >>> agent = FunctionAgent(tools=[tool], llm=GoogleGenAI())  # doctest: +SKIP
    """
    if unknown := set(show) - set(_MEDIA):
        raise ConfigurationError(f"show= takes {', '.join(_MEDIA)}, not {sorted(unknown)}")
    options: dict[str, Any] = {
        "embed_model": embed_model,
        "shortlist": shortlist,
        "filters": filters,
        "doc_ids": doc_ids,
        "node_ids": node_ids,
    }
    MatryoshkaRetriever(source, **options)  # refuses now what it would refuse at every search
    model = embed_model or _model(source)
    if query_root is not None and model is None:
        raise ConfigurationError("query_root= needs Gemini2Embedding: others embed only text")
    if media_root is None and model is not None:
        media_root = model.media_root
    asking = Asking(
        fields=fields, modalities=modalities, k=k, max_k=max(max_k, k), files=query_root is not None
    )
    search = _Search(
        asking=asking,
        source=source,
        model=model,
        options=options,
        always=filter,
        limits=Limits(frozenset(show), max_media, max_bytes, max_characters),
        media_root=media_root,
        allow_remote=allow_remote,
        query_root=None if query_root is None else Path(query_root),
        name=name,
    )

    def run(query: str = "", **arguments: Any) -> _Answered:
        return search.run({"query": query, **arguments})

    async def arun(query: str = "", **arguments: Any) -> _Answered:
        return await search.arun({"query": query, **arguments})

    async def output(answered: _Answered) -> ToolOutput:
        return answered.output

    return FunctionTool(
        fn=run,
        async_fn=arun,
        metadata=ToolMetadata(description, name, fn_schema=asking.schema),
        callback=lambda answered: answered.output,
        async_callback=output,
    )


@dataclass(frozen=True, slots=True)
class _Answered:
    """What the function of the tool hands to its callback."""

    output: ToolOutput = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Search:
    """One tool's way from a model's arguments to blocks."""

    asking: Asking
    source: VectorStoreIndex | MatryoshkaVectorStore
    model: Gemini2Embedding | None
    options: Mapping[str, Any]
    always: FilterLike | None
    limits: Limits
    media_root: str | os.PathLike[str] | None
    allow_remote: bool
    query_root: Path | None
    name: str

    def run(self, arguments: Mapping[str, object]) -> _Answered:
        try:
            asked = self.asking.read(arguments)
            query: QueryBundle | str = asked.query
            if asked.file is not None and self.model is not None:
                query = self.model.get_query_bundle(asked.content(self.query_root))
            found = self._retriever(asked).retrieve(query)
            blocks = self._blocks(asked, found)
        except (InvalidInputError, ServiceError) as error:
            return self._failed(arguments, error)
        return self._output(arguments, blocks, found)

    async def arun(self, arguments: Mapping[str, object]) -> _Answered:
        try:
            asked = self.asking.read(arguments)
            query: QueryBundle | str = asked.query
            if asked.file is not None and self.model is not None:
                content = await asyncio.to_thread(asked.content, self.query_root)
                query = await self.model.aget_query_bundle(content)
            found = await self._retriever(asked).aretrieve(query)
            blocks = await asyncio.to_thread(self._blocks, asked, found)
        except (InvalidInputError, ServiceError) as error:
            return self._failed(arguments, error)
        return self._output(arguments, blocks, found)

    def _retriever(self, asked: Asked) -> MatryoshkaRetriever:
        where = asked.filter(self.always)
        return MatryoshkaRetriever(
            self.source, similarity_top_k=asked.k, filter=where, **self.options
        )

    def _blocks(self, asked: Asked, found: Sequence[NodeWithScore]) -> list[Block]:
        if not found:
            narrowed = bool(asked.fields or asked.modality)
            return [TextBlock(text=nothing_found(narrowed=narrowed))]
        answer: Answer[Block] = Answer(self.limits)
        rule = rule_for(one.node.get_content() for one in found)
        answer.say(opening(len(found), rule))
        for number, one in enumerate(found, start=1):
            answer.say(heading(rule, number, one.node.metadata, one.score))
            for block in node_blocks(
                one, media_root=self.media_root, allow_remote=self.allow_remote, on_missing="alt"
            ):
                if isinstance(block, TextBlock):
                    answer.quote(block.text)
                else:
                    answer.show(block, *_medium(block))
        return [TextBlock(text=p) if isinstance(p, str) else p for p in answer.parts]

    def _output(
        self,
        arguments: Mapping[str, object],
        blocks: Sequence[Block],
        found: list[NodeWithScore],
    ) -> _Answered:
        return _Answered(
            ToolOutput(
                tool_name=self.name,
                blocks=[*blocks],
                raw_input=dict(arguments),
                raw_output=found,
            )
        )

    def _failed(
        self, arguments: Mapping[str, object], error: InvalidInputError | ServiceError
    ) -> _Answered:
        told = failure(error)
        return _Answered(
            ToolOutput(
                tool_name=self.name,
                content=told,
                raw_input=dict(arguments),
                raw_output=told,
                is_error=True,
                exception=error,
            )
        )


def _model(source: VectorStoreIndex | MatryoshkaVectorStore) -> Gemini2Embedding | None:
    model = source._embed_model if isinstance(source, VectorStoreIndex) else source.embed_model
    return model if isinstance(model, Gemini2Embedding) else None


def _medium(
    block: ImageBlock | AudioBlock | VideoBlock | DocumentBlock,
) -> tuple[Modality, str, int]:
    """A block's modality, type, and size in bytes; 0 for what the model's service reads itself."""
    if isinstance(block, ImageBlock):
        modality, data, mime_type = Modality.IMAGE, block.image, block.image_mimetype
    elif isinstance(block, AudioBlock):
        modality, data = Modality.AUDIO, block.audio
        mime_type = f"audio/{block.format}" if block.format else None
    elif isinstance(block, VideoBlock):
        modality, data, mime_type = Modality.VIDEO, block.video, block.video_mimetype
    else:
        modality, data, mime_type = Modality.DOCUMENT, block.data, block.document_mimetype
    if isinstance(data, bytes):
        size = len(data) * 3 // 4  # base64
    else:
        size = Path(block.path).stat().st_size if block.path else 0
    return modality, mime_type or modality.lower(), size
