"""google-genai's account of jobs: results inline in both of its shapes, and in a file."""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from google import genai
from google.genai.batches import Batches

from gemini2_core import Gemini2Embedder
from gemini2_core.embedding.batch import BatchRecord
from gemini2_core.embedding.batch.lines import read_result
from gemini2_core.embedding.batch.service import JobService, RemoteJob, UncertainError
from gemini2_core.emulator import Emulator
from gemini2_core.errors import ConfigurationError
from gemini2_core.model import MODELS
from tests.embedding.batch.conftest import Open, files, jobs
from tests.embedding.conftest import KEY, Make

MODEL = "gemini-embedding-2"


@pytest.fixture
def client(emulator: Emulator) -> genai.Client:
    options: Any = {"base_url": emulator.base_url, "api_version": "v1beta"}
    return genai.Client(api_key=KEY, vertexai=False, http_options=options)


@pytest.fixture
def service(client: genai.Client) -> Iterator[JobService]:
    one = JobService(lambda: client, MODELS[MODEL], None, retry_seconds=5)
    yield one
    one.close()


def inline(client: genai.Client, service: JobService, *texts: str) -> RemoteJob:
    contents: Any = [{"parts": [{"text": text}]} for text in texts]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "experimental"
        job = client.batches.create_embeddings(
            model=MODEL, src={"inlined_requests": {"contents": contents}}
        )
    assert job.name
    return asyncio.run(service.job(job.name))


def test_results_inline(client: genai.Client, service: JobService) -> None:
    job = inline(client, service, "a", "b")
    assert (job.state, job.ended, job.results) == ("SUCCEEDED", True, "")
    results = [read_result(line, 3072) for line in job.inlined]
    assert [result.row is not None for result in results] == [True, True]
    assert [result.key for result in results] == [None, None]


def test_results_inline_if_all_of_them_failed(
    emulator: Emulator, client: genai.Client, service: JobService
) -> None:
    emulator.configure(batch_failing=1.0)
    job = inline(client, service, "a", "b")
    results = [read_result(line, 3072) for line in job.inlined]
    assert [str(result.error) for result in results] == ["13: Internal error encountered."] * 2


@pytest.mark.parametrize("keys", [True, False])
def test_a_run_reads_results_that_come_inline(
    open_run: Open,
    monkeypatch: pytest.MonkeyPatch,
    client: genai.Client,
    embedder: Gemini2Embedder,
    keys: bool,
) -> None:
    """Not established for jobs made of files: told by keys or, without any, by the order."""
    real = JobService.job

    async def inlined(self: JobService, name: str) -> RemoteJob:
        job = await real(self, name)
        data = await asyncio.to_thread(client.files.download, file=job.results)
        lines = [orjson.loads(line) for line in data.splitlines()]
        if not keys:
            lines = [{"response": line["response"]} for line in lines]
        return replace(job, results="", inlined=tuple(lines))

    monkeypatch.setattr(JobService, "job", inlined)
    run = open_run()
    run.submit([("1", "one"), ("2", "two")])
    run.wait(10)
    got = [vector for _, vector, _ in run.collect()]
    right = embedder.embed_documents(["one", "two"]).vectors
    assert np.array_equal(np.array(got), right)


def test_an_upload_whose_answer_got_lost_is_found_again(
    emulator: Emulator, service: JobService, tmp_path: Path
) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b"{}\n" * 5)

    async def twice() -> tuple[str, str]:
        first = await service.upload(path, "files/ours", "jsonl", fresh=True)
        again = await service.upload(path, "files/ours", "jsonl", fresh=False)
        return first.name, again.name

    assert asyncio.run(twice()) == ("files/ours", "files/ours")
    assert files(emulator) == ["files/ours"]


def test_a_file_that_is_being_processed_is_waited_for(
    emulator: Emulator, service: JobService, tmp_path: Path
) -> None:
    emulator.configure(file_processing_seconds=0.1)
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b"{}\n")
    file = asyncio.run(service.upload(path, "files/ours", "jsonl", fresh=True))
    assert file.state == "ACTIVE"


def test_deleting_what_is_not_there_is_no_error(service: JobService) -> None:
    asyncio.run(service.delete("files/none"))


def test_cancelling_what_has_ended_is_no_error(client: genai.Client, service: JobService) -> None:
    job = inline(client, service, "a")
    asyncio.run(service.cancel(job.name))
    assert asyncio.run(service.job(job.name)).state == "SUCCEEDED"


def test_a_clients_own_client_is_used_and_stays_open(
    emulator: Emulator, client: genai.Client, make: Make, open_run: Open
) -> None:
    run = open_run(make(api_key=None, base_url=None, client=client))
    run.submit([("k", "a text")])
    assert run.wait(10).done == 1
    run.close()
    assert client.models.count_tokens(model=MODEL, contents="a").total_tokens


def test_vertex_has_no_batch_api(
    make: Make, vertex: dict[str, object], path: Path, emulator: Emulator
) -> None:
    with pytest.raises(ConfigurationError, match="the Gemini API's alone"):
        make(**vertex).batch(path)
    assert not path.exists()
    assert jobs(emulator) == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"lines_per_job": 0}, "lines_per_job=0 must be above 0"),
        ({"max_jobs": 101}, "over the service's 100"),
        ({"bytes_per_job": 3_000_000_000}, "over the service's 2,000,000,000"),
        ({"on_failed": "never"}, "'retry', 'online', 'report'"),
        ({"dimensions": 5000}, "dimensions=5000 is out of range"),
    ],
)
def test_options_out_of_range(
    embedder: Gemini2Embedder, path: Path, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigurationError, match=told):
        embedder.batch(path, **options)
    assert not path.exists()


def test_a_file_that_is_no_state(embedder: Gemini2Embedder, path: Path) -> None:
    path.write_bytes(b"something else, and long enough not to be taken for a new database " * 20)
    with pytest.raises(ConfigurationError, match="can't be opened"):
        embedder.batch(path)
    with pytest.raises(ConfigurationError, match="can't be opened"):
        embedder.batch(path.parent / "nowhere" / "run.sqlite")
    with pytest.raises(ConfigurationError, match="there is no batch run"):
        BatchRecord(path.with_name("none"))


def test_nobody_knows_whether_a_job_was_made_until_the_list_tells(
    emulator: Emulator, make: Make, open_run: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to the request was lost, and the list of jobs can't be had for now."""
    emulator.fail_next("drop")
    real = JobService._find_job

    def refuse(self: JobService, display_name: str) -> None:
        raise ConnectionError("no list now")

    monkeypatch.setattr(JobService, "_find_job", refuse)
    run = open_run(make(dimensions=3072, retry_seconds=0.6))
    with pytest.raises(UncertainError, match="it isn't known whether there is one"):
        run.submit([("k", "a text")])
    monkeypatch.setattr(JobService, "_find_job", real)
    assert run.wait(10).done == 1
    assert len(jobs(emulator)) == 1


def test_a_request_for_a_job_that_was_interrupted_is_not_made_twice(
    emulator: Emulator, open_run: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the service is asked for a job; the next call of the same process goes on."""
    real, asked, answered = Batches.create_embeddings, threading.Event(), threading.Event()

    def slow(self: Batches, **options: Any) -> object:
        asked.set()
        assert answered.wait(10)
        return real(self, **options)

    monkeypatch.setattr(Batches, "create_embeddings", slow)
    run = open_run()

    async def interrupted() -> None:
        submitting = asyncio.ensure_future(run.asubmit([("k", "a text")]))
        await asyncio.to_thread(asked.wait, 10)
        submitting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await submitting

    asyncio.run(interrupted())
    threading.Timer(0.2, answered.set).start()
    assert run.wait(10).done == 1
    assert len(jobs(emulator)) == 1


def test_finished_jobs_make_room_while_contents_are_still_read(
    emulator: Emulator, open_run: Open
) -> None:
    run = open_run(max_jobs=1, lines_per_job=100, dimensions=768, poll_seconds=0.0001)
    run.submit((f"k{n}", f"text {n}") for n in range(600))
    assert len(jobs(emulator)) > 1
    assert run.wait(10).done == 600
