"""Content: the one door for everything, and its form as Markdown."""

from __future__ import annotations

import pickle
import re
import timeit
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gemini2_core.content import Content, Fragment, Media
from gemini2_core.errors import InvalidInputError, MediaAccessError, MediaNotFoundError
from tests.content import samples

PICTURE = samples.picture()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    (root / "figures").mkdir()
    (root / "figures" / "pump.png").write_bytes(PICTURE)
    (root / "figures" / "a b#1 (ü).png").write_bytes(PICTURE)
    (root / "figures" / "text.png").write_text("text")
    (root / "manual.pdf").write_bytes(samples.pdf(4))
    (root / "idle.wav").write_bytes(samples.wav(4.0))
    return root


def test_text_is_text() -> None:
    for text in ("hello", "", "https://example.org/x.png", "/etc/passwd", "![a](x.png)"):
        assert Content.of(text).parts == (text,)
    assert Content.of("a").title is None
    assert Content.of("a", title="T").title == "T"


def test_text_costs_next_to_nothing() -> None:
    text = "one two three " * 30
    seconds = min(timeit.repeat(lambda: Content.of(text), number=2000, repeat=5)) / 2000
    assert seconds < 20e-6  # 1.5 µs where it was written; the margin is for a busy machine


def test_everything_comes_in_by_one_door(root: Path) -> None:
    path = root / "figures" / "pump.png"
    held = Media.from_bytes(PICTURE)
    for value in (PICTURE, bytearray(PICTURE), (PICTURE, "image/png"), held, Content((held,))):
        assert Content.of(value).parts == (held,)
    assert Content.of(path).parts == (Media(path, "image/png"),)
    (image,) = Content.of(Image.new("RGB", (12, 8), (9, 9, 200))).media
    assert image.read() == PICTURE


def test_a_list_is_one_interleaved_content(root: Path) -> None:
    inner = Content.of(["c", (PICTURE, "image/png")])
    content = Content.of(["a", "b", root / "idle.wav", inner, ["d"]])
    kinds = [part if isinstance(part, str) else part.mime_type for part in content.parts]
    assert kinds == ["a", "b", "audio/wav", "c", "image/png", "d"]
    assert content.texts == ("a", "b", "c", "d")
    assert len(content.media) == 2
    assert not content.text_only


def test_blank_texts_beside_others_are_left_out() -> None:
    held = Media.from_bytes(PICTURE)
    assert Content.of(["", held, " \n", "x"]).parts == (held, "x")
    assert Content.of([" "]).parts == (" ",)


@pytest.mark.parametrize("value", ["", " \n\t", [], [""]])
def test_nothing_to_embed_is_empty(value: object) -> None:
    assert Content.of(value).is_empty


def test_what_there_is_is_not_empty() -> None:
    assert not Content.of("a").is_empty
    assert not Content.of(PICTURE).is_empty


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "None is no content"),
        (["a", None], r"^part 1: None is no content"),
        (["a", ["b", None]], r"^part 1: part 1: None"),
        (3, "int is no content: pass str"),
        ([{"a"}], r"^part 0: set is no content"),
        ({"x": 1}, "no content block"),
        (bytes(64), r"pass \(bytes, mime_type\)"),
        (b"", "is empty"),
        ("a\ud800b", r"lone surrogate, '\\ud800' at character 1"),
        (["a", "\udfff"], r"^part 1: .*lone surrogate"),
    ],
)
def test_what_is_no_content_is_refused(value: object, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Content.of(value)


def test_a_title_is_text_too() -> None:
    with pytest.raises(InvalidInputError, match="lone surrogate"):
        Content.of("a", title="\ud800")


def test_a_surrogate_beside_a_link_is_refused(root: Path) -> None:
    with pytest.raises(InvalidInputError, match="lone surrogate"):
        Content.of("\ud800 ![](idle.wav)", media_root=root)


def test_a_content_keeps_its_title_unless_another_is_given() -> None:
    content = Content.of("a", title="T")
    assert Content.of(content) is content
    assert Content.of(content, title="U").title == "U"


def test_markdown_links_are_read_into_parts(root: Path) -> None:
    text = (
        "See ![Fuel pump](figures/pump.png), hear\n![](idle.wav#t=1,3)\n"
        "and read ![p. 2](manual.pdf#page=2)."
    )
    content = Content.of(text, media_root=root)
    pump, idle, page = content.media
    assert content.texts == ("See ", ", hear\n", "\nand read ", ".")
    assert (pump.alt, pump.mime_type, pump.source) == (
        "Fuel pump",
        "image/png",
        (root / "figures/pump.png").resolve(),
    )
    assert (idle.mime_type, idle.fragment) == ("audio/wav", Fragment("t", 1, 3))
    assert (page.mime_type, page.fragment) == ("application/pdf", Fragment("page", 2))
    assert content == Content.from_markdown(text, media_root=str(root))
    assert content.to_markdown(media_root=root) == text


def test_lists_and_blocks_have_their_links_read_too(root: Path) -> None:
    link = "![](idle.wav)"
    block = {"type": "text", "text": link}
    assert len(Content.of([link, block], media_root=root).media) == 2
    assert Content.of([link, block]).text_only


@pytest.mark.parametrize("text", ["`![a](idle.wav)`", "    ![a](idle.wav)", r"\![a](idle.wav)"])
def test_code_and_escapes_are_no_links(text: str, root: Path) -> None:
    assert Content.of(text, media_root=root).text_only


def test_a_digest_in_the_title_is_checked(root: Path) -> None:
    media = Media.from_path(root / "figures/pump.png", alt="Pump").with_digest()
    text = Content((media,)).to_markdown(media_root=root)
    assert text == f'![Pump](figures/pump.png "{media.digest}")'
    (read,) = Content.of(text, media_root=root).media
    assert read.read() == PICTURE
    other = text.replace("figures/pump.png", "figures/a%20b%231%20(%C3%BC).png")
    assert Content.of(other, media_root=root).media[0].read() == PICTURE
    stale = re.sub("[0-9a-f]{64}", "0" * 64, text)
    with pytest.raises(InvalidInputError, match=r"pump\.png\) has changed"):
        Content.of(stale, media_root=root).media[0].read()


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("![](nope.png)", MediaNotFoundError, "nope.png"),
        ("![](../x.png)", MediaAccessError, "out of media_root"),
        ("![](/etc/passwd)", MediaAccessError, "out of media_root"),
        ("![](file:///etc/passwd)", MediaAccessError, "scheme"),
        ("![](figures/text.png)", InvalidInputError, "text.png is text/plain, not a picture"),
        ("![](figures/pump.png#t=1)", InvalidInputError, "no span of time"),
        ("![](manual.pdf#page=0)", InvalidInputError, "page"),
        ("![](idle.wav#t=5,2)", InvalidInputError, "t=5,2"),
        ('![](figures/pump.png "sha256:12")', InvalidInputError, "no digest"),
    ],
)
def test_a_bad_link_is_one_clear_error(
    text: str, error: type[Exception], message: str, root: Path
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        Content.of(text, media_root=root)


def test_a_path_of_the_callers_own_may_be_anywhere(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(PICTURE)
    assert Content.of(["see", path], media_root=root).media[0].read() == PICTURE
    with pytest.raises(MediaAccessError, match="isn't under media_root"):
        Content.of(path).to_markdown(media_root=root)


def test_absolute_links_are_written_without_a_root(root: Path) -> None:
    content = Content.of(["a ", root / "figures" / "a b#1 (ü).png", " b"])
    text = content.to_markdown()
    assert " b#" not in text
    assert Content.from_markdown(text, media_root=root).media[0].read() == PICTURE


def test_references_are_written_as_they_are(root: Path) -> None:
    parts = (
        Media.from_uri("https://example.org/a (1).png", alt="web"),
        Media.from_uri("gs://bucket/x.mp4"),
        Media.from_bytes(PICTURE, alt="held"),
    )
    text = Content(parts).to_markdown(media_root=root)
    assert Content.from_markdown(text, media_root=root).parts == parts


def test_a_files_name_is_written_as_its_uri(root: Path) -> None:
    text = Content((Media.from_uri("files/abc", "image/png"),)).to_markdown()
    (media,) = Content.from_markdown(text, media_root=root).media
    assert media.by_service


def test_open_code_before_a_medium_gets_a_paragraph_of_its_own(root: Path) -> None:
    picture = Media.from_path(root / "figures/pump.png")
    text = Content(("an open ` here", picture, "and ` there")).to_markdown(media_root=root)
    assert text == "an open ` here\n\n![](figures/pump.png)\n\nand ` there"
    with pytest.raises(InvalidInputError, match="close it"):
        Content(("```\ncode", picture)).to_markdown(media_root=root)


def test_texts_side_by_side_become_one(root: Path) -> None:
    assert Content.of(["a", "b"]).parts == ("a", "b")
    text = Content.of(["a", "b"]).to_markdown()
    assert Content.from_markdown(text, media_root=root).parts == ("a\n\nb",)


def test_equal_contents_have_equal_identities(root: Path) -> None:
    one = Content.of(["a", root / "idle.wav"])
    assert one.identity == Content.of(["a", root / "idle.wav"]).identity
    assert one.identity != Content.of(["a", root / "manual.pdf"]).identity
    assert Content.of(["ab"]).identity != Content.of(["a", "b"]).identity
    assert Content.of("a", title="t").identity != Content.of("a").identity
    assert hash(one.identity)


def test_contents_can_be_pickled(root: Path) -> None:
    content = Content.of(["a", root / "idle.wav"], title="t")
    assert pickle.loads(pickle.dumps(content)) == content


async def test_nothing_is_fetched_where_nothing_is_remote() -> None:
    content = Content.of(["a", PICTURE])
    assert content.fetched() is content
    assert await content.afetched() is content
    refused = Content.of(Media.from_uri("https://example.org/x.png"))
    with pytest.raises(MediaAccessError, match="allow_remote"):
        refused.fetched()


# Text that opens code or HTML has no general form as Markdown (see to_markdown).
_PLAIN = st.text(
    st.one_of(st.sampled_from("ab![]()\\\"' .,\n*_>#-1&;"), st.characters(codec="utf-8")),
    max_size=25,
).filter(lambda text: not re.search(r"[`~<\t\0]|\n? {4}", text))
_ANY = st.text(st.sampled_from("ab![]()\\`~<>-\"' \n\t#&;/x"), max_size=25)
_ALTS = st.text(st.sampled_from("ab![]()\\\"'`<>& \n"), max_size=10)


@st.composite
def _contents(draw: st.DrawFn, texts: st.SearchStrategy[str], root: Path) -> Content:
    media = st.builds(
        lambda source, alt, pinned: (
            Media(source[0], source[1], source[2], alt).with_digest()
            if pinned
            else Media(source[0], source[1], source[2], alt)
        ),
        st.sampled_from(
            [
                (root / "figures" / "pump.png", "image/png", None),
                (root / "figures" / "a b#1 (ü).png", "image/png", None),
                (root / "manual.pdf", "application/pdf", Fragment("page", 2, 3)),
                (root / "idle.wav", "audio/wav", Fragment("t", 0.5, 3)),
                (PICTURE, "image/png", None),
            ]
        ),
        _ALTS,
        st.booleans(),
    )
    return Content(tuple(draw(st.lists(st.one_of(texts, media), max_size=6))))


def _normal(content: Content) -> list[str | Media]:
    """What ``to_markdown`` promises to keep: texts joined, their outer blanks aside."""
    joined: list[str | Media] = []
    for part in content.parts:
        if not part:
            continue
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] = f"{joined[-1]}\n\n{part}"
        else:
            joined.append(part)
    stripped = [part.strip() if isinstance(part, str) else part for part in joined]
    return [part for part in stripped if part]


@given(st.data())
def test_markdown_and_back_is_the_same_content(root: Path, data: st.DataObject) -> None:
    content = data.draw(_contents(_PLAIN, root.resolve()))
    text = content.to_markdown(media_root=root)
    assert _normal(Content.from_markdown(text, media_root=root)) == _normal(content)


@given(st.data())
def test_markdown_is_the_same_content_or_an_error(root: Path, data: st.DataObject) -> None:
    content = data.draw(_contents(_ANY, root.resolve()))
    try:
        text = content.to_markdown(media_root=root)
    except InvalidInputError:
        return
    again = Content.from_markdown(text, media_root=root)
    assert _normal(again) == _normal(content)


@given(
    st.lists(
        st.one_of(
            st.text(st.sampled_from("ab \n.,"), min_size=1).filter(str.strip),
            st.sampled_from(["![a](idle.wav)", "![](manual.pdf#page=2)"]),
        )
    )
)
def test_plain_markdown_stays_as_it_was_written(root: Path, pieces: list[str]) -> None:
    text = "x".join(pieces)
    content = Content.from_markdown(text, media_root=root)
    assert content.to_markdown(media_root=root) == text
