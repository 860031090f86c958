"""Retrieved nodes shown to a chat model: their text and their media, in order."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from typing import Any, TypeAlias

from llama_index.core.base.llms.types import (
    AudioBlock,
    BaseContentBlock,
    ChatMessage,
    DocumentBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    VideoBlock,
)
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.prompts import RichPromptTemplate
from llama_index.core.prompts.chat_prompts import CHAT_CONTENT_QA_PROMPT
from llama_index.core.schema import (
    BaseNode,
    ImageNode,
    MetadataMode,
    NodeWithScore,
    QueryBundle,
    TextNode,
)
from pydantic import Field

from gemini2_core.content.chunking import OnMissing
from gemini2_core.content.chunking.shown import ShownMedia, shown_parts
from gemini2_core.model import Modality

__all__ = ["MEDIA_QA_PROMPT", "Block", "MediaPostprocessor", "node_blocks", "nodes_message"]

#: LlamaIndex's content blocks, as far as a node has them.
Block: TypeAlias = TextBlock | ImageBlock | AudioBlock | VideoBlock | DocumentBlock

_IMAGES = "{% elif block.block_type == 'image' %}"

#: LlamaIndex's own prompt for blocks leaves pages of PDFs out; this one shows them too:
#: ``as_query_engine(multimodal=True, chat_content_qa_template=MEDIA_QA_PROMPT)``.
MEDIA_QA_PROMPT = RichPromptTemplate(
    CHAT_CONTENT_QA_PROMPT.template_str.replace(
        _IMAGES,
        "{% elif block.block_type == 'document' %}\n"
        "{{ block.inline_url() | document }}\n" + _IMAGES,
    )
)


def node_blocks(
    node: BaseNode | NodeWithScore,
    *,
    media_root: str | os.PathLike[str] | None = None,
    metadata_mode: MetadataMode = MetadataMode.NONE,
    links: bool = True,
    allow_remote: bool = False,
    on_missing: OnMissing = "error",
) -> list[Block]:
    """A node as LlamaIndex's content blocks: text and media, in order.

    The media are those that the links of its Markdown name, as bytes; a span of a recording
    (``#t=``) or pages of a PDF (``#page=``) are cut out. What the service reads itself (``gs:``,
    the Files API) is a block with its ``url``. Of a node with a picture of its own (``ImageNode``,
    ``Node``) that comes after the text.

    Args:
        node: A chunk of ``MultimodalNodeParser``, or any other node.
        media_root: The folder that its links are read from, the one that it was embedded with;
            None leaves links in texts as they are.
        metadata_mode: Which metadata is told in front.
        links: Keep each link in the text in front of its medium, without the digest, so that an
            answer can name the picture it speaks of.
        allow_remote: Fetch media from ``https:`` addresses; they count as missing otherwise.
        on_missing: A medium that is gone, or isn't any more what it was when the document was
            split: ``"error"``, ``"alt"`` for its alternative text, ``"skip"``.

    Raises:
        InvalidInputError: A medium is missing, with ``on_missing="error"``; names the node.
    """
    if isinstance(node, NodeWithScore):
        node = node.node
    if isinstance(node, _ShownNode):
        node = node.plain()
    blocks: list[Block] = []
    if told := node.get_metadata_str(metadata_mode).strip():
        blocks.append(TextBlock(text=told))
    if isinstance(node, ImageNode) and node.text:
        blocks += _read(node.text, node, media_root, links, allow_remote, on_missing)
    for block in node.get_content_blocks(MetadataMode.NONE):
        if isinstance(block, TextBlock):
            blocks += _read(block.text, node, media_root, links, allow_remote, on_missing)
        elif isinstance(block, ImageBlock | AudioBlock | VideoBlock | DocumentBlock):
            blocks.append(block)
    return blocks


def nodes_message(
    nodes: Sequence[BaseNode | NodeWithScore],
    question: str | Sequence[Block] = (),
    *,
    media_root: str | os.PathLike[str] | None,
    links: bool = True,
    allow_remote: bool = False,
    on_missing: OnMissing = "error",
) -> ChatMessage:
    """One message that shows nodes to a chat model, and asks it a question.

    Each node comes with a line of its number, title and source, for the model to refer to.

    Args:
        nodes: What was retrieved.
        question: A text, or blocks (a photo and what is asked of it); it comes last.
        media_root: As in ``node_blocks``, like the others.
        links: Keep the media's links in the text.
        allow_remote: Fetch media from ``https:`` addresses.
        on_missing: What becomes of media that are missing.

    Raises:
        InvalidInputError: As ``node_blocks``.
    """
    blocks: list[Block] = []
    for number, node in enumerate(nodes, start=1):
        bare = node.node if isinstance(node, NodeWithScore) else node
        blocks.append(TextBlock(text=f"[{number}] {_name(bare)}"))
        blocks += node_blocks(
            bare,
            media_root=media_root,
            links=links,
            allow_remote=allow_remote,
            on_missing=on_missing,
        )
    blocks += [TextBlock(text=question)] if isinstance(question, str) else question
    return ChatMessage(role=MessageRole.USER, blocks=_merged(blocks))


class MediaPostprocessor(BaseNodePostprocessor):
    """Lets a query engine show the model the media of the nodes it retrieved.

    Nodes come out as they went in, but that their content blocks are their text and their media
    in order: what an engine built with ``multimodal=True`` hands to its model. Files are read
    only then.

    Args:
        media_root: The folder that links are read from, the one that the nodes were embedded with.
        links: Keep the media's links in the text in front of them.
        allow_remote: Fetch media from ``https:`` addresses.
        on_missing: What becomes of media that are missing: ``"error"``, ``"alt"`` or ``"skip"``.

    Example:
        >>> engine = index.as_query_engine(
        ...     multimodal=True,
        ...     chat_content_qa_template=MEDIA_QA_PROMPT,
        ...     node_postprocessors=[MediaPostprocessor(media_root="manual/")],
        ... )  # doctest: +SKIP
    """

    media_root: str
    links: bool = True
    allow_remote: bool = False
    on_missing: OnMissing = "error"

    def __init__(self, media_root: str | os.PathLike[str], **more: Any) -> None:
        super().__init__(media_root=os.fspath(media_root), **more)

    @classmethod
    def class_name(cls) -> str:
        """Name in serialized form."""
        return "MediaPostprocessor"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        del query_bundle
        shown: list[NodeWithScore] = []
        for found in nodes:
            node = found.node
            # Nodes with media of their own already say their blocks.
            if type(node) is TextNode and "![" in node.text:
                node = _ShownNode(
                    **{name: getattr(node, name) for name in TextNode.model_fields},
                    show_from=self.media_root,
                    show_links=self.links,
                    show_remote=self.allow_remote,
                    show_missing=self.on_missing,
                )
            shown.append(NodeWithScore(node=node, score=found.score))
        return shown


class _ShownNode(TextNode):
    """A text node whose blocks are its text and its media; it is stored as a text node."""

    show_from: str = Field(exclude=True)
    show_links: bool = Field(exclude=True)
    show_remote: bool = Field(exclude=True)
    show_missing: OnMissing = Field(exclude=True)

    def plain(self) -> TextNode:
        """The node as it was retrieved."""
        return TextNode(**{name: getattr(self, name) for name in TextNode.model_fields})

    def get_content_blocks(
        self, metadata_mode: MetadataMode = MetadataMode.NONE
    ) -> list[BaseContentBlock]:
        """Metadata, texts and media."""
        return [
            *node_blocks(
                self,
                media_root=self.show_from,
                metadata_mode=metadata_mode,
                links=self.show_links,
                allow_remote=self.show_remote,
                on_missing=self.show_missing,
            )
        ]


def _read(
    text: str,
    node: BaseNode,
    media_root: str | os.PathLike[str] | None,
    links: bool,
    allow_remote: bool,
    on_missing: OnMissing,
) -> list[Block]:
    parts = shown_parts(
        text,
        source=_name(node),
        media_root=media_root,
        links=links,
        allow_remote=allow_remote,
        on_missing=on_missing,
    )
    return [TextBlock(text=part) if isinstance(part, str) else _block(part) for part in parts]


def _block(part: ShownMedia) -> Block:
    # As base64: the blocks would take raw bytes for base64 if they happened to look like it.
    data = None if part.data is None else base64.b64encode(part.data)
    url = part.uri or None
    if part.modality is Modality.IMAGE:
        return ImageBlock(image=data, url=url, image_mimetype=part.mime_type)
    if part.modality is Modality.AUDIO:
        return AudioBlock(audio=data, url=url)  # it finds its format in the bytes
    if part.modality is Modality.VIDEO:
        return VideoBlock(video=data, url=url, video_mimetype=part.mime_type)
    return DocumentBlock(
        data=data, url=url, title=part.alt or None, document_mimetype=part.mime_type
    )


def _merged(blocks: Sequence[Block]) -> list[Block]:
    """Texts side by side as one, a blank line between."""
    merged: list[Block] = []
    for block in blocks:
        last = merged[-1] if merged else None
        if isinstance(block, TextBlock) and isinstance(last, TextBlock):
            merged[-1] = TextBlock(text=f"{last.text.rstrip()}\n\n{block.text}")
        else:
            merged.append(block)
    return merged


def _name(node: BaseNode) -> str:
    """How a node is called: its title and where it is from."""
    said = [str(node.metadata.get(key) or "") for key in ("title", "source")]
    place = said[1] or str(node.metadata.get("file_name") or "")
    page = node.metadata.get("page")
    place = f"{place}, page {page}" if place and page else place
    title = said[0] if said[0] != said[1] else ""
    named = f"{title} ({place})" if title and place else title or place
    return named or f"node {node.node_id}"
