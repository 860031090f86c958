"""Pictures, sound, films and PDFs: alone, in messages, in Markdown, in queries."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.documents.base import Blob
from langchain_core.messages import HumanMessage
from langchain_core.messages.content import create_image_block, create_text_block

from gemini2_core.content import Content, Media
from gemini2_core.emulator import Emulator
from gemini2_core.errors import InvalidInputError, MediaAccessError, MediaNotFoundError
from gemini2_core.model import Modality
from langchain_gemini2 import Gemini2Embeddings
from langchain_gemini2.inputs import media_of
from tests.samples import png, wav
from tests.wire import kinds, sent

Make = Callable[..., Gemini2Embeddings]
RED, BLUE = png(255), png(0, 0, 255)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "red.png").write_bytes(RED)
    (tmp_path / "blue.png").write_bytes(BLUE)
    (tmp_path / "idle.wav").write_bytes(wav(1.0))
    return tmp_path


def data_of(part: dict[str, Any]) -> bytes:
    return base64.urlsafe_b64decode(part["inline_data"]["data"])


def test_markdown_links_become_parts_under_media_root(
    make: Make, emulator: Emulator, root: Path
) -> None:
    make(media_root=root).embed_documents(["Pump ![red one](red.png) and ![](idle.wav)."])
    (parts,) = sent(emulator)
    assert kinds(parts) == [
        "title: none | text: Pump ",
        "image/png",
        " and ",
        "audio/wav",
        ".",
    ]
    assert data_of(parts[1]) == RED


def test_without_media_root_a_link_is_text(make: Make, emulator: Emulator) -> None:
    make().embed_documents(["Pump ![red one](red.png)"])
    assert kinds(sent(emulator)[0]) == ["title: none | text: Pump ![red one](red.png)"]


def test_a_querys_links_are_read_only_if_asked_for(
    make: Make, emulator: Emulator, root: Path
) -> None:
    query = "What is ![](red.png)"
    make(media_root=root).embed_query(query)
    make(media_root=root).embed_documents([query], task_type="RETRIEVAL_QUERY")
    make(media_root=root, media_in_queries=True).embed_query(query)
    bare = f"task: search result | query: {query}"
    assert [kinds(parts) for parts in sent(emulator)] == [
        [bare],
        [bare],
        ["task: search result | query: What is ", "image/png"],
    ]


def _contents(root: Path) -> list[tuple[str, object]]:
    from PIL import Image

    with Image.open(root / "red.png") as image:
        image.load()
    encoded = base64.b64encode(RED).decode()
    v1: list[Any] = [
        create_text_block("Look:"),
        create_image_block(base64=encoded, mime_type="image/png"),
    ]
    openai: list[Any] = [
        {"type": "text", "text": "Look:"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded}"}},
    ]
    return [
        ("content blocks", v1),
        ("a message", HumanMessage(content_blocks=v1)),
        ("OpenAI's blocks", openai),
        ("a message of OpenAI's blocks", HumanMessage(openai)),
        ("parts", ["Look:", root / "red.png"]),
        ("typed bytes", ["Look:", (RED, "image/png")]),
        ("a Content", Content(("Look:", Media.from_path(root / "red.png")))),
        ("a PIL image", ["Look:", image]),
    ]


@pytest.mark.parametrize("number", range(8))
def test_each_way_to_write_a_content_is_one_vector_of_the_same_parts(
    embeddings: Gemini2Embeddings, emulator: Emulator, root: Path, number: int
) -> None:
    name, content = _contents(root)[number]
    (vector,) = embeddings.embed_contents([content])
    assert len(vector) == 768
    (parts,) = sent(emulator)
    assert kinds(parts) == ["title: none | text: Look:", "image/png"], name
    if name != "a PIL image":
        assert data_of(parts[1]) == RED


def test_a_document_brings_its_title_and_its_links(
    make: Make, emulator: Emulator, root: Path
) -> None:
    documents = [
        Document("See ![](red.png)", metadata={"title": "Pump"}),
        Document("No title", metadata={"title": 7}),
    ]
    embeddings = make(media_root=root)
    assert len(embeddings.embed_contents(documents)) == 2
    assert [kinds(parts) for parts in sent(emulator)] == [
        ["title: Pump | text: See ", "image/png"],
        ["title: none | text: No title"],
    ]
    emulator.reset()
    embeddings.embed_contents(documents, titles=["A", "B"])
    assert kinds(sent(emulator)[0])[0] == "title: A | text: See "


def test_blobs_are_media_or_text(
    embeddings: Gemini2Embeddings, emulator: Emulator, root: Path
) -> None:
    embeddings.embed_contents(
        [
            Blob.from_path(root / "red.png"),
            Blob.from_data(RED, mime_type="image/png"),
            Blob.from_data("some text"),
        ]
    )
    # Equal inputs are sent once, and the file's bytes are known only when they are read.
    assert {tuple(kinds(parts)) for parts in sent(emulator)} == {
        ("image/png",),
        ("title: none | text: some text",),
    }


def test_the_mean_of_parts_is_not_their_fusion(
    embeddings: Gemini2Embeddings, emulator: Emulator, root: Path
) -> None:
    post = [root / "red.png", root / "blue.png"]
    (joint,) = embeddings.embed_contents([post])
    (mean,) = embeddings.embed_contents([post], aggregate="mean")
    red, blue = np.array(embeddings.embed_image([str(path) for path in post]))
    assert np.allclose(mean, (red + blue) / np.linalg.norm(red + blue), atol=1e-6)
    assert not np.allclose(joint, mean, atol=1e-3)
    assert [len(parts) for parts in sent(emulator)][:3] == [2, 1, 1]


def test_a_query_may_be_a_picture_with_words(
    embeddings: Gemini2Embeddings, emulator: Emulator, root: Path
) -> None:
    vector = embeddings.embed_query_content(["Where is this?", root / "red.png"])
    assert len(vector) == 768
    assert kinds(sent(emulator)[0]) == [
        "task: search result | query: Where is this?",
        "image/png",
    ]


async def test_contents_and_queries_awaited_give_the_same(
    embeddings: Gemini2Embeddings, root: Path
) -> None:
    content = ["Where?", root / "red.png"]
    assert await embeddings.aembed_contents([content]) == embeddings.embed_contents([content])
    assert await embeddings.aembed_query_content(content) == embeddings.embed_query_content(content)
    images = [root / "red.png", root / "blue.png"]
    assert await embeddings.aembed_image(images) == embeddings.embed_image(images)


@pytest.mark.parametrize(
    ("method", "name", "mime_type"),
    [
        ("embed_image", "figures/fuel-pump.png", "image/png"),
        ("embed_audio", "sounds/idle.wav", "audio/wav"),
        ("embed_video", "clips/needle-falls.mp4", "video/mp4"),
        ("embed_pdf", "SB-28-07.pdf", "application/pdf"),
    ],
)
async def test_each_medium_by_path_sync_and_awaited(
    embeddings: Gemini2Embeddings,
    emulator: Emulator,
    corpus: Path,
    method: str,
    name: str,
    mime_type: str,
) -> None:
    path = str(corpus / name)
    (vector,) = getattr(embeddings, method)([path])
    assert await getattr(embeddings, f"a{method}")([path]) == [vector]
    assert {type(number) for number in vector} == {float}
    assert [kinds(parts) for parts in sent(emulator)] == [[mime_type]] * 2


def test_what_a_uri_may_be(embeddings: Gemini2Embeddings, emulator: Emulator, root: Path) -> None:
    encoded = base64.b64encode(RED).decode()
    vectors = embeddings.embed_image(
        [
            str(root / "red.png"),
            (root / "red.png").as_uri(),
            f"data:image/png;base64,{encoded}",
            root / "red.png",
            RED,
            Media.from_bytes(RED),
        ]
    )
    assert len(vectors) == 6
    assert all(vector == vectors[0] for vector in vectors)
    assert {data_of(parts[0]) for parts in sent(emulator)} == {RED}


def test_a_folder_called_files_is_a_folder(
    embeddings: Gemini2Embeddings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "red.png").write_bytes(RED)
    monkeypatch.chdir(tmp_path)
    assert len(embeddings.embed_image(["files/red.png"])) == 1


def test_references_of_the_service_are_passed_on() -> None:
    (content,) = media_of(["gs://bucket/a.png"], Modality.IMAGE, allow_remote=False)
    assert content.media[0].by_service
    with pytest.raises(InvalidInputError, match=r"input 0.*mime_type"):
        media_of(["files/abc123"], Modality.IMAGE, allow_remote=False)


def test_a_page_and_a_span_are_cut_out(
    embeddings: Gemini2Embeddings, emulator: Emulator, corpus: Path
) -> None:
    import io

    from pypdf import PdfReader

    embeddings.embed_pdf([f"{corpus / 'SB-28-07.pdf'}#page=1"])
    embeddings.embed_audio([f"{corpus / 'sounds' / 'idle.wav'}#t=0,1"])
    page, sound = (data_of(parts[0]) for parts in sent(emulator))
    assert len(PdfReader(io.BytesIO(page)).pages) == 1
    assert len(sound) < (corpus / "sounds" / "idle.wav").stat().st_size


def test_a_medium_of_another_kind_is_told_where_to_go(
    embeddings: Gemini2Embeddings, root: Path
) -> None:
    with pytest.raises(
        InvalidInputError, match=r"input 1: .*idle\.wav is audio/wav: use embed_audio"
    ):
        embeddings.embed_image([str(root / "red.png"), str(root / "idle.wav")])


def test_one_path_is_no_list_of_paths(embeddings: Gemini2Embeddings) -> None:
    with pytest.raises(InvalidInputError, match=r"\[ \]"):
        embeddings.embed_image("red.png")
    with pytest.raises(InvalidInputError, match=r"\[ \]"):
        embeddings.embed_contents(HumanMessage("hello"))  # type: ignore[arg-type]


def test_a_missing_file_a_text_called_png_and_an_https_address_are_told_apart(
    embeddings: Gemini2Embeddings, root: Path
) -> None:
    with pytest.raises(MediaNotFoundError, match=r"input 0.*gone\.png"):
        embeddings.embed_image([str(root / "gone.png")])
    (root / "words.png").write_text("these are words")
    with pytest.raises(InvalidInputError, match=r"input 0.*words\.png"):
        embeddings.embed_image([str(root / "words.png")])
    with pytest.raises(InvalidInputError, match="allow_remote"):
        embeddings.embed_image(["https://example.com/pump.png"])


def test_a_link_out_of_media_root_is_refused(make: Make, root: Path, tmp_path: Path) -> None:
    inner = root / "inner"
    inner.mkdir()
    with pytest.raises(MediaAccessError, match="input 1"):
        make(media_root=inner).embed_documents(["fine", "![](../red.png)"])


def test_a_link_to_a_loopback_address_is_refused(
    make: Make, emulator: Emulator, root: Path
) -> None:
    embeddings = make(media_root=root, allow_remote=True)
    with pytest.raises(MediaAccessError):
        embeddings.embed_documents([f"![]({emulator.base_url}/pump.png)"])
    with pytest.raises(MediaAccessError):
        embeddings.embed_image([f"{emulator.base_url}/pump.png"])
    assert emulator.requests == []


def test_seven_pictures_are_refused_before_anything_is_sent(
    embeddings: Gemini2Embeddings, emulator: Emulator, root: Path
) -> None:
    with pytest.raises(InvalidInputError, match=r"input 0.*6"):
        embeddings.embed_contents([[(png(n), "image/png") for n in range(7)]])
    assert emulator.requests == []
