"""Batch jobs: states, sources, results in order or not, lines that fail, ends of all kinds."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pytest

from gemini2_core.emulator import Emulator
from gemini2_core.emulator.batches import BatchJobs
from gemini2_core.emulator.files import FileStore
from gemini2_core.emulator.service import Service
from gemini2_core.emulator.settings import Settings
from gemini2_core.model import MODELS
from tests.emulator.talk import Reply, call, content, vector
from tests.emulator.test_files import upload

CREATE = "/v1beta/models/gemini-embedding-2:asyncBatchEmbedContent"


def inline(*texts: str) -> dict[str, Any]:
    requests = [
        {"request": {"content": content(text)}, "metadata": {"key": f"k{n}"}}
        for n, text in enumerate(texts)
    ]
    return {"batch": {"displayName": "a job", "inputConfig": {"requests": {"requests": requests}}}}


def from_file(name: str) -> dict[str, Any]:
    return {"batch": {"displayName": "a job", "inputConfig": {"file_name": name}}}


def started(emulator: Emulator, body: dict[str, Any]) -> str:
    reply = call(emulator, CREATE, body)
    assert reply.status == 200, reply.raw
    name: str = reply.json["name"]
    assert name.startswith("batches/")
    return name


def got(emulator: Emulator, name: str) -> Reply:
    return call(emulator, f"/v1beta/{name}")


def test_an_inline_job_gives_the_vectors_of_single_calls(gemini2_emulator: Emulator) -> None:
    job = got(gemini2_emulator, started(gemini2_emulator, inline("a", "b"))).json
    assert job["done"]
    meta = job["metadata"]
    assert meta["state"] == "BATCH_STATE_SUCCEEDED"
    assert meta["displayName"] == "a job"
    assert meta["batchStats"] == {"requestCount": "2", "successfulRequestCount": "2"}
    results = meta["output"]["inlinedResponses"]["inlinedResponses"]
    assert job["response"]["inlinedResponses"]["inlinedResponses"] == results
    for text, key, result in zip("ab", ("k0", "k1"), results, strict=True):
        assert result["metadata"] == {"key": key}
        assert result["response"]["embedding"]["values"] == vector(gemini2_emulator, text)
        assert result["response"]["usageMetadata"] == {"promptTokenCount": 1}


def test_a_job_from_a_file_writes_a_file(gemini2_emulator: Emulator) -> None:
    lines = [
        {"key": "one", "request": {"output_dimensionality": 768, "content": content("a")}},
        {"key": "two", "request": {"content": content("")}},
    ]
    source = upload(gemini2_emulator, b"\n".join(map(orjson.dumps, lines)), "application/jsonl")
    job = got(gemini2_emulator, started(gemini2_emulator, from_file(source["name"]))).json
    name = job["metadata"]["output"]["responsesFile"]
    assert job["response"]["responsesFile"] == name
    about = call(gemini2_emulator, f"/v1beta/{name}").json
    assert about["source"] == "GENERATED"
    raw = call(gemini2_emulator, f"/v1beta/{name}:download?alt=media").raw
    good, bad = map(orjson.loads, raw.splitlines())
    assert good["key"] == "one"
    assert good["response"]["tokenCount"] == "1"
    assert len(good["response"]["embedding"]["values"]) == 768
    assert bad == {
        "key": "two",
        "error": {
            "code": 3,
            "message": "EmbedContentRequest.content contains an empty Part.",
        },
    }
    assert job["metadata"]["batchStats"]["failedRequestCount"] == "1"


def test_states_follow_the_clock() -> None:
    now, settings, files = 1000.0, Settings(batch_seconds=100), FileStore()
    jobs = BatchJobs(Service(settings, files), files, clock=lambda: now)
    job = jobs.create(MODELS["gemini-embedding-2"], inline("a"), 100)
    seen = []
    for later in (0.0, 29.0, 31.0, 99.0, 100.0):
        now = 1000.0 + later
        seen.append(job.state(now).removeprefix("BATCH_STATE_"))
    assert seen == ["PENDING", "PENDING", "RUNNING", "RUNNING", "SUCCEEDED"]


@pytest.mark.parametrize(
    ("outcome", "state"),
    [("fail", "FAILED"), ("expire", "EXPIRED"), ("cancel", "CANCELLED")],
)
def test_jobs_can_end_without_results(gemini2_emulator: Emulator, outcome: Any, state: str) -> None:
    gemini2_emulator.configure(batch_outcome=outcome)
    job = got(gemini2_emulator, started(gemini2_emulator, inline("a"))).json
    assert job["metadata"]["state"] == f"BATCH_STATE_{state}"
    assert "error" in job
    assert "output" not in job["metadata"]


def test_a_stuck_job_can_be_cancelled(gemini2_emulator: Emulator) -> None:
    gemini2_emulator.configure(batch_outcome="stuck")
    name = started(gemini2_emulator, inline("a"))
    job = got(gemini2_emulator, name).json
    assert job["metadata"]["state"] == "BATCH_STATE_RUNNING"
    assert "done" not in job
    assert call(gemini2_emulator, f"/v1beta/{name}:cancel", {}).json == {}
    assert got(gemini2_emulator, name).json["metadata"]["state"] == "BATCH_STATE_CANCELLED"


def test_a_finished_job_stays_as_it_ended(gemini2_emulator: Emulator) -> None:
    name = started(gemini2_emulator, inline("a"))
    call(gemini2_emulator, f"/v1beta/{name}:cancel", {})
    assert got(gemini2_emulator, name).json["metadata"]["state"] == "BATCH_STATE_SUCCEEDED"


def test_results_can_come_out_of_order(gemini2_emulator: Emulator) -> None:
    gemini2_emulator.configure(batch_out_of_order=True, seed=3)
    texts = [f"text {n}" for n in range(20)]
    job = got(gemini2_emulator, started(gemini2_emulator, inline(*texts))).json
    results = job["response"]["inlinedResponses"]["inlinedResponses"]
    keys = [result["metadata"]["key"] for result in results]
    assert keys != [f"k{n}" for n in range(20)]
    assert sorted(keys, key=lambda key: int(key[1:])) == [f"k{n}" for n in range(20)]


def test_lines_can_fail(gemini2_emulator: Emulator) -> None:
    gemini2_emulator.configure(batch_failing=0.5)
    texts = [f"text {n}" for n in range(40)]
    job = got(gemini2_emulator, started(gemini2_emulator, inline(*texts))).json
    results = job["response"]["inlinedResponses"]["inlinedResponses"]
    failed = sum("error" in result for result in results)
    assert 8 < failed < 32
    assert job["metadata"]["batchStats"]["failedRequestCount"] == str(failed)


def test_jobs_are_listed_and_deleted(gemini2_emulator: Emulator) -> None:
    names = [started(gemini2_emulator, inline("a")) for _ in range(3)]
    first = call(gemini2_emulator, "/v1beta/batches?pageSize=2").json
    assert [job["name"] for job in first["operations"]] == names[:0:-1]
    assert "output" not in first["operations"][0]["metadata"]
    assert call(gemini2_emulator, f"/v1beta/{names[0]}", method="DELETE").json == {}
    reply = got(gemini2_emulator, names[0])
    assert (reply.status, reply.error["status"]) == (404, "NOT_FOUND")


def test_a_job_of_nothing_is_refused(gemini2_emulator: Emulator) -> None:
    assert call(gemini2_emulator, CREATE, inline()).status == 400
    assert call(gemini2_emulator, CREATE, {}).status == 400
    assert call(gemini2_emulator, CREATE, from_file("files/none")).status == 403
    broken = upload(gemini2_emulator, b"{", "application/jsonl")["name"]
    assert call(gemini2_emulator, CREATE, from_file(broken)).status == 400


def test_creating_a_job_can_fail(gemini2_emulator: Emulator) -> None:
    gemini2_emulator.fail_next("429_no_hint")
    reply = call(gemini2_emulator, CREATE, inline("a"))
    assert (reply.status, "details" in reply.error) == (429, False)


def test_each_job_can_have_an_end_of_its_own(gemini2_emulator: Emulator) -> None:
    gemini2_emulator.configure(batch_outcomes=("stuck", "fail_lines"))
    names = [started(gemini2_emulator, inline("a", "b")) for _ in range(3)]
    jobs = [got(gemini2_emulator, name).json for name in names]
    states = [job["metadata"]["state"].removeprefix("BATCH_STATE_") for job in jobs]
    assert states == ["RUNNING", "SUCCEEDED", "SUCCEEDED"]
    failed = jobs[1]["response"]["inlinedResponses"]["inlinedResponses"]
    assert ["error" in result for result in failed] == [True, True]
    assert jobs[2]["metadata"]["batchStats"]["successfulRequestCount"] == "2"


def test_which_lines_fail_is_another_matter_in_another_job(gemini2_emulator: Emulator) -> None:
    gemini2_emulator.configure(batch_failing=0.5)
    jobs = [
        got(gemini2_emulator, started(gemini2_emulator, inline(*map(str, range(20)))))
        for _ in range(2)
    ]
    failed = [
        [
            "error" in result
            for result in job.json["response"]["inlinedResponses"]["inlinedResponses"]
        ]
        for job in jobs
    ]
    assert failed[0] != failed[1]


def test_jobs_under_way_share_a_quota_of_tokens(gemini2_emulator: Emulator) -> None:
    gemini2_emulator.configure(batch_tokens=3, batch_outcome="stuck")
    name = started(gemini2_emulator, inline("a", "b"))
    reply = call(gemini2_emulator, CREATE, inline("c", "d"))
    assert (reply.status, "details" in reply.error) == (429, False)
    call(gemini2_emulator, f"/v1beta/{name}:cancel", {})
    started(gemini2_emulator, inline("c", "d"))


def test_a_job_is_done_once_however_many_ask_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    embedded: list[object] = []
    entered = threading.Semaphore(0)

    def counted(service: Service, item: object, spec: object) -> object:
        embedded.append(item)
        entered.release()
        if len(embedded) == 1:
            entered.acquire()
            entered.acquire(timeout=0.2)  # a second answer in the making would come in here
        return [0.6, 0.8], 1

    monkeypatch.setattr(Service, "embed_row", counted)
    settings = Settings()
    files = FileStore()
    jobs = BatchJobs(Service(settings, files), files)
    job = jobs.create(MODELS["gemini-embedding-2"], inline("a", "b", "c"), 10)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(jobs.operation, [job, job])
    assert first["response"] == second["response"]
    assert len(embedded) == 3
