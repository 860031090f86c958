"""Retrieved documents shown to a chat model: their text and their media, in order."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

from langchain_core.documents import Document
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_core.messages.content import (
    AudioContentBlock,
    FileContentBlock,
    ImageContentBlock,
    TextContentBlock,
    VideoContentBlock,
)
from langchain_core.runnables import RunnableConfig, RunnableSerializable, run_in_executor
from pydantic import ConfigDict

from gemini2_core.content.chunking import OnMissing
from gemini2_core.content.chunking.shown import ShownMedia, shown_parts
from gemini2_core.errors import InvalidInputError
from gemini2_core.model import Modality

__all__ = ["Block", "MediaPrompt", "content_blocks", "documents_message"]

#: LangChain's standard content blocks, as far as a document has them.
Block: TypeAlias = (
    TextContentBlock | ImageContentBlock | AudioContentBlock | VideoContentBlock | FileContentBlock
)

_TYPES = {
    Modality.IMAGE: "image",
    Modality.AUDIO: "audio",
    Modality.VIDEO: "video",
    Modality.DOCUMENT: "file",
}


def content_blocks(
    document: Document | str,
    *,
    media_root: str | os.PathLike[str] | None = None,
    links: bool = True,
    allow_remote: bool = False,
    on_missing: OnMissing = "error",
) -> list[Block]:
    """A document as LangChain's standard content blocks: text and media, in order.

    The media are those that the links of its Markdown name, their bytes as base64; a span of a
    recording (``#t=``) or pages of a PDF (``#page=``) are cut out. What the service reads itself
    (``gs:``, the Files API) is a block with its ``url``.

    Args:
        document: A chunk of ``MultimodalSplitter``, any document of Markdown, or its text.
        media_root: The folder that its links are read from, the one that it was embedded with;
            None gives the text alone.
        links: Keep each link in the text in front of its medium, without the digest, so that an
            answer can name the picture it speaks of.
        allow_remote: Fetch media from ``https:`` addresses; they count as missing otherwise.
        on_missing: A medium that is gone, or isn't any more what it was when the document was
            split: ``"error"``, ``"alt"`` for its alternative text, ``"skip"``.

    Returns:
        The same blocks for the same document; they have no random ids.

    Raises:
        InvalidInputError: A medium is missing, with ``on_missing="error"``; names the document.
    """
    text = document if isinstance(document, str) else document.page_content
    parts = shown_parts(
        text,
        source="the document" if isinstance(document, str) else _name(document),
        media_root=media_root,
        links=links,
        allow_remote=allow_remote,
        on_missing=on_missing,
    )
    return [_text(part) if isinstance(part, str) else _block(part) for part in parts]


def documents_message(
    documents: Sequence[Document],
    question: str | Sequence[Block] = (),
    *,
    media_root: str | os.PathLike[str] | None,
    links: bool = True,
    allow_remote: bool = False,
    on_missing: OnMissing = "error",
) -> HumanMessage:
    """One message that shows documents to a chat model, and asks it a question.

    Each document comes with a line of its number, title and source, for the model to refer to.

    Args:
        documents: What was retrieved.
        question: A text, or content blocks (a photo and what is asked of it); it comes last.
        media_root: As in ``content_blocks``, like the others.
        links: Keep the media's links in the text.
        allow_remote: Fetch media from ``https:`` addresses.
        on_missing: What becomes of media that are missing.

    Raises:
        InvalidInputError: As ``content_blocks``.
    """
    blocks: list[Block] = []
    for number, document in enumerate(documents, start=1):
        blocks.append(_text(f"[{number}] {_name(document)}\n\n"))
        blocks += content_blocks(
            document,
            media_root=media_root,
            links=links,
            allow_remote=allow_remote,
            on_missing=on_missing,
        )
    asked = [_text(question)] if isinstance(question, str) else list(question)
    content = _merged([*blocks, *asked])
    return HumanMessage(content=cast("list[str | dict[Any, Any]]", content))


class MediaPrompt(RunnableSerializable[Mapping[str, Any], list[BaseMessage]]):
    """The step of a chain between retriever and chat model that shows the model the pictures.

    Takes what a RAG chain has there, a dict with the retrieved documents and the question, and
    gives the messages for the model.

    Example:
        >>> from langchain_core.runnables import RunnablePassthrough
        >>> chain = (
        ...     {"context": retriever, "question": RunnablePassthrough()}
        ...     | MediaPrompt(media_root="manual/")
        ...     | model
        ... )  # doctest: +SKIP
        >>> chain.invoke("Where is the strainer?")  # doctest: +SKIP

    Raises:
        InvalidInputError: The dict has no documents or no question; or as ``content_blocks``.
    """

    model_config = ConfigDict(extra="forbid")

    media_root: str | Path | None
    """The folder that links are read from, the one that the documents were embedded with."""
    system: str | None = (
        "Answer the question from the documents shown, the pictures, sounds and films in them "
        "included. Say the numbers of the documents you used, and repeat the Markdown link of a "
        "picture that shows what is asked for. If the answer isn't in them, say so."
    )
    """The system message; None sends none."""
    links: bool = True
    """Keep the media's links in the text in front of them."""
    allow_remote: bool = False
    """Fetch media from ``https:`` addresses."""
    on_missing: OnMissing = "error"
    """What becomes of media that are missing: ``"error"``, ``"alt"`` or ``"skip"``."""
    documents_key: str = "context"
    """Where the dict has the documents."""
    question_keys: tuple[str, ...] = ("question", "input")
    """Where it has the question; the first that is there counts."""

    def invoke(
        self,
        input: Mapping[str, Any],  # noqa: A002 - LangChain's name
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> list[BaseMessage]:
        """The messages for one question."""
        return self._call_with_config(self._messages, input, config, **kwargs)

    async def ainvoke(
        self,
        input: Mapping[str, Any],  # noqa: A002 - LangChain's name
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> list[BaseMessage]:
        """``invoke``, awaited; files are read on another thread."""
        return await self._acall_with_config(self._amessages, input, config, **kwargs)

    async def _amessages(self, given: Mapping[str, Any]) -> list[BaseMessage]:
        return await run_in_executor(None, self._messages, given)

    def _messages(self, given: Mapping[str, Any]) -> list[BaseMessage]:
        documents = given.get(self.documents_key)
        if isinstance(documents, (str, Document)) or not isinstance(documents, Sequence):
            raise InvalidInputError(f"the input has no list of documents at {self.documents_key!r}")
        key = next((key for key in self.question_keys if key in given), None)
        if key is None:
            wanted = " or ".join(map(repr, self.question_keys))
            raise InvalidInputError(f"the input has no question at {wanted}")
        message = documents_message(
            documents,
            given[key],
            media_root=self.media_root,
            links=self.links,
            allow_remote=self.allow_remote,
            on_missing=self.on_missing,
        )
        return [message] if self.system is None else [SystemMessage(self.system), message]


def _text(text: str) -> TextContentBlock:
    return {"type": "text", "text": text}


def _block(part: ShownMedia) -> Block:
    block: dict[str, str] = {"type": _TYPES[part.modality]}
    if part.mime_type:
        block["mime_type"] = part.mime_type
    if part.data is None:
        block["url"] = part.uri
    else:
        block["base64"] = base64.b64encode(part.data).decode()
    return cast("Block", block)


def _merged(blocks: Sequence[Block]) -> list[Block]:
    """Texts side by side as one, a blank line between."""
    merged: list[Block] = []
    for block in blocks:
        last = merged[-1] if merged else None
        if block["type"] == "text" and last is not None and last["type"] == "text":
            merged[-1] = _text(f"{last['text'].rstrip()}\n\n{block['text']}")
        else:
            merged.append(block)
    return merged


def _name(document: Document) -> str:
    """How a document is called: its title and where it is from."""
    said = [str(document.metadata.get(key) or "") for key in ("title", "source")]
    page = document.metadata.get("page")
    place = f"{said[1]}, page {page}" if said[1] and page else said[1]
    title = said[0] if said[0] != said[1] else ""
    named = f"{title} ({place})" if title and place else title or place
    return named or document.id or "document"
