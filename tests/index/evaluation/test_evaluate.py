"""An evaluation from files to report, over HTTP; and what keeps one from being paid for."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import orjson
import pytest

from gemini2_core.emulator import Emulator
from gemini2_core.errors import (
    ConfigurationError,
    Gemini2Error,
    IndexMismatchError,
    InvalidInputError,
    MissingExtraError,
    QuotaError,
)
from gemini2_core.index import MatryoshkaCollection
from gemini2_core.index.evaluation import Document, evaluate, measure_run, read_corpus, read_qrels
from gemini2_core.model import Vectors, truncate
from tests.index.evaluation.conftest import Files, Make
from tests.wire import items, texts

FAST = {"resamples": 200}


def test_every_size_is_cut_from_one_embedding(
    embedder: Make, emulator: Emulator, files: Files
) -> None:
    seen: list[tuple[int, int]] = []
    one = embedder()
    report = evaluate(
        one,
        files.corpus,
        files.queries,
        files.qrels,
        shortlists=[5, 100],
        resamples=200,
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1] == (60, 60)
    assert len(items(emulator)) == 60 + 40  # the query that nobody judged isn't embedded
    assert {item.get("outputDimensionality") or 3072 for item in items(emulator)} == {3072}
    assert [row.search for row in report.rows] == [
        "768",
        "1536",
        "3072",
        "768 → 3072, short list 5",
        "768 → 3072, short list 100",
    ]
    # The same by hand, from vectors fetched at each size.
    documents = list(read_corpus(files.corpus))
    told = [document.text for document in documents]
    titles = [document.title or None for document in documents]
    queries = {
        row["_id"]: row["text"]
        for row in map(orjson.loads, files.queries.read_bytes().split(b"\n"))
    }
    qrels = read_qrels(files.qrels)
    for size in (768, 1536, 3072):
        own = embedder(dimensions=size)
        asked = own.embed_queries([queries[query] for query in qrels]).vectors
        scores = asked @ own.embed_documents(told, titles).vectors.T
        run = {
            query: {d.id: round(float(s), 6) for d, s in zip(documents, row, strict=True)}
            for query, row in zip(qrels, scores, strict=True)
        }
        by_hand = measure_run(run, qrels)
        for metric in ("nDCG@10", "recall@10", "recall@100", "MRR@10"):
            mean = np.mean([found[metric] for found in by_hand.values()])
            assert report.row(size).scores[metric].value == pytest.approx(mean)
    assert "recall@100" not in report.row("768 → 3072, short list 5").scores
    assert (
        report.row("768 → 3072, short list 100").scores["nDCG@10"]
        == report.row(3072).scores["nDCG@10"]
    )
    assert "title: A heading | text: " in " ".join(texts(emulator))


def test_a_second_run_sends_nothing(
    embedder: Make, emulator: Emulator, files: Files, tmp_path: Path
) -> None:
    def run() -> tuple[str, float]:
        one = embedder(cache=tmp_path / "vectors.sqlite")
        report = evaluate(one, files.corpus, files.queries, files.qrels, resamples=200)
        assert report.costs[0].dollars == pytest.approx(emulator_dollars)
        return report.sentence, report.costs[0].paid.dollars

    fresh = embedder()
    paid = evaluate(fresh, files.corpus, files.queries, files.qrels, resamples=200)
    # Our estimate of all, and what the service billed for it.
    emulator_dollars = paid.costs[0].paid.dollars
    assert emulator_dollars > 0
    first = run()
    emulator.reset()
    assert run() == (first[0], 0.0)
    assert items(emulator) == []


def test_two_models_side_by_side(embedder: Make, files: Files) -> None:
    report = evaluate(
        embedder(),
        files.corpus,
        files.queries,
        files.qrels,
        compare=[embedder("gemini-embedding-001"), embedder(task_type="QUESTION_ANSWERING")],
        shortlists=[20],
        resamples=200,
    )
    models = ["gemini-embedding-2", "gemini-embedding-001", "gemini-embedding-2/QUESTION_ANSWERING"]
    assert [cost.model for cost in report.costs] == models
    assert len(report.rows) == 3 * 4
    across = [one for one in report.differences if one.model != one.base_model]
    assert [(one.model, one.search, one.base) for one in across] == [
        (model, size, size) for model in models[1:] for size in ("768", "1536", "3072")
    ]
    scores = report.per_query
    for one in report.differences:
        gaps = (
            scores[one.model, one.search][one.metric] - scores[one.base_model, one.base][one.metric]
        )
        assert one.gap.value == pytest.approx(gaps.mean())
        assert one.gap.low <= one.gap.value <= one.gap.high
        assert one.differing == np.count_nonzero(gaps)
    assert len(report.sentences) == 4


class OtherVendor:
    """Another vendor's embedder: letters counted, in 26 dimensions."""

    model = "letters"
    dimensions = 26

    def embed_queries(self, queries: list[str]) -> list[list[int]]:
        return [[text.count(chr(97 + n)) for n in range(26)] for text in queries]

    def embed_documents(self, texts: list[str], titles: object) -> list[list[int]]:
        return self.embed_queries(texts)


def test_another_vendors_embedder_needs_four_names(embedder: Make, files: Files) -> None:
    report = evaluate(
        embedder(),
        files.corpus,
        files.queries,
        files.qrels,
        compare={"theirs": OtherVendor()},  # type: ignore[dict-item]  # lists for arrays
        shortlists=[],
        resamples=200,
    )
    assert [row.search for row in report.rows if row.model == "theirs"] == ["26"]
    assert report.costs[1].dollars is None
    assert "theirs (26) has" in report.sentences[-1]


def test_a_collection_is_measured_without_embedding_its_documents(
    embedder: Make, emulator: Emulator, files: Files
) -> None:
    one = embedder()
    documents = list(read_corpus(files.corpus))
    vectors = one.embed_documents(
        [document.text for document in documents],
        [document.title or None for document in documents],
    )
    exact = evaluate(one, files.corpus, files.queries, files.qrels, shortlists=[50], resamples=200)
    with MatryoshkaCollection(space=one.space) as collection:
        collection.add([document.id for document in documents], vectors)
        emulator.reset()
        report = evaluate(
            one,
            None,
            files.queries,
            files.qrels,
            collection=collection,
            shortlists=[50],
            resamples=200,
        )
        assert len(items(emulator)) == 40
        for row in exact.rows:
            ours = report.row(row.search).scores["nDCG@10"].value
            assert ours == pytest.approx(row.scores["nDCG@10"].value)
        engine = report.row("engine, 768 → 3072, short list 50")
        assert engine.milliseconds is not None
        assert engine.scores["nDCG@10"].value == pytest.approx(
            exact.row("768 → 3072, short list 50").scores["nDCG@10"].value
        )
        assert "ms" in str(report)
        with pytest.raises(IndexMismatchError, match="CLUSTERING"):
            evaluate(
                embedder(task_type="CLUSTERING"),
                None,
                files.queries,
                files.qrels,
                collection=collection,
            )
        with pytest.raises(ConfigurationError, match="dimensions=3072"):
            evaluate(
                embedder(dimensions=768), None, files.queries, files.qrels, collection=collection
            )


DOCUMENTS = [Document("d1", "one"), Document("d2", "two")]


@pytest.mark.parametrize(
    ("corpus", "queries", "qrels", "what"),
    [
        (DOCUMENTS, {"q": "x"}, {"other": {"d1": 1}}, "judged queries aren't among"),
        (DOCUMENTS, {"q": "x"}, {"q": {"d1": 0}}, "no query has a relevant document"),
        (DOCUMENTS, {"q": "x"}, {"q": {"d9": 1}}, "do these files belong together"),
        (DOCUMENTS, {"q": " "}, {"q": {"d1": 1}}, "has no text"),
        ([], {"q": "x"}, {"q": {"d1": 1}}, "no documents"),
        ([*DOCUMENTS, DOCUMENTS[0]], {"q": "x"}, {"q": {"d1": 1}}, "two documents have one id"),
    ],
)
def test_what_doesnt_belong_together_costs_nothing(
    embedder: Make,
    emulator: Emulator,
    corpus: list[Document],
    queries: dict[str, str],
    qrels: dict[str, dict[str, int]],
    what: str,
) -> None:
    with pytest.raises(InvalidInputError, match=what):
        evaluate(embedder(), corpus, queries, qrels)
    assert emulator.requests == []


@pytest.mark.parametrize(
    "options",
    [
        {"tiers": [768, 4000]},
        {"tiers": [0]},
        {"shortlists": [0]},
        {"resamples": 0},
        {"margin": -1.0},
        {"margin": float("nan")},
        {"seed": -1},
    ],
)
def test_arguments_that_cant_work_cost_nothing(
    embedder: Make, emulator: Emulator, options: dict[str, object]
) -> None:
    with pytest.raises(ConfigurationError):
        evaluate(embedder(), DOCUMENTS, {"q": "x"}, {"q": {"d1": 1}}, **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="one name"):
        evaluate(embedder(), DOCUMENTS, {"q": "x"}, {"q": {"d1": 1}}, compare=[OtherVendor()] * 2)  # type: ignore[list-item]
    with pytest.raises(ConfigurationError, match="not an iterator"):
        evaluate(embedder(), iter(DOCUMENTS), {"q": "x"}, {"q": {"d1": 1}})
    with pytest.raises(ConfigurationError, match="corpus= or collection="):
        evaluate(embedder(), None, {"q": "x"}, {"q": {"d1": 1}})
    assert emulator.requests == []


def test_what_is_odd_is_said_and_left_out(embedder: Make) -> None:
    report = evaluate(
        embedder(),
        [*DOCUMENTS, Document("empty", " "), Document("headed", "", "Only a title")],
        {"q": "one", "useless": "x"},
        {"q": {"d1": 1, "gone": 1}, "useless": {"d2": 0}},
        **FAST,  # type: ignore[arg-type]
    )
    assert report.documents == 3
    notes = " ".join(report.notes)
    assert "1 documents without text" in notes
    assert "1 queries without a relevant document" in notes
    assert "'gone'" in notes
    assert "an emulator's aren't the model's" in str(report)
    assert report.row(768).scores["recall@10"].value == 0.5
    assert "below 50 queries" in report.sentence


def test_vertex_has_no_batch_api_to_be_cheaper_by(embedder: Make) -> None:
    from google.oauth2.credentials import Credentials

    there = embedder(
        api_key=None,
        vertexai=True,
        project="test",
        location="eu",
        credentials=Credentials(token="none"),  # type: ignore[no-untyped-call]
    )
    report = evaluate(there, [Document("d", "text")], {"q": "x"}, {"q": {"d": 1}}, resamples=2)
    assert report.costs[0].dollars
    assert report.costs[0].batch_dollars is None
    assert "by Batch API" not in str(report)


@pytest.mark.parametrize("task", ["CLUSTERING", None])
def test_a_title_the_model_isnt_told_belongs_to_the_text(
    embedder: Make, emulator: Emulator, task: str | None
) -> None:
    evaluate(
        embedder(task_type=task), [Document("d", "text", "Title")], {"q": "x"}, {"q": {"d": 1}}
    )
    assert texts(emulator)[-1].endswith("Title text")


def test_an_error_names_the_document_and_keeps_what_was_paid(
    embedder: Make, emulator: Emulator, files: Files, tmp_path: Path
) -> None:
    one = embedder(cache=tmp_path / "v.sqlite", on_overflow="error")
    long = Document("long", "word " * 9000)
    with pytest.raises(InvalidInputError, match="document 'long': "):
        evaluate(one, [*DOCUMENTS, long], {"q": "x"}, {"q": {"d1": 1}})
    emulator.configure(requests_per_day=70)
    try:
        with pytest.raises(QuotaError):
            evaluate(
                embedder(cache=tmp_path / "v.sqlite", batch_size=10, max_concurrency=1),
                files.corpus,
                files.queries,
                files.qrels,
            )
    finally:
        emulator.configure(requests_per_day=None)
    emulator.reset()
    again = embedder(cache=tmp_path / "v.sqlite")
    evaluate(again, files.corpus, files.queries, files.qrels, **FAST)  # type: ignore[arg-type]
    assert len(items(emulator)) == 100 - 70


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)


def test_a_report_shows_itself_and_is_written(
    embedder: Make, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    report = evaluate(
        embedder(),
        files.corpus,
        files.queries,
        files.qrels,
        compare={"<script>": embedder("gemini-embedding-001")},
        resamples=200,
    )
    lines = str(report).splitlines()
    table = lines[2 : 4 + len(report.rows)]
    assert len({len(line) for line in table}) == 1  # columns line up
    assert "184.3 kB" in str(report)  # 60 documents at 768
    assert "12.3 GB" in str(report)  # a million at 3072
    assert report.sentence in str(report)
    assert report.origin in [text.get_text() for text in report.plot().texts]
    page = report._repr_html_()
    assert "emulator" in report.origin
    assert report.servers[0] in page
    assert {"table", "img", "b"} <= Tags(page).tags
    assert "script" not in Tags(page).tags
    written = report.save(tmp_path / "out")
    assert [path.name for path in written] == [
        "report.txt",
        "report.json",
        "per_query.json",
        "report.png",
    ]
    assert written[3].read_bytes().startswith(b"\x89PNG")
    told = orjson.loads(written[1].read_bytes())
    assert told["rows"][0]["scores"]["nDCG@10"]["value"] == report.row(768).scores["nDCG@10"].value
    assert told["costs"][0]["batch_dollars"] == pytest.approx(told["costs"][0]["dollars"] / 2)
    each = orjson.loads(written[2].read_bytes())
    assert len(each["searches"][0]["nDCG@10"]) == len(each["queries"]) == 40
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"\[plot\]"):
        report.plot()
    assert "img" not in Tags(report._repr_html_()).tags


def test_rankings_hold_a_chunk_of_vectors_not_the_corpus(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gemini2_core.index.evaluation import evaluating

    monkeypatch.setattr(evaluating, "_AT_ONCE", 7)
    asked: list[int] = []

    class Counting(OtherVendor):
        def embed_documents(self, texts: list[str], titles: object) -> list[list[int]]:
            asked.append(len(texts))
            return super().embed_documents(texts, titles)

    report = evaluate(
        Counting(),  # type: ignore[arg-type]  # lists for arrays
        files.corpus,
        files.queries,
        files.qrels,
        tiers=[8, 26],
        **FAST,  # type: ignore[arg-type]
    )
    assert asked == [7] * 8 + [4]
    whole = OtherVendor()
    documents = list(read_corpus(files.corpus))
    qrels = read_qrels(files.qrels)
    rows: Vectors = truncate(whole.embed_documents([d.text for d in documents], None), 8)
    queries = {
        row["_id"]: row["text"]
        for row in map(orjson.loads, files.queries.read_bytes().split(b"\n"))
    }
    asked_rows = truncate(whole.embed_queries([queries[q] for q in qrels]), 8)
    run = {
        query: {d.id: round(float(s), 6) for d, s in zip(documents, row, strict=True)}
        for query, row in zip(qrels, asked_rows @ rows.T, strict=True)
    }
    mean = np.mean([found["nDCG@10"] for found in measure_run(run, qrels).values()])
    assert report.row(8).scores["nDCG@10"].value == pytest.approx(mean)


def test_the_command_writes_a_report_and_the_second_is_free(
    emulator: Emulator,
    files: Files,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from gemini2_core.cli import main

    pytest.importorskip("matplotlib")
    monkeypatch.setenv("GEMINI_API_KEY", "any")
    emulator.reset()
    line = [
        *("evaluate", "--corpus", str(files.corpus), "--queries", str(files.queries)),
        *("--qrels", str(files.qrels), "--output", str(tmp_path / "out")),
        *("--base-url", emulator.base_url, "--shortlists", "20", "--resamples", "200"),
        *("--compare-model", "gemini-embedding-001"),
    ]
    assert main(line) == 0
    shown = capsys.readouterr().out
    assert "gemini-embedding-001  768 → 3072, short list 20" in shown
    assert (tmp_path / "out" / "report.txt").read_text("utf-8").strip() in shown
    assert (tmp_path / "out" / "report.png").is_file()
    emulator.reset()
    assert main([*line, "--json", "--no-plot"]) == 0
    told = orjson.loads(capsys.readouterr().out)
    assert [cost["paid_dollars"] for cost in told["costs"]] == [0, 0]
    assert items(emulator) == []


def test_the_command_asks_a_collection_and_puts_tasks_beside_it(
    embedder: Make,
    emulator: Emulator,
    files: Files,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from gemini2_core.cli import main

    pytest.importorskip("qdrant_edge")
    monkeypatch.setenv("GEMINI_API_KEY", "any")
    documents = list(read_corpus(files.corpus))
    one = embedder()
    vectors = one.embed_documents([document.text for document in documents])
    with MatryoshkaCollection("mine", space=one.space, path=tmp_path / "index") as collection:
        collection.add([document.id for document in documents], vectors)
    emulator.reset()
    line = [
        *("evaluate", "--queries", str(files.queries), "--qrels", str(files.qrels), "--no-plot"),
        *("--path", str(tmp_path / "index"), "--collection", "mine", "--json"),
        *("--output", str(tmp_path / "out"), "--base-url", emulator.base_url),
        *("--shortlists", "20", "--resamples", "200"),
    ]
    assert main(line) == 0
    told = orjson.loads(capsys.readouterr().out)
    assert told["rows"][-1]["search"] == "engine, 768 → 3072, short list 20"
    assert told["documents"] == 60
    assert len(items(emulator)) == 40
    line += ["--corpus", str(files.corpus), "--compare-task", "none", "CLUSTERING"]
    assert main(line) == 0
    told = orjson.loads(capsys.readouterr().out)
    assert [cost["model"] for cost in told["costs"]] == [
        "gemini-embedding-2",
        "gemini-embedding-2/NONE",
        "gemini-embedding-2/CLUSTERING",
    ]
    assert len(items(emulator)) == 40 + 2 * (60 + 40), "vectors of another task aren't borrowed"
    assert main([*line[:-1], "NONSENSE"]) == 1
    assert "NONSENSE" in capsys.readouterr().err
    assert main([*line, "--collection", "nowhere"]) == 1
    assert "nowhere" in capsys.readouterr().err
    assert not (tmp_path / "index" / "nowhere").exists()
    assert main([*line, "--path", str(tmp_path / "nowhere")]) == 1
    assert "there is no folder" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()


def test_the_command_names_the_bad_line(
    files: Files,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from gemini2_core.cli import main

    monkeypatch.setenv("GEMINI_API_KEY", "any")
    bad = tmp_path / "bad.tsv"
    bad.write_text("q1\td1\tgood\nq1\td1\tworse\n")
    line = [
        *("evaluate", "--corpus", str(files.corpus), "--queries", str(files.queries)),
        *("--qrels", str(bad), "--output", str(tmp_path / "out"), "--base-url", "http://nowhere"),
    ]
    assert main(line) == 1
    assert f"{bad}:2: " in capsys.readouterr().err
    assert main([*line[:1], *line[3:]]) == 1
    assert "--corpus" in capsys.readouterr().err


def test_every_error_is_of_the_family() -> None:
    with pytest.raises(Gemini2Error):
        evaluate(OtherVendor(), "nowhere.jsonl", {}, {})  # type: ignore[arg-type]
