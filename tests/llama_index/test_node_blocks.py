"""Retrieved nodes shown to a chat model."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.base.llms.types import (
    AudioBlock,
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    DocumentBlock,
    ImageBlock,
    LLMMetadata,
    TextBlock,
)
from llama_index.core.llms import MockLLM
from llama_index.core.schema import (
    ImageNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeWithScore,
    TextNode,
)
from llama_index.core.storage.docstore.utils import doc_to_json, json_to_doc

from gemini2_core.content import Media
from gemini2_core.errors import InvalidInputError, MediaNotFoundError
from llama_index_gemini2 import MEDIA_QA_PROMPT, MediaPostprocessor, node_blocks, nodes_message
from llama_index_gemini2.blocks import Block
from tests.llama_index.conftest import Make
from tests.samples import png, wav

CORPUS = Path(__file__).resolve().parents[2] / "cookbooks" / "corpus"


def _told(blocks: Any) -> list[str]:
    return [block.text if isinstance(block, TextBlock) else block.block_type for block in blocks]


def _picture(block: Block) -> bytes:
    assert isinstance(block, ImageBlock)
    return bytes(block.resolve_image().read())


def test_text_and_media_come_in_order_with_the_bytes_of_the_files(media: Path) -> None:
    node = TextNode(
        text="Red ![a red one](red.png) and ![hum](idle.wav#t=0,0.2) to the end.",
        metadata={"title": "Colours"},
    )
    blocks = node_blocks(node, media_root=media)
    assert _told(blocks) == [
        "Red ![a red one](red.png)",
        "image",
        " and ![hum](idle.wav#t=0,0.2)",
        "audio",
        " to the end.",
    ]
    assert _picture(blocks[1]) == png(255)
    assert blocks[1].image_mimetype == "image/png"  # type: ignore[union-attr]
    sound = blocks[3]
    assert isinstance(sound, AudioBlock)
    assert sound.format == "wav"
    assert 0 < len(sound.resolve_audio().read()) < len(wav()), "the span is cut out"
    bare = node_blocks(
        NodeWithScore(node=node, score=0.5),
        media_root=media,
        metadata_mode=MetadataMode.LLM,
        links=False,
    )
    assert _told(bare) == ["title: Colours", "Red ", "image", " and ", "audio", " to the end."]


def test_a_page_is_a_document_and_what_the_service_reads_is_its_address() -> None:
    node = TextNode(text="![](SB-28-07.pdf#page=1)![](gs://bucket/pump.png)")
    page, picture = node_blocks(node, media_root=CORPUS, links=False)
    assert isinstance(page, DocumentBlock)
    assert page.document_mimetype == "application/pdf"
    assert Media.from_bytes(page.resolve_document().read()).measure().pages == 1
    assert isinstance(picture, ImageBlock)
    assert str(picture.url) == "gs://bucket/pump.png"


def test_without_a_media_root_text_is_text() -> None:
    node = TextNode(text="![one](red.png)")
    assert _told(node_blocks(node)) == ["![one](red.png)"]


def test_pictures_of_the_node_s_own_come_after_its_text(media: Path) -> None:
    image = ImageNode(text="with ![hum](idle.wav)", image_path=str(media / "red.png"))
    assert _told(node_blocks(image, media_root=media, links=False)) == ["with ", "audio", "image"]
    node = Node(
        text_resource=MediaResource(text="the text"),
        image_resource=MediaResource(path=media / "red.png"),
    )
    assert _told(node_blocks(node, media_root=media)) == ["the text", "image"]


def test_missing_and_changed_media_are_an_error_their_text_or_nothing(media: Path) -> None:
    digest = hashlib.sha256(png(255)).hexdigest()
    node = TextNode(
        text=f'See ![one](red.png "sha256:{digest}") and ![two](gone.png).',
        metadata={"source": "a.md"},
    )
    with pytest.raises(MediaNotFoundError, match=r"a\.md: .*gone\.png"):
        node_blocks(node, media_root=media)
    alt = node_blocks(node, media_root=media, on_missing="alt")
    assert _told(alt) == ["See ![one](red.png)", "image", " and two."]
    (media / "red.png").write_bytes(png(9))
    with pytest.raises(InvalidInputError, match="has changed"):
        node_blocks(node, media_root=media)
    assert _told(node_blocks(node, media_root=media, on_missing="skip")) == ["See  and ."]


def test_nodes_are_numbered_and_the_question_comes_last(media: Path) -> None:
    nodes = [
        TextNode(text="![one](red.png)", metadata={"title": "Pump", "source": "28.md", "page": 3}),
        TextNode(id_="n2", text="Text alone."),
    ]
    message = nodes_message(nodes, "What is it?", media_root=media)
    assert _told(message.blocks) == [
        "[1] Pump (28.md, page 3)\n\n![one](red.png)",
        "image",
        "[2] node n2\n\nText alone.\n\nWhat is it?",
    ]
    photo = [ImageBlock(path=media / "blue.png")]
    assert nodes_message(nodes, photo, media_root=media).blocks[-1] == photo[0]


def test_postprocessed_nodes_are_stored_as_what_they_were(media: Path) -> None:
    node = TextNode(text="![one](red.png)", metadata={"title": "Pump"})
    found = NodeWithScore(node=node, score=0.5)
    (shown,) = MediaPostprocessor(media).postprocess_nodes([found])
    assert shown.score == 0.5
    assert shown.node.get_content() == node.get_content()
    assert shown.node.hash == node.hash
    assert doc_to_json(shown.node) == doc_to_json(node)
    assert json_to_doc(doc_to_json(shown.node)) == node
    assert node_blocks(shown, media_root=media) == node_blocks(node, media_root=media)
    plain = [NodeWithScore(node=TextNode(text="no link"))]
    assert MediaPostprocessor(media).postprocess_nodes(plain) == plain


class _Watcher(MockLLM):
    """A chat model that remembers what it was shown."""

    shown: list[list[ChatMessage]] = []  # noqa: RUF012 - a pydantic field

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(is_chat_model=True, context_window=100_000)

    def chat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        self.shown.append(list(messages))
        return ChatResponse(message=ChatMessage(role="assistant", content="As shown."))

    async def achat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        return self.chat(messages)

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        raise AssertionError("a chat was wanted")


@pytest.mark.parametrize("awaited", [False, True])
async def test_a_query_engine_shows_the_model_what_it_retrieved(make: Make, awaited: bool) -> None:
    nodes = [
        TextNode(text="Clean the bowl every 50 hours. ![Fuel strainer](figures/strainer.png)"),
        TextNode(text="The bulletin on the fuel pump: ![](SB-28-07.pdf#page=1)"),
    ]
    index = VectorStoreIndex(nodes, embed_model=make(media_root=CORPUS))
    model = _Watcher(max_tokens=None)
    engine = index.as_query_engine(
        llm=model,
        similarity_top_k=2,
        multimodal=True,
        chat_content_qa_template=MEDIA_QA_PROMPT,
        node_postprocessors=[MediaPostprocessor(CORPUS)],
    )
    question = "How often is the strainer bowl cleaned?"
    answer = await engine.aquery(question) if awaited else engine.query(question)
    assert str(answer) == "As shown."
    assert sorted(found.node.get_content() for found in answer.source_nodes) == sorted(
        node.text for node in nodes
    )
    ((_, human),) = model.shown
    kinds = [block.block_type for block in human.blocks]
    assert kinds == ["text", "image", "text", "document", "text"]
    picture = human.blocks[1]
    assert isinstance(picture, ImageBlock)
    encoded = str(picture.url).partition(",")[2]
    assert base64.b64decode(encoded) == (CORPUS / "figures" / "strainer.png").read_bytes()
