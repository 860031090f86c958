"""Jobs and lines that end in every way there is, and nothing lost or paid twice by it."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import numpy as np
import pytest

from gemini2_core import Gemini2Embedder, Media
from gemini2_core.embedding.batch import work
from gemini2_core.embedding.batch.service import JobService
from gemini2_core.emulator import Emulator
from gemini2_core.errors import (
    AuthenticationError,
    ServiceError,
    ServiceTimeoutError,
)
from tests.embedding.batch.conftest import Open, files, jobs, paid, states
from tests.embedding.conftest import KEY, Make
from tests.emulator.talk import call

TEXTS = [f"text number {n}" for n in range(20)]
KEYED = [(f"k{n}", text) for n, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def right(shared: Gemini2Embedder) -> dict[str, bytes]:
    rows = shared.embed_documents(TEXTS).vectors
    return {key: row.tobytes() for (key, _), row in zip(KEYED, rows, strict=True)}


def vectors(run: object) -> dict[str, bytes]:
    found = run.collect()  # type: ignore[attr-defined]
    return {key: vector.tobytes() for key, vector, error in found if error is None}


def test_results_out_of_order(emulator: Emulator, open_run: Open, right: dict[str, bytes]) -> None:
    emulator.configure(batch_out_of_order=True)
    run = open_run()
    run.submit(KEYED)
    run.wait(10)
    assert vectors(run) == right


@pytest.mark.parametrize("lines", [3, 7, 1000])
def test_jobs_of_several_sizes(
    emulator: Emulator, open_run: Open, right: dict[str, bytes], lines: int
) -> None:
    run = open_run(lines_per_job=lines)
    run.submit(KEYED)
    run.wait(10)
    assert vectors(run) == right
    sizes = [job.lines for job in run.status().jobs]
    assert sizes == [lines] * (20 // lines) + ([20 % lines] if 20 % lines else [])


def test_jobs_are_split_by_bytes_and_tokens(emulator: Emulator, open_run: Open) -> None:
    run = open_run(bytes_per_job=1000)
    run.submit(KEYED)
    assert all(job.lines in (6, 7, 8, 2, 4) for job in run.status().jobs)
    assert len(run.status().jobs) == len(jobs(emulator)) > 2
    run.wait(10)
    before = len(jobs(emulator))
    run = open_run(tokens_per_job=50)
    run.submit((f"t{n}", f"other {n}") for n in range(20))
    run.wait(10)
    assert len(jobs(emulator)) - before == 4


def test_some_lines_fail_and_only_they_are_sent_again(
    emulator: Emulator, open_run: Open, right: dict[str, bytes]
) -> None:
    emulator.configure(batch_failing=0.4)
    run = open_run(tries=10)
    run.submit(KEYED)
    run.wait(10)
    assert vectors(run) == right
    assert paid(emulator) == 20 == run.usage.items
    sizes = [job.lines for job in run.status().jobs]
    assert sizes[0] == 20
    assert sorted(sizes, reverse=True) == sizes
    assert sizes[1] == 20 - run.status().jobs[0].done
    assert files(emulator) == []


def test_lines_that_keep_failing_are_reported(emulator: Emulator, open_run: Open) -> None:
    emulator.configure(batch_outcome="fail_lines")
    run = open_run()
    run.submit(KEYED[:3])
    status = run.wait(10)
    assert (status.done, status.failed, len(jobs(emulator))) == (0, 3, 3)
    for _, vector, error in run.collect():
        assert vector is None
        assert isinstance(error, ServiceError)
        assert "13: Internal error" in str(error)
    assert run.usage.dollars == 0
    assert files(emulator) == []


def test_all_lines_fail_once(emulator: Emulator, open_run: Open, right: dict[str, bytes]) -> None:
    emulator.configure(batch_outcomes=("fail_lines",))
    run = open_run()
    run.submit(KEYED)
    run.wait(10)
    assert vectors(run) == right
    assert states(run) == ["SUCCEEDED", "SUCCEEDED"]


def test_failed_lines_can_be_embedded_online(
    emulator: Emulator, embedder: Gemini2Embedder, open_run: Open, right: dict[str, bytes]
) -> None:
    emulator.configure(batch_failing=0.4)
    run = open_run(on_failed="online")
    run.submit(KEYED)
    run.wait(10)
    assert vectors(run) == right
    assert len(jobs(emulator)) == 1
    done = run.status().jobs[0].done
    assert 0 < done < 20
    online = embedder.embed_documents([text for _, text in KEYED]).usage.dollars / 20
    assert run.usage.dollars == pytest.approx(online * (20 - done) + online / 2 * done, rel=0.1)


def test_each_line_that_fails_online_too_says_why_and_takes_no_other_with_it(
    emulator: Emulator, open_run: Open, right: dict[str, bytes]
) -> None:
    emulator.configure(batch_outcome="fail_lines")
    run = open_run(on_failed="online")
    lost = [
        (f"lost {n}", Media.from_uri(f"{emulator.base_url}/v1beta/files/lost-{n}", "image/png"))
        for n in range(3)
    ]
    run.submit([*KEYED[:10], *lost, *KEYED[10:]])
    run.wait(10)
    assert vectors(run) == right
    assert len(jobs(emulator)) == 1
    errors = {key: str(error) for key, _, error in run.collect() if error is not None}
    assert sorted(errors) == ["lost 0", "lost 1", "lost 2"]
    assert all(f"lost-{n}" in errors[f"lost {n}"] for n in range(3))


def test_what_was_given_up_is_tried_again_when_it_is_submitted_again(
    emulator: Emulator, open_run: Open, right: dict[str, bytes]
) -> None:
    emulator.configure(batch_outcomes=("fail_lines",))
    run = open_run(tries=1, lines_per_job=10)
    run.submit(KEYED)
    status = run.wait(10)
    assert (status.done, status.failed) == (10, 10)
    assert run.submit(KEYED) == 0  # none of them is new
    status = run.wait(10)
    assert (status.done, status.failed, status.lines) == (20, 0, 20)
    assert vectors(run) == right
    assert paid(emulator) == 20 == run.usage.items
    assert [job.lines for job in run.status().jobs] == [10, 10, 10]


def test_what_can_never_be_embedded_is_not_tried_again(emulator: Emulator, open_run: Open) -> None:
    lost = Media.from_uri(f"{emulator.base_url}/v1beta/files/lost", "image/png")
    emulator.configure(batch_outcome="fail_lines")
    run = open_run(on_failed="online")
    run.submit([("lost", lost)])
    assert run.wait(10).failed == 1
    assert run.submit([("lost", lost), ("the same", lost)]) == 1
    assert run.wait(10).failed == 1
    assert len(jobs(emulator)) == 1


def test_failed_lines_can_be_reported_at_once(emulator: Emulator, open_run: Open) -> None:
    emulator.configure(batch_failing=0.4)
    run = open_run(on_failed="report")
    run.submit(KEYED)
    status = run.wait(10)
    assert len(jobs(emulator)) == 1
    assert status.failed == sum(error is not None for *_, error in run.collect()) > 0


@pytest.mark.parametrize(
    ("outcome", "state"), [("fail", "FAILED"), ("expire", "EXPIRED"), ("cancel", "CANCELLED")]
)
def test_a_job_that_ends_badly_is_submitted_again(
    emulator: Emulator, open_run: Open, right: dict[str, bytes], outcome: str, state: str
) -> None:
    emulator.configure(batch_outcomes=("succeed", outcome))  # type: ignore[arg-type]  # one of them
    run = open_run(lines_per_job=10)
    run.submit(KEYED)
    run.wait(10)
    assert vectors(run) == right
    assert states(run) == ["SUCCEEDED", state, "SUCCEEDED"]
    assert paid(emulator) == 20
    assert files(emulator) == []


def test_a_stuck_job_is_cancelled_and_only_its_lines_are_submitted_again(
    emulator: Emulator, open_run: Open, right: dict[str, bytes]
) -> None:
    emulator.configure(batch_outcomes=("stuck", "succeed"))
    run = open_run(lines_per_job=10, job_seconds=0.01)
    run.submit(KEYED)
    run.wait(10)
    assert vectors(run) == right
    assert states(run) == ["CANCELLED", "SUCCEEDED", "SUCCEEDED"]
    assert jobs(emulator)[0]["state"] == "BATCH_STATE_CANCELLED"
    assert paid(emulator) == 20


def test_a_job_that_always_ends_badly_is_given_up(emulator: Emulator, open_run: Open) -> None:
    emulator.configure(batch_outcome="expire")
    run = open_run(tries=2)
    run.submit(KEYED[:2])
    run.wait(10)
    assert states(run) == ["EXPIRED", "EXPIRED"]
    assert all("ended as EXPIRED" in str(error) for *_, error in run.collect())


def test_what_embed_gave_up_is_raised_with_what_it_has(emulator: Emulator, open_run: Open) -> None:
    emulator.configure(batch_outcomes=("expire",))
    run = open_run(tries=1, lines_per_job=2)
    with pytest.raises(ServiceError, match=r"input 0: batches/.* ended as EXPIRED") as caught:
        run.embed(TEXTS[:5])
    assert caught.value.index == 0
    assert caught.value.partial is not None
    assert caught.value.partial.indices.tolist() == [2, 3, 4]


def test_a_refused_job_waits_for_room(
    emulator: Emulator, open_run: Open, right: dict[str, bytes]
) -> None:
    emulator.fail_next("429_no_hint")
    run = open_run(lines_per_job=10)
    run.submit(KEYED)
    assert states(run) == ["WAITING", "WAITING"]
    assert run.wait(10).done == 20
    assert vectors(run) == right
    uploads = [r for r in emulator.requests if r.path.startswith("/upload/") and r.body]
    assert len(uploads) == 2  # what is uploaded stays for the next try


def test_no_more_jobs_at_once_than_there_is_room_for(
    emulator: Emulator, open_run: Open, right: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a clock that goes on by a second whenever it's looked at."""
    emulator.configure(batch_tokens=100, batch_seconds=12)
    seconds = itertools.count(1000)
    monkeypatch.setattr(emulator._state.batches, "clock", lambda: next(seconds))
    run = open_run(lines_per_job=8)
    run.submit(KEYED)
    assert run.status().running == 1
    run.wait(10)
    assert vectors(run) == right
    assert len(jobs(emulator)) == 3


def test_a_job_beyond_the_quota_is_halved(
    emulator: Emulator, open_run: Open, right: dict[str, bytes]
) -> None:
    emulator.configure(batch_tokens=60)
    run = open_run()
    run.submit(KEYED)
    run.wait(10)
    assert vectors(run) == right
    assert [job.lines for job in run.status().jobs] == [5, 5, 5, 5]


def test_at_most_so_many_jobs_at_once(emulator: Emulator, open_run: Open) -> None:
    emulator.configure(batch_outcome="stuck")
    run = open_run(lines_per_job=5, max_jobs=2)
    run.submit(KEYED)
    assert states(run) == ["RUNNING", "RUNNING", "WAITING", "WAITING"]


def test_an_answer_that_got_lost_starts_no_second_job(
    emulator: Emulator, open_run: Open, right: dict[str, bytes]
) -> None:
    emulator.fail_next("drop")
    run = open_run()
    run.submit(KEYED)
    run.wait(10)
    assert vectors(run) == right
    assert len(jobs(emulator)) == 1


def test_cancelling_keeps_what_came_and_starts_no_more(emulator: Emulator, open_run: Open) -> None:
    emulator.configure(batch_outcomes=("succeed",), batch_outcome="stuck")
    run = open_run(lines_per_job=5, max_jobs=2)
    run.submit(KEYED)
    status = run.cancel()
    assert (status.done, status.running, status.cancelled) == (5, 0, True)
    assert files(emulator) == []
    assert run.wait(10).done == 5
    assert len(list(run.collect())) == 5
    emulator.configure(batch_outcome="succeed")
    assert run.submit(KEYED) == 0
    assert run.wait(10).done == 20
    assert paid(emulator) == 20


def test_a_deadline_ends_the_waiting_and_not_the_job(
    emulator: Emulator, open_run: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.configure(batch_seconds=3600)
    run = open_run()
    run.submit(KEYED)
    with pytest.raises(ServiceTimeoutError, match=r"20 of 20 lines not done in 0.03 s: the jobs"):
        run.wait(0.03)
    monkeypatch.setattr(emulator._state.batches, "clock", lambda: time.time() + 3601)
    assert run.wait(10).done == 20
    assert len(jobs(emulator)) == 1


def test_a_refused_key_is_an_error_and_the_contents_stay(
    emulator: Emulator, make: Make, open_run: Open
) -> None:
    run = open_run(make(api_key="bad-key"))
    with pytest.raises(AuthenticationError) as caught:
        run.submit(KEYED)
    assert KEY not in str(caught.value)
    assert run.status().open == 20
    run = open_run()
    assert run.wait(10).done == 20


def test_a_job_the_service_does_not_know_is_not_paid_for_again(
    emulator: Emulator, open_run: Open
) -> None:
    emulator.configure(batch_outcome="stuck")
    run = open_run()
    run.submit(KEYED)
    emulator.reset()
    with pytest.raises(ServiceError, match=r"know batches/.* use the key of the project"):
        run.poll()
    assert jobs(emulator) == []


def test_a_job_that_is_gone_after_two_days_is_submitted_again(
    emulator: Emulator, open_run: Open, right: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.configure(batch_outcomes=("stuck",))
    run = open_run()
    run.submit(KEYED)
    call(emulator, f"/v1beta/{run.status().jobs[0].name}", method="DELETE")
    monkeypatch.setattr(work, "BATCH_EXPIRY_SECONDS", 0)
    run.wait(10)
    assert vectors(run) == right
    assert states(run) == ["EXPIRED", "SUCCEEDED"]


def test_results_that_are_gone_after_two_days_are_submitted_again(
    emulator: Emulator, open_run: Open, right: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.configure(batch_outcomes=("stuck",))
    run = open_run()
    run.submit(KEYED)
    real = JobService.download

    async def gone(self: JobService, name: str, path: Path) -> None:
        monkeypatch.undo()
        await self.delete(name)
        await real(self, name, path)

    monkeypatch.setattr(JobService, "download", gone)
    job = emulator._state.batches.get(run.status().jobs[0].name)
    job.ends, job.end_state = job.created, "BATCH_STATE_SUCCEEDED"
    with pytest.raises(ServiceError, match=r"know the results of batches/"):
        run.poll()
    monkeypatch.setattr(work, "BATCH_EXPIRY_SECONDS", 0)
    run.wait(10)
    assert vectors(run) == right
    assert states(run) == ["EXPIRED", "SUCCEEDED"]


def test_rows_that_are_not_numbers_are_failures(
    emulator: Emulator, open_run: Open, right: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    from gemini2_core.emulator.service import Service

    real, broken = Service.embed_row, iter((np.nan, np.inf))

    def row(self: Service, *args: object) -> object:
        values, tokens = real(self, *args)  # type: ignore[arg-type,misc]
        if (bad := next(broken, None)) is not None:
            return np.full_like(values, bad), tokens
        return values, tokens

    monkeypatch.setattr(Service, "embed_row", row)
    run = open_run()
    run.submit(KEYED)
    run.wait(10)
    assert vectors(run) == right
    assert [job.lines for job in run.status().jobs] == [20, 2]
