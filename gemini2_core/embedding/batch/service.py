"""The service's batch jobs and files, by google-genai's own methods, called in threads."""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gemini2_core.embedding.faults import Fault, Remedy, read_fault
from gemini2_core.errors import (
    BadResponseError,
    Gemini2Error,
    ServiceTimeoutError,
)
from gemini2_core.model import ModelSpec

if TYPE_CHECKING:
    from google.genai import Client
    from google.genai.types import BatchJob, File

__all__ = ["JobService", "RemoteFile", "RemoteJob", "UncertainError"]

_T = TypeVar("_T")
_THREADS = 4
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
_PROCESSING_SECONDS = 120.0
#: Hundreds of megabytes may come; the SDK also tells the service its timeout.
_DOWNLOAD_SECONDS = 1800
#: What the service says of a file that isn't there (403 as of one without rights).
_GONE = (403, 404)


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of the Files API."""

    name: str
    uri: str
    size: int
    state: str


@dataclass(frozen=True, slots=True)
class RemoteJob:
    """A batch job as the service tells it.

    Attributes:
        name: ``batches/…``.
        state: ``PENDING``, ``RUNNING``, ``SUCCEEDED``, ``FAILED``, ``CANCELLED``, ``EXPIRED`` or
            what else it may be called.
        display_name: What we called it.
        results: Name of the file of results, or "".
        inlined: Results that came without a file, in the form of lines.
    """

    name: str
    state: str
    display_name: str = ""
    results: str = ""
    inlined: tuple[Mapping[str, object], ...] = ()

    @property
    def ended(self) -> bool:
        """True if nothing will become of it any more."""
        return self.state in ("SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED")


class UncertainError(ServiceTimeoutError):
    """A job was asked for, and no answer told whether there is one now."""


class JobService:
    """Jobs and files of one run; what fails for a moment is tried again.

    Sync methods in threads: a job is looked at a few times an hour, and the file of a caller's
    own client may be read by no other loop than the caller's.

    Args:
        client: google-genai's client, when it's needed.
        spec: The model.
        secret: What mustn't be quoted, or None.
        retry_seconds: How long a call may keep failing.
    """

    def __init__(
        self,
        client: Callable[[], Client],
        spec: ModelSpec,
        secret: str | None,
        retry_seconds: float,
    ) -> None:
        self._client = client
        self._spec = spec
        self._secret = secret
        self._retry_seconds = retry_seconds
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="gemini2-batch")
        self._asked: dict[str, asyncio.Future[RemoteJob]] = {}

    async def upload(self, path: Path, name: str, mime_type: str, *, fresh: bool) -> RemoteFile:
        """Put a file there under a name of ours; one that is there already, whole, is kept.

        Args:
            path: What to upload.
            name: ``files/…``.
            mime_type: Its type.
            fresh: True if the name was never used, so that nothing can be there.
        """

        def once() -> RemoteFile:
            from google.genai.types import UploadFileConfig

            config = UploadFileConfig(name=name, display_name=path.name, mime_type=mime_type)
            return _remote_file(self._client().files.upload(file=str(path), config=config))

        def again() -> RemoteFile:
            found = self._find_file(name)
            return found if found is not None and found.size == path.stat().st_size else once()

        return await self._ready(await self._call(once if fresh else again, again))

    async def _ready(self, file: RemoteFile) -> RemoteFile:
        waited, pause = 0.0, 0.25
        while file.state == "PROCESSING":
            if waited > _PROCESSING_SECONDS:
                raise ServiceTimeoutError(f"the Files API is still processing {file.name}")
            await asyncio.sleep(pause)
            waited, pause = waited + pause, min(5.0, 2 * pause)
            file = await self._call(partial(self._file, file.name))
        if file.state == "FAILED":
            raise BadResponseError(f"the Files API can't read {file.name}")
        return file

    def _file(self, name: str) -> RemoteFile:
        return _remote_file(self._client().files.get(name=name))

    def _find_file(self, name: str) -> RemoteFile | None:
        try:
            return self._file(name)
        except Exception as error:
            if getattr(error, "code", None) in _GONE:
                return None
            raise

    async def delete(self, name: str) -> None:
        """Remove a file; one that isn't there is as good."""

        def once() -> None:
            try:
                self._client().files.delete(name=name)
            except Exception as error:
                if getattr(error, "code", None) not in _GONE:
                    raise

        await self._call(once)

    async def download(self, name: str, path: Path) -> None:
        """Write a file of results to ``path``, piece by piece."""

        def once() -> None:
            from google.genai.types import DownloadFileConfig, HttpOptions

            options = HttpOptions(timeout=_DOWNLOAD_SECONDS * 1000)
            self._client().files.download(
                file=name, destination=path, config=DownloadFileConfig(http_options=options)
            )

        await self._call(once)

    async def create(self, file_name: str, display_name: str) -> RemoteJob:
        """Start a job on an uploaded file.

        Starting isn't safe to repeat: whenever it isn't known what became of a request, the
        service's list of jobs is asked first.

        Raises:
            QuotaError: The service takes no more jobs now.
            UncertainError: It isn't known whether there is a job.
            Gemini2Error: There is none.
        """

        def once() -> RemoteJob:
            from google.genai.types import (
                CreateEmbeddingsBatchJobConfig,
                EmbeddingsBatchJobSource,
            )

            warnings.filterwarnings("ignore", message=r"batches\.create_embeddings\(\) is exp")
            return _remote_job(
                self._client().batches.create_embeddings(
                    model=self._spec.id,
                    src=EmbeddingsBatchJobSource(file_name=file_name),
                    config=CreateEmbeddingsBatchJobConfig(display_name=display_name),
                )
            )

        deadline, failures = time.monotonic() + self._retry_seconds, 0
        while True:
            # A thread can't be stopped: whoever interrupts this mustn't forget that it asks.
            asked = self._asked[display_name] = asyncio.ensure_future(self._in_thread(once))
            try:
                return await asyncio.shield(asked)
            except Exception as error:
                fault = read_fault(error, self._secret)
                if fault.remedy is not Remedy.RETRY:
                    raise fault.error from error
            try:
                wait = _pause(fault, failures)
                if time.monotonic() + wait > deadline:
                    raise fault.error
                await asyncio.sleep(wait)
                found = await self.find_job(display_name)
            except Gemini2Error as error:
                raise UncertainError(
                    f"a job was asked for, and it isn't known whether there is one: {error.message}"
                ) from error
            if found is not None:
                return found
            failures += 1

    async def job(self, name: str) -> RemoteJob:
        """Look at a job."""
        return await self._call(lambda: _remote_job(self._client().batches.get(name=name)))

    async def find_job(self, display_name: str) -> RemoteJob | None:
        """The job we called so, if there is one; a request for it that is under way is awaited."""
        asked = self._asked.pop(display_name, None)
        if asked is not None:
            await asyncio.wait([asked])
        return await self._call(lambda: self._find_job(display_name))

    def _find_job(self, display_name: str) -> RemoteJob | None:
        from google.genai.types import ListBatchJobsConfig

        jobs = self._client().batches.list(config=ListBatchJobsConfig(page_size=100))
        return next((_remote_job(job) for job in jobs if job.display_name == display_name), None)

    async def cancel(self, name: str) -> None:
        """Ask for a job's end; one that has ended stays as it is."""

        def once() -> None:
            try:
                self._client().batches.cancel(name=name)
            except Exception as error:
                # It may have ended a moment ago: its state will tell.
                if getattr(error, "code", None) not in (400, 404, 409):
                    raise

        await self._call(once)

    def close(self) -> None:
        """End the threads; the client is its owner's."""
        self._threads.shutdown(wait=False)

    async def _call(self, first: Callable[[], _T], again: Callable[[], _T] | None = None) -> _T:
        """Call until it works, for as long as its faults are the moment's.

        Args:
            first: The call.
            again: The call after one whose end isn't known.
        """
        call, failures = first, 0
        deadline = time.monotonic() + self._retry_seconds
        while True:
            try:
                return await self._in_thread(call)
            except Exception as error:
                fault = read_fault(error, self._secret)
                wait = _pause(fault, failures)
                passing = fault.remedy in (Remedy.RETRY, Remedy.WAIT)
                if not passing or time.monotonic() + wait > deadline:
                    raise fault.error from error
            call, failures = again or first, failures + 1
            await asyncio.sleep(wait)

    async def _in_thread(self, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


def _pause(fault: Fault, failures: int) -> float:
    return fault.wait or min(_LONGEST_WAIT, _FIRST_WAIT * 2**failures)


def _remote_file(file: File) -> RemoteFile:
    if not file.name:
        raise BadResponseError("the Files API answered without the file's name")
    state = getattr(file.state, "value", None) or "ACTIVE"
    return RemoteFile(file.name, file.uri or file.name, file.size_bytes or 0, state)


def _remote_job(job: BatchJob) -> RemoteJob:
    if not job.name:
        raise BadResponseError("the Batch API answered without the job's name")
    state = str(getattr(job.state, "value", None) or job.state or "")
    state = state.removeprefix("JOB_STATE_").removeprefix("BATCH_STATE_")
    dest = job.dest
    results = (dest.file_name if dest else None) or ""
    # If every line failed, the SDK takes them for answers of a chat model.
    inlined = (dest.inlined_embed_content_responses or dest.inlined_responses or []) if dest else []
    return RemoteJob(
        job.name, state or "PENDING", job.display_name or "", results, tuple(map(_as_line, inlined))
    )


def _as_line(answer: object) -> Mapping[str, object]:
    """A result as the SDK has parsed it, in the form of a line of a file."""
    dump = getattr(answer, "model_dump", None)
    if dump is None:
        raise Gemini2Error(f"a result of type {type(answer).__name__} isn't known")
    line: Mapping[str, object] = dump(by_alias=True, exclude_none=True)
    return line
