"""Hostile input: one clear error that names file and line, or left out, counted and told."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from langchain_core.documents import Document

from gemini2_core.content import lines
from gemini2_core.corpus import (
    BeirSource,
    DocumentsSource,
    FilesSource,
    Policy,
    Source,
    TableSource,
)
from gemini2_core.corpus.sources import SkippedWarning
from gemini2_core.errors import ConfigurationError, InvalidInputError

GOOD = b'{"_id": "a", "text": "one"}\n'
LAST = b'{"_id": "z", "text": "last"}\n'

BAD_LINES = {
    "no JSON": (b'{"_id": "b", "text": \n', "isn't JSON"),
    "a list": (b'["b", "text"]\n', "no JSON object but list"),
    "Latin-1": ('{"_id": "b", "text": "Ventil für"}\n'.encode("latin-1"), "isn't UTF-8"),
    "a lone surrogate": (b'{"_id": "b", "text": "\\ud800"}\n', "isn't JSON"),
    "no id": (b'{"text": "two"}\n', "'_id' is a string or an integer, not None"),
    "an empty id": (b'{"_id": "", "text": "two"}\n', "an id is a non-empty string"),
    "a negative id": (b'{"_id": -1, "text": "two"}\n', "from 0 to"),
    "a text that is none": (b'{"_id": "b", "text": 7}\n', "'text' is a string, not 7"),
}


def corpus(folder: Path, middle: bytes) -> Path:
    path = folder / "corpus.jsonl"
    path.write_bytes(GOOD + middle + LAST)
    return path


@pytest.mark.parametrize("bad", BAD_LINES)
def test_a_bad_line_is_an_error_that_names_file_and_line(tmp_path: Path, bad: str) -> None:
    line, said = BAD_LINES[bad]
    path = corpus(tmp_path, line)
    with pytest.raises(InvalidInputError) as caught:
        list(BeirSource(path))
    assert str(caught.value).startswith(f"{path}, line 2: ")
    assert said in str(caught.value)


@pytest.mark.parametrize("bad", BAD_LINES)
def test_a_bad_line_is_left_out_and_told_where_the_policy_lets_it(tmp_path: Path, bad: str) -> None:
    source = BeirSource(corpus(tmp_path, BAD_LINES[bad][0]), policy=Policy.lenient())
    with pytest.warns(SkippedWarning, match="line 2"):
        assert [item.id for item in source] == ["a", "z"]
    assert source.problems.counts == {"unreadable": 1}
    assert source.count() == 2


def test_empty_texts_are_left_out_and_counted(tmp_path: Path) -> None:
    blank = b'{"_id": "b", "text": " \\n", "title": ""}\n{"_id": "c"}\n\n'
    source = BeirSource(corpus(tmp_path, blank))
    with pytest.warns(SkippedWarning, match=r"left out 2 \(2 empty\)"):
        assert [item.id for item in source] == ["a", "z"]
    assert [str(one) for one in source.problems.examples] == [
        f"{tmp_path}/corpus.jsonl, line 2: there is nothing to embed",
        f"{tmp_path}/corpus.jsonl, line 3: there is nothing to embed",
    ]
    with pytest.raises(InvalidInputError, match="line 2: there is nothing"):
        list(BeirSource(corpus(tmp_path, blank), policy=Policy(empty="error")))


def test_an_id_that_is_taken_is_an_error_that_names_both_places(tmp_path: Path) -> None:
    path = corpus(tmp_path, b'{"_id": "a", "text": "another"}\n')
    with pytest.raises(InvalidInputError, match=r"line 2: its id 'a' is that of .*line 1"):
        list(BeirSource(path))
    source = BeirSource(path, policy=Policy(duplicate="skip"))
    with pytest.warns(SkippedWarning, match="1 with an id that is taken"):
        assert [item.content for item in source] == ["one", "last"]


def test_a_line_longer_than_memory_bears_is_an_error_and_the_next_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 1_000_000)
    path = corpus(tmp_path, b'{"_id": "b", "text": "%s"}\n' % (b"x" * 3_000_000))
    with pytest.raises(InvalidInputError, match=r"line 2: the line is longer than 1 MB"):
        list(BeirSource(path))
    with pytest.warns(SkippedWarning, match="left out 1 "):
        assert [i.id for i in BeirSource(path, policy=Policy.lenient())] == ["a", "z"]


def test_a_gzip_that_breaks_off_says_where(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl.gz"
    path.write_bytes(gzip.compress(GOOD + LAST * 3)[:-12])
    with pytest.raises(InvalidInputError, match=r"corpus.jsonl.gz, line \d+: the file is damaged"):
        list(BeirSource(path))


def test_utf_16_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text(GOOD.decode(), "utf-16")
    with pytest.raises(InvalidInputError, match=r"line 1: it is UTF-16"):
        list(BeirSource(path))


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD)
    assert [item.id for item in BeirSource(path)] == ["a"]


# ---- tables

HEADER = b"id,text\n"

BAD_TABLES: dict[str, tuple[bytes, str]] = {
    "too few cells": (HEADER + b"a,one\nb\n", "line 3: the row has 1 cells, the header 2"),
    "too many cells": (HEADER + b"a,one,two\n", "line 2: the row has 3 cells"),
    "wrong encoding": (HEADER + b"a,one\nb,f\xfcr\n", "line 3: byte 4 of the line isn't UTF-8"),
    "no id": (HEADER + b",one\n", "line 2: the id in 'id' is a string or an integer"),
    "a missing column": (b"id,body\na,one\n", "line 1: there is no column 'text'; there are id"),
    "an empty file": (b"", "line 1: there is no column 'text'; there are none"),
    "a column twice": (b"id,text,text\n", "line 1: there are two columns 'text'"),
}


@pytest.mark.parametrize("bad", BAD_TABLES)
def test_a_bad_table_is_an_error_that_names_file_and_line(tmp_path: Path, bad: str) -> None:
    data, said = BAD_TABLES[bad]
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    with pytest.raises(InvalidInputError) as caught:
        list(TableSource(path, column="text", id_column="id"))
    assert str(caught.value).startswith(f"{path}, ")
    assert said in str(caught.value)


def test_a_quote_left_open_is_told_with_the_line_it_begins_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(HEADER + b'a,one\nb,"two\n' + b"c,three\n" * 100_000)
    import csv

    from gemini2_core.corpus.sources import tables

    before = csv.field_size_limit()
    csv.field_size_limit(10_000)
    monkeypatch.setattr(tables, "MAX_LINE_BYTES", 10_000)
    try:
        with pytest.raises(InvalidInputError, match=r"line 3: .*is a quote left open"):
            list(TableSource(path, column="text", id_column="id"))
    finally:
        csv.field_size_limit(before)


@pytest.mark.parametrize("end", [b"", b"\n", b"\nc,three", b"\nc,three\n", b"\n\n"])
def test_a_quote_that_is_never_closed_does_not_swallow_what_follows_in_silence(
    tmp_path: Path, end: bytes
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(HEADER + b'a,one\nb,"two' + end)
    with pytest.raises(InvalidInputError, match=r"line 3: a quote is left open, up to line \d"):
        list(TableSource(path, column="text", id_column="id"))
    source = TableSource(path, column="text", id_column="id", policy=Policy.lenient())
    with pytest.warns(SkippedWarning, match="left out 1"):
        assert [item.id for item in source] == ["a"]


def test_rows_behind_a_bad_one_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(HEADER + b"a,one\nb\nc,f\xfcr\nd,four\n")
    source = TableSource(path, column="text", id_column="id", policy=Policy.lenient())
    with pytest.warns(SkippedWarning, match="left out 2"):
        assert [item.id for item in source] == ["a", "d"]


def test_what_is_no_parquet_is_told(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 no parquet at all PAR1")
    with pytest.raises(InvalidInputError, match=r"a.parquet is no parquet file"):
        list(TableSource(path, column="text"))
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"n": [1, 2], "text": ["one", "two"]}), path)
    with pytest.raises(InvalidInputError, match=r"no column 'body'; there are n, text"):
        list(TableSource(path, column="body"))
    with pytest.raises(InvalidInputError, match=r"row 1: 'n' is a text, not 1"):
        list(TableSource(path, column="n"))


def test_a_suffix_that_names_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").touch()
    with pytest.raises(InvalidInputError, match="no table"):
        TableSource(tmp_path / "a.xlsx", column="text")


def test_a_delimiter_and_an_encoding_are_checked_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(HEADER)
    for delimiter in (";;", ""):
        with pytest.raises(ConfigurationError, match="one character"):
            TableSource(tmp_path / "a.csv", column="text", delimiter=delimiter)
    with pytest.raises(ConfigurationError, match="no encoding 'latin-9000'"):
        TableSource(tmp_path / "a.csv", column="text", encoding="latin-9000")


# ---- the frameworks' documents


def test_what_is_no_document_or_node_is_told_or_left_out() -> None:
    from llama_index.core.schema import TextNode

    from llama_index_gemini2 import NodesSource

    document = Document("one", id="a")
    node = TextNode(text="one", id_="a")
    strange = TextNode(text="two", metadata={"array": np.float32(1)})
    cases: list[tuple[Callable[..., Source], list[object], str]] = [
        (DocumentsSource, [document, node], "which TextNode hasn't"),
        (DocumentsSource, [document, Document("two", metadata={"set": {1}})], "isn't JSON"),
        (NodesSource, [node, document], "a node is wanted, not Document"),
        (NodesSource, [node, strange], "the node isn't JSON"),
    ]
    for make, given, said in cases:
        with pytest.raises(InvalidInputError, match=rf"(document|node) 1: .*{said}"):
            list(make(given))
        with pytest.warns(SkippedWarning, match="left out 1"):
            assert [item.id for item in make(given, policy=Policy.lenient())] == ["a"]
    with pytest.raises(ConfigurationError, match="open_source"):
        DocumentsSource("manual.md")  # type: ignore[arg-type]  # that is the point


# ---- files


def test_an_unreadable_file_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("![gone](gone.png)")
    (tmp_path / "b.md").write_bytes(b"f\xfcr")
    (tmp_path / "c.pdf").write_bytes(b"%PDF-1.7 nothing")
    (tmp_path / "d.md").write_text("![inside](data:image/png;base64,iVBORw0KGgo=)")
    (tmp_path / "e.md").write_text("Readable.")
    with pytest.raises(InvalidInputError, match=r"a.md: .*gone.png"):
        list(FilesSource(tmp_path))
    source = FilesSource(tmp_path, policy=Policy.lenient())
    with pytest.warns(SkippedWarning, match="left out 4"):
        assert [item.payload["page_content"] for item in source] == ["Readable."]
    told = "\n".join(map(str, source.problems.examples))
    assert all(f"{name}: " in told for name in ("a.md", "b.md", "c.pdf", "d.md"))


def test_a_folder_that_can_not_be_looked_into_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "locked", "z"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "page.md").write_text(f"Page {name}.")
    real = os.scandir

    def scandir(path: str | Path) -> Iterator[os.DirEntry[str]]:
        # Permissions don't hold for root, who may run the tests.
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InvalidInputError, match=r"locked: .*Permission denied"):
        list(FilesSource(tmp_path))
    source = FilesSource(tmp_path, policy=Policy.lenient())
    with pytest.warns(SkippedWarning, match=r"left out 1 .*locked: .*Permission denied"):
        assert [item.payload["page_content"] for item in source] == ["Page a.", "Page z."]


def test_nothing_is_written_into_a_folder_that_is_read(tmp_path: Path) -> None:
    import shutil

    for pdf in Path("cookbooks/corpus").glob("*.pdf"):
        shutil.copy(pdf, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert len(list(FilesSource(tmp_path))) > 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("make", [BeirSource, FilesSource])
def test_no_path_and_a_path_to_nothing_are_refused(
    tmp_path: Path, make: Callable[[object], Source]
) -> None:
    with pytest.raises(InvalidInputError, match="no path"):
        make([])
    with pytest.raises(InvalidInputError, match="there is no file or folder"):
        make(tmp_path / "none")


def test_what_a_source_leaves_out_needs_a_known_word() -> None:
    with pytest.raises(ConfigurationError):
        Policy(empty="zero")  # type: ignore[arg-type]  # that is the point
