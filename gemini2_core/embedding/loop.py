"""The one asyncio loop, in a background thread, that sends every request of this process."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import TypeVar

__all__ = ["background_loop", "run", "run_async", "submit"]

_T = TypeVar("_T")
_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def background_loop() -> asyncio.AbstractEventLoop:
    """The loop, started at the first call (and again in a forked child)."""
    global _loop
    with _lock:
        if _loop is None or _loop.is_closed():
            _loop = asyncio.new_event_loop()
            threading.Thread(
                target=_loop.run_forever, name="gemini2-embeddings", daemon=True
            ).start()
        return _loop


def submit(work: Coroutine[object, object, _T]) -> Future[_T]:
    """Start ``work`` on the loop."""
    return asyncio.run_coroutine_threadsafe(work, background_loop())


def run(work: Coroutine[object, object, _T]) -> _T:
    """Do ``work`` on the loop and wait for it, from any thread but the loop's own.

    An interrupt (Ctrl-C) cancels the work.
    """
    loop = background_loop()
    try:
        inside = asyncio.get_running_loop() is loop
    except RuntimeError:
        inside = False
    if inside:
        work.close()
        raise RuntimeError(
            "a callback of the embedder can't call it synchronously: use its async twin"
        )
    future = asyncio.run_coroutine_threadsafe(work, loop)
    try:
        return future.result()
    except BaseException:  # Ctrl-C too
        future.cancel()
        raise


async def run_async(work: Coroutine[object, object, _T]) -> _T:
    """Do ``work`` on the loop without blocking the caller's; cancelling cancels it."""
    return await asyncio.wrap_future(submit(work))


def _forget() -> None:
    """A forked child has no such thread; its parent's loop must not be touched."""
    global _loop, _lock
    _loop, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _finish() -> None:
    """At exit, let connections that are being closed finish."""
    if _loop is not None and not _loop.is_closed():
        with contextlib.suppress(Exception):
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0.01), _loop).result(timeout=1)


# Finalizers of embedders register with atexit later than this, so they run before it.
atexit.register(_finish)
