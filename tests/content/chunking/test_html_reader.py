"""HTML pages: everything a reader sees is kept, in order, each medium once."""

from __future__ import annotations

import base64
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemini2_core.content.chunking.document import Document, ElementKind
from gemini2_core.content.chunking.html_reader import read_html
from gemini2_core.content.markdown import find_media_links
from gemini2_core.errors import InvalidInputError, MediaAccessError, MediaNotFoundError
from tests.content.samples import film, picture, wav


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(8):
        (tmp_path / f"{number}.png").write_bytes(picture(colour=(number, 0, 0)))
    (tmp_path / "clip.mp4").write_bytes(film())
    (tmp_path / "idle.wav").write_bytes(wav())
    return tmp_path


def read(html: str | bytes, root: Path, on_missing: str = "error", **more: object) -> Document:
    (document,) = read_html(
        html,
        source="page.html",
        media_root=root,
        media_dir=root / "embedded",
        on_missing=on_missing,  # type: ignore[arg-type]
        **more,  # type: ignore[arg-type]
    )
    # What the chunk carries as a string is read back as the same media in the same places.
    found = [(link.start, link.end) for link in find_media_links(document.text)]
    assert found == [(link.start, link.end) for link in document.links]
    return document


def names(document: Document) -> list[str]:
    return [str(media.source).rpartition("/")[2] for media in document.media]


def kinds(document: Document) -> list[str]:
    return [element.kind.value for element in document.elements]


def test_text_and_pictures_keep_their_order(root: Path) -> None:
    document = read(
        "<h2>Fuel <em>pump</em></h2><p>Before <b>bold</b> <img src=1.png alt='the pump'> after."
        "<br>Next line.</p><img src=2.png><img src=1.png>",
        root,
    )
    assert document.text == (
        "## Fuel pump\n\nBefore bold ![the pump](1.png) after.\nNext line.\n\n![](2.png)\n\n"
        "![](1.png)\n\n"
    )
    assert kinds(document) == ["heading", "paragraph", "media", "media"]
    assert (document.elements[0].level, document.elements[0].heading) == (2, "Fuel pump")


def test_a_figure_stays_with_its_caption(root: Path) -> None:
    document = read(
        "<figure><img src=1.png><figcaption>Figure 1: <i>pump</i></figcaption></figure>"
        "<figure><figcaption>Above</figcaption><img src=2.png></figure>"
        "<img src=3.png><p class=wp-caption-text>Below</p>",
        root,
    )
    told = [(element.kind.value, element.keep_with) for element in document.elements]
    assert told == [
        ("media", "next"),
        ("caption", "previous"),
        ("caption", "next"),
        ("media", "none"),
        ("media", "none"),
        ("caption", "previous"),
    ]


def test_scripts_navigation_and_forms_are_left_out(root: Path) -> None:
    document = read(
        "<title>The  manual</title><style>p {}</style><nav><a>Home</a><img src=1.png></nav>"
        "<div role=navigation>menu</div><p>kept<script>alert('<p>x</p>')</script></p>"
        "<button>Buy</button><svg><title>Arrow</title><script>evil()</script></svg>"
        "<img src=https://t.example/pixel.gif width=1 height=1>",
        root,
    )
    assert document.text.split() == ["kept", "Arrow"]
    assert document.title == "The manual"
    assert not document.media


def test_lists_nest_and_count(root: Path) -> None:
    document = read(
        "<ul><li>one<li>two<ul><li>deep</ul></ul><ol start=3><li>c<li>d <img src=1.png></ol>after",
        root,
    )
    assert document.text == "- one\n- two\n  - deep\n\n3. c\n4. d ![](1.png)\n\nafter\n\n"


def test_tables_have_a_header_to_repeat(root: Path) -> None:
    document = read(
        "<table><caption>Parts</caption><tr><th>No<th>Name<tr><td rowspan=2>1<td>A | B"
        "<tr><td><img src=1.png> pump<tr><td colspan=2>wide</table>",
        root,
    )
    caption, table = document.elements
    assert (caption.kind, caption.keep_with) == (ElementKind.CAPTION, "next")
    text = document.text[table.start : table.end]
    assert text[: table.table_header] == "| No | Name |\n| --- | --- |"
    assert text.splitlines()[2:6] == [
        "| 1 | A \\| B |",
        "|  | ![](1.png) pump |",
        "| wide |  |",
        "",
    ]


def test_a_layout_table_is_read_cell_by_cell(root: Path) -> None:
    document = read(
        "<table><tr><td><h2>Left</h2><img src=1.png><td><ul><li>right</ul></table>", root
    )
    assert kinds(document) == ["heading", "media", "list_item"]


def test_code_keeps_its_lines(root: Path) -> None:
    document = read('<pre class="language-python">def f():\n    return "```"</pre>', root)
    assert document.text == '````python\ndef f():\n    return "```"\n````\n\n'
    assert kinds(document) == ["code"]


def test_of_alternatives_one_picture_is_taken(root: Path) -> None:
    document = read(
        "<picture><source srcset=9.webp type=image/webp><img src=1.png></picture>"
        "<picture><source srcset=9.webp type=image/webp><source srcset='2.png 2x, 7.png 1x' "
        "type=image/png><img alt=x></picture>"
        "<img srcset='3.png 100w, 4.png 900w'><img src='data:image/gif;base64,AA' data-src=5.png>",
        root,
        mime_types={"image/png"},
    )
    assert names(document) == ["1.png", "2.png", "4.png", "5.png"]


def test_sound_and_film(root: Path) -> None:
    document = read(
        "<p>Hear <audio src='idle.wav#t=0,0.5' title=idle>no sound</audio> and see"
        "<video poster=x.png><source src=clip.webm type=video/webm><source src=clip.mp4 "
        "type='video/mp4; codecs=avc1'><p>no film</p></video> it",
        root,
        mime_types={"audio/wav", "video/mp4"},
    )
    assert document.text == "Hear ![idle](idle.wav#t=0,0.5) and see![](clip.mp4) it\n\n"
    assert str(document.media[0].fragment) == "t=0,0.5"


def test_data_uris_are_written_once(root: Path) -> None:
    uri = f"data:image/png;base64,{base64.b64encode(picture()).decode()}"
    document = read(f"<img src='{uri}' alt=a><p>x<img src='{uri}'>", root)
    assert len(list((root / "embedded").iterdir())) == 1
    assert [media.read() for media in document.media] == [picture()] * 2
    assert document.media[0].digest is not None


def test_markdown_in_the_text_stays_text(root: Path) -> None:
    document = read(
        "<p>![no](1.png) &lt;!-- `</p><p>&lt;script&gt; ` <img src=1.png> `</p><p>```</p>"
        "<p>~~~ \\<img src=2.png></p>",
        root,
    )
    assert names(document) == ["1.png", "2.png"]


def test_a_missing_picture_names_source_and_line(root: Path) -> None:
    html = "<p>one\n\n<p>two\n<img src=gone.png alt='the pump'>"
    with pytest.raises(MediaNotFoundError, match=r"page\.html, line 4: .*gone\.png"):
        read(html, root)
    assert "the pump" in read(html, root, "alt").text
    assert "pump" not in read(html, root, "skip").text


@pytest.mark.parametrize(
    "target",
    ["javascript:alert(1)", "file:///etc/passwd", "../../etc/passwd", "/etc/passwd", "data:,x",
     "data:image/png;base64,data:image/png;base64,AAAA", "1.png#t=5,2", "1.png#page=0"],
)  # fmt: skip
def test_harmful_targets_are_refused(root: Path, target: str) -> None:
    with pytest.raises(InvalidInputError, match=r"page\.html"):
        read(f"<img src='{target}'>", root)
    assert not read(f"<img src='{target}'>x", root, "skip").media


def test_a_drawing_with_a_script_is_not_taken(root: Path) -> None:
    (root / "evil.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>")
    with pytest.raises(InvalidInputError, match="svg"):
        read("<img src=evil.svg>", root, mime_types={"image/png"})


def test_web_pictures_are_taken_only_if_allowed(root: Path) -> None:
    html = "<base href='https://example.com/docs/'><img src=a.png>"
    with pytest.raises(MediaAccessError, match="allow_remote"):
        read(html, root)
    assert [m.source for m in read(html, root, allow_remote=True).media] == [
        "https://example.com/docs/a.png"
    ]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("<p>Gemüse".encode(), "Gemüse"),
        (b'<meta charset="iso-8859-1"><p>Gem\xfcse', "Gemüse"),
        (b"<p>Gem\xfcse", "Gemüse"),
        ("<p>Gemüse".encode("utf-16"), "Gemüse"),
        ("\ufeff<p>Gemüse".encode(), "Gemüse"),
        (b'<meta charset="nonsense"><p>x', "x"),
        (b"", ""),
        (b"<p>a\0b", "ab"),
    ],
)
def test_bytes_are_decoded(root: Path, data: bytes, text: str) -> None:
    assert read(data, root).text.strip() == text


def test_a_lone_surrogate_is_refused(root: Path) -> None:
    with pytest.raises(InvalidInputError, match="surrogate"):
        read("<p>\ud800", root)


@pytest.mark.parametrize(
    "html",
    [
        "<div>" * 100_000 + "deep",
        "[" * 10_000_000,
        "<" * 1_000_000,
        "<code>x" * 100_000,
        "x<br>" * 100_000,
        "<table><tr><td>" * 20_000 + "x",
        "<table>" + ("<tr>" + "<td rowspan=1000 colspan=1000>x" * 3) * 300,
        "<table><tr>" + "<td>x" * 5000 + "<tr><td>x" * 5000,
        "<img alt='" + "a\n" * 500_000 + "' src=x>",
        "<x " + " ".join(f"a{n}=1" for n in range(100_000)) + ">",
        "<!--\n" * 300_000,
        "<video>" * 50_000 + "<source src=x>" * 50_000,
    ],
    ids=lambda html: f"{html[:12]!r}",
)
def test_hostile_pages_take_seconds_at_most(root: Path, html: str) -> None:
    begin = time.monotonic()
    read(html, root, "skip")
    assert time.monotonic() - begin < 10


_ATOMS = st.sampled_from(
    "<p> </p> <ul> <li> </ul> <ol> </ol> <table> <tr> <td> <th> </table> <pre> </pre> <code> "
    "</code> <figure> <figcaption> </figure> <h1> </h1> <br> <hr> <b> </b> <div> </div> <picture> "
    "</picture> <a> </a> <svg> </svg> <nav> </nav> <caption> <thead> <img> < > & &amp; ` ``` ![a](b"
    " [ ] ( ) | \\ # - 1. word &lt;!-- $ ~~~".split()
)
_PICTURES = st.integers(0, 7).map(lambda number: f"<img src={number}.png alt='p`{number}'>")


@given(
    st.lists(
        st.one_of(_ATOMS, _PICTURES, st.text(st.characters(exclude_categories=["Cs"]), max_size=5)),
        max_size=40,
    )
)
def test_any_soup_keeps_its_pictures_in_order(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[str]
) -> None:
    root = tmp_path_factory.getbasetemp() / "soup"
    if not root.exists():
        root.mkdir()
        for number in range(8):
            (root / f"{number}.png").write_bytes(picture(colour=(number, 0, 0)))
    document = read(" ".join(pieces), root, "skip")
    if not {"<svg>", "<nav>", "<picture>"} & set(pieces) and "<table>" not in pieces:
        text = "".join(piece for piece in pieces if len(piece) < 6)
        if "<" not in text.replace("<p>", "").replace("<br>", ""):
            wanted = [f"{piece[9]}.png" for piece in pieces if piece.startswith("<img src=")]
            assert names(document) == wanted
