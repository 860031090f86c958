from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core.base.llms.types import ImageBlock, TextBlock

from gemini2_core.content import Content, Media, find_media_links
from gemini2_core.content.chunking import Document
from gemini2_core.content.chunking.blocks_reader import read_blocks
from gemini2_core.errors import (
    ConfigurationError,
    InvalidInputError,
    MediaAccessError,
    MediaNotFoundError,
)
from tests.content.samples import picture, wav

RED = picture(colour=(200, 9, 9))
BLUE = picture()


def read(value: Any, folder: Path, **options: Any) -> Document:
    options = {"media_root": folder, "media_dir": folder / "media", **options}
    (document,) = read_blocks(value, source="blocks", **options)
    return document


def shown(document: Document) -> str:
    text = document.text
    for number, link in enumerate(document.links):
        text = text.replace(document.text[link.start : link.end], f"<{number}>")
    return text


def test_langchain_s_blocks_keep_their_order(tmp_path: Path) -> None:
    red, blue = (base64.b64encode(data).decode() for data in (RED, BLUE))
    document = read(
        [
            {"type": "text", "text": "# Pump\n\nIt is red:"},
            {"type": "image", "base64": red, "mime_type": "image/png"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{blue}"}},
            {"type": "text", "text": "Then it was blue."},
        ],
        tmp_path,
    )
    assert shown(document) == "# Pump\n\nIt is red:\n\n<0>\n\n<1>\n\nThen it was blue.\n\n"
    assert [media.read() for media in document.media] == [RED, BLUE]
    assert [str(one.kind) for one in document.elements] == [
        "heading",
        "paragraph",
        "media",
        "media",
        "paragraph",
    ]


def test_llamaindex_s_blocks_keep_their_order(tmp_path: Path) -> None:
    blocks = [TextBlock(text="one"), ImageBlock(image=RED), TextBlock(text="two")]
    document = read(blocks, tmp_path)
    assert shown(document) == "one\n\n<0>\n\ntwo\n\n"
    assert document.media[0].read() == RED


def test_parts_of_any_kind_are_one_document(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(RED)
    sound = Media.from_bytes(wav(), fragment="t=0,0.5", alt="hum")
    parts = ["see ![x](a.png)", tmp_path / "a.png", (BLUE, "image/png"), sound, Content(("end",))]
    document = read(parts, tmp_path)
    assert shown(document) == "see <0>\n\n<1>\n\n<2>\n\n<3>\n\nend\n\n"
    assert [str(media.fragment or "") for media in document.media] == ["", "", "", "t=0,0.5"]
    assert "#t=0,0.5" in document.text
    assert document.media[3].alt == "hum"


def test_each_text_is_markdown_for_itself(tmp_path: Path) -> None:
    table = "| a | b |\n| --- | --- |\n| 1 | 2 |"
    document = read([table, "- one\n- two\n", "text"], tmp_path)
    kinds = [str(one.kind) for one in document.elements]
    assert kinds == ["table", "list_item", "list_item", "paragraph"]
    assert document.text == f"{table}\n\n- one\n- two\n\ntext\n\n"


def test_plain_text_is_taken_as_written_where_it_is_said_to_be_plain(tmp_path: Path) -> None:
    document = read(["![x](gone.png)", RED], tmp_path, markdown=False)
    assert shown(document) == "\\![x](gone.png)\n\n<0>\n\n"


def test_open_code_does_not_swallow_the_picture_behind_it(tmp_path: Path) -> None:
    document = read(["```\nnever closed", RED, "<!-- nor this", BLUE], tmp_path)
    assert len(find_media_links(document.text)) == len(document.links) == 2


def test_files_outside_media_root_are_copied_to_media_dir(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out.png"
    inside.mkdir()
    outside.write_bytes(RED)
    document = read([outside], inside)
    assert document.text.startswith("![](media/")
    assert document.media[0].read() == RED
    assert str(outside) in read([outside], inside, media_dir=None).text


def test_held_bytes_need_a_media_dir(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"part 1: .*media_dir"):
        read(["a", RED], tmp_path, media_dir=None)


def test_missing_and_damaged_media_follow_the_policy(tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError, match=r"part 1: .*gone.png"):
        read(["a", tmp_path / "gone.png"], tmp_path)
    damaged = {"type": "image", "base64": "bm8gcGljdHVyZQ==", "mime_type": "image/png"}
    with pytest.raises(InvalidInputError, match="part 0"):
        read([damaged], tmp_path)
    left = read([damaged, "a", tmp_path / "gone.png", "b"], tmp_path, on_missing="skip")
    assert left.text == "a\n\nb\n\n"


def test_what_is_no_content_is_an_error_whatever_the_policy_is(tmp_path: Path) -> None:
    for value in ([None], [3], [{"no": "block"}]):
        with pytest.raises(InvalidInputError, match="part 0"):
            read(value, tmp_path, on_missing="skip")


def test_media_on_the_web_are_taken_where_they_are_allowed(tmp_path: Path) -> None:
    blocks = [{"type": "image", "url": "https://example.org/a.png"}, "behind"]
    with pytest.raises(MediaAccessError, match="part 0"):
        read(blocks, tmp_path)
    assert read(blocks, tmp_path, on_missing="alt").text == "behind\n\n"
    assert read(blocks, tmp_path, allow_remote=True).text.startswith("![](https://example.org/a")


def test_types_that_the_model_does_not_read_follow_the_policy(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="image/png, which the model doesn't read"):
        read([RED], tmp_path, mime_types={"image/jpeg"})
    assert read([RED, "a"], tmp_path, mime_types={"image/jpeg"}, on_missing="skip").text == "a\n\n"


def test_a_content_brings_its_title(tmp_path: Path) -> None:
    assert read(Content(("a",), title="Pumps"), tmp_path).title == "Pumps"
    assert read(Content(("a",), title="Pumps"), tmp_path, title="Valves").title == "Valves"


PIECES = st.one_of(
    st.just(None), st.text(alphabet="a \n\t`~<>![]()\\#-|&;$/?.:_*\"'1", max_size=30)
)


@given(st.lists(PIECES, max_size=8))
def test_every_medium_is_a_link_that_is_found_again(pieces: list[str | None]) -> None:
    media = Media.from_uri("gs://b/a.png")
    value = [media if piece is None else piece for piece in pieces]
    (document,) = read_blocks(value, on_missing="alt")
    found = [(link.start, link.end) for link in find_media_links(document.text)]
    assert found == [(link.start, link.end) for link in document.links]
    assert document.media.count(media) == pieces.count(None)
