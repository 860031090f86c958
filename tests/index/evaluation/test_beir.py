"""BEIR's files: what is read, and that an error names file and line."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemini2_core.errors import InvalidInputError
from gemini2_core.index.evaluation import (
    BeirCorpus,
    Document,
    read_corpus,
    read_qrels,
    read_queries,
)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def written(text: str | bytes, name: str = "corpus.jsonl") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return written


LINES = '{"_id": "a", "title": "One", "text": "first"}\n\n{"_id": 7, "text": "second"}\n'


@pytest.mark.parametrize("packed", [False, True])
def test_documents_with_and_without_title_plain_and_gzipped(
    write: Callable[..., Path], packed: bool
) -> None:
    path = write(gzip.compress(LINES.encode()) if packed else LINES)
    assert list(read_corpus(path)) == [Document("a", "first", "One"), Document("7", "second")]
    corpus = BeirCorpus(path)
    assert list(corpus) == list(corpus)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{oops", "isn't JSON"),
        ("[1]", "no JSON object"),
        ('{"text": "x"}', "'_id'"),
        ('{"_id": "", "text": "x"}', "'_id'"),
        ('{"_id": true, "text": "x"}', "'_id'"),
        ('{"_id": "b"}', "'text'"),
        ('{"_id": "b", "text": "x", "title": 3}', "'title'"),
        ('{"_id": "a", "text": "again"}', "further up"),
    ],
)
def test_a_bad_line_is_named(write: Callable[..., Path], line: str, what: str) -> None:
    path = write(LINES + line)
    with pytest.raises(InvalidInputError, match=what) as caught:
        list(read_corpus(path))
    assert f"{path}:4: " in str(caught.value)


@pytest.mark.parametrize(
    "broken", [b'{"_id": "a", "text": "\xff"}', gzip.compress(b"x" * 99, mtime=0)[:-9]]
)
def test_bytes_that_are_no_text_are_named(write: Callable[..., Path], broken: bytes) -> None:
    path = write(broken)
    with pytest.raises(InvalidInputError, match=f"{path.name}:1: "):
        list(read_corpus(path))


def test_a_missing_or_an_empty_file_says_so(write: Callable[..., Path]) -> None:
    with pytest.raises(InvalidInputError, match=r"no file 'nowhere\.jsonl'"):
        BeirCorpus("nowhere.jsonl")
    with pytest.raises(InvalidInputError, match="no queries"):
        read_queries(write("\n"))
    with pytest.raises(InvalidInputError, match="no judgements"):
        read_qrels(write("query-id\tcorpus-id\tscore\n"))


@pytest.mark.parametrize(
    "text",
    [
        "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td 2\t0\n",  # BEIR's, with names of the columns
        "q1\td1\t2\r\nq1\td 2\t0\r\n",
        "\ufeffq1\td1\t2\nq1\td 2\t0",
        "q1\t0\td1\t2\nq1\t0\td 2\t0\n",  # TREC's
    ],
)
def test_judgements_with_a_header_or_without(write: Callable[..., Path], text: str) -> None:
    assert read_qrels(write(text)) == {"q1": {"d1": 2, "d 2": 0}}


def test_trecs_judgements_between_blanks(write: Callable[..., Path]) -> None:
    assert read_qrels(write("1 0  d1 1\n2 0 d1 0\n")) == {"1": {"d1": 1}, "2": {"d1": 0}}


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("q\td\t1\nq\td\tx\n", 2, "whole number"),
        ("q\td\t1.5\n", 1, "whole number"),  # a first line with a number is no header
        ("q\td\n", 1, "whole number"),
        ("q\td\t1\n\t\t1\n", 2, "whole number"),
        ("q\td\t1\nq\td\t2\n", 2, "judged 2 for query 'q', and 1"),
    ],
)
def test_a_bad_judgement_is_named(
    write: Callable[..., Path], text: str, line: int, what: str
) -> None:
    path = write(text, "test.tsv")
    with pytest.raises(InvalidInputError, match=what) as caught:
        read_qrels(path)
    assert f"{path}:{line}: " in str(caught.value)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
identities = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)


@settings(max_examples=30)
@given(st.lists(st.tuples(identities, texts, texts), unique_by=lambda row: row[0], max_size=8))
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]]
) -> None:
    path = tmp_path_factory.mktemp("beir") / "corpus.jsonl"
    path.write_bytes(
        b"\n".join(orjson.dumps({"_id": i, "title": t, "text": x}) for i, t, x in rows)
    )
    assert list(read_corpus(path)) == [Document(i, x, t) for i, t, x in rows]
