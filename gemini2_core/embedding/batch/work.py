"""What a batch run does at the service: jobs started, looked at, collected, started anew."""

from __future__ import annotations

import asyncio
import glob
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from gemini2_core.embedding.batch.kept_jobs import Job
from gemini2_core.embedding.batch.kept_lines import KeptLine, Outcome
from gemini2_core.embedding.batch.lines import (
    LineResult,
    fit_row,
    item_of,
    media_to_upload,
    read_result,
    request_line,
    tokens_billed,
)
from gemini2_core.embedding.batch.origin import BatchSettings, Origin
from gemini2_core.embedding.batch.service import JobService, RemoteJob, UncertainError
from gemini2_core.embedding.batch.state import State
from gemini2_core.embedding.cache import pack_row
from gemini2_core.embedding.result import Usage
from gemini2_core.errors import (
    DailyQuotaError,
    Gemini2Error,
    InvalidInputError,
    QuotaError,
    ServiceError,
)
from gemini2_core.model import BATCH_EXPIRY_SECONDS, Modality

__all__ = ["Work"]

_P = ParamSpec("_P")
_T = TypeVar("_T")
#: Lines that are read, kept or embedded at a time.
_SOME = 256
#: As Google's example of a file of requests has it.
_JSONL = "jsonl"
#: A file younger than this lives as long as its job may take.
_FILE_AGE = 12 * 3600
#: What a job that was told to end gets to do so.
_CANCEL_SECONDS = 600
#: Refusals of a job, with none of ours under way, after which it's taken to be too large.
_REFUSALS = 3
_LONGEST_REFUSAL = 900.0


class Work:
    """The work of one run, on the background loop; one step at a time.

    Args:
        state: What the run knows.
        service: Jobs and files.
        origin: What the embedder gave.
        settings: How to work.
    """

    def __init__(
        self, state: State, service: JobService, origin: Origin, settings: BatchSettings
    ) -> None:
        self.state = state
        self.service = service
        self.origin = origin
        self.settings = settings
        self.dimensions = settings.dimensions or origin.spec.full_dimensions
        self.tries = 1 if settings.on_failed == "report" else settings.tries
        self.most_lines = settings.lines_per_job
        #: True while contents are being added: the last job isn't closed then.
        self.filling = False
        self._turn = asyncio.Lock()
        self._looked = self._no_room_until = 0.0
        self._refusals = 0

    async def advance(self) -> None:
        """One look at everything: what ended is kept, what is missing is started."""
        async with self._turn:
            await self._own()
            await self._look_at_all()
            if self.state.file.cancelled:
                return
            if self.settings.on_failed == "online":
                await self._embed_failed()
            await self._pack()
            await self._start_packed()

    async def start_full(self) -> None:
        """Start the jobs that are full, while more contents are being added.

        That may take a night, so those that are under way are looked at now and then.
        """
        async with self._turn:
            if time.monotonic() - self._looked > self.settings.poll_seconds:
                await self._look_at_all()
            await self._pack()
            await self._start_packed()

    async def _look_at_all(self) -> None:
        self._looked = time.monotonic()
        await self._recover()
        for job in await _thread(self.state.jobs.all, "running", "cancelling"):
            await self._look(job)
        await self._delete_files()

    async def cancel(self) -> None:
        """End every job that is under way, and start no more."""
        async with self._turn:
            await self._own()
            await _thread(self.state.file.set_fact, "cancelled", "yes")
            await self._recover()
            for job in await _thread(self.state.jobs.all, "running", "cancelling"):
                await self._cancel(job)
            await self._delete_files()

    async def _own(self) -> None:
        await _thread(self.state.file.own)
        state = self.state.file.path
        for left in state.parent.glob(f"{glob.escape(state.name)}.part-*"):
            left.unlink(missing_ok=True)  # of a process that died

    async def _recover(self) -> None:
        """Jobs that may have been created before a crash, or before an answer got lost."""
        for job in await _thread(self.state.jobs.all, "creating"):
            found = await self.service.find_job(self._display_name(job))
            if found is not None:
                await self._started(job, found)
            elif time.time() - job.changed > self.settings.poll_seconds:
                # Whether a job is listed at once isn't established, so it had its time.
                await _thread(self.state.jobs.set_phase, job.id, "packed")

    async def _pack(self) -> None:
        await _thread(
            lambda: self.state.jobs.pack(
                self.most_lines,
                self.settings.bytes_per_job,
                self.settings.tokens_per_job,
                seal=not self.filling,
            )
        )

    # Starting

    async def _start_packed(self) -> None:
        active = len(await _thread(self.state.jobs.all, "creating", "running", "cancelling"))
        for job in await _thread(self.state.jobs.all, "packed"):
            if active >= self.settings.max_jobs or time.monotonic() < self._no_room_until:
                return
            try:
                await self._start(job)
            except DailyQuotaError:
                await _thread(self.state.jobs.refused, job.id)
                raise
            except QuotaError:
                await self._refused(job, active)
                return
            active += 1

    async def _refused(self, job: Job, active: int) -> None:
        """The service has no room, and doesn't say for how long (users' reports)."""
        await _thread(self.state.jobs.refused, job.id)
        wait = self.settings.poll_seconds * 2**self._refusals
        self._no_room_until = time.monotonic() + min(wait, _LONGEST_REFUSAL)
        self._refusals += 1
        if not active and job.refusals + 1 >= _REFUSALS and job.lines > 1:
            # Nothing of ours takes the room: the job may be more than all there is.
            self.most_lines = max(1, job.lines // 2)
            for packed in await _thread(self.state.jobs.all, "packed"):
                if packed.lines > self.most_lines:
                    await _thread(self.state.jobs.release, packed.id)
            await self._pack()
            self._refusals, self._no_room_until = 0, 0.0

    async def _start(self, job: Job) -> None:
        number, fresh = job.uploads, job.prepared is None
        if job.prepared is not None and time.time() - job.prepared > _FILE_AGE:
            for name in await _thread(self.state.jobs.files, job.id):
                await self._delete(name)
            number, fresh = number + 1, True
        await _thread(self.state.jobs.prepare, job.id, number)
        prefix = f"files/g2b-{self.state.file.run_id}-{job.id}-{number}"
        path = self._part(f"{job.id}.jsonl")
        try:
            files = await self._upload_media(job, prefix, fresh)
            await _thread(self._write, job, path, files)
            await _thread(self.state.jobs.name_file, prefix, job.id)
            file = await self.service.upload(path, prefix, _JSONL, fresh=fresh)
        finally:
            path.unlink(missing_ok=True)
        await _thread(self.state.jobs.set_phase, job.id, "creating")
        try:
            created = await self.service.create(file.name, self._display_name(job))
        except UncertainError:
            raise  # the list of jobs will tell, at the next look
        except Gemini2Error:
            await _thread(self.state.jobs.set_phase, job.id, "packed")
            raise
        await self._started(job, created)

    async def _started(self, job: Job, created: RemoteJob) -> None:
        await _thread(self.state.jobs.started, job.id, created.name, created.state)
        self.origin.spent(Usage(requests=1))
        self._refusals = 0

    async def _upload_media(self, job: Job, prefix: str, fresh: bool) -> dict[str, str]:
        """Upload the media that are too large for a line; returns where they are, by digest."""
        files: dict[str, str] = {}
        after = 0
        while some := await _thread(self.state.lines.with_media, job.id, after, _SOME):
            after = some[-1].id
            for line in some:
                wanted = [one for one in media_to_upload(line.body) if one[0] not in files]
                media = await _thread(self.state.lines.media_of, line.id) if wanted else {}
                for digest, mime_type in wanted:
                    name = f"{prefix}-{digest[:12]}"
                    await _thread(self.state.jobs.name_file, name, job.id)
                    path = self._part(f"{job.id}.media")
                    try:
                        await _thread(path.write_bytes, media[digest])
                        file = await self.service.upload(path, name, mime_type, fresh=fresh)
                        files[digest] = file.uri
                    finally:
                        path.unlink(missing_ok=True)
        return files

    def _write(self, job: Job, path: Path, files: Mapping[str, str]) -> None:
        with path.open("wb") as file:
            for line in self._lines(job):
                media = self.state.lines.media_of(line.id)
                file.write(request_line(line.id, line.body, media, files))

    def _lines(self, job: Job) -> Iterator[KeptLine]:
        after = 0
        while some := self.state.lines.of_job(job.id, after, _SOME):
            yield from some
            after = some[-1].id

    def _display_name(self, job: Job) -> str:
        return f"gemini2-{self.state.file.run_id}-{job.id}"

    def _part(self, name: str) -> Path:
        return self.state.file.path.with_name(f"{self.state.file.path.name}.part-{name}")

    # Looking

    async def _look(self, job: Job) -> None:
        try:
            found = await self.service.job(job.name)
        except ServiceError as error:
            if error.code != 404:
                raise
            await self._lost(job, job.name, error)
            return
        age = time.time() - (job.started or job.changed)
        if found.ended:
            await self._finish(job, found)
        elif job.phase == "cancelling":
            if time.time() - job.changed > _CANCEL_SECONDS:
                await self._close(job, "STUCK", f"{job.name} was stuck and couldn't be cancelled")
        elif age > self.settings.job_seconds:
            await self._cancel(job)
        elif found.state != job.state:
            await _thread(self.state.jobs.set_state, job.id, found.state)

    async def _cancel(self, job: Job) -> None:
        await self.service.cancel(job.name)
        if job.phase != "cancelling":
            await _thread(self.state.jobs.set_phase, job.id, "cancelling")
        found = await self.service.job(job.name)
        if found.ended:
            await self._finish(job, found)

    async def _lost(self, job: Job, what: str, error: ServiceError) -> None:
        """What a job brought isn't there any more; unless another project's key is asked with."""
        if time.time() - (job.started or job.changed) < BATCH_EXPIRY_SECONDS:
            raise ServiceError(
                f"the service doesn't know {what}, of a job that this run started: use the key "
                f"of the project that it was started with ({error.message})",
                code=error.code,
                status=error.status,
            ) from error
        await self._close(job, "EXPIRED", f"{what} is gone from the service")

    async def _finish(self, job: Job, found: RemoteJob) -> None:
        """A job has ended: keep what it brought, whatever it's called, and free the rest."""
        if found.results:
            await _thread(self.state.jobs.name_file, found.results, job.id)
            path = self._part(f"{job.id}.results")
            try:
                await self.service.download(found.results, path)
                await _thread(self._keep_file, job, path)
            except ServiceError as error:
                if error.code not in (403, 404):
                    raise
                await self._lost(job, f"the results of {job.name}", error)
                return
            finally:
                path.unlink(missing_ok=True)
        elif found.inlined:
            await _thread(self._keep_results, job, self._inlined(job, found))
        missing = (
            f"the results of {job.name} lack this line"
            if found.state.endswith("SUCCEEDED")
            else f"{job.name} ended as {found.state}"
        )
        await self._close(job, found.state, missing)

    async def _close(self, job: Job, state: str, missing: str) -> None:
        await _thread(lambda: self.state.jobs.end(job.id, state, missing, tries=self.tries))
        self._no_room_until = 0.0  # there is room again
        for name in await _thread(self.state.jobs.files, job.id):
            await self._delete(name)

    # Keeping

    def _keep_file(self, job: Job, path: Path) -> None:
        with path.open("rb") as file:
            self._keep_results(
                job, (read_result(line, self.dimensions) for line in file if line.strip())
            )

    def _inlined(self, job: Job, found: RemoteJob) -> Iterator[LineResult]:
        """Results without a file; without keys too, they are told by their order."""
        lines = [line.id for line in self._lines(job)]
        for place, answer in enumerate(found.inlined):
            result = read_result(answer, self.dimensions)
            if result.key is None and len(lines) == len(found.inlined):
                result.key = lines[place]
            yield result

    def _keep_results(self, job: Job, results: Iterable[LineResult]) -> None:
        remaining = iter(results)
        while some := list(itertools.islice(remaining, _SOME)):
            keys = [result.key for result in some if result.key is not None]
            estimates = self.state.lines.tokens_of(job.id, keys)
            outcomes: list[Outcome] = []
            tokens: dict[Modality, int] = {}
            estimated = items = 0
            for result in some:
                estimate = estimates.pop(result.key or 0, None)
                if estimate is None or result.key is None:
                    continue  # another's, or a second time
                if result.row is None:
                    told = str(result.error or "")
                    outcomes.append(Outcome(result.key, None, told, result.permanent))
                    continue
                outcomes.append(Outcome(result.key, fit_row(result.row, self.dimensions)))
                billed, guessed = tokens_billed(estimate, result.tokens)
                for kind, count in billed.items():
                    tokens[kind] = tokens.get(kind, 0) + count
                estimated += guessed
                items += 1
            dollars = self.origin.spec.dollars(tokens, batch_api=True)
            usage = Usage(tokens, estimated, items, dollars=dollars)
            self._write_cache(outcomes)
            self.state.lines.keep(outcomes, usage, tries=self.tries, job=job.id)
            self.origin.spent(usage)

    def _write_cache(self, outcomes: Iterable[Outcome]) -> None:
        if self.origin.cache is None or self.dimensions != self.origin.spec.full_dimensions:
            return
        rows = {line: row for line, row, *_ in outcomes if row is not None}
        keys = self.state.lines.cache_keys(list(rows))
        self.origin.cache.mset([(key, pack_row(rows[line])) for line, key in keys.items()])

    async def _embed_failed(self) -> None:
        """Embed online what came back with an error; what fails there too is given up."""
        after = 0
        while some := await _thread(self.state.lines.failed, after, _SOME):
            after = some[-1].id
            items = [item_of(line.body, self.state.lines.media_of(line.id)) for line in some]
            run = (await self.origin.engine()).run(items, self.dimensions)
            outcome = await run.go()
            outcomes = [
                Outcome(line.id, fit_row(outcome.rows[place], self.dimensions))
                for place, line in enumerate(some)
                if outcome.done[place]
            ]
            outcomes += [
                Outcome(some[place].id, None, str(error), isinstance(error, InvalidInputError))
                for place, error in outcome.refused.items()
            ]
            await _thread(partial(self.state.lines.keep, outcomes, run.usage, tries=0))
            self.origin.spent(run.usage)
            if outcome.error is not None and outcome.place is None:
                raise outcome.error

    # Cleaning

    async def _delete_files(self) -> None:
        for name in await _thread(self.state.jobs.files):
            await self._delete(name)

    async def _delete(self, name: str) -> None:
        # What can't be deleted now is tried again at the next look, and gone in 48 h.
        with suppress(ServiceError):
            await self.service.delete(name)
            await _thread(self.state.jobs.forget_file, name)


async def _thread(call: Callable[_P, _T], *args: _P.args, **named: _P.kwargs) -> _T:
    """Files and SQLite aren't for the loop."""
    return await asyncio.to_thread(call, *args, **named)
