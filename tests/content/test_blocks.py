"""Blocks of LangChain, LlamaIndex and google-genai: the installed packages' own objects."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
from pathlib import Path

import pytest

from gemini2_core.content import Content, Fragment, Media
from gemini2_core.errors import InvalidInputError
from tests.content import samples

PICTURE, SOUND, FILM, PDF = samples.picture(), samples.wav(), samples.film(), samples.pdf()
FILES_URI = "https://generativelanguage.googleapis.com/v1beta/files/abc"


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _held(data: bytes) -> tuple[Media, ...]:
    return (Media.from_bytes(data),)


def test_langchain_v1_blocks() -> None:
    content = pytest.importorskip("langchain_core.messages.content")
    blocks = [
        content.create_text_block("a"),
        content.create_plaintext_block("b"),
        content.create_image_block(base64=_b64(PICTURE), mime_type="image/png"),
        content.create_audio_block(base64=_b64(SOUND), mime_type="audio/x-wav"),
        content.create_video_block(base64=_b64(FILM), mime_type="video/mp4"),
        content.create_file_block(base64=_b64(PDF), mime_type="application/pdf"),
    ]
    media = (_held(data)[0] for data in (PICTURE, SOUND, FILM, PDF))
    assert Content.of(blocks).parts == ("a", "b", *media)


def test_langchain_ids_make_no_difference() -> None:
    content = pytest.importorskip("langchain_core.messages.content")
    one, two = (content.create_image_block(base64=_b64(PICTURE)) for _ in range(2))
    assert one["id"] != two["id"]
    assert Content.of(one).identity == Content.of(two).identity


def test_langchain_references() -> None:
    content = pytest.importorskip("langchain_core.messages.content")
    (web,) = Content.of(content.create_image_block(url="https://example.org/x.png")).media
    assert (web.source, web.mime_type) == ("https://example.org/x.png", "image/png")
    (web,) = Content.of(content.create_image_block(url="https://example.org/x")).media
    assert (web.mime_type, web.allow_remote) == ("", False)
    block = content.create_video_block(url="gs://b/x", mime_type="video/mp4")
    assert Content.of(block, allow_remote=True).media[0].allow_remote
    (file,) = Content.of(content.create_image_block(file_id="files/abc")).media
    assert file.by_service


def test_langchain_message_content() -> None:
    messages = pytest.importorskip("langchain_core.messages")
    message = messages.HumanMessage(
        content=["a", {"type": "image", "base64": _b64(PICTURE), "mime_type": "image/png"}]
    )
    assert Content.of(message.content).parts == ("a", *_held(PICTURE))
    assert Content.of(message.content_blocks).parts == ("a", *_held(PICTURE))


@pytest.mark.parametrize(
    ("block", "data"),
    [
        ({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_b64(PICTURE)}"}}, 0),
        ({"type": "image_url", "image_url": f"data:image/png;base64,{_b64(PICTURE)}"}, 0),
        ({"type": "image", "url": f"data:image/png;base64,{_b64(PICTURE)}"}, 0),
        ({"type": "image", "base64": f"data:image/png;base64,{_b64(PICTURE)}"}, 0),
        (
            {
                "type": "image",
                "source_type": "base64",
                "data": _b64(PICTURE),
                "mime_type": "image/png",
            },
            0,
        ),
        (
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": _b64(PICTURE)},
            },
            0,
        ),
        ({"type": "media", "mime_type": "image/png", "data": PICTURE}, 0),
        ({"type": "input_audio", "input_audio": {"data": _b64(SOUND), "format": "wav"}}, 1),
        (
            {
                "type": "file",
                "file": {
                    "filename": "x.pdf",
                    "file_data": f"data:application/pdf;base64,{_b64(PDF)}",
                },
            },
            2,
        ),
        ({"inline_data": {"data": PICTURE, "mime_type": "image/png"}}, 0),
        ({"inlineData": {"data": _b64(PICTURE), "mimeType": "image/png"}}, 0),
        ({"data": _b64(PICTURE), "mime_type": "image/png"}, 0),
    ],
)
def test_older_and_other_blocks(block: dict[str, object], data: int) -> None:
    assert Content.of(block).parts == _held((PICTURE, SOUND, PDF)[data])
    assert Content.of([block]) == Content.of(block)


def test_text_in_a_file_block_is_text() -> None:
    for kind in ("file", "text-plain"):
        block = {"type": kind, "base64": _b64("grüße".encode()), "mime_type": "text/plain"}
        assert Content.of(block).parts == ("grüße",)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"type": "tool_call", "name": "f"}, "type 'tool_call' can't be embedded"),
        ({"type": "image"}, "no base64, url or file_id"),
        ({"type": "image", "base64": _b64(PDF)}, "'image' holds application/pdf"),
        ({"type": "image", "base64": "%%%"}, "not base64"),
        ({"type": "image", "url": "/etc/passwd"}, "no reference to a medium"),
        ({"type": "image", "url": "file:///etc/passwd"}, "no reference to a medium"),
        ({"type": "image", "file_id": "file-123"}, "no reference to a medium"),
        ({"type": "image", "base64": _b64(b"text"), "mime_type": "image/png"}, "text/plain, not"),
        ({"type": "text", "text": None}, "'text' can't be embedded"),
        ({"kind": "image"}, "no content block"),
        ({"functionCall": {}}, "no content block"),
    ],
)
def test_what_is_no_block_for_us_is_refused(block: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Content.of(block)
    with pytest.raises(InvalidInputError, match=f"^part 1: .*{message}"):
        Content.of(["a", block])


def test_llama_index_blocks_with_data() -> None:
    llms = pytest.importorskip("llama_index.core.base.llms.types")
    blocks = [
        llms.TextBlock(text="a"),
        llms.ImageBlock(image=PICTURE),
        llms.AudioBlock(audio=SOUND, format="wav"),
        llms.VideoBlock(video=FILM),
        llms.DocumentBlock(data=PDF, title="manual"),
    ]
    media = (_held(data)[0] for data in (PICTURE, SOUND, FILM, PDF))
    assert Content.of(blocks).parts == ("a", *media)
    assert Content.of(llms.ImageBlock(image=io.BytesIO(PICTURE))).parts == _held(PICTURE)


def test_llama_index_blocks_with_paths(tmp_path: Path) -> None:
    llms = pytest.importorskip("llama_index.core.base.llms.types")
    paths = {}
    for name, data in {"a.png": PICTURE, "b.wav": SOUND, "c.mp4": FILM, "d.pdf": PDF}.items():
        paths[name] = tmp_path / name
        paths[name].write_bytes(data)
    blocks = [
        llms.ImageBlock(path=paths["a.png"]),
        llms.AudioBlock(path=paths["b.wav"]),
        llms.VideoBlock(path=paths["c.mp4"]),
        llms.DocumentBlock(path=paths["d.pdf"]),
    ]
    content = Content.of(blocks)
    assert [media.source for media in content.media] == list(paths.values())
    assert [media.read() for media in content.media] == [PICTURE, SOUND, FILM, PDF]


def test_llama_index_blocks_with_urls() -> None:
    llms = pytest.importorskip("llama_index.core.base.llms.types")
    (web,) = Content.of(llms.ImageBlock(url="https://example.org/x.png")).media
    assert (web.source, web.mime_type) == ("https://example.org/x.png", "image/png")
    data = llms.ImageBlock(url=f"data:image/png;base64,{_b64(PICTURE)}")
    assert Content.of(data).parts == _held(PICTURE)


def test_llama_index_resources_and_nodes(tmp_path: Path) -> None:
    schema = pytest.importorskip("llama_index.core.schema")
    path = tmp_path / "x.png"
    path.write_bytes(PICTURE)
    resource = schema.MediaResource
    assert Content.of(resource(text="a")).parts == ("a",)
    assert Content.of(resource(data=PICTURE)).parts == _held(PICTURE)
    assert Content.of(resource(path=path)).media[0].source == path
    assert Content.of(resource(url="https://example.org/x.png")).media[0].remote
    node = schema.Node(text_resource=resource(text="a"), image_resource=resource(data=PICTURE))
    assert Content.of(node.get_content_blocks()).parts == ("a", *_held(PICTURE))


def test_llama_index_blocks_without_anything_are_refused() -> None:
    llms = pytest.importorskip("llama_index.core.base.llms.types")
    with pytest.raises(InvalidInputError, match="ImageBlock has no data, path or url"):
        Content.of(llms.ImageBlock())
    with pytest.raises(InvalidInputError, match="'thinking' can't be embedded"):
        Content.of(llms.ThinkingBlock(content="hm"))


def test_genai_parts_and_contents() -> None:
    types = pytest.importorskip("google.genai.types")
    parts = [
        types.Part(text="a"),
        types.Part.from_bytes(data=PICTURE, mime_type="image/png"),
        types.Part.from_uri(file_uri=FILES_URI, mime_type="video/mp4"),
    ]
    wanted = ("a", *_held(PICTURE), Media(FILES_URI, "video/mp4"))
    assert Content.of(parts).parts == wanted
    assert Content.of(types.Content(role="user", parts=parts)).parts == wanted
    assert Content.of(types.Blob(data=PICTURE, mime_type="image/png")).parts == _held(PICTURE)
    file = types.File(name="files/abc", uri=FILES_URI, mime_type="video/mp4")
    assert Content.of(file).parts == wanted[2:]
    assert Content.of(types.FileData(file_uri=FILES_URI, mime_type="video/mp4")).parts == wanted[2:]
    dumped = types.Content(parts=parts).model_dump(mode="json", by_alias=True, exclude_none=True)
    assert Content.of(dumped).parts == wanted


def test_a_genai_part_keeps_its_span() -> None:
    types = pytest.importorskip("google.genai.types")
    part = types.Part(
        inline_data=types.Blob(data=FILM, mime_type="video/mp4"),
        video_metadata=types.VideoMetadata(start_offset="0.5s", end_offset="1.5s"),
    )
    (media,) = Content.of(part).media
    assert media.fragment == Fragment("t", 0.5, 1.5)


def test_a_genai_part_of_another_kind_is_refused() -> None:
    types = pytest.importorskip("google.genai.types")
    call = types.Part(function_call=types.FunctionCall(name="f", args={}))
    with pytest.raises(InvalidInputError, match=r"^part 0: a Part without text"):
        Content.of([call])


def test_no_framework_is_imported_for_blocks() -> None:
    code = (
        "import sys; from gemini2_core.content import Content;"
        "Content.of([{'type': 'text', 'text': 'a'}, 'b']);"
        "heavy = {'langchain_core', 'llama_index', 'google.genai', 'PIL', 'pypdf', 'av'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
