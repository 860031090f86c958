"""Sources: stable ids, one order, read again and again; shards that share them out."""

from __future__ import annotations

import csv
import gzip
import json
import pickle
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemini2_core.content import Content
from gemini2_core.corpus import (
    BeirSource,
    DocumentsSource,
    FilesSource,
    Item,
    Source,
    TableSource,
    open_source,
    sharded,
)
from gemini2_core.corpus.sources import Policy, SkippedWarning, shard_of
from gemini2_core.errors import ConfigurationError, InvalidInputError
from tests.samples import png

CORPUS = Path("cookbooks/corpus")

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
ids = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.integers(0, 2**64 - 1)
)
rows = st.lists(
    st.tuples(ids, texts, st.text(max_size=5)), max_size=12, unique_by=lambda r: (type(r[0]), r[0])
)

fuzzed = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)


def read(source: Source) -> list[Item]:
    """The items, and the same ones again."""
    found = list(source)
    assert list(source) == found
    assert source.count() == len(found)
    assert isinstance(source, Source)
    return found


def beir(path: Path, lines: Iterable[tuple[int | str, str, str]]) -> Path:
    told = [json.dumps({"_id": i, "text": text, "title": title}) for i, text, title in lines]
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in told)
    return path


# ---- BEIR


@fuzzed
@given(lines=rows)
def test_a_beir_corpus_comes_back_as_it_was_written(
    tmp_path: Path, lines: list[tuple[int | str, str, str]]
) -> None:
    found = read(BeirSource(beir(tmp_path / "corpus.jsonl", lines)))
    assert [(item.id, item.content) for item in found] == [(i, text) for i, text, _ in lines]
    assert [item.title or "" for item in found] == [title.strip() for _, _, title in lines]
    for item in found:
        assert item.payload["page_content"] == item.content
        assert item.payload["metadata"] == ({"title": item.title} if item.title else {})


def test_a_gzipped_corpus_is_the_same_corpus(tmp_path: Path) -> None:
    lines = [(f"d{n}", f"text {n}", "") for n in range(5)]
    plain, zipped = beir(tmp_path / "a.jsonl", lines), beir(tmp_path / "a.jsonl.gz", lines)
    assert read(BeirSource(plain)) == read(BeirSource(zipped))


def test_a_document_with_nothing_but_a_title_has_it_as_its_text(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text(
        '{"_id": "a", "title": "Pumps", "text": "", "metadata": {"url": "u", "title": "x"}}\n'
    )
    (item,) = read(BeirSource(path))
    assert (item.content, item.title) == ("Pumps", None)
    assert item.payload == {"page_content": "Pumps", "metadata": {"url": "u"}}


# ---- tables

cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def write_csv(path: Path, header: list[str], lines: Iterable[Iterable[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writerows([header, *lines])
    return path


@fuzzed
@given(
    lines=st.lists(
        st.tuples(cells.filter(bool), cells.filter(str.strip), cells),
        max_size=8,
        unique_by=lambda line: line[0],
    ),
    suffix=st.sampled_from([".csv", ".tsv"]),
)
def test_a_csv_column_comes_back_whatever_is_in_its_cells(
    tmp_path: Path, lines: list[tuple[str, str, str]], suffix: str
) -> None:
    path = write_csv(tmp_path / f"t{suffix}", ["id", "text", "note"], lines)
    found = read(TableSource(path, column="text", id_column="id", metadata_columns=["note"]))
    assert [(item.id, item.content) for item in found] == [line[:2] for line in lines]
    assert [item.payload["metadata"] for item in found] == [{"note": line[2]} for line in lines]


def test_a_parquet_column_is_read_batch_by_batch(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    import datetime

    from pyarrow import parquet

    day = datetime.date(2026, 4, 22)
    table = arrow.table(
        {
            "n": list(range(3000)),
            "text": [f"text {n}" for n in range(3000)],
            "title": ["T", None, ""] * 1000,
            "day": [day] * 3000,
        }
    )
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=700)
    source = TableSource(
        tmp_path / "a.parquet",
        column="text",
        id_column="n",
        title_column="title",
        metadata_columns=["day"],
    )
    assert source.count() == 3000
    found = read(source)
    assert [item.id for item in found] == list(range(3000))
    assert [item.title for item in found[:3]] == ["T", None, None]
    assert found[0].payload["metadata"] == {"day": "2026-04-22", "title": "T"}


def test_json_lines_are_a_table_too(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"k": 1, "body": "one", "tags": ["x"]}\n\n{"k": 2, "body": "two"}\n')
    found = read(open_source(path, column="body", id_column="k", metadata_columns=["tags"]))
    assert [(i.id, i.content, i.payload["metadata"]) for i in found] == [
        (1, "one", {"tags": ["x"]}),
        (2, "two", {"tags": None}),
    ]


def test_without_an_id_column_equal_rows_are_one_item_and_that_is_told(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", ["text"], [["one"], ["two"], ["one"]])
    source = TableSource(path, column="text")
    with pytest.warns(SkippedWarning, match=r"left out 1 \(1 the same as one before\).*line 4"):
        found = list(source)
    assert [item.content for item in found] == ["one", "two"]
    assert source.problems.counts == {"repeated": 1}
    again = TableSource(write_csv(tmp_path / "b.csv", ["text"], [["two"], ["one"]]), column="text")
    assert {item.id for item in again} == {item.id for item in found}


# ---- files


def test_files_are_chunks_whose_markdown_says_the_same_as_their_parts() -> None:
    source = FilesSource(CORPUS)
    found = read(source)
    assert len(found) > 15
    for item in found:
        assert isinstance(item.content, Content)
        text = str(item.payload["page_content"])
        parts = Content.of(text, media_root=source.media_root).parts
        assert [p if isinstance(p, str) else p.identity for p in parts] == [
            p if isinstance(p, str) else p.identity for p in item.content.parts
        ]
        metadata = item.payload["metadata"]
        assert isinstance(metadata, dict)
        assert metadata.get("title") == item.title
        json.dumps(metadata)


def test_a_folder_is_read_in_one_order_and_a_shown_picture_is_no_item_of_its_own(
    tmp_path: Path,
) -> None:
    (tmp_path / "b.md").write_text("Text. ![pump](img/pump.png)")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "z.txt").write_text("More text.")
    (tmp_path / "img").mkdir()
    (tmp_path / "img" / "pump.png").write_bytes(png(200))
    (tmp_path / "img" / "alone.png").write_bytes(png(0, 200))
    (tmp_path / "code.py").write_text("no document")
    (tmp_path / ".hidden.md").write_text("hidden")

    def sources(source: FilesSource) -> list[object]:
        return [dict(item.payload["metadata"])["source"] for item in source]  # type: ignore[call-overload]  # JSON

    assert sources(FilesSource(tmp_path)) == ["b.md", "a/z.txt", "img/alone.png"]
    assert "img/pump.png" in sources(FilesSource(tmp_path, linked_media=True))
    assert "img/pump.png" in sources(FilesSource([tmp_path, tmp_path / "img" / "pump.png"]))


def test_ids_of_files_are_the_same_wherever_the_folder_lies(tmp_path: Path) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.md").write_text("# Pump\n\nText.")
    here, there = (read(FilesSource(tmp_path / name)) for name in ("here", "there"))
    assert [item.id for item in here] == [item.id for item in there]


# ---- documents


class Page:
    def __init__(self, text: str, own: str | None = None, **metadata: object) -> None:
        self.page_content, self.id, self.metadata = text, own, metadata


def test_documents_keep_their_ids_and_get_one_from_what_they_are() -> None:
    pages = [Page("one", "a", title="T", n=1), Page("two"), Page("three")]
    found = read(DocumentsSource(pages))
    assert [(item.content, item.title) for item in found] == [
        ("one", "T"),
        ("two", None),
        ("three", None),
    ]
    assert found[0].id == "a"
    assert found[0].payload == {"page_content": "one", "metadata": {"title": "T", "n": 1}}
    assert [item.id for item in read(DocumentsSource(lambda: reversed(pages)))] == [
        item.id for item in reversed(found)
    ]
    assert read(DocumentsSource(pages, title_key=None))[0].title is None


def test_what_can_be_read_only_once_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="only once"):
        DocumentsSource(iter([Page("one")]))


# ---- what a path is


def test_a_path_is_seen_from_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "beir").mkdir()
    corpus = beir(tmp_path / "beir" / "corpus.jsonl", [("a", "text", "")])
    (tmp_path / "beir" / "queries.jsonl").write_text('{"_id": "q", "text": "?"}')
    table = write_csv(tmp_path / "a.csv", ["text", "other"], [["one", "x"]])
    (tmp_path / "tables").mkdir()
    write_csv(tmp_path / "tables" / "a.csv", ["text"], [])
    assert isinstance(open_source(corpus), BeirSource)
    assert [item.id for item in open_source(tmp_path / "beir")] == ["a"]
    assert isinstance(open_source(table, column="text"), TableSource)
    assert isinstance(open_source(CORPUS), FilesSource)
    assert isinstance(open_source(corpus, column="text"), TableSource)
    for path, options, said in [
        (table, {}, "name the column.*there are text, other"),
        (tmp_path / "none", {}, "no file or folder"),
        (CORPUS, {"column": "text"}, "no table"),
        (tmp_path / "tables", {}, "no document.* is named itself"),
    ]:
        with pytest.raises(InvalidInputError, match=said):
            open_source(path, **options)  # type: ignore[arg-type]  # the options are strings
    with pytest.raises(InvalidInputError, match="different kinds"):
        open_source(corpus, table, column=None)


def test_many_parquet_files_are_one_table(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    for part in range(3):
        table = arrow.table({"text": [f"{part}-{n}" for n in range(4)]})
        parquet.write_table(table, tmp_path / f"part-{part}.parquet")
    (tmp_path / "_SUCCESS").touch()
    assert len(read(open_source(tmp_path, column="text"))) == 12


# ---- shards


@dataclass
class Listed:
    """Items with given ids, each with its place as its text."""

    found: list[int | str]
    name: str = "listed"

    def __iter__(self) -> Iterator[Item]:
        return (Item(own, str(place)) for place, own in enumerate(self.found))

    def count(self) -> int | None:
        return len(self.found)


@given(found=st.lists(ids, unique_by=lambda own: (type(own), own)), shards=st.integers(1, 7))
def test_every_item_is_on_exactly_one_shard(found: list[int | str], shards: int) -> None:
    source = Listed(found)
    parts = [[*sharded(source, number, shards)] for number in range(shards)]
    places = [[int(str(item.content)) for item in part] for part in parts]
    assert sorted(place for part in places for place in part) == list(range(len(found)))
    assert all(part == sorted(part) for part in places), "the source's order"


def test_shards_are_about_equal_and_the_same_on_every_machine() -> None:
    sizes = Counter(shard_of(f"doc-{n}", 4) for n in range(4000))
    assert all(900 < sizes[shard] < 1100 for shard in range(4))
    # Never to change: a run that goes on tomorrow shares its corpus out as today.
    assert [shard_of(own, 100) for own in ("a", "b", 1, "1", 2**64 - 1)] == PINNED


PINNED = [28, 63, 4, 12, 44]


@pytest.mark.parametrize(("number", "shards"), [(2, 2), (-1, 2), (0, 0)])
def test_a_shard_that_is_not_there_is_refused(number: int, shards: int) -> None:
    with pytest.raises(ConfigurationError, match="numbered from 0"):
        sharded(DocumentsSource([]), number, shards)


# ---- memory


def peak_of(make: Callable[[], Source]) -> tuple[int, int]:
    tracemalloc.start()
    try:
        total = sum(1 for _ in make())
        return total, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_stays_the_same_for_ten_times_the_items(tmp_path: Path) -> None:
    peaks = []
    for size in (500, 5_000):
        path = beir(tmp_path / f"{size}.jsonl", ((f"d{n}", "word " * 50, "t") for n in range(size)))
        total, peak = peak_of(lambda path=path: BeirSource(path))  # type: ignore[misc]  # bound now
        assert total == size
        peaks.append(peak)
    assert peaks[1] < 1.5 * peaks[0] + 200_000


def test_sources_of_paths_can_be_sent_to_other_processes(tmp_path: Path) -> None:
    table = write_csv(tmp_path / "a.csv", ["text"], [["one"], ["two"]])
    corpus = beir(tmp_path / "corpus.jsonl", [("a", "text", "")])
    for source in (TableSource(table, column="text"), BeirSource(corpus), FilesSource(CORPUS)):
        shard = pickle.loads(pickle.dumps(sharded(source, 0, 2)))
        assert list(shard) == list(sharded(source, 0, 2))


def test_policy_words_are_checked() -> None:
    with pytest.raises(ConfigurationError, match="duplicate='keep'"):
        Policy(duplicate="keep")  # type: ignore[arg-type]  # that is the point
