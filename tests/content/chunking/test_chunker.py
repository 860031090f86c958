"""Chunks lose nothing, keep together what belongs together, and stay within every limit."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gemini2_core.content import Content, Media, find_media_links, split_text
from gemini2_core.content.chunking import (
    Chunk,
    ChunkSettings,
    Document,
    DocumentBuilder,
    ElementKind,
    chunk_document,
    chunk_documents,
    read_markdown,
)
from gemini2_core.content.limits import check_limits
from gemini2_core.errors import ConfigurationError
from gemini2_core.model import Backend, Modality, count_tokens, document_prompt, model_spec
from tests.content import samples

_SPEC = model_spec("gemini-embedding-2")
_PICTURES = 12


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("root")
    for number in range(_PICTURES):
        (folder / f"{number}.png").write_bytes(samples.picture(colour=(number, 0, 0)))
    (folder / "a.wav").write_bytes(samples.wav(100))
    (folder / "b.wav").write_bytes(samples.wav(120))
    (folder / "m.pdf").write_bytes(samples.pdf(4))
    return folder


def _read(text: str, root: Path) -> list[Document]:
    return list(read_markdown(text, source="manual.md", media_root=root, on_missing="alt"))


def _chunks(text: str, root: Path, **changes: object) -> list[Chunk]:
    documents = _read(text, root)
    return list(chunk_documents(documents, ChunkSettings(**changes)))  # type: ignore[arg-type]


def _check_nothing_is_lost(documents: Sequence[Document], chunks: Sequence[Chunk]) -> None:
    text = "".join(document.text for document in documents)
    position = 0
    for chunk in chunks:
        assert chunk.span[0] == position
        position = chunk.span[1]
    assert position == len(text) or not text[position:].strip()
    wanted = [link.media for document in documents for link in document.links]
    found = [medium for chunk in chunks for medium in chunk.media]
    assert [(m.source, m.fragment, m.alt) for m in found] == [
        (m.source, m.fragment, m.alt) for m in wanted
    ]
    for chunk in chunks:  # and its text says the same as its parts
        if chunk.media_root is not None:
            read = Content.from_markdown(chunk.text, media_root=chunk.media_root)
            assert [(m.source, m.fragment) for m in read.media] == [
                (m.source, m.fragment) for m in chunk.media
            ]


def _tokens(chunk: Chunk) -> int:
    """What the embedder will send of text: the prompt, and what isn't a link."""
    texts = "".join(part for part in chunk.content.parts if isinstance(part, str))
    return count_tokens(document_prompt(chunk.title) + texts)


_WORDS = st.sampled_from(
    "pump valve fuel strainer the of removal and 12 3.5 e.g. `code. here` **bold.** [a. b](c) "
    "Maintenance *x* `` ` `` \\` < & | ! ![ ] ( ) # - 1. > ~ Ünïcödé 泵。 ok? yes! “so.”".split(" ")
)
_SENTENCE = st.lists(_WORDS, min_size=1, max_size=12).map(lambda words: " ".join(words) + ".")
_LINK = st.builds(
    lambda alt, number: f"![{alt}]({number}.png)",
    st.sampled_from(["", "pump", "a_b", "Figure 3"]),
    st.integers(0, _PICTURES - 1),
)
_PROSE = st.lists(st.one_of(_SENTENCE, _LINK), min_size=1, max_size=6).map(" ".join)


def _indented(block: str, sign: str) -> str:
    blank = " " * len(sign)
    return "\n".join(
        (sign if not number else blank) + line for number, line in enumerate(block.split("\n"))
    )


_LEAF = st.one_of(
    _PROSE,
    _LINK,
    st.builds("{} {}".format, st.sampled_from(["#", "##", "###"]), _SENTENCE),
    st.builds("Figure {}: {}".format, st.integers(1, 9), _SENTENCE),
    st.lists(_SENTENCE, max_size=5).map(lambda lines: "\n".join(["```py", *lines, "```"])),
    st.lists(st.tuples(_SENTENCE, _LINK), min_size=1, max_size=5).map(
        lambda rows: "| a | b |\n|---|---|\n" + "\n".join(f"| {a} | {b} |" for a, b in rows)
    ),
    st.sampled_from(["---", "<div>\nhi. you\n</div>", "    code. `x\n    ![a](0.png)", "$$x$$"]),
)
_BLOCK = st.one_of(
    _LEAF,
    st.builds(_indented, _LEAF, st.sampled_from(["- ", "1. ", "> ", "12) "])),
    st.builds(lambda a, b: _indented(f"{a}\n\n{b}", "- "), _LEAF, _LEAF),
)
_MARKDOWN = st.lists(_BLOCK, max_size=10).map("\n\n".join)
_SETTINGS = st.builds(
    ChunkSettings,
    max_tokens=st.sampled_from([32, 48, 90, 300, 2048]),
    min_tokens=st.sampled_from([0, 20, 64]),
    overlap_sentences=st.integers(0, 2),
    heading_line=st.booleans(),
)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=_MARKDOWN, how=_SETTINGS)
@example(text="![ ![ b](c) b](c).", how=ChunkSettings(max_tokens=32))
@example(text="![ ![ b](c) b](c).", how=ChunkSettings())
@example(text="![ ![ b](0.png) b](c).", how=ChunkSettings())
@example(text="![ ![ b](c) b](0.png).", how=ChunkSettings())
def test_nothing_is_lost_and_no_limit_is_broken(root: Path, text: str, how: ChunkSettings) -> None:
    documents = _read(text, root)
    chunks = list(chunk_documents(documents, how))
    _check_nothing_is_lost(documents, chunks)
    for index, chunk in enumerate(chunks):
        assert chunk.index == index
        assert chunk.text.startswith(chunk.added)
        check_limits(chunk.content, _SPEC, Backend.GEMINI_API, index=index)
    again = list(chunk_documents(_read(text, root), how))
    assert [chunk.id for chunk in again] == [chunk.id for chunk in chunks]
    assert len({chunk.id for chunk in chunks}) == len(chunks)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=_MARKDOWN, size=st.sampled_from([32, 90]), both=st.booleans())
def test_parts_lose_nothing_either(root: Path, text: str, size: int, both: bool) -> None:
    wholes = _chunks(text, root, max_tokens=size)
    parts = _chunks(text, root, max_tokens=size, granularity="both" if both else "part")
    inner = [part for part in parts if part.parent_id is not None]
    for whole in wholes:
        own = [part for part in inner if part.parent_id == whole.id]
        if not own:
            assert both
            assert len(whole.content.parts) == 1
            continue
        assert own[0].span[0] == whole.span[0]
        assert own[-1].span[1] == whole.span[1]
        assert all(a.span[1] == b.span[0] for a, b in pairwise(own))
        assert [m for part in own for m in part.media] == list(whole.media)
        assert all(len(part.content.parts) == 1 for part in own)
    assert len({part.id for part in parts}) == len(parts)


_PLAIN = st.lists(
    st.lists(st.sampled_from("the pump sits left of oil filters".split()), min_size=3, max_size=9)
    .map(" ".join)
    .map(lambda sentence: sentence.capitalize() + "."),
    min_size=1,
    max_size=25,
).map(" ".join)


@settings(max_examples=40, deadline=None)
@given(
    paragraphs=st.lists(_PLAIN, min_size=1, max_size=6),
    size=st.integers(32, 200),
    overlap=st.integers(0, 2),
)
def test_every_chunk_is_within_the_budget(paragraphs: list[str], size: int, overlap: int) -> None:
    text = "# Fuel system\n\n" + "\n\n## Pump\n\n".join(paragraphs)
    how = ChunkSettings(max_tokens=size, overlap_sentences=overlap, min_tokens=0)
    chunks = list(chunk_documents(read_markdown(text, source="m"), how))
    for chunk in chunks:
        assert _tokens(chunk) <= size
        assert count_tokens(document_prompt(None) + chunk.text) <= size
        # no border is inside a sentence
        start = chunk.span[0]
        assert start == 0 or re.search(r"(?:[.]\s+|\n\s*)$", text[:start])
    assert "".join(text[a:b] for a, b in (chunk.span for chunk in chunks)) == text


def test_the_budget_is_filled() -> None:
    text = " ".join(f"Sentence number {n} has nine tokens in it." for n in range(400))
    chunks = list(chunk_documents(read_markdown(text, source="m"), ChunkSettings(max_tokens=200)))
    assert all(_tokens(chunk) > 150 for chunk in chunks[:-1])


def test_code_is_never_cut_though_it_is_longer_than_the_budget(root: Path) -> None:
    code = "```\n" + "".join(f"line {n}. And\n\n" for n in range(60)) + "```\n"
    text = f"Before it.\n\n{code}\nBehind it.\n"
    chunks = _chunks(text, root, max_tokens=64)
    assert [c.text for c in chunks if "line 3." in c.text] == [
        c.text for c in chunks if "line 59." in c.text
    ]
    inside = _chunks(
        f"- An item. With:\n\n{_indented(code, '  ')}\n\n  More. Text.\n", root, max_tokens=64
    )
    assert sum("line" in chunk.text for chunk in inside) == 1


def test_code_that_the_model_could_not_read_is_cut_between_lines(root: Path) -> None:
    text = "```\n" + "".join(f"line number {n} of it\n" for n in range(4000)) + "```\n"
    chunks = _chunks(text, root)
    assert len(chunks) > 1
    assert all(_tokens(chunk) <= _SPEC.max_input_tokens for chunk in chunks)
    assert all(text[chunk.span[0] - 1] == "\n" for chunk in chunks[1:])


def test_a_table_is_cut_between_rows_and_repeats_its_header(root: Path) -> None:
    rows = [f"| Bolt {n}. Six. | ![{n}]({n % _PICTURES}.png) {n} |\n" for n in range(40)]
    header = "| Part | Torque |\n|---|---|\n"
    text = f"Torques:\n\n{header}{''.join(rows)}\nEnd.\n"
    chunks = _chunks(text, root, max_tokens=100)
    tables = [chunk for chunk in chunks if "| Bolt" in chunk.text]
    assert len(tables) > 4
    for chunk in tables:
        assert header in chunk.text
        assert text[chunk.span[0] : chunk.span[1]].rstrip().endswith(("|", "End."))
        assert len(chunk.media) <= 6
    assert tables[1].repeated == header
    assert "".join(text[a:b] for a, b in (c.span for c in chunks)) == text


def test_a_picture_keeps_its_caption_and_the_sentence_that_leads_to_it(root: Path) -> None:
    filler = " ".join(f"Sentence {n} fills the chunk up." for n in range(30))
    for size in range(40, 240, 7):
        figure = "![pump](1.png)\n\n*Figure 1: pump.*"
        text = f"{filler} The pump looks like this:\n\n{figure}\n\n{filler}\n"
        chunks = _chunks(text, root, max_tokens=size)
        (chunk,) = [c for c in chunks if c.media]
        assert "The pump looks like this:" in chunk.text
        assert "*Figure 1: pump.*" in chunk.text
        above = text.replace(figure, "Figure 1: Pump\n\n![](1.png)")
        (chunk,) = [c for c in _chunks(above, root, max_tokens=size) if c.media]
        assert "looks like this:" in chunk.text
        assert "Figure 1: Pump" in chunk.text


def test_no_chunk_has_more_than_six_pictures_one_pdf_or_three_minutes(root: Path) -> None:
    pictures = " ".join(f"![p]({n}.png)" for n in range(_PICTURES))
    text = f"{pictures}\n\n![](a.wav)\n\n![](b.wav)\n\n![](m.pdf)\n\n![](m.pdf#page=1-3)\n"
    chunks = _chunks(text, root)
    for chunk in chunks:
        count = [m.modality for m in chunk.media].count
        assert count(Modality.IMAGE) <= 6
        assert count(Modality.DOCUMENT) <= 1
        assert sum(m.measure().seconds or 0 for m in chunk.media) <= 180
    assert [m.modality for c in chunks[:2] for m in c.media].count(Modality.IMAGE) == _PICTURES
    assert sum(len(chunk.media) for chunk in chunks) == _PICTURES + 4


def test_a_heading_stays_with_what_follows_and_names_the_chunk(root: Path) -> None:
    text = (
        "# Fuel system\n\nAll about it.\n\n## Pump\n\n### Removal\n\n"
        + "Undo the bolts. " * 30
        + "\n\n### Overhaul\n\nReplace the diaphragm.\n\n## Strainer\n\nClean it.\n"
    )
    chunks = _chunks(text, root, min_tokens=0)
    assert [chunk.title for chunk in chunks] == [
        "Fuel system",
        "Fuel system > Pump > Removal",
        "Fuel system > Pump > Overhaul",
        "Fuel system > Strainer",
    ]
    assert chunks[1].text.startswith("# Fuel system\n\n## Pump\n\n### Removal\n\nUndo")
    assert chunks[2].heading_line == "# Fuel system > Pump\n\n"
    assert chunks[3].text.startswith("# Fuel system\n\n## Strainer")
    assert chunks[2].metadata()["headings"] == "Fuel system > Pump > Overhaul"
    small = _chunks(text, root, max_tokens=60)
    later = [chunk for chunk in small if chunk.headings[-1:] == ("Removal",)][1]
    assert later.text.startswith("# Fuel system > Pump > Removal\n\nUndo the bolts.")
    without = _chunks(text, root, max_tokens=60, heading_line=False)
    assert not any(chunk.heading_line for chunk in without)


def test_short_sections_are_put_together_under_what_they_share(root: Path) -> None:
    text = "# A\n\n## B\n\nOne.\n\n## C\n\nTwo.\n"
    (chunk,) = _chunks(text, root)
    assert chunk.title == "A"


def test_the_trail_goes_on_through_the_pieces_of_a_long_text() -> None:
    text = "# Manual\n\n" + "".join(
        f"## Section {n}\n\n" + "The pump sits on the case. " * 40 + "\n\n" for n in range(300)
    )
    documents = list(read_markdown(text, source="m"))
    assert len(documents) > 2
    chunks = list(chunk_documents(documents))
    assert all(chunk.headings[0] == "Manual" for chunk in chunks)
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    assert "".join(text[a:b] for a, b in (chunk.span for chunk in chunks)) == text


def test_a_heading_that_is_too_long_for_the_prompt_is_shortened(root: Path) -> None:
    text = f"# {'heading ' * 500}\n\nText. And more of it.\n"
    for chunk in _chunks(text, root, max_tokens=64):
        assert count_tokens(chunk.title or "") <= 16


def test_whole_sentences_are_repeated_if_asked(root: Path) -> None:
    text = " ".join(f"Sentence number {n} is here." for n in range(60))
    chunks = _chunks(text, root, max_tokens=80, overlap_sentences=1)
    for before, after in pairwise(chunks):
        last = text[before.span[0] : before.span[1]].strip().split(". ")[-1]
        assert after.repeated.strip() == last
        assert after.text.startswith(after.repeated)
    assert not _chunks(text, root, max_tokens=80)[1].repeated


def test_sentences_do_not_end_at_numbers_and_abbreviations(root: Path) -> None:
    text = "\n".join(f"{n}. See Fig. {n} e.g. the pump of it" for n in range(1, 40))
    for chunk in _chunks(text, root, max_tokens=40):
        assert re.match(r"\d+\. See Fig\.", chunk.text)


def test_ids_know_source_place_and_bytes(root: Path, tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(samples.picture())
    text = "Text one.\n\n![p](p.png)\n"

    def ids(source: str, text: str) -> list[str]:
        return [
            c.id for c in chunk_documents(read_markdown(text, source=source, media_root=tmp_path))
        ]

    first = ids("a.md", text)
    assert uuid.UUID(first[0]).version == 5
    assert ids("a.md", text) == first
    assert ids("b.md", text) != first
    assert ids("a.md", text.replace("one", "two")) != first
    (tmp_path / "p.png").write_bytes(samples.picture(colour=(1, 2, 3)))
    assert ids("a.md", text) != first


def test_metadata_is_json_and_tells_what_is_known(root: Path) -> None:
    import json

    documents = read_markdown(
        "# H\n\n![pump](1.png)\n\n![s](a.wav#t=10,30)\n\n![](m.pdf#page=2)\n",
        source="manual.md",
        media_root=root,
        metadata={"product": "x"},
    )
    (chunk,) = chunk_documents(documents)
    data = json.loads(json.dumps(chunk.metadata()))
    assert data["source"] == "manual.md"
    assert data["product"] == "x"
    assert data["title"] == "H"
    assert (data["start"], data["end"]) == chunk.span
    picture, sound, page = data["media"]
    assert picture["reference"] == "1.png"
    assert picture["width"] == 12
    assert f"sha256:{picture['sha256']}" == Media.from_path(root / "1.png").with_digest().digest
    assert sound["reference"] == "a.wav#t=10,30"
    assert (sound["start"], sound["seconds"]) == (10, 20)
    assert page["pages"] == 1
    assert f'(1.png "sha256:{picture["sha256"]}")' in chunk.text


def test_content_is_titled_and_without_the_heading_line(root: Path) -> None:
    text = "# A\n\n" + "Some text is here. " * 30 + "\n\n![p](1.png)\n"
    chunk = _chunks(text, root, max_tokens=64)[-1]
    assert chunk.heading_line == "# A\n\n"
    assert chunk.content.title == "A"
    assert not str(chunk.content.parts[0]).startswith("# A")
    assert chunk.content.media == chunk.media


def test_one_vector_for_each_part_or_both(root: Path) -> None:
    text = "# Pump\n\nThis is it:\n\n![p](1.png)\n\nBehind it.\n"
    whole, *parts = _chunks(text, root, granularity="both")
    assert [part.parent_id for part in parts] == [whole.id] * 3
    assert [bool(part.media) for part in parts] == [False, True, False]
    assert parts[1].text.startswith("![p](1.png ")
    assert parts[2].text == "# Pump\n\nBehind it."
    assert [part.index for part in (whole, *parts)] == [0, 1, 2, 3]
    assert [p.text for p in _chunks(text, root, granularity="part")] == [p.text for p in parts]


def test_text_that_is_no_markdown_opens_no_link(root: Path) -> None:
    builder = DocumentBuilder(source="s", media_root=root)
    picture = Media.from_path(root / "1.png", alt="one")
    builder.add(ElementKind.PARAGRAPH, "Broken ` tick, ![x](2.png), <!-- never closed")
    builder.add(ElementKind.PARAGRAPH, "```\nnever ", picture, " closed either")
    builder.add(ElementKind.MEDIA, picture)
    document = builder.build()
    for size in (32, 2048):
        chunks = list(chunk_document(document, ChunkSettings(max_tokens=size)))
        found = [link for chunk in chunks for link in find_media_links(chunk.text)]
        assert [link.alt for link in found] == ["one", "one"]
        _check_nothing_is_lost([document], chunks)


def test_page_box_and_time_go_along() -> None:
    builder = DocumentBuilder(source="s")
    builder.add(ElementKind.PARAGRAPH, "A.", page=2, bbox=(10, 20, 30, 40), seconds=(1, 2))
    builder.add(ElementKind.PARAGRAPH, "B.", page=2, bbox=(5, 40, 20, 60), seconds=(2, 5))
    (chunk,) = chunk_document(builder.build())
    assert (chunk.page, chunk.bbox, chunk.seconds) == (2, (5, 20, 30, 60), (1, 5))
    assert chunk.metadata()["bbox"] == [5, 20, 30, 60]


@pytest.mark.parametrize("text", ["", "\n\n", "  \n \t"])
def test_nothing_gives_no_chunk(text: str) -> None:
    assert list(chunk_documents(read_markdown(text, source="s"))) == []


@pytest.mark.parametrize(
    "wrong",
    [{"max_tokens": 8193}, {"max_tokens": 5}, {"overlap_sentences": -1}, {"granularity": "x"}],
)
def test_settings_that_can_not_be(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        ChunkSettings(**wrong)  # type: ignore[arg-type]


def test_a_million_words_without_a_full_stop(root: Path) -> None:
    text = "word " * 40_000
    chunks = _chunks(text, root)
    assert all(_tokens(chunk) <= _SPEC.max_input_tokens for chunk in chunks)
    assert "".join(text[a:b] for a, b in (c.span for c in chunks)).strip() == text.strip()
    assert len(chunks) < 10
    assert len(split_text(text, 8192)) <= len(chunks)


def test_the_corpus_of_the_cookbooks() -> None:
    corpus = Path(__file__).parents[3] / "cookbooks" / "corpus"
    for path in sorted(corpus.glob("*.md")):
        documents = list(read_markdown(path.read_text(), source=path.name, media_root=corpus))
        chunks = list(chunk_documents(documents))
        _check_nothing_is_lost(documents, chunks)
        assert "".join(document.text for document in documents) == path.read_text()
        for index, chunk in enumerate(chunks):
            check_limits(chunk.content, _SPEC, Backend.GEMINI_API, index=index)
            assert cast("int", chunk.metadata()["chunk_index"]) == index


def test_a_title_that_the_first_heading_says_as_well_is_not_said_twice() -> None:
    (document,) = read_markdown("# Fuel pump\n\nIt pumps.\n", source="a.md", title="Fuel pump")
    (chunk,) = chunk_document(document)
    assert chunk.text.count("Fuel pump") == 1
    assert chunk.title == "Fuel pump"
