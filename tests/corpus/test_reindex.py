"""``reindex``: every item once in the new collection, whatever happens on the way."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from cookbooks.qdrant_on_loopback import serve as serve_qdrant
from gemini2_core import Gemini2Embedder
from gemini2_core.corpus import Item, ReindexProgress, areindex, failures, reindex
from gemini2_core.corpus.filling import unfilled_shards
from gemini2_core.emulator import Emulator, serve
from gemini2_core.errors import (
    ConfigurationError,
    DailyQuotaError,
    Gemini2Error,
    IndexLockedError,
    IndexMismatchError,
    IndexUnavailableError,
    InvalidInputError,
)
from gemini2_core.index import MatryoshkaCollection
from gemini2_core.model import Modality
from tests.corpus.corpora import MadeUp, made_up
from tests.embedding.conftest import draw

TIERS = (128, 768)


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

    def embedder(*args: str, **options: object) -> Gemini2Embedder:
        options = {"api_key": "any", "base_url": emulator.base_url, **options}
        made.append(Gemini2Embedder(*args, **options))  # type: ignore[arg-type]
        return made[-1]

    yield embedder
    for one in made:
        one.close()


def collection(name: str = "new", **options: object) -> MatryoshkaCollection:
    options = {"space": "gemini-embedding-2/RETRIEVAL", "tiers": TIERS, **options}
    return MatryoshkaCollection(name, **options)  # type: ignore[arg-type]


def items_sent(emulator: Emulator) -> int:
    return sum(record.items for record in emulator.requests if record.status == 200)


def test_every_item_is_embedded_once_and_stored_under_its_id(
    make: Make, emulator: Emulator, tmp_path: Path
) -> None:
    embedder, target = make(), collection()
    report = reindex(MadeUp(100), embedder, target, checkpoint=tmp_path / "c", page=30)
    assert report.finished
    assert (report.read, report.stored, report.failed) == (100, 100, 0)
    assert items_sent(emulator) == 100
    assert embedder.usage.total_tokens == report.usage.total_tokens == sum(report.tokens.values())
    assert report.dollars == pytest.approx(report.usage.dollars)
    stored = {record.id: record for record in target.scroll(with_vectors=True)}
    assert len(stored) == target.count() == 100
    wanted = [made_up(number) for number in range(100)]
    rows = make(dimensions=768).embed_documents([str(item.content) for item in wanted]).vectors
    for item, row in zip(wanted, rows, strict=True):
        assert stored[item.id].payload == item.payload
        vector = stored[item.id].vector
        assert vector is not None
        assert np.allclose(vector, row, atol=1e-6)
    assert unfilled_shards(target) == []


def test_a_second_run_sends_what_is_new_or_changed_and_tells_what_is_gone(
    make: Make, emulator: Emulator, tmp_path: Path
) -> None:
    def changed(number: int, item: Item) -> Item | None:
        if number == 7:
            return None
        if number == 8:
            return dataclasses.replace(item, content="another text altogether")
        if number == 9:
            return dataclasses.replace(item, payload={"page_content": "the payload alone"})
        if number == 10:
            return dataclasses.replace(item, title="a title of late")
        return item

    embedder, target = make(), collection()
    reindex(MadeUp(20), embedder, target, checkpoint=tmp_path / "c")
    before = {record.id: record.vector for record in target.scroll(with_vectors=True)}
    emulator.reset()
    report = reindex(MadeUp(21, change=changed), embedder, target, checkpoint=tmp_path / "c")
    assert (report.stored, report.changed, report.payloads) == (3, 2, 1)
    assert (report.unchanged, report.removed, report.removed_ids) == (16, 1, ("doc-7",))
    assert items_sent(emulator) == 3
    assert target.count() == 21, "what is gone is told, and kept"
    [nine] = target.get(["doc-9"], with_vectors=True)
    assert nine.payload == {"page_content": "the payload alone"}
    old = before["doc-9"]
    assert nine.vector is not None
    assert old is not None
    assert np.allclose(nine.vector, old, atol=1e-7)

    report = reindex(
        MadeUp(21, change=changed), embedder, target, checkpoint=tmp_path / "c", delete_removed=True
    )
    assert (report.stored, report.removed, report.deleted) == (0, 1, True)
    assert target.get(["doc-7"]) == []
    assert items_sent(emulator) == 3
    report = reindex(MadeUp(21, change=changed), embedder, target, checkpoint=tmp_path / "c")
    assert report.removed == 0


def test_what_cant_be_embedded_is_told_with_its_reason_and_the_others_go_on(
    make: Make, tmp_path: Path
) -> None:
    def bad(number: int, item: Item) -> Item:
        if number % 10 == 3:
            return dataclasses.replace(item, content="  ")
        if number == 14:
            return dataclasses.replace(item, content=Path("not/there.png"))
        if number == 15:
            return dataclasses.replace(item, id="")
        if number == 16:
            return dataclasses.replace(item, payload={"when": object()})
        if number == 17:
            return dataclasses.replace(item, id=None)  # type: ignore[arg-type]  # a careless source
        return item

    target = collection()
    checkpoint = tmp_path / "c.sqlite"
    report = reindex(MadeUp(40, change=bad), make(), target, checkpoint=checkpoint, page=16)
    assert report.finished
    assert (report.stored, report.failed) == (32, 8)
    assert target.count() == 32
    told = {one.id: one.reason for one in failures(checkpoint)}
    assert set(told) == {"doc-3", "doc-13", "doc-23", "doc-33", "doc-14", "", "doc-16", "None"}
    assert "empty" in told["doc-3"]
    assert "not/there.png" in told["doc-14"]
    assert "input" not in told["doc-14"], "a place in a call means nothing here"
    assert "doc-33" in str(report)

    report = reindex(MadeUp(40), make(), target, checkpoint=checkpoint)
    assert (report.stored, report.failed) == (8, 0)
    assert list(failures(checkpoint)) == []
    with pytest.raises(InvalidInputError, match=r"item 'doc-3'.*empty"):
        reindex(
            MadeUp(40, change=bad),
            make(),
            collection("other"),
            checkpoint=tmp_path / "other",
            stop_on_failure=True,
        )


def test_items_that_the_service_refuses_are_found_among_the_others(
    make: Make, emulator: Emulator, tmp_path: Path
) -> None:
    def foreign(number: int, item: Item) -> Item:
        if number in (5, 17, 18):
            from gemini2_core import Media

            return dataclasses.replace(
                item, content=Media.from_uri("https://example.com/a.png", mime_type="image/png")
            )
        return item

    target = collection()
    report = reindex(MadeUp(40, change=foreign), make(), target, checkpoint=tmp_path / "c")
    assert (report.stored, report.failed) == (37, 3)
    assert {one.id for one in report.failures} == {"doc-5", "doc-17", "doc-18"}


def test_an_id_that_comes_twice_is_stored_once(make: Make, tmp_path: Path) -> None:
    def same(number: int, item: Item) -> Item:
        return dataclasses.replace(item, id=f"doc-{number % 10}")

    target = collection()
    report = reindex(MadeUp(25, change=same), make(), target, checkpoint=tmp_path / "c", page=7)
    assert (report.stored, report.repeated) == (10, 15)
    [zero] = target.get(["doc-0"])
    assert zero.payload == made_up(0).payload, "the first counts"


@pytest.mark.parametrize("page", [16, 512])
def test_the_money_isnt_overspent_and_a_higher_limit_goes_on(
    make: Make, emulator: Emulator, tmp_path: Path, page: int
) -> None:
    embedder, target = make(), collection()
    whole = make().embed_documents([str(made_up(n).content) for n in range(200)]).usage.dollars
    emulator.reset()
    limit = whole * 0.55
    options = {"checkpoint": tmp_path / "c", "page": page}
    report = reindex(MadeUp(200), embedder, target, max_dollars=limit, **options)  # type: ignore[arg-type]
    assert not report.finished
    assert "$" in report.stopped
    assert limit * 0.9 < report.dollars <= limit
    assert unfilled_shards(target) == ["0/1"]
    again = reindex(MadeUp(200), embedder, target, max_dollars=limit, **options)  # type: ignore[arg-type]
    assert (again.stored, again.finished) == (0, False)
    rest = reindex(MadeUp(200), embedder, target, max_dollars=whole * 1.2, **options)  # type: ignore[arg-type]
    assert rest.finished
    assert rest.dollars == pytest.approx(whole)
    assert items_sent(emulator) == target.count() == 200


def test_the_quota_of_the_day_ends_a_run_and_nothing_is_lost(
    make: Make, emulator: Emulator, tmp_path: Path
) -> None:
    emulator.configure(requests_per_day=120)
    embedder, target = make(batch_size=10), collection()
    with pytest.raises(DailyQuotaError, match=r"go on tomorrow.*items are stored.*goes on"):
        reindex(MadeUp(200), embedder, target, checkpoint=tmp_path / "c", page=50)
    emulator.configure(requests_per_day=None)
    report = reindex(MadeUp(200), embedder, target, checkpoint=tmp_path / "c", page=50)
    assert report.finished
    assert target.count() == 200
    assert items_sent(emulator) == 200, "what was paid for and not stored came from the checkpoint"
    assert report.dollars == pytest.approx(embedder.usage.dollars, rel=0.02)


def test_quotas_failures_and_lost_answers_lose_and_double_nothing(
    make: Make, emulator: Emulator, tmp_path: Path
) -> None:
    emulator.configure(
        failure_rate=0.3,
        failures=("429", "429_no_hint", "500", "503", "missing"),
        retry_delay=0.01,
        seed=3,
    )
    target = collection()
    report = reindex(MadeUp(300), make(batch_size=16), target, checkpoint=tmp_path / "c", page=64)
    assert report.finished
    assert (report.stored, target.count()) == (300, 300)
    assert report.usage.retries


def test_a_checkpoint_goes_on_for_its_own_move_alone(make: Make, tmp_path: Path) -> None:
    checkpoint, target = tmp_path / "c", collection()
    reindex(MadeUp(5), make(), target, checkpoint=checkpoint)
    with pytest.raises(ConfigurationError, match=r"another move: its source is 'made up', not 'b'"):
        reindex(MadeUp(5, name="b"), make(), target, checkpoint=checkpoint)
    with pytest.raises(ConfigurationError, match=r"its shard is '0/1', not '1/2'"):
        reindex(MadeUp(5), make(), target, checkpoint=checkpoint, shard=(1, 2))
    with pytest.raises(ConfigurationError, match="its target is"):
        reindex(MadeUp(5), make(), collection("another"), checkpoint=checkpoint)
    with pytest.raises(IndexMismatchError, match="can't be compared"):
        reindex(MadeUp(5), make(task_type="CLUSTERING"), target, checkpoint=checkpoint)
    with pytest.raises(ConfigurationError, match=r"hasn't got them.*delete the checkpoint"):
        reindex(MadeUp(5), make(), collection(), checkpoint=checkpoint)
    (tmp_path / "notes").write_text("no checkpoint at all, but long enough to look at" * 10)
    with pytest.raises(ConfigurationError, match="is no checkpoint"):
        reindex(MadeUp(5), make(), target, checkpoint=tmp_path / "notes")


def test_a_second_process_with_the_same_checkpoint_is_told(make: Make, tmp_path: Path) -> None:
    from gemini2_core.corpus.moving.checkpoint import Checkpoint, Identity

    identity = Identity("made up", "gemini-embedding-2/RETRIEVAL", "'new' at :memory:", "0/1")
    with (
        Checkpoint(tmp_path / "c", identity),
        pytest.raises(IndexLockedError, match=r"in use by another process.*shard="),
    ):
        reindex(MadeUp(5), make(), collection(), checkpoint=tmp_path / "c")


def test_a_dry_run_counts_and_writes_nothing(
    make: Make, emulator: Emulator, tmp_path: Path
) -> None:
    def bad(number: int, item: Item) -> Item:
        return dataclasses.replace(item, content="") if number == 3 else item

    folder, checkpoint = tmp_path / "index", tmp_path / "c"
    source = MadeUp(50, change=bad)
    with collection(path=folder) as target:
        target.close()
    report = reindex(
        source, make(), collection("never", path=folder), checkpoint=checkpoint, dry_run=True
    )
    assert (report.read, report.stored, report.failed) == (50, 49, 1)
    assert not emulator.requests
    assert not (folder / "never").exists()
    assert not checkpoint.exists()
    target = collection()
    done = reindex(source, make(), target, checkpoint=checkpoint)
    assert report.tokens == done.tokens
    assert report.dollars == pytest.approx(done.dollars)
    written = checkpoint.read_bytes()
    again = reindex(MadeUp(60), make(), target, checkpoint=checkpoint, dry_run=True)
    assert (again.unchanged, again.stored) == (49, 11)
    assert checkpoint.read_bytes() == written
    assert "would" in str(again)


def test_progress_tells_rate_cost_and_time_left(make: Make, tmp_path: Path) -> None:
    seen: list[ReindexProgress] = []
    report = reindex(
        MadeUp(100),
        make(),
        collection(),
        checkpoint=tmp_path / "c",
        page=20,
        on_progress=seen.append,
    )
    assert [one.read for one in seen] == sorted(one.read for one in seen)
    assert (seen[-1].read, seen[-1].total) == (100, 100)
    assert seen[-1].dollars == pytest.approx(report.dollars)
    assert seen[0].rate > 0
    assert (seen[0].seconds_left or 0) > 0
    assert seen[-1].seconds_left == 0
    gone_on_with = ReindexProgress(900, 1000, stored=10, failed=0, dollars=1.0, seconds=5.0)
    assert gone_on_with.seconds_left == 50

    def broken(_: ReindexProgress) -> None:
        raise KeyError("mine")

    with pytest.raises(Gemini2Error, match="on_progress raised KeyError"):
        reindex(MadeUp(100), make(), collection("b"), checkpoint=tmp_path / "d", on_progress=broken)


def test_a_bar_shows_what_it_costs(
    make: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    reindex(MadeUp(30), make(), collection(), checkpoint=tmp_path / "c", show_progress=True)
    assert "30/30" in (shown := capfd.readouterr().err)
    assert "$0.00" in shown


def test_cancelling_keeps_what_was_paid_for(make: Make, emulator: Emulator, tmp_path: Path) -> None:
    emulator.configure(latency=0.02)
    embedder, target = make(batch_size=10, max_concurrency=2), collection()
    begun = threading.Event()

    async def cancelled() -> None:
        task = asyncio.create_task(
            areindex(
                MadeUp(300),
                embedder,
                target,
                checkpoint=tmp_path / "c",
                page=30,
                on_progress=lambda _: begun.set(),
            )
        )
        await asyncio.to_thread(begun.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert 0 < target.count() < 300
    report = reindex(MadeUp(300), embedder, target, checkpoint=tmp_path / "c", page=30)
    assert report.finished
    assert target.count() == 300
    assert items_sent(emulator) == 300, "what was in flight came in and was kept"


def test_a_hybrid_collection_gets_the_words(make: Make, tmp_path: Path) -> None:
    target = collection(hybrid=True)
    reindex(MadeUp(30), make(), target, checkpoint=tmp_path / "c")
    vector = make(dimensions=768).embed_queries(["nothing of the kind"]).vectors[0]
    dense = [hit.id for hit in target.search(vector, 2)]
    assert "doc-17" not in dense
    assert "doc-17" in [hit.id for hit in target.search(vector, 2, text="17")]


def test_an_embedders_own_cache_is_asked_and_filled(
    make: Make, emulator: Emulator, tmp_path: Path
) -> None:
    embedder = make(cache=tmp_path / "cache.sqlite")
    embedder.embed_documents([str(made_up(n).content) for n in range(10)])
    emulator.reset()
    report = reindex(MadeUp(20), embedder, collection(), checkpoint=tmp_path / "c")
    assert (report.stored, report.usage.cached, items_sent(emulator)) == (20, 10, 10)
    assert embedder.embed_documents([str(made_up(15).content)]).usage.cached == 1


def test_a_second_writer_to_a_folder_is_told(make: Make, tmp_path: Path) -> None:
    with (
        collection(path=tmp_path / "index"),
        pytest.raises(IndexLockedError, match="one writer"),
    ):
        reindex(MadeUp(5), make(), collection(path=tmp_path / "index"), checkpoint=tmp_path / "c")


def test_a_server_that_dies_in_the_middle_costs_nothing_twice(
    make: Make, emulator: Emulator, tmp_path: Path
) -> None:
    with serve_qdrant() as server:
        target = collection(url=str(server), retry_seconds=0)
        server.die_after(3)
        with pytest.raises(IndexUnavailableError, match=r"items are stored.*goes on from there"):
            reindex(MadeUp(300), make(), target, checkpoint=tmp_path / "c", page=50)
        server.revive()
        report = reindex(MadeUp(300), make(), target, checkpoint=tmp_path / "c", page=50)
        assert report.finished
        assert target.count() == 300
        target.close()
    assert items_sent(emulator) == 300, "what the server didn't take was kept"


def test_a_picture_that_changed_is_embedded_anew_and_an_untouched_one_isnt(
    make: Make, emulator: Emulator, tmp_path: Path
) -> None:
    def pictured(number: int, item: Item) -> Item:
        path = draw(tmp_path / f"{number}.png", "red") if number not in drawn else drawn[number]
        drawn[number] = path
        text = f"{item.content} ![]({path.name})" if number % 2 else path
        return dataclasses.replace(item, content=text)

    drawn: dict[int, Path] = {}
    embedder, target = make(media_root=tmp_path), collection()
    source = MadeUp(6, change=pictured)
    report = reindex(source, embedder, target, checkpoint=tmp_path / "c")
    assert (report.stored, report.tokens[Modality.IMAGE]) == (6, 6 * 258)
    emulator.reset()
    draw(drawn[2], "red")  # as it was, though written anew
    draw(drawn[3], "blue")
    drawn[4].unlink()
    report = reindex(source, embedder, target, checkpoint=tmp_path / "c")
    assert (report.unchanged, report.stored, report.changed, report.failed) == (4, 1, 1, 1)
    assert items_sent(emulator) == 1
    assert report.removed == 0, "one that can't be read isn't gone"
    assert "4.png" in report.failures[0].reason


def test_a_source_that_breaks_off_keeps_what_came_before(
    make: Make, emulator: Emulator, tmp_path: Path
) -> None:
    def broken(number: int, item: Item) -> Item:
        if number == 150:
            raise InvalidInputError("line 151: no JSON")
        return item

    target = collection()
    with pytest.raises(InvalidInputError, match="line 151"):
        reindex(MadeUp(200, change=broken), make(), target, checkpoint=tmp_path / "c", page=40)
    report = reindex(MadeUp(200), make(), target, checkpoint=tmp_path / "c", page=40)
    assert report.finished
    assert target.count() == 200
    assert items_sent(emulator) == 200
