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

from gemini2_core.errors import ConfigurationError, InvalidInputError, ServiceError
from gemini2_core.index.asking import DESCRIPTION, MODALITIES, Asked, Asking, FieldLike
from gemini2_core.index.telling import (
    MEDIA,
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


def search_tool(
    source: VectorStoreIndex | MatryoshkaVectorStore | MatryoshkaRetriever,
    *,
    name: str = "search_documents",
    description: str = DESCRIPTION,
    fields: Mapping[str, FieldLike] | None = None,
    modalities: Sequence[str] = MODALITIES,
    k: int | None = None,
    max_k: int = 10,
    media_root: str | os.PathLike[str] | None = None,
    allow_remote: bool = False,
    show: Sequence[str] = MEDIA,
    max_media: int = 8,
    max_bytes: int = 12_000_000,
    max_characters: int = 40_000,
    query_root: str | os.PathLike[str] | None = None,
) -> FunctionTool:
    """A tool for ``FunctionAgent`` that searches and returns text and media as content blocks.

    The model asks with words and, if it wants, a modality, conditions on the ``fields`` declared
    here, and ``k``. It gets a message of blocks: each result's source, heading trail and score,
    its text, and the media that this links to, in order. The output's ``raw_output`` is the nodes
    with their scores. Wrong arguments, an empty result and a failing service are told to the
    model in words (with ``is_error``); the developer's mistakes are raised. (The framework's own
    ``RetrieverTool`` embeds ``"input is …"`` in place of the question, and shows no media.)

    Args:
        source: A ``VectorStoreIndex`` over a ``MatryoshkaVectorStore``, or the store; or a
            ``MatryoshkaRetriever``, whose filters, short list and mode always hold, whatever the
            model asks for.
        name: What the model calls it by.
        description: When to use it, for the model.
        fields: The metadata that may be filtered by, and nothing else can be: a type
            (``{"page": int}``), the values allowed (``{"system": ["fuel", "oil"]}``), or a
            ``FilterField``. Index them: ``payload_indexes`` of the store.
        modalities: The modalities that may be asked for: hits then hold such a medium; () for none.
        k: How many results if the model doesn't say; None for the retriever's, or 4.
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

    Raises:
        ConfigurationError: Arguments that can't work.

    Example:
        >>> tool = search_tool(index, fields={"source": str, "page": int})  # doctest: +SKIP
        >>> agent = FunctionAgent(tools=[tool], llm=GoogleGenAI())  # doctest: +SKIP
    """
    retriever = source if isinstance(source, MatryoshkaRetriever) else MatryoshkaRetriever(source)
    embed_model = retriever.embed_model
    model = embed_model if isinstance(embed_model, Gemini2Embedding) else None
    if query_root is not None and model is None:
        raise ConfigurationError("query_root= needs Gemini2Embedding: others embed only text")
    k = retriever.similarity_top_k if k is None else k
    if media_root is None and model is not None:
        media_root = model.media_root
    asking = Asking(
        fields=fields, modalities=modalities, k=k, max_k=max(max_k, k), query_root=query_root
    )
    search = _Search(
        asking=asking,
        retriever=retriever,
        model=model,
        limits=Limits(show, max_media, max_bytes, max_characters),
        media_root=media_root,
        allow_remote=allow_remote,
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
    retriever: MatryoshkaRetriever
    model: Gemini2Embedding | None
    limits: Limits
    media_root: str | os.PathLike[str] | None
    allow_remote: bool
    name: str

    def run(self, arguments: Mapping[str, object]) -> _Answered:
        try:
            asked = self.asking.read(arguments)
            query: QueryBundle | str = asked.query
            if asked.file is not None and self.model is not None:
                query = self.model.get_query_bundle(asked.content())
            found = self._narrowed(asked).retrieve(query)
            blocks = self._blocks(asked, found)
        except (InvalidInputError, ServiceError) as error:
            return self._failed(arguments, error)
        return self._output(arguments, blocks, found)

    async def arun(self, arguments: Mapping[str, object]) -> _Answered:
        try:
            asked = self.asking.read(arguments)
            query: QueryBundle | str = asked.query
            if asked.file is not None and self.model is not None:
                content = await asyncio.to_thread(asked.content)
                query = await self.model.aget_query_bundle(content)
            found = await self._narrowed(asked).aretrieve(query)
            blocks = await asyncio.to_thread(self._blocks, asked, found)
        except (InvalidInputError, ServiceError) as error:
            return self._failed(arguments, error)
        return self._output(arguments, blocks, found)

    def _narrowed(self, asked: Asked) -> MatryoshkaRetriever:
        return self.retriever.narrowed(asked.k, asked.filter(None))

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


def _medium(
    block: ImageBlock | AudioBlock | VideoBlock | DocumentBlock,
) -> tuple[Modality, str, int, str | bytes]:
    """A block's modality, type, size in bytes, and its base64 or address.

    The size is 0 for what the chat model's service reads itself.
    """
    if isinstance(block, ImageBlock):
        modality, data, mime_type = Modality.IMAGE, block.image, block.image_mimetype
    elif isinstance(block, AudioBlock):
        modality, data = Modality.AUDIO, block.audio
        mime_type = f"audio/{block.format}" if block.format else None
    elif isinstance(block, VideoBlock):
        modality, data, mime_type = Modality.VIDEO, block.video, block.video_mimetype
    else:
        modality, data, mime_type = Modality.DOCUMENT, block.data, block.document_mimetype
    mime_type = mime_type or modality.lower()
    if isinstance(data, bytes):
        return modality, mime_type, len(data) * 3 // 4, data
    size = Path(block.path).stat().st_size if block.path else 0
    return modality, mime_type, size, str(block.path or block.url or "")
