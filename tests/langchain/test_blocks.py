"""Retrieved documents shown to a chat model."""

from __future__ import annotations

import base64
import hashlib
import pickle
from pathlib import Path
from typing import Any, cast

import pytest
from langchain_core.documents import Document
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnablePassthrough
from langchain_core.vectorstores import InMemoryVectorStore

from gemini2_core.content import Media
from gemini2_core.emulator import Emulator
from gemini2_core.errors import InvalidInputError, MediaAccessError, MediaNotFoundError
from langchain_gemini2 import Gemini2Embeddings, MediaPrompt, content_blocks, documents_message
from langchain_gemini2.blocks import Block
from tests.langchain.conftest import Make
from tests.samples import png, wav
from tests.wire import kinds, sent


@pytest.fixture
def media(tmp_path: Path) -> Path:
    (tmp_path / "red.png").write_bytes(png(255))
    (tmp_path / "blue.png").write_bytes(png(0, 0, 255))
    (tmp_path / "idle.wav").write_bytes(wav(1.0))
    return tmp_path


def _told(blocks: list[Block]) -> list[str]:
    return [block["text"] if block["type"] == "text" else block["type"] for block in blocks]


def _data(block: Block) -> bytes:
    return base64.b64decode(cast("dict[str, Any]", block)["base64"])


def test_text_and_media_come_in_order_with_the_bytes_of_the_files(media: Path) -> None:
    document = Document("Red ![a red one](red.png) and ![hum](idle.wav#t=0,0.5) to the end.")
    blocks = content_blocks(document, media_root=media)
    assert _told(blocks) == [
        "Red ![a red one](red.png)",
        "image",
        " and ![hum](idle.wav#t=0,0.5)",
        "audio",
        " to the end.",
    ]
    assert _data(blocks[1]) == png(255)
    assert len(_data(blocks[3])) < len(wav(1.0)), "the span is cut out"
    assert blocks == content_blocks(document, media_root=media), "no random ids"
    bare = content_blocks(document, media_root=media, links=False)
    assert _told(bare) == ["Red ", "image", " and ", "audio", " to the end."]
    assert HumanMessage(content_blocks=cast("Any", blocks)).content_blocks == blocks


def test_a_page_is_a_file_and_what_the_service_reads_is_its_address(
    corpus: Path,
) -> None:
    text = "![](SB-28-07.pdf#page=1)![](gs://bucket/pump.png)"
    page, picture = content_blocks(text, media_root=corpus, links=False)
    assert (page["type"], page["mime_type"]) == ("file", "application/pdf")  # type: ignore[typeddict-item]
    assert Media.from_bytes(_data(page)).measure().pages == 1
    assert picture == {"type": "image", "mime_type": "image/png", "url": "gs://bucket/pump.png"}


def test_blocks_embed_as_the_document_does(make: Make, emulator: Emulator, media: Path) -> None:
    text = "Red ![one](red.png) or blue ![two](blue.png)"
    embeddings = make(media_root=media)
    blocks = content_blocks(text, media_root=media, links=False)
    (by_blocks,) = embeddings.embed_contents([blocks])
    (by_text,) = embeddings.embed_documents([text])
    assert by_blocks == by_text
    assert kinds(sent(emulator)[0]) == kinds(sent(emulator)[1])


def test_without_a_media_root_text_is_text(media: Path) -> None:
    assert content_blocks("![one](red.png)") == [{"type": "text", "text": "![one](red.png)"}]
    assert content_blocks("", media_root=media) == [{"type": "text", "text": ""}]


def test_links_in_code_are_text(media: Path) -> None:
    text = "Write `![one](red.png)`:\n\n    ![one](red.png)\n"
    assert _told(content_blocks(text, media_root=media)) == [text]


def test_a_digest_isnt_told_and_a_changed_picture_isnt_shown(media: Path) -> None:
    digest = hashlib.sha256(png(255)).hexdigest()
    document = Document(f'See ![one](red.png "sha256:{digest}").', metadata={"source": "a.md"})
    assert digest not in str(_told(content_blocks(document, media_root=media)))
    (media / "red.png").write_bytes(png(1, 2, 3))
    with pytest.raises(InvalidInputError, match=r"a\.md: .*red\.png.* has changed"):
        content_blocks(document, media_root=media)
    blocks = content_blocks(document, media_root=media, on_missing="alt")
    assert _told(blocks) == ["See one."]


def test_missing_media_are_an_error_their_text_or_nothing(media: Path) -> None:
    document = Document("See ![the pump](gone.png) here", metadata={"source": "a.md"})
    with pytest.raises(MediaNotFoundError, match=r"a\.md: .*gone\.png"):
        content_blocks(document, media_root=media)
    alt = content_blocks(document, media_root=media, on_missing="alt")
    assert _told(alt) == ["See the pump here"]
    skipped = content_blocks(document, media_root=media, on_missing="skip")
    assert _told(skipped) == ["See  here"]


@pytest.mark.parametrize("target", ["../red.png", "/etc/passwd", "https://x.invalid/a.png"])
def test_a_retrieved_text_reads_nothing_outside_of_the_root(media: Path, target: str) -> None:
    (media / "inside").mkdir()
    with pytest.raises((MediaAccessError, MediaNotFoundError)):
        content_blocks(f"![x]({target})", media_root=media / "inside")


def test_documents_are_numbered_and_the_question_comes_last(media: Path) -> None:
    documents = [
        Document("![one](red.png)", metadata={"title": "Pump", "source": "28.md", "page": 3}),
        Document("Text alone.", id="the-id"),
    ]
    message = documents_message(documents, "What is it?", media_root=media)
    assert _told(cast("list[Block]", message.content)) == [
        "[1] Pump (28.md, page 3)\n\n![one](red.png)",
        "image",
        "[2] the-id\n\nText alone.\n\nWhat is it?",
    ]
    photo = content_blocks("![](blue.png)", media_root=media, links=False)
    message = documents_message(documents, photo, media_root=media)
    assert cast("list[Block]", message.content)[-1] == photo[0]


class _Watcher(GenericFakeChatModel):
    """A chat model that remembers what it was shown."""

    shown: list[list[BaseMessage]] = []  # noqa: RUF012 - a pydantic field

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Any:
        self.shown.append(messages)
        return super()._generate(messages, *args, **kwargs)


@pytest.mark.parametrize("awaited", [False, True])
async def test_a_chain_shows_the_model_the_picture_it_retrieved(
    make: Make, corpus: Path, awaited: bool
) -> None:
    store = InMemoryVectorStore(make(media_root=corpus))
    figure = "![Fuel strainer, section](figures/strainer.png)"
    store.add_documents(
        [
            Document(f"Clean the bowl every 50 hours. {figure}", metadata={"source": "28-20"}),
            Document("Put the battery switch off.", metadata={"source": "28-00"}),
        ]
    )
    model = _Watcher(messages=iter([AIMessage(f"As shown: {figure} [1]")]))
    chain = (
        {
            "context": store.as_retriever(search_kwargs={"k": 1}),
            "question": RunnablePassthrough(),
        }
        | MediaPrompt(media_root=corpus)
        | model
        | StrOutputParser()
    )
    question = "How often is the strainer bowl cleaned?"
    answer = await chain.ainvoke(question) if awaited else chain.invoke(question)
    assert figure in answer
    ((system, human),) = model.shown
    assert isinstance(system, SystemMessage)
    assert [block["type"] for block in human.content_blocks] == ["text", "image", "text"]
    shown = cast("Any", human.content_blocks[1])["base64"]
    assert base64.b64decode(shown) == (corpus / "figures" / "strainer.png").read_bytes()
    assert str(human.content[-1]["text"]).endswith(question)  # type: ignore[index]


def test_the_prompt_takes_langchains_own_keys_and_says_what_is_missing(media: Path) -> None:
    prompt = MediaPrompt(media_root=media, system=None)
    documents = [Document("![one](red.png)")]
    (message,) = prompt.invoke({"context": documents, "input": "What?"})
    assert [block["type"] for block in message.content_blocks] == ["text", "image", "text"]
    with pytest.raises(InvalidInputError, match="'context'"):
        prompt.invoke({"question": "What?"})
    with pytest.raises(InvalidInputError, match="'question' or 'input'"):
        prompt.invoke({"context": documents})


def test_the_prompt_can_be_pickled_and_shown(media: Path) -> None:
    prompt = MediaPrompt(media_root=str(media))
    given = {"context": [Document("![one](red.png)")], "question": "What?"}
    assert pickle.loads(pickle.dumps(prompt)).invoke(given) == prompt.invoke(given)
    assert "MediaPrompt" in dumps(prompt)


def test_an_embedded_picture_is_shown_but_not_repeated_as_text(
    media: Path, embeddings: Gemini2Embeddings
) -> None:
    held = base64.b64encode(png(255, side=400) + b"\0" * 3000).decode()
    blocks = content_blocks(f"![big](data:image/png;base64,{held})", media_root=media)
    assert _told(blocks) == ["big", "image"]
