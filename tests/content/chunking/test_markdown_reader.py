"""Markdown is read without loss: its blocks, its media in every form, and what is missing."""

from __future__ import annotations

import base64
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemini2_core.content import find_media_links
from gemini2_core.content.chunking import (
    Document,
    Element,
    ElementKind,
    chunk_documents,
    read_markdown,
    readable_types,
)
from gemini2_core.errors import (
    ConfigurationError,
    InvalidInputError,
    MediaAccessError,
    MediaNotFoundError,
)
from tests.content import samples

_DATA = f"data:image/png;base64,{base64.b64encode(samples.picture()).decode()}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "figures").mkdir()
    for name in ("pump", "strainer", "wiring"):
        (tmp_path / "figures" / f"{name}.png").write_bytes(samples.picture())
    (tmp_path / "idle.wav").write_bytes(samples.wav())
    (tmp_path / "m.pdf").write_bytes(samples.pdf(2))
    return tmp_path


def _read(text: str, root: Path | None = None, **options: object) -> Document:
    documents = read_markdown(text, source="manual.md", media_root=root, **options)  # type: ignore[arg-type]
    (document,) = documents
    return document


def _names(document: Document) -> list[str]:
    return [Path(str(medium.source)).name for medium in document.media]


def test_blocks_are_elements_in_order_without_gaps() -> None:
    text = (
        "---\ntitle: x\n---\n# Pump\n\nText.\nMore.\n\n- one\n  - inner\n- two\n\n"
        "| a | b |\n|---|---|\n| 1 | 2 |\n\n```py\ncode\n```\n\n    code\n\n> quote\n\n***\n\n"
        "Setext\n======\n\n<div>x</div>\n\n[r]: x.png\n"
    )
    document = _read(text)
    assert document.text == text
    kinds = [element.kind.name for element in document.elements]
    assert (
        kinds
        == (
            "OTHER HEADING PARAGRAPH LIST_ITEM LIST_ITEM TABLE CODE CODE PARAGRAPH RULE HEADING "
            "OTHER OTHER"
        ).split()
    )
    headings = [(e.level, e.heading) for e in document.elements if e.level]
    assert headings == [(1, "Pump"), (1, "Setext")]
    (table,) = [e for e in document.elements if e.kind is ElementKind.TABLE]
    assert text[table.start :][: table.table_header] == "| a | b |\n|---|---|\n"


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.sampled_from("ab#-*>`~|[]()!<>/=\"' \n\r\t1.:\\&\0é\u2028"), max_size=80))
def test_any_text_without_media_comes_back_as_it_was(text: str) -> None:
    documents = list(read_markdown(text, source="s", on_missing="skip"))
    if not find_media_links(text) and "<" not in text:
        assert "".join(document.text for document in documents) == text
    for document in documents:
        for link in document.links:
            assert document.text[link.start] == "!"


@pytest.mark.parametrize(
    ("markdown", "names"),
    [
        ("![p](figures/pump.png)", ["pump.png"]),
        ("text ![p](<figures/pump.png> 'x') and ![](idle.wav#t=0,1)", ["pump.png", "idle.wav"]),
        ("![p][1] ![q]\n\n[1]: figures/pump.png\n[q]: idle.wav", ["pump.png", "idle.wav"]),
        ("[![p](figures/pump.png)](http://x)", ["pump.png"]),
        ("# Head ![p](figures/pump.png)", ["pump.png"]),
        (
            "- a\n\n  ![p](figures/pump.png)\n  > ![q](figures/wiring.png)",
            ["pump.png", "wiring.png"],
        ),
        ("a <img src='figures/pump.png' alt=p> b", ["pump.png"]),
        ("| a |\n|---|\n| <img src=figures/pump.png> |", ["pump.png"]),
        ("<p align=center>\n<img src=figures/pump.png>\n</p>", ["pump.png"]),
        ("<figure><img src=figures/pump.png><figcaption>F</figcaption></figure>", ["pump.png"]),
        ("<picture><source srcset=x.webp><img src=figures/pump.png></picture>", ["pump.png"]),
        ("<video controls src=figures/pump.png>no</video>", ["pump.png"]),
        ("x <audio><source src=idle.wav type=audio/wav></audio> y", ["idle.wav"]),
        ("`![p](x.png)` <!-- ![p](x.png) <img src=y.png> -->", []),
        ("```\n![p](x.png)\n<img src=y.png>\n```\n\n    ![p](x.png)", []),
        ("`<img src=y.png>` \\![p](x.png)", []),
        ("![a ![b](figures/pump.png)](figures/wiring.png)", ["wiring.png"]),
    ],
)
def test_media_in_every_form(root: Path, markdown: str, names: list[str]) -> None:
    document = _read(markdown, root)
    assert _names(document) == names
    placed = [document.text[link.start : link.end] for link in document.links]
    assert all(text.startswith("![") and text.endswith(")") for text in placed)
    written = [(link.start, link.end) for link in find_media_links(document.text)]
    assert [(link.start, link.end) for link in document.links] == written


def test_inline_links_stay_as_they_are_written(root: Path) -> None:
    text = "A ![p](figures/pump.png 'title')\r\n\r\nB\ttab ![q](<figures/wiring.png>)\r\n"
    assert _read(text, root).text == text


def test_html_becomes_markdown_where_media_are_in_it(root: Path) -> None:
    html = (
        '<figure>\n  <img src="figures/pump.png" alt="The pump">\n'
        "  <figcaption>Figure 1: *pump* &amp; seal</figcaption>\n</figure>\n\nText.\n"
    )
    document = _read(html, root)
    assert document.text.startswith(
        "![The pump](figures/pump.png)\nFigure 1: \\*pump\\* & seal\n\n"
    )
    assert document.text.endswith("Text.\n")
    heading = _read('<h1 align="center"><img src="figures/pump.png"> Pump</h1>\n', root)
    assert heading.elements[0].kind is ElementKind.HEADING
    script = "<script>\nvar a = '<b>';\n</script>\n"
    assert _read(script, root).text == script


def test_captions_are_known(root: Path) -> None:
    def kinds(text: str) -> list[tuple[ElementKind, str]]:
        return [(e.kind, e.keep_with) for e in _read(text, root).elements]

    picture = "![p](figures/pump.png)"
    assert kinds(f"{picture}\n\nFigure 3: the pump") == [
        (ElementKind.MEDIA, "none"),
        (ElementKind.CAPTION, "previous"),
    ]
    assert kinds(f"{picture}\n\n*The pump, exploded.*")[1] == (ElementKind.CAPTION, "previous")
    assert kinds(f"Fig. 3 The pump\n\n{picture}")[0] == (ElementKind.CAPTION, "next")
    assert kinds(f"Figure 3 shows the pump.\n\n{picture}")[0] == (ElementKind.PARAGRAPH, "none")


def test_links_start_from_the_folder_of_the_file(root: Path) -> None:
    (root / "docs").mkdir()
    text = "![p](../figures/pump.png) ![q](/figures/wiring.png)"
    document = _read(text, root, base=root / "docs")
    assert _names(document) == ["pump.png", "wiring.png"]
    (chunk,) = chunk_documents([document])
    assert "](figures/pump.png " in chunk.text
    with pytest.raises(MediaAccessError, match="leads out"):
        _read("![p](../../x.png)", root, base=root / "docs")
    with pytest.raises(ConfigurationError, match="isn't under media_root"):
        _read("x", root / "docs", base=root)


def test_data_uris_are_written_once_named_by_digest(root: Path) -> None:
    text = f"![a]({_DATA})\n\n![b][d] <img src='{_DATA}' alt=c>\n\n[d]: {_DATA}\n"
    document = _read(text, root, media_dir=root / "media")
    assert len(document.media) == 3
    (file,) = (root / "media").iterdir()
    assert file.read_bytes() == samples.picture()
    assert document.media[0].digest == f"sha256:{document.media[0].sha256()}"
    assert file.name == f"{document.media[0].sha256()[:32]}.png"
    assert [medium.alt for medium in document.media] == ["a", "b", "c"]
    assert "data:" not in document.text.partition("[d]:")[0]
    before = file.stat().st_mtime_ns
    _read(text, root, media_dir=root / "media")
    assert file.stat().st_mtime_ns == before
    with pytest.raises(ConfigurationError, match="media_dir"):
        _read(text, root)
    with pytest.raises(ConfigurationError, match="isn't under media_root"):
        _read(text, root, media_dir=root.parent / "elsewhere")


@pytest.mark.parametrize(
    ("link", "error", "says"),
    [
        ("![a](gone.png)", MediaNotFoundError, "no file"),
        ("<img src=gone.png>", MediaNotFoundError, "no file"),
        ("![a](../x.png)", MediaAccessError, "leads out"),
        ("![a](file:///etc/passwd)", InvalidInputError, "no reference"),
        ("![a](https://x.org/a.png)", MediaAccessError, "allow_remote=True"),
        ("![a](m.pdf#page=0)", InvalidInputError, "pages count from 1"),
        ("![a](m.pdf#page=9)", InvalidInputError, "has 2 pages"),
        ("![a](idle.wav#t=5,2)", InvalidInputError, "end after it starts"),
        ("![a](data:image/png;base64,###)", InvalidInputError, "not base64"),
        ("![a](bad.png)", InvalidInputError, "text/plain"),
        ("![a](x.svg)", InvalidInputError, "convert it"),
        ("![a](bad.pdf)", InvalidInputError, "can't be read as a PDF"),
    ],
)
def test_what_is_missing_follows_the_policy(
    root: Path, link: str, error: type[Exception], says: str
) -> None:
    (root / "bad.png").write_text("no picture")
    (root / "bad.pdf").write_bytes(b"%PDF-1.7\nnothing of the kind")
    (root / "x.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"><script>x</script></svg>')
    text = f"# T\n\nOne. {link} Two.\n"
    options = {"media_dir": root / "media", "mime_types": readable_types()}
    with pytest.raises(error, match=r"manual\.md, line 3: .*" + says):
        _read(text, root, **options)
    alt = "a" if link.startswith("!") else ""
    assert _read(text, root, on_missing="alt", **options).text == f"# T\n\nOne. {alt} Two.\n"
    assert _read(text, root, on_missing="skip", **options).text == "# T\n\nOne.  Two.\n"


def test_a_missing_picture_in_the_alternative_text_of_another_opens_no_link(root: Path) -> None:
    document = _read("![a ![b](figures/pump.png) c](gone.png)", root, on_missing="alt")
    assert not find_media_links(document.text)
    assert not document.media


def test_remote_media_are_taken_if_that_is_allowed() -> None:
    document = _read("![a](https://x.org/a.png) ![b](//x.org/b.png)", allow_remote=True)
    assert [medium.source for medium in document.media] == [
        "https://x.org/a.png",
        "https://x.org/b.png",
    ]


def test_local_links_need_a_root() -> None:
    with pytest.raises(MediaAccessError, match="pass media_root"):
        _read("![a](x.png)")


def test_a_lone_surrogate_is_an_error_that_names_the_place() -> None:
    with pytest.raises(InvalidInputError, match=r"manual\.md has a lone surrogate at character 4"):
        _read("abc \ud800")


def test_a_long_text_comes_in_pieces_that_know_each_other(root: Path) -> None:
    body = "Some text is here. " * 20
    text = "# Manual\n\n" + "".join(f"## S{n}\n\n{body}\n\n![f][p]\n\n" for n in range(700))
    text += "[p]: figures/pump.png\n"
    documents = list(read_markdown(text, source="s", media_root=root))
    assert len(documents) > 2
    assert sum(len(document.media) for document in documents) == 700
    for number, document in enumerate(documents):
        assert document.offset == sum(len(before.text) for before in documents[:number])
    assert documents[1].open_headings[0] == (1, "Manual")
    broken = text.replace("## S650\n", "![](gone.png)\n")
    line = broken[: broken.index("![](gone")].count("\n") + 1
    with pytest.raises(MediaNotFoundError, match=f"s, line {line}:"):
        list(read_markdown(broken, source="s", media_root=root))


def test_elements_must_follow_each_other() -> None:
    element = Element(kind=ElementKind.PARAGRAPH, start=1, end=2)
    with pytest.raises(ValueError, match="should start at 0"):
        Document(text="ab", elements=(element,), source="s")


@pytest.mark.parametrize(
    "hostile",
    [
        "[" * 300_000,
        "![a" * 60_000 + "](b)" * 60_000,
        "`" * 300_000,
        "` `` " * 60_000,
        "<" * 300_000,
        "<img " * 60_000,
        "<p>\n" + "<img a" * 30_000,
        "<p><img src=x>\n" + "<!--" * 60_000,
        "x <video>" * 30_000,
        "- " * 100_000,
        "> " * 100_000,
        "|" * 100_000 + "\n" + "|-" * 50_000 + "\n|a|\n",
        "# a\n" * 20_000,
        "a. " * 100_000,
        "```\n" * 50_000,
        "*" * 300_000,
        "---\n" + "a: b\n" * 30_000,
        "[a]: b\n" * 20_000 + "\n![a]",
        " " * 300_000 + "x",
    ],
    ids=lambda text: text[:12].strip() or "blank",
)
def test_hostile_text_takes_bounded_time(hostile: str) -> None:
    started = time.process_time()
    documents = list(read_markdown(hostile, source="s", on_missing="skip"))
    for _ in chunk_documents(documents):
        pass
    assert time.process_time() - started < 8


def test_a_large_corpus_is_quick_and_its_media_are_references(tmp_path: Path) -> None:
    import tracemalloc

    (tmp_path / "p.png").write_bytes(samples.picture() + bytes(500_000))
    page = "## Section\n\n" + "The pump sits on the accessory case. " * 50
    page += "\n\n![a](p.png)\n\n*Figure 1*\n\n![b](p.png)\n\n"
    text = "# Manual\n\n" + page * 500
    tracemalloc.start()
    documents = read_markdown(text, source="s", media_root=tmp_path)
    count = sum(len(chunk.media) for chunk in chunk_documents(documents))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 1000
    assert peak < 12_000_000
    costs: list[float] = []
    for _ in range(3):
        started = time.process_time()
        documents = read_markdown(text, source="s", media_root=tmp_path)
        chunks = sum(1 for _ in chunk_documents(documents))
        costs.append((time.process_time() - started) / chunks)
    assert min(costs) < 0.002  # 0.7 ms on a quiet core: make bench-chunking


def test_what_is_too_long_for_the_model_becomes_links_to_its_parts(root: Path) -> None:
    (root / "long.wav").write_bytes(samples.wav(200))
    (root / "long.pdf").write_bytes(samples.pdf(9))
    document = _read("![talk](long.wav)\n\n![manual](long.pdf)\n\n![](m.pdf)\n", root)
    fragments = [str(medium.fragment or "") for medium in document.media]
    assert fragments[:4] == ["t=0,60", "t=60,120", "t=120,180", "t=180,200"]
    assert fragments[4:] == [*(f"page={number}" for number in range(1, 10)), ""]
    assert {medium.alt for medium in document.media} == {"talk", "manual", ""}
    assert len(_read('<audio src="long.wav" controls></audio>', root).media) == 4
    chunks = list(chunk_documents([document]))
    assert [str(m.fragment or "") for chunk in chunks for m in chunk.media] == fragments
    assert all(sum(m.measure().seconds or 0 for m in chunk.media) <= 180 for chunk in chunks)
