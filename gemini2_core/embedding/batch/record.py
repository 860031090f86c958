"""What a batch run's state file tells: how far it is, and the vectors that have come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from gemini2_core.embedding.assembly import combine_rows, fit_rows
from gemini2_core.embedding.batch.kept_contents import Settled
from gemini2_core.embedding.batch.kept_jobs import Job
from gemini2_core.embedding.batch.state import State
from gemini2_core.embedding.batch.statefile import read_facts
from gemini2_core.embedding.batch.status import BatchStatus, JobStatus
from gemini2_core.embedding.batch.vector_files import BatchVector, Saved, check_kind, write_vectors
from gemini2_core.embedding.result import Usage
from gemini2_core.errors import ConfigurationError, Gemini2Error, InvalidInputError, ServiceError
from gemini2_core.model import MODELS, EmbeddingSpace, Modality, ModelSpec, Vectors

__all__ = ["BatchRecord"]

#: Contents that are given out at a time.
_SOME = 256
_STATES = {
    "filling": "WAITING",
    "packed": "WAITING",
    "creating": "WAITING",
    "cancelling": "CANCELLING",
}


class BatchRecord:
    """A run as its state file has it; nothing is sent, so no key is needed.

    Args:
        path: The file.

    Raises:
        ConfigurationError: There is no batch run in it.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path).expanduser()
        facts = read_facts(path)
        self._hold(State(path, None), MODELS[facts["model"]], int(facts["dimensions"]))

    def _hold(self, state: State, spec: ModelSpec, dimensions: int) -> None:
        self._state, self._spec, self._dimensions = state, spec, dimensions

    @property
    def path(self) -> Path:
        """The state file."""
        return self._state.file.path

    @property
    def model(self) -> str:
        """The model that the vectors are of."""
        return self._spec.id

    @property
    def space(self) -> EmbeddingSpace:
        """The space that the vectors live in."""
        return EmbeddingSpace.parse(self._state.file.fact("space"))

    @property
    def task_type(self) -> str | None:
        """What the vectors are for: a task type's name, or None."""
        return self._state.file.fact("task") or None

    @property
    def dimensions(self) -> int:
        """Length of the vectors that are kept and collected."""
        return self._dimensions

    @property
    def usage(self) -> Usage:
        """What was paid so far, by all processes, at the Batch API's price; requests are jobs."""
        return self._state.file.usage

    def status(self) -> BatchStatus:
        """How far it is, as of the last look; nothing is sent. Other processes may ask too."""
        counts = self._state.contents.counts()
        tokens = {kind: counts.get(kind, 0) for kind in Modality}
        jobs = tuple(_job_status(job) for job in self._state.jobs.all())
        return BatchStatus(
            contents=counts["contents"],
            lines=counts["lines"],
            done=counts["done"],
            failed=counts["failed"],
            refused=counts["refused"],
            jobs=jobs,
            usage=self._state.file.usage,
            estimated_dollars=self._spec.dollars(tokens, batch_api=True),
            cancelled=self._state.file.cancelled,
        )

    def collect(self, *, forget: bool = False) -> Iterator[BatchVector]:
        """What is known by now, in the order of submission; a few hundred are in memory at a time.

        Collecting changes nothing and can be repeated, unless ``forget`` is set.

        Args:
            forget: Drop what was given out from the file, some hundred at a time, when the next
                is asked for: after a crash, those whose successor was never asked for come again.
        """
        after: int | None = 0
        while after is not None:
            settled, after = self._state.contents.settled(after, _SOME)
            yield from self._vectors(settled, self._dimensions)
            if forget and settled:
                self.forget([one.key for one in settled])

    async def acollect(self, *, forget: bool = False) -> AsyncIterator[BatchVector]:
        """``collect``, for ``async for``."""
        after: int | None = 0
        while after is not None:
            settled, after = await asyncio.to_thread(self._state.contents.settled, after, _SOME)
            for one in await asyncio.to_thread(self._vectors, settled, self._dimensions):
                yield one
            if forget and settled:
                await asyncio.to_thread(self.forget, [one.key for one in settled])

    def forget(self, keys: Sequence[str]) -> None:
        """Drop the vectors of contents that you have put elsewhere; their keys stay known.

        Raises:
            InvalidInputError: A key isn't known.
            StateLockedError: Another process is working on the file.
        """
        self._state.file.own()
        self._state.contents.forget(keys)

    def _vectors(self, settled: Sequence[Settled], dimensions: int) -> list[BatchVector]:
        good = [one for one in settled if one.error is None]
        numbers = sorted({line for one in good for line, _ in one.pieces})
        places = {line: place for place, line in enumerate(numbers)}
        known = self._state.lines.vectors(numbers, self._dimensions)
        rows: Vectors = np.zeros((len(numbers), self._dimensions), np.float32)
        for line, row in known.items():
            rows[places[line]] = row
        done = np.array([line in known for line in numbers], np.bool_)
        pieces = [[(places[line], weight) for line, weight in one.pieces] for one in good]
        vectors, whole = combine_rows(fit_rows(rows, dimensions, self._spec), done, pieces)
        lost = [one.key for one, is_whole in zip(good, whole, strict=True) if not is_whole]
        if lost:
            raise Gemini2Error(f"{self.path} lacks vectors it had, of {lost[0]!r}: it was damaged")
        found = {one.id: vector for one, vector in zip(good, vectors, strict=True)}
        return [BatchVector(one.key, found.get(one.id), _error(one)) for one in settled]

    def save(self, path: str | Path, *, dimensions: int | None = None) -> Saved:
        """Write what has come to a file: ``.npz``, ``.parquet`` or ``.jsonl``, by its name.

        An ``.npz`` holds ``keys`` (n,) and ``vectors`` (n, dimensions); the others a row or line
        a content, with ``key`` and ``vector``. Memory doesn't grow with the vectors.

        Args:
            path: The file; replaced if it's there, once it is whole.
            dimensions: Their size in the file, up to what was fetched; None for all of it.

        Raises:
            ConfigurationError: Another kind of file, or a size that isn't there.
            MissingExtraError: Parquet without the extra ``parquet``.
        """
        self.check_output(path, dimensions=dimensions)
        size = dimensions or self._dimensions
        return write_vectors(Path(path).expanduser(), self.collect(), size, self.status().contents)

    def check_output(self, path: str | Path, *, dimensions: int | None = None) -> None:
        """See that ``save`` can write such a file, before what comes into it is waited for.

        Raises:
            ConfigurationError: Another kind of file, no such folder, or a size that isn't there.
            MissingExtraError: Parquet without the extra ``parquet``.
        """
        if dimensions is not None and not 1 <= dimensions <= self._dimensions:
            raise ConfigurationError(
                f"dimensions={dimensions}: the vectors in {self.path} have {self._dimensions} "
                "numbers"
            )
        check_kind(Path(path).expanduser())

    def close(self) -> None:
        """Let go of the file; the jobs at the service go on."""
        self._state.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r}, {self.model!r}, {self._dimensions})"


def _error(one: Settled) -> Gemini2Error | None:
    if one.error is None:
        return None
    return InvalidInputError(one.error) if one.permanent else ServiceError(one.error)


def _job_status(job: Job) -> JobStatus:
    state = _STATES.get(job.phase, job.state)
    if job.phase == "running":  # what ended and isn't kept yet is still to be waited for
        state = "PENDING" if job.state == "PENDING" else "RUNNING"
    ended = job.ended or time.time()
    seconds = None if job.started is None else ended - job.started
    return JobStatus(job.id, job.name, state, job.lines, job.done, seconds)
