"""The bill before the run: what it says the run then pays, or it says how far it may err."""

from __future__ import annotations

import json
import math
import random
import re
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gemini2_core import Gemini2Embedder
from gemini2_core.cli import main
from gemini2_core.corpus import (
    BeirSource,
    DocumentsSource,
    Estimate,
    FilesSource,
    Item,
    Policy,
    aestimate,
    estimate,
)
from gemini2_core.corpus.billing.bill import Interval
from gemini2_core.corpus.billing.sampling import Reservoir, extrapolated, ratio
from gemini2_core.emulator import Emulator, serve
from gemini2_core.errors import ConfigurationError, InvalidInputError, ServiceError
from gemini2_core.model import TEXT_ESTIMATE_SPREAD, Backend, Modality
from tests.samples import png, wav

CORPUS = Path("cookbooks/corpus")
WORDS = "pump valve gasket strainer pressure of the a rinse, replaced overhauled 28.".split()


@pytest.fixture(scope="module")
def running() -> Iterator[Emulator]:
    with serve() as emulator:
        yield emulator


@pytest.fixture
def emulator(running: Emulator) -> Iterator[Emulator]:
    before = running.settings
    running.reset()
    yield running
    running._state.configure(before)
    running.reset()


Make = Callable[..., Gemini2Embedder]


@pytest.fixture
def make(emulator: Emulator) -> Iterator[Make]:
    made: list[Gemini2Embedder] = []

    def embedder(*args: str, **options: Any) -> Gemini2Embedder:
        made.append(Gemini2Embedder(*args, api_key="any", base_url=emulator.base_url, **options))
        return made[-1]

    yield embedder
    for one in made:
        one.close()


class Given:
    """A source of given items."""

    name = "given"

    def __init__(self, *items: Item) -> None:
        self._items = items

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def count(self) -> int | None:
        return len(self._items)


def texts(n: int, seed: int = 0, words: int = 20) -> list[Item]:
    rng = random.Random(seed)
    return [
        Item(
            place,
            f"{place}: " + " ".join(rng.choices(WORDS, k=rng.randint(1, 2 * words))),
            title=rng.choice([None, "Fuel", "A longer title"]),
        )
        for place in range(n)
    ]


def pay(embedder: Gemini2Embedder, items: list[Item]) -> dict[Modality, int]:
    """What embedding them is billed."""
    titles = [item.title for item in items]
    result = embedder.embed_documents([item.content for item in items], titles)
    return dict(result.usage.tokens)


def values(found: Estimate) -> dict[Modality, int]:
    return {kind: round(tokens.value) for kind, tokens in found.tokens.items()}


# ---- the article's figures


def test_ten_million_chunks_cost_what_the_article_says() -> None:
    found = Estimate.of_counts(10_000_000, 500)
    assert found.dollars == Interval.certain(1000)
    assert found.batch_dollars == Interval.certain(500)
    assert {one.dimensions: one.float32 for one in found.storage} == {
        768: 30_720_000_000,
        1536: 61_440_000_000,
        3072: 122_880_000_000,
    }
    assert all(4 * one.int8 == one.float32 for one in found.storage)
    said = str(found)
    assert "$1,000" in said
    assert "$500" in said
    assert "30.7 GB" in said


def test_the_command_says_so_without_reading_anything(capsys: pytest.CaptureFixture[str]) -> None:
    counts = ["--items", "10000000", "--tokens-per-item", "500"]
    assert main(["estimate", *counts]) == 0
    table = capsys.readouterr().out
    assert all(figure in table for figure in ("$1,000", "$500", "30.7 GB"))
    assert main(["estimate", *counts, "--model", "gemini-embedding-001", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["dollars"] == [750.0] * 3


# ---- what it says is what is paid


@pytest.mark.parametrize("task", ["RETRIEVAL_QUERY", "CLUSTERING", None])
def test_texts_are_counted_as_they_are_sent_prompts_and_titles_included(
    make: Make, task: str | None
) -> None:
    items = texts(40)
    found = estimate(Given(*items), task_type=task)
    assert values(found) == pay(make(task_type=task), items)
    assert (found.items, found.vectors, found.contents) == (40, 40, Interval.certain(40))


@pytest.mark.parametrize(
    ("contents", "title", "task", "billed"),
    [
        (["hello"], "Greeting", "RETRIEVAL_QUERY", {"TEXT": 7}),
        (["hello", "world"], None, "RETRIEVAL_QUERY", {"TEXT": 14}),
        (["hello"], None, "CLUSTERING", {"TEXT": 7}),
        (["Some text goes here"], None, None, {"TEXT": 4}),
        ([["a kiwi fruit", png(9), "green and fuzzy"]], None, None, {"TEXT": 6, "IMAGE": 258}),
        ([png(place) for place in range(7)], None, None, {"IMAGE": 1806}),
        ([wav(4.488)], None, None, {"AUDIO": 112}),
    ],
    ids=[
        "text_document_with_title_3072",
        "text_documents_no_title_3072",
        "text_clustering_3072",
        "text_bare_3072",
        "text_and_image_one_content_3072",
        "seven_images_in_seven_contents_128",
        "audio_only_3072",
    ],
)
def test_what_the_service_was_recorded_to_bill_is_what_is_said(
    contents: list[object], title: str | None, task: str | None, billed: dict[str, int]
) -> None:
    items = [Item(place, content, title) for place, content in enumerate(contents)]
    assert values(estimate(Given(*items), task_type=task)) == billed


def test_a_manual_with_pictures_sound_film_and_pdf_is_counted_by_modality(
    make: Make, emulator: Emulator
) -> None:
    source = FilesSource(CORPUS)
    found = estimate(source)
    paid = pay(make(), list(source))
    sent = sum(len(json.dumps(request.body)) for request in emulator.requests)
    assert sent < found.request_bytes < 1.2 * sent
    billed, said = paid.pop(Modality.TEXT), values(found)
    # What a PDF page says can be read only about as the service reads it.
    assert said.pop(Modality.TEXT) == pytest.approx(billed, rel=0.03)
    assert said == paid
    without = values(estimate(source, pdf_text=False))
    assert without[Modality.TEXT] < billed < said.get(Modality.TEXT, billed + 1)


def test_an_over_long_text_counts_in_the_windows_it_is_embedded_in(make: Make) -> None:
    long = Item("long", " ".join(f"Valve {n} of the pump is closed." for n in range(2500)))
    embedder = make()
    result = embedder.embed_documents([long.content])
    found = estimate(Given(long, *texts(3)))
    assert found.contents.value - 3 == result.usage.items > 1
    assert values(estimate(Given(long))) == dict(result.usage.tokens)
    (finding,) = found.findings
    assert (finding.kind, finding.count) == ("windows", 1)
    (told,) = finding.examples
    assert re.fullmatch(
        rf"long: a text of about 26,\d+ tokens, in {result.usage.items} windows", told
    )
    assert "averaged over several" in str(found)


def test_the_local_count_states_its_error_and_the_exact_one_has_none(make: Make) -> None:
    items = texts(20)
    low, high = TEXT_ESTIMATE_SPREAD
    local = estimate(Given(*items)).tokens[Modality.TEXT]
    assert (local.low, local.high) == (low * local.value, high * local.value)
    assert low < 1 < high
    exact = estimate(Given(*items), embedder=make(), exact=True)
    assert exact.tokens == {Modality.TEXT: Interval.certain(pay(make(), items)[Modality.TEXT])}
    assert exact.basis == "exact"


def test_counts_of_the_service_are_one_more_than_is_billed_and_survive_failures(
    make: Make, emulator: Emulator
) -> None:
    items = texts(10)
    emulator.configure(retry_delay=0.05)
    emulator.fail_next("500", "429")
    found = estimate(Given(*items), embedder=make(), exact=True)
    assert values(found) == pay(make(), items)
    emulator.configure(failure_rate=1.0, failures=("500",))
    with pytest.raises(ServiceError):
        estimate(Given(*items), embedder=make(retry_seconds=0.2), exact=True)


def test_a_sample_counted_by_the_service_sets_our_own_count_right(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A tokenizer that isn't ours: the emulator's own would agree with us on every text.
    def other(text: str) -> int:
        return len(text) // 4 + 1

    monkeypatch.setattr("gemini2_core.emulator.rules.count_tokens", other)
    items = texts(400)
    paid = pay(make(), items)[Modality.TEXT]
    local = estimate(Given(*items)).tokens[Modality.TEXT]
    found = estimate(Given(*items), embedder=make(), exact=True, sample=50)
    text = found.tokens[Modality.TEXT]
    assert text.low <= paid <= text.high
    assert abs(text.value / paid - 1) < 0.02 < abs(local.value / paid - 1)
    assert (text.high - text.low) / paid < 0.1
    assert (found.basis, found.sampled, found.items) == ("calibrated", 50, 400)


def test_a_sample_says_between_what_the_whole_lies() -> None:
    items = texts(1000)
    whole = estimate(Given(*items))
    found = estimate(Given(*items), sample=100)
    all_of_it, text = whole.tokens[Modality.TEXT], found.tokens[Modality.TEXT]
    assert (found.items, found.sampled, found.basis) == (1000, 100, "sample")
    assert text.low < all_of_it.value < text.high
    assert text.value == pytest.approx(all_of_it.value, rel=0.15)
    assert text.low < all_of_it.low
    assert found == estimate(Given(*items), sample=100), "the same sample every time"
    few = estimate(Given(*items[:50]), sample=100)
    assert few.tokens == estimate(Given(*items[:50])).tokens, "a sample of all is all"


def test_what_a_sample_finds_stands_for_all(tmp_path: Path) -> None:
    items = [Item(n, "![](gone.png)" if n % 3 == 0 else "text") for n in range(300)]
    found = estimate(Given(*items), sample=100, media_root=tmp_path)
    assert 60 < found.refused < 140  # 100, and five deviations
    assert found.vectors == 300 - found.refused
    assert f"about {found.refused} refused" in str(found)


def test_intervals_hold_as_often_as_they_say() -> None:
    rng = random.Random(5)
    hits = ratios = 0
    for _ in range(300):
        population = [rng.lognormvariate(4, 0.6) for _ in range(500)]
        others = [one * rng.uniform(0.7, 1.1) for one in population]
        drawn: Reservoir[int] = Reservoir(60)
        drawn._random.seed(rng.random())
        for place in range(500):
            drawn.offer(place)
        found = extrapolated([population[place] for place in drawn.drawn], 500)
        hits += found.low <= sum(population) <= found.high
        factor = ratio(
            [others[p] for p in drawn.drawn], [population[p] for p in drawn.drawn], 500
        ).times(sum(population))
        ratios += factor.low <= sum(others) <= factor.high
    assert 0.90 < hits / 300 <= 1
    assert 0.90 < ratios / 300 <= 1


def test_an_interval_is_that_of_theory() -> None:
    values = [float(n * n % 37) for n in range(60)]
    found = extrapolated(values, 100)
    # Of a sample that isn't put back.
    error = 100 * math.sqrt(statistics.variance(values) / 60 * (1 - 60 / 100))
    assert found.value == pytest.approx(100 * statistics.mean(values))
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error)
    doubled = ratio([2 * one for one in values], values, 100)
    assert (doubled.low, doubled.high) == (2, 2), "where the ratio is the same for all, it is sure"


def test_a_reservoir_draws_each_with_the_same_chance() -> None:
    drawn = [0] * 20
    for seed in range(2000):
        reservoir: Reservoir[int] = Reservoir(5)
        reservoir._random.seed(seed)
        for one in range(20):
            reservoir.offer(one)
        for one in reservoir.drawn:
            drawn[one] += 1
    assert all(400 < times < 600 for times in drawn)  # 500, and four deviations


# ---- what won't go through


def test_what_would_be_refused_is_told_with_the_reason(tmp_path: Path) -> None:
    for place in range(7):
        (tmp_path / f"{place}.png").write_bytes(png(place))
    (tmp_path / "long.wav").write_bytes(wav(181))
    pictures = " ".join(f"![]({place}.png)" for place in range(7))
    found = estimate(
        Given(
            Item("seven", pictures),
            Item("sound", "![](long.wav)"),
            Item("gone", "![](gone.png)"),
            Item("good", "![](0.png) text"),
        ),
        media_root=tmp_path,
    )
    (refused,) = found.findings
    assert (refused.kind, refused.count, found.refused) == ("refused", 3, 3)
    for example, said in zip(
        refused.examples,
        ("seven: 7 images are in one content", "sound: .*181.0 s long", "gone: .*no file"),
        strict=True,
    ):
        assert re.match(said, example), example
    assert (found.items, found.vectors) == (4, 1)
    assert found.tokens[Modality.IMAGE] == Interval.certain(258)
    assert found.storage[0].float32 == 768 * 4


@pytest.mark.parametrize(
    ("on_overflow", "kind", "contents"),
    [("average", "windows", 4), ("truncate", "cut", 1), ("error", "refused", 0)],
)
def test_an_over_long_text_is_told_as_the_embedder_would_treat_it(
    on_overflow: Any, kind: str, contents: int
) -> None:
    long = Item("long", "The valve of the pump is closed. " * 3000)
    found = estimate(Given(long), on_overflow=on_overflow)
    assert [(one.kind, one.count) for one in found.findings] == [(kind, 1)]
    assert found.contents.value == contents
    assert found.vectors == (kind != "refused")


def test_media_are_refused_by_a_model_that_reads_text_alone(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(1))
    found = estimate(
        Given(Item(1, "![](a.png)")), media_root=tmp_path, model="gemini-embedding-001"
    )
    assert "reads text only" in found.findings[0].examples[0]


def test_what_the_source_leaves_out_is_on_the_bill_and_no_warning(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"_id": "a", "text": "one"}\n{"_id": "a", "text": "two"}\nno JSON\n')
    found = estimate(BeirSource(path, policy=Policy.lenient()))
    assert found.items == 1
    assert "left out by the source: 2" in str(found)
    assert "line 3: the line isn't JSON" in str(found)
    assert found.to_dict()["left_out"] == {"duplicate": 1, "unreadable": 1}
    with pytest.raises(InvalidInputError, match="line 2"):
        estimate(BeirSource(path))


# ---- time


def test_the_tighter_quota_says_how_long_it_takes() -> None:
    found = Estimate.of_counts(6000, 100, requests_per_minute=1000, tokens_per_minute=200_000)
    assert found.seconds == Interval.certain(360)
    found = Estimate.of_counts(6000, 100, requests_per_minute=1000, tokens_per_minute=20_000)
    assert found.seconds == Interval.certain(1800)
    assert Estimate.of_counts(6000, 100).seconds is None
    assert "1,000 items a minute" in str(Estimate.of_counts(6, 1, requests_per_minute=1000))


def test_windows_count_against_the_quota_of_items() -> None:
    long = Item("long", "The valve of the pump is closed. " * 3000)
    found = estimate(Given(long), requests_per_minute=1)
    assert found.seconds == Interval.certain(240)


def test_the_batch_api_has_a_target_and_vertex_has_none() -> None:
    found = Estimate.of_counts(10_000_000, 500)
    assert found.batch_seconds == 24 * 3600
    assert 10 <= found.batch_jobs <= 100
    vertex = Estimate.of_counts(10, 5, backend=Backend.VERTEX)
    assert (vertex.batch_dollars, vertex.batch_seconds) == (None, None)
    assert "Batch API, in" not in str(vertex)


# ---- showing itself


def test_the_table_lines_up_and_says_how_it_was_counted() -> None:
    found = estimate(Given(*texts(50)), requests_per_minute=3000)
    lines = str(found).splitlines()
    head = next(place for place, line in enumerate(lines) if "Batch API" in line)
    assert len({len(line) for line in lines[head : head + 2]}) == 1
    assert lines[0] == "given: 50 items, with gemini-embedding-2"
    assert "-30% to +10%" in " ".join(lines[-2:])
    assert max(map(len, lines)) <= 100


def test_in_a_notebook_everything_from_the_corpus_is_escaped() -> None:
    bad = Item("<script>", "The valve of the pump is closed. " * 3000)
    html = estimate(Given(bad))._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert html.count("<table>") == 3


def test_json_says_it_all() -> None:
    found = estimate(Given(*texts(50)), tokens_per_minute=1000)
    told = json.loads(found.to_json())
    assert told["tokens"] == {"TEXT": found.tokens[Modality.TEXT].to_list()}
    assert told["seconds"] == found.seconds.to_list() if found.seconds else False
    assert told["payload_bytes"] == found.payload_bytes == 50 * len("{}")


def test_progress_is_told_up_to_the_last_item() -> None:
    told: list[tuple[int, int]] = []
    estimate(Given(*texts(300)), on_progress=lambda done, total: told.append((done, total)))
    assert told == [(256, 300), (300, 300)]


async def test_it_is_awaited_too() -> None:
    items = texts(5)
    assert await aestimate(Given(*items), model="gemini-embedding-001") == estimate(
        Given(*items), model="gemini-embedding-001"
    )


@pytest.mark.parametrize(
    "call",
    [
        lambda: estimate(Given(), exact=True),
        lambda: estimate(Given(), sample=29),
        lambda: estimate(Given(), model="gpt"),
        lambda: Estimate.of_counts(-1, 5),
        lambda: Estimate.of_counts(1, float("nan")),
        lambda: Estimate.of_counts(1, float("inf")),
        lambda: Estimate.of_counts(1, 5, requests_per_minute=0),
        lambda: estimate(Given(), tokens_per_minute=-10),
        lambda: Estimate.of_counts(1, 5, modality=Modality.IMAGE, model="gemini-embedding-001"),
    ],
)
def test_arguments_that_can_not_work_are_refused(call: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError):
        call()


def test_an_empty_corpus_costs_nothing() -> None:
    found = estimate(DocumentsSource([]))
    assert (found.items, found.tokens, found.dollars.value, found.batch_jobs) == (0, {}, 0, 0)
    assert "0 items" in str(found)
    assert "Batch API, in" not in str(found)
    assert estimate(DocumentsSource([]), sample=30).dollars == found.dollars


# ---- the command


def test_the_command_reads_files_and_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["estimate", str(CORPUS)]) == 0
    assert "video" in capsys.readouterr().out
    (tmp_path / "a.csv").write_text("id,text\n1,one\n2,two\n")
    table = [str(tmp_path / "a.csv"), "--column", "text", "--id-column", "id"]
    assert main(["estimate", *table, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["items"] == 2
    (tmp_path / "a.csv").write_text("id;text\n1;für\n2;two\n", "cp1252")
    assert main(["estimate", *table, "--json", "--delimiter", ";", "--encoding", "cp1252"]) == 0
    assert json.loads(capsys.readouterr().out)["items"] == 2


def test_files_of_a_folder_that_are_not_read_are_on_the_bill(tmp_path: Path) -> None:
    for name in ("a.md", "b.docx", "c.DOCX", "sub/d.webp", "Makefile", ".hidden", ".git/config"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text")
    bill = estimate(FilesSource(tmp_path))
    assert f"{tmp_path}: 1 item, with" in str(bill)
    assert "other kinds of files: 4 (2 .docx, 1 without a suffix, 1 .webp)" in str(bill)
    assert bill.to_dict()["passed_over"] == {".docx": 2, ".webp": 1, "": 1}
    assert "other kinds" not in str(estimate(FilesSource(tmp_path / "a.md")))


def test_the_command_reads_a_collection_and_says_what_it_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("qdrant_edge")
    from gemini2_core.index import MatryoshkaCollection

    space = "gemini-embedding-2/RETRIEVAL"
    with MatryoshkaCollection("docs", space=space, tiers=(4,), path=tmp_path) as made:
        made.add(["a", "b", "c"], [[1.0] * 4] * 3, [{"text": "one"}, {"text": "two"}, {"n": 1}])
    assert main(["estimate", "--collection", "docs", "--path", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert f"collection 'docs' at {tmp_path}/docs: 2 items" in said
    assert "left out by the source: 1" in said
    assert "its fields are n" in said


def test_the_command_has_the_service_count_with_a_key(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    command = ["estimate", str(CORPUS / "28-40-indicating.md"), "--exact"]
    assert main(command) == 1
    assert "no API key" in capsys.readouterr().err
    monkeypatch.setenv("GEMINI_API_KEY", "any")
    assert main([*command, "--base-url", emulator.base_url]) == 0
    assert "counted by the service" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give paths, or --collection"),
        (["none"], "no file or folder"),
        (["--collection", "docs"], "--path or --url"),
        (["README.md", "--path", "docs"], "--path is of a --collection"),
        (["--collection", "docs", "--column", "text"], "--column is of files"),
        (["--items", "5"], "--tokens-per-item"),
        (["--tokens-per-item", "5", "x"], "needs --items"),
        (["--items", "5", "--tokens-per-item", "5", "--exact"], "give no other"),
    ],
)
def test_the_command_says_what_is_missing(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["estimate", *arguments]) == 1
    assert said in capsys.readouterr().err
