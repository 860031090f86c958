"""Telling how far a call is: the caller's function, a progress bar, or both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gemini2_core.embedding.run import Progress

__all__ = ["progress_bar"]


@contextmanager
def progress_bar(
    show: bool,
    on_progress: Callable[[int, int], object] | None,
    *,
    desc: str = "embedding",
    unit: str = "content",
) -> Iterator[Progress | None]:
    """What the engine calls with (done, total); None if nobody wants to know."""
    if not show:
        yield on_progress
        return
    from tqdm.auto import tqdm

    with tqdm(total=0, unit=unit, desc=desc) as bar:

        def tell(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)
            if on_progress is not None:
                on_progress(done, total)

        yield tell
