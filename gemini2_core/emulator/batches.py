"""Batch jobs: states over time, inline and file sources, results inline or as a JSONL file."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

from gemini2_core.emulator.files import FileStore, identifier, timestamp
from gemini2_core.emulator.reading import as_mapping, read_item
from gemini2_core.emulator.refusals import GRPC_CODES, Refusal, exhausted, invalid, not_found
from gemini2_core.emulator.service import Service
from gemini2_core.emulator.settings import Settings
from gemini2_core.model import MAX_REQUEST_BYTES, Backend, ModelSpec

__all__ = ["BatchJob", "BatchJobs", "Line"]

_TYPE = "type.googleapis.com/google.ai.generativelanguage.v1main.EmbedContentBatch"
_PENDING_SHARE = 0.3
_ENDS = {
    "succeed": "BATCH_STATE_SUCCEEDED",
    "fail": "BATCH_STATE_FAILED",
    "expire": "BATCH_STATE_EXPIRED",
    "cancel": "BATCH_STATE_CANCELLED",
    "fail_lines": "BATCH_STATE_SUCCEEDED",
}
_DONE = frozenset(_ENDS.values())


@dataclass(frozen=True, slots=True)
class Line:
    """One request of a job: its key or metadata, and the request, unread."""

    key: str | None
    metadata: object
    request: object


@dataclass(slots=True)
class BatchJob:
    """One job. What happens to it was settled when it was made."""

    name: str
    spec: ModelSpec
    display_name: str
    lines: list[Line]
    from_file: bool
    created: float
    ends: float | None
    end_state: str
    settings: Settings
    number: int = 0
    failing: float = 0.0
    tokens: int = 0
    cancelled: float | None = None
    results: list[dict[str, object]] | None = None
    file_name: str = ""

    def state(self, now: float) -> str:
        """The state at a time."""
        if self.cancelled is not None:
            return "BATCH_STATE_CANCELLED"
        if self.ends is not None and now >= self.ends:
            return self.end_state
        length = self.settings.batch_seconds
        if now < self.created + _PENDING_SHARE * length:
            return "BATCH_STATE_PENDING"
        return "BATCH_STATE_RUNNING"


@dataclass(slots=True)
class BatchJobs:
    """All jobs of a server."""

    service: Service
    files: FileStore
    clock: Callable[[], float] = time.time
    _jobs: dict[str, BatchJob] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _made: int = 0
    _answering: threading.Lock = field(default_factory=threading.Lock)

    def create(self, spec: ModelSpec, body: object, size: int) -> BatchJob:
        """Make a job from the body of ``asyncBatchEmbedContent``.

        Args:
            spec: The model.
            body: JSON object.
            size: Its bytes; an inline job may have 20 MB.

        Raises:
            Refusal: Not the form of a job, no requests, too large, no such file, or no room.
        """
        batch = as_mapping(as_mapping(body).get("batch"))
        source = as_mapping(batch.get("inputConfig"))
        file_name = source.get("fileName")
        if file_name:
            lines = self._lines(str(file_name))
        else:
            if size > MAX_REQUEST_BYTES:
                raise invalid(f"Request payload size exceeds the limit: {MAX_REQUEST_BYTES} bytes.")
            inner = as_mapping(source.get("requests")).get("requests")
            lines = [_line(entry) for entry in inner] if isinstance(inner, list) else []
        if not lines:
            raise invalid("* EmbedContentBatch.input_config: no requests in the batch\n")
        settings, now = self.service.settings, self.clock()
        tokens = self._check_room(lines, spec, settings, now)
        number, self._made = self._made, self._made + 1
        told = settings.batch_outcomes
        outcome = told[number] if number < len(told) else settings.batch_outcome
        name = f"batches/{identifier('batch', next(self._numbers))}"
        job = BatchJob(
            name=name,
            spec=spec,
            display_name=str(batch.get("displayName") or ""),
            lines=lines,
            from_file=bool(file_name),
            created=now,
            ends=None if outcome == "stuck" else now + settings.batch_seconds,
            end_state=_ENDS.get(outcome, ""),
            settings=settings,
            number=number,
            failing=1.0 if outcome == "fail_lines" else settings.batch_failing,
            tokens=tokens,
        )
        self._jobs[name] = job
        return job

    def _check_room(
        self, lines: list[Line], spec: ModelSpec, settings: Settings, now: float
    ) -> int:
        """Tokens of a new job, counted only where there is a quota of them."""
        if settings.batch_tokens is None:
            return 0
        tokens = 0
        for line in lines:
            with contextlib.suppress(Refusal):  # which will be the line's result
                read = self.service.read(read_item(line.request), spec, Backend.GEMINI_API)
                tokens += sum(read.tokens.values())
        taken = sum(job.tokens for job in self._jobs.values() if job.state(now) not in _DONE)
        if taken + tokens > settings.batch_tokens:
            raise exhausted()
        return tokens

    def _lines(self, file_name: str) -> list[Line]:
        data = self.files.get(file_name, self.service.settings).data
        lines = []
        for number, raw in enumerate(data.splitlines(), 1):
            if raw.strip():
                try:
                    lines.append(_line(orjson.loads(raw)))
                except orjson.JSONDecodeError:
                    raise invalid(f"Invalid JSON in {file_name}, line {number}") from None
        return lines

    def get(self, name: str) -> BatchJob:
        """A job by its name.

        Raises:
            Refusal: 404.
        """
        job = self._jobs.get(name)
        if job is None:
            raise not_found(f"Requested entity was not found: {name}")
        return job

    def all(self) -> list[BatchJob]:
        """Every job, the newest first."""
        return list(reversed(self._jobs.values()))

    def cancel(self, name: str) -> None:
        """Cancel a job; one that has ended stays as it ended."""
        job, now = self.get(name), self.clock()
        if job.state(now) not in _DONE:
            job.cancelled = now

    def delete(self, name: str) -> None:
        """Forget a job; its file of results stays."""
        del self._jobs[self.get(name).name]

    def reset(self) -> None:
        """Forget every job."""
        self._jobs.clear()
        self._made = 0

    def operation(self, job: BatchJob, *, with_output: bool = True) -> dict[str, object]:
        """The JSON form: a long-running operation, as captured from the service in 2026-07.

        The list leaves the output out (``with_output=False``), as captured.
        """
        now = self.clock()
        state = job.state(now)
        done = state in _DONE
        output = self._output(job) if state == "BATCH_STATE_SUCCEEDED" else None
        ended = job.cancelled or job.ends or now
        meta: dict[str, object] = {
            "@type": _TYPE,
            "model": f"models/{job.spec.id}",
            "displayName": job.display_name,
        }
        if output and with_output:
            meta["output"] = output
        meta["createTime"] = timestamp(job.created)
        if done:
            meta["endTime"] = timestamp(ended)
        meta["updateTime"] = timestamp(ended if done else now)
        meta["batchStats"] = _stats(job, state)
        meta["state"] = state
        meta["name"] = job.name
        form: dict[str, object] = {"name": job.name, "metadata": meta}
        if not done:
            return form
        form["done"] = True
        if output and with_output:
            form["response"] = {"@type": _TYPE, **output}
        elif state == "BATCH_STATE_FAILED":
            form["error"] = {"code": 13, "message": "Internal error encountered."}
        elif state == "BATCH_STATE_CANCELLED":
            form["error"] = {"code": 1, "message": "The operation was cancelled."}
        elif state == "BATCH_STATE_EXPIRED":
            form["error"] = {"code": 4, "message": "The batch expired before it was processed."}
        return form

    def _output(self, job: BatchJob) -> dict[str, object]:
        with self._answering:  # a job is done once, however many ask for it meanwhile
            return self._answered(job)

    def _answered(self, job: BatchJob) -> dict[str, object]:
        if job.results is None:
            job.results = [self._answer(job, number) for number in range(len(job.lines))]
            if job.settings.batch_out_of_order:
                random.Random(job.settings.seed).shuffle(job.results)
        if not job.from_file:
            return {"inlinedResponses": {"inlinedResponses": job.results}}
        if not job.file_name:
            job.file_name = f"files/batch-{job.name.removeprefix('batches/')}"
            data = b"".join(
                orjson.dumps(line, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n"
                for line in job.results
            )
            self.files.put(job.file_name, data, "application/jsonl", "", generated=True)
        return {"responsesFile": job.file_name}

    def _answer(self, job: BatchJob, number: int) -> dict[str, object]:
        line = job.lines[number]
        answer: dict[str, object] = {}
        if line.key is not None:
            answer["key"] = line.key
        throw = f"{job.settings.seed}/{job.number}/{number}"
        dice = hashlib.blake2b(throw.encode(), digest_size=6).digest()
        if int.from_bytes(dice) < job.failing * 2**48:
            answer["error"] = {"code": 13, "message": "Internal error encountered."}
        else:
            try:
                item = read_item(line.request)
                done = self.service.embed_row(item, job.spec)
            except Refusal as refusal:
                done = refusal
            if isinstance(done, Refusal):
                answer["error"] = {
                    "code": GRPC_CODES.get(done.status, 13),
                    "message": done.message,
                }
            else:
                values, tokens = done
                response: dict[str, object] = {"embedding": {"values": values}}
                # A string in files and on 001 (SDK and documentation); usageMetadata inline on 2
                # (captured). Clients should take either.
                if job.from_file or not job.spec.task_in_prompt:
                    response = {"tokenCount": str(tokens), **response}
                else:
                    response["usageMetadata"] = {"promptTokenCount": tokens}
                answer["response"] = response
        if line.metadata is not None:
            answer["metadata"] = line.metadata
        return answer


def _line(entry: object) -> Line:
    fields = as_mapping(entry)
    metadata = fields.get("metadata")
    key = fields.get("key")
    return Line(None if key is None else str(key), metadata, fields.get("request"))


def _stats(job: BatchJob, state: str) -> dict[str, object]:
    total = len(job.lines)
    if state in ("BATCH_STATE_PENDING", "BATCH_STATE_RUNNING"):
        return {"requestCount": str(total), "pendingRequestCount": str(total)}
    if state != "BATCH_STATE_SUCCEEDED":
        return {"requestCount": str(total), "failedRequestCount": str(total)}
    failed = sum("error" in result for result in job.results or [])
    stats: dict[str, object] = {"requestCount": str(total)}
    if total > failed:
        stats["successfulRequestCount"] = str(total - failed)
    if failed:
        stats["failedRequestCount"] = str(failed)
    return stats
