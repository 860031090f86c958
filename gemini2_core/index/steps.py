"""Steps: what a method asks of the engine, written once for sync and async callers alike."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeAlias, TypeVar, cast

from gemini2_core.index.backend import Backend
from gemini2_core.index.operations import Operation

__all__ = ["Steps", "ask", "atake", "take"]

_T = TypeVar("_T")

Steps: TypeAlias = Generator[Operation[Any], Any, _T]
"""Operations for the engine, each answered by what it returns; in the end the method's own
answer. Who takes the steps decides whether to wait or to await."""


def ask(operation: Operation[_T]) -> Steps[_T]:
    """One step; what the engine answers."""
    answer = yield operation
    return cast("_T", answer)


def take(steps: Steps[_T], backend: Backend) -> _T:
    """Take the steps, blocking; their answer."""
    try:
        operation = next(steps)
        while True:
            try:
                answer = backend.run(operation)
            except Exception as error:  # noqa: BLE001  # the steps see it where they stand
                operation = steps.throw(error)
            else:
                operation = steps.send(answer)
    except StopIteration as done:
        return cast("_T", done.value)


async def atake(steps: Steps[_T], backend: Backend) -> _T:
    """Take the steps on the running loop; their answer."""
    try:
        operation = next(steps)
        while True:
            try:
                answer = await backend.arun(operation)
            except Exception as error:  # noqa: BLE001  # the steps see it where they stand
                operation = steps.throw(error)
            else:
                operation = steps.send(answer)
    except StopIteration as done:
        return cast("_T", done.value)
