"""``search_tool``: lets an agent search a Matryoshka store and see the pictures it finds."""

from __future__ import annotations

import asyncio
import mimetypes
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from langchain_core.documents import Document
from langchain_core.messages.content import FileContentBlock, TextContentBlock
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import ValidationError

from gemini2_core.content.media_types import modality_of
from gemini2_core.errors import ConfigurationError, InvalidInputError, ServiceError
from gemini2_core.index.asking import DESCRIPTION, MODALITIES, Asked, Asking, FieldLike
from gemini2_core.index.filters import FilterLike
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
from langchain_gemini2.blocks import Block, content_blocks
from langchain_gemini2.embeddings import Gemini2Embeddings
from langchain_gemini2.retriever import MatryoshkaRetriever
from langchain_gemini2.vectorstore import MatryoshkaVectorStore

__all__ = ["search_tool"]

_DEFAULT_K = 4
_KINDS = {"image": Modality.IMAGE, "audio": Modality.AUDIO, "video": Modality.VIDEO}


def search_tool(
    source: MatryoshkaVectorStore | MatryoshkaRetriever,
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
) -> BaseTool:
    """A tool for ``create_agent`` that searches and returns text and media as content blocks.

    The model asks with words and, if it wants, a modality, conditions on the ``fields`` declared
    here, and ``k``. It gets a ``ToolMessage`` of blocks: each result's source, heading trail and
    score, its text, and the media that this links to, in order. The message's ``artifact`` is
    the documents, with their ``score`` in the metadata. Wrong arguments, an empty result and a
    failing service are told to the model in words; the developer's mistakes are raised.

    A picture is an image block. PDF pages, sound and film are file blocks with their MIME type:
    LangGraph's ToolNode turns a message that holds any other kind of block into a JSON string.

    Args:
        source: A store; or its retriever, whose ``search_kwargs`` (filter, short list) always
            hold, whatever the model asks for.
        name: What the model calls it by.
        description: When to use it, for the model.
        fields: The metadata that may be filtered by, and nothing else can be: a type
            (``{"page": int}``), the values allowed (``{"system": ["fuel", "oil"]}``), or a
            ``FilterField``. Index them: ``payload_indexes`` of the store.
        modalities: The modalities that may be asked for: hits then hold such a medium; () for none.
        k: How many results if the model doesn't say; None for the retriever's, or 4.
        max_k: How many it may ask for.
        media_root: The folder that links are read from; None for the embeddings' own. Without
            either, only text is shown.
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
        >>> from langchain.agents import create_agent
        >>> tool = search_tool(store, fields={"source": str, "page": int})  # doctest: +SKIP
        >>> agent = create_agent("google_genai:gemini-2.5-flash", tools=[tool])  # doctest: +SKIP
    """
    retriever = source if isinstance(source, MatryoshkaRetriever) else None
    store = source if retriever is None else retriever.vectorstore
    options: dict[str, Any] = {} if retriever is None else dict(retriever.search_kwargs)
    if k is None and retriever is not None:
        k = options.get("k") if retriever.k is None else retriever.k
    k = _DEFAULT_K if k is None else k
    if not isinstance(store, MatryoshkaVectorStore):
        raise ConfigurationError(
            f"a MatryoshkaVectorStore or its retriever is wanted, not {type(source).__name__}"
        )
    if media_root is None and isinstance(store.embeddings, Gemini2Embeddings):
        media_root = store.embeddings.media_root
    asking = Asking(
        fields=fields,
        modalities=modalities,
        k=k,
        max_k=max(max_k, k),
        query_root=query_root,
    )
    search = _Search(
        asking=asking,
        store=store,
        retriever=retriever if retriever and retriever.search_type != "similarity" else None,
        options={one: value for one, value in options.items() if one not in ("k", "filter")},
        always=options.get("filter"),
        limits=Limits(show, max_media, max_bytes, max_characters),
        media_root=media_root,
        allow_remote=allow_remote,
    )

    def run(**arguments: Any) -> tuple[list[Block], list[Document]]:
        return search.run(arguments)

    async def arun(**arguments: Any) -> tuple[list[Block], list[Document]]:
        return await search.arun(arguments)

    def refused(error: object) -> str:
        assert isinstance(error, ValidationError)
        return failure(InvalidInputError(asking.refusal(error)))

    return StructuredTool.from_function(
        run,
        name=name,
        description=description,
        args_schema=asking.schema,
        coroutine=arun,
        response_format="content_and_artifact",
        handle_tool_error=True,
        handle_validation_error=refused,
    )


@dataclass(frozen=True, slots=True)
class _Search:
    """One tool's way from a model's arguments to blocks."""

    asking: Asking
    store: MatryoshkaVectorStore
    retriever: MatryoshkaRetriever | None  # for what isn't plain similarity
    options: Mapping[str, Any]
    always: FilterLike | None
    limits: Limits
    media_root: str | os.PathLike[str] | None
    allow_remote: bool

    def run(self, arguments: Mapping[str, object]) -> tuple[list[Block], list[Document]]:
        try:
            asked, query, options = self._read(arguments)
            if self.retriever is None:
                scored = self.store.similarity_search_with_score(query, asked.k, **options)
                found = [_scored(document, score) for document, score in scored]
            else:
                found = self.retriever.invoke(query, k=asked.k, **options)
            return self._blocks(asked, found), found
        except (InvalidInputError, ServiceError) as error:
            raise ToolException(failure(error)) from error

    async def arun(self, arguments: Mapping[str, object]) -> tuple[list[Block], list[Document]]:
        try:
            asked, query, options = await asyncio.to_thread(self._read, arguments)
            if self.retriever is None:
                scored = await self.store.asimilarity_search_with_score(query, asked.k, **options)
                found = [_scored(document, score) for document, score in scored]
            else:
                found = await self.retriever.ainvoke(query, k=asked.k, **options)
            return await asyncio.to_thread(self._blocks, asked, found), found
        except (InvalidInputError, ServiceError) as error:
            raise ToolException(failure(error)) from error

    def _read(self, arguments: Mapping[str, object]) -> tuple[Asked, Any, dict[str, Any]]:
        """What is asked, what is embedded for it, and the options of the search."""
        asked = self.asking.read(arguments)
        where = asked.filter(self.always, prefix="metadata")
        return asked, asked.content(), {**self.options, "filter": where}

    def _blocks(self, asked: Asked, found: Sequence[Document]) -> list[Block]:
        if not found:
            return [_text(nothing_found(narrowed=bool(asked.fields or asked.modality)))]
        answer: Answer[Block] = Answer(self.limits)
        rule = rule_for(document.page_content for document in found)
        answer.say(opening(len(found), rule))
        for number, document in enumerate(found, start=1):
            score = document.metadata.get("score") if self.retriever is None else None
            answer.say(heading(rule, number, document.metadata, score))
            for block in content_blocks(
                document,
                media_root=self.media_root,
                allow_remote=self.allow_remote,
                on_missing="alt",
            ):
                if block["type"] == "text":
                    answer.quote(block["text"])
                else:
                    mime_type, data = block.get("mime_type", ""), block.get("base64", "")
                    answer.show(
                        block,
                        modality_of(mime_type) or _KINDS.get(block["type"], Modality.DOCUMENT),
                        mime_type,
                        len(data) * 3 // 4,
                        data or block.get("url", ""),
                    )
        parts = enumerate(answer.parts)
        return [_text(p) if isinstance(p, str) else _for_tools(p, at) for at, p in parts]


def _scored(document: Document, score: float) -> Document:
    metadata = {**document.metadata, "score": score}
    return Document(document.page_content, id=document.id, metadata=metadata)


def _text(text: str) -> TextContentBlock:
    return {"type": "text", "text": text}


def _for_tools(block: Block, at: int) -> Block:
    """The block in a form that a ``ToolMessage`` may hold, and under a name, as OpenAI wants."""
    if block["type"] == "image":
        return block
    end = mimetypes.guess_extension(str(block.get("mime_type", ""))) or ""
    file = {**block, "type": "file", "extras": {"filename": f"medium-{at}{end}"}}
    return cast("FileContentBlock", file)
