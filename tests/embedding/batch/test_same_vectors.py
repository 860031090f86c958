"""What comes by batch is what comes online, bit for bit, for half the price."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gemini2_core import Gemini2Embedder, TaskType
from gemini2_core.content import ContentLike, Media
from gemini2_core.embedding.batch import lines
from gemini2_core.emulator import Emulator
from gemini2_core.errors import InvalidInputError
from gemini2_core.model import Side, Vectors
from tests.embedding.batch.conftest import Open, files, jobs, paid
from tests.embedding.conftest import Make, draw


def collected(run: object) -> dict[str, Vectors]:
    return {key: vector for key, vector, _ in run.collect() if vector is not None}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("model", "side", "dimensions"),
    [
        ("gemini-embedding-2", "document", None),
        ("gemini-embedding-2", "query", 768),
        ("gemini-embedding-001", "document", 768),
        ("gemini-embedding-001", "query", None),
    ],
)
def test_texts_with_and_without_titles(
    make: Make, open_run: Open, model: str, side: Side, dimensions: int | None
) -> None:
    embedder = make(model, dimensions=dimensions or 3072, task_type=TaskType.QUESTION_ANSWERING)
    texts, titles = ["one text", "another", "one text"], ["A title", None, None]
    run = open_run(embedder, dimensions=dimensions)
    keyed = zip("abc", texts, titles, strict=True)
    assert run.submit(keyed, side=side) == 3
    assert run.wait(10).open == 0
    online = embedder.embed_contents(texts, side=side, titles=titles)
    got = collected(run)
    assert list(got) == ["a", "b", "c"]
    assert np.array_equal(np.array(list(got.values())), online.vectors)
    assert got["a"].dtype == np.float32


def test_a_text_over_the_limit_is_averaged_over_windows(make: Make, open_run: Open) -> None:
    embedder = make("gemini-embedding-001", dimensions=3072)
    text = " ".join(f"The strainer number {n} is the lowest point." for n in range(500))
    run = open_run(embedder)
    run.submit([("long", text)])
    status = run.wait(10)
    assert (status.contents, status.lines) == (1, 3)
    assert np.array_equal(collected(run)["long"], embedder.embed_documents([text]).vectors[0])


def test_equal_contents_are_paid_once(emulator: Emulator, open_run: Open) -> None:
    run = open_run()
    run.submit([("a", "same"), ("b", "same")])
    run.submit([("c", "same"), ("d", ["same"])])
    run.wait(10)
    got = collected(run)
    assert np.array_equal(got["a"], got["b"])
    assert np.array_equal(got["a"], got["d"])
    assert (paid(emulator), run.usage.items, run.usage.duplicates) == (1, 1, 3)


@pytest.fixture
def contents(picture: Path, other_picture: Path, tmp_path: Path) -> list[ContentLike]:
    third = draw(tmp_path / "hose.png", "green")
    return [picture, ["A pump.", picture, other_picture], [third, "and words after it"]]


def test_media_in_the_lines(
    emulator: Emulator, embedder: Gemini2Embedder, open_run: Open, contents: list[ContentLike]
) -> None:
    run = open_run()
    run.submit((str(n), content) for n, content in enumerate(contents))
    run.wait(10)
    online = embedder.embed_documents(contents)
    assert np.array_equal(np.array(list(collected(run).values())), online.vectors)
    assert run.usage.tokens == online.usage.tokens
    assert files(emulator) == []


def test_large_media_go_through_the_files_api_once_a_job(
    emulator: Emulator,
    embedder: Gemini2Embedder,
    open_run: Open,
    contents: list[ContentLike],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    online = embedder.embed_documents(contents)
    monkeypatch.setattr(lines, "FILES_API_BYTES", 10)
    run = open_run(on_failed="report")
    run.submit((str(n), content) for n, content in enumerate(contents))
    uploads = [r for r in emulator.requests if r.path.startswith("/upload/") and r.body]
    assert len(uploads) == 3 + 1  # three pictures, one of them in two contents; the lines
    assert run.wait(10).done == 3
    assert np.array_equal(np.array(list(collected(run).values())), online.vectors)
    assert files(emulator) == []


def test_a_file_that_changes_after_submitting_changes_nothing(
    embedder: Gemini2Embedder, open_run: Open, picture: Path, emulator: Emulator
) -> None:
    emulator.configure(batch_outcomes=("expire",))
    before = embedder.embed_documents([picture]).vectors[0]
    run = open_run()
    run.submit([("p", picture)])
    draw(picture, "yellow")
    run.wait(10)
    assert len(jobs(emulator)) == 2
    assert np.array_equal(collected(run)["p"], before)


def test_a_reference_to_a_file_of_the_service(
    embedder: Gemini2Embedder, open_run: Open, emulator: Emulator
) -> None:
    run = open_run(tries=2)
    gone = Media.from_uri("files/gone", "image/png")
    run.submit([("gone", gone), ("text", "a text")])
    run.wait(10)
    found = {key: error for key, _, error in run.collect()}
    assert found["text"] is None
    assert found["gone"] is not None
    assert "7:" in str(found["gone"])
    assert len(jobs(emulator)) == 2  # a right may come; what isn't there is tried again, then not


def test_half_the_price_counted_once(embedder: Gemini2Embedder, open_run: Open) -> None:
    texts = [f"text {n}" for n in range(5)]
    online = embedder.embed_documents(texts).usage
    before = embedder.usage
    run = open_run()
    result = run.embed(texts)
    assert result.usage.tokens == online.tokens
    assert result.usage.dollars == pytest.approx(online.dollars / 2)
    assert embedder.usage.dollars == pytest.approx(before.dollars + online.dollars / 2)
    again = open_run()
    again.embed(texts)
    assert again.usage == result.usage
    assert embedder.usage.dollars == pytest.approx(before.dollars + online.dollars / 2)


def test_embed_returns_what_embed_contents_does(make: Make, open_run: Open) -> None:
    embedder = make(dimensions=768, on_empty="skip")
    texts = ["a", "", "b"]
    batch, online = open_run(embedder).embed(texts, titles=["t", None, None]), None
    online = embedder.embed_contents(texts, titles=["t", None, None])
    assert batch.indices.tolist() == [0, 2] == online.indices.tolist()
    assert batch.space == online.space
    assert np.allclose(batch.vectors, online.vectors, atol=1e-6)
    assert batch.dimensions == 768


def test_an_empty_text_can_be_a_vector_of_zeros(make: Make, open_run: Open) -> None:
    run = open_run(make(on_empty="zero"))
    run.submit([("empty", ""), ("full", "a")])
    run.wait(10)
    got = collected(run)
    assert not got["empty"].any()
    assert got["full"].any()


def test_vectors_of_a_cache_are_not_paid_for_again(
    make: Make, open_run: Open, tmp_path: Path, emulator: Emulator
) -> None:
    embedder = make(cache=tmp_path / "cache.sqlite")
    embedder.embed_documents(["known"])
    run = open_run(embedder)
    run.submit([("known", "known"), ("new", "new")])
    run.wait(10)
    assert (paid(emulator), run.usage.cached) == (1, 1)
    result = embedder.embed_documents(["known", "new"])
    assert result.usage.cached == 2  # the batch has filled it, too


def test_a_bad_content_is_named_by_its_key_before_it_costs_anything(
    emulator: Emulator, open_run: Open
) -> None:
    run = open_run()
    with pytest.raises(InvalidInputError, match="content 'bad': the text is empty"):
        run.submit([("good", "a text"), ("bad", ""), ("later", "another")])
    assert jobs(emulator) == []
    assert run.submit([("good", "a text"), ("later", "another")]) == 1
    assert run.wait(10).done == 2


def test_a_bad_content_can_be_reported_with_the_others(open_run: Open) -> None:
    run = open_run()
    run.submit([("good", "a text"), ("bad", "")], report_bad=True)
    assert run.wait(10).refused == 1
    good, bad = run.collect()
    assert good.vector is not None
    assert isinstance(bad.error, InvalidInputError)
    assert bad.vector is None
    assert run.embed(["a text"]).usage.items == 1  # the run's other contents are none of its


def test_a_key_is_for_good(open_run: Open) -> None:
    run = open_run()
    assert run.submit([("k", "a text")]) == 1
    assert run.submit([("k", "a text")]) == 0
    with pytest.raises(InvalidInputError, match="'k' was submitted with another content"):
        run.submit([("k", "another text")])
    with pytest.raises(InvalidInputError, match="a str as key"):
        run.submit([(7, "text")])  # type: ignore[list-item]
