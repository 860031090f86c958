"""What a move would do and cost: the source is read, and nothing is sent or written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from gemini2_core.corpus.item import Source
from gemini2_core.corpus.moving.checkpoint import Identity
from gemini2_core.corpus.moving.pages import Page, read_pages
from gemini2_core.corpus.moving.peeking import Known
from gemini2_core.corpus.moving.report import ReindexProgress, ReindexReport
from gemini2_core.corpus.sources import Problems, sharded
from gemini2_core.embedding import Gemini2Embedder
from gemini2_core.model import Modality

__all__ = ["dry_report", "left_out"]

_SHOWN = 100


async def dry_report(
    source: Source,
    embedder: Gemini2Embedder,
    checkpoint: str | Path,
    identity: Identity,
    *,
    shard: tuple[int, int],
    page: int,
    batch_api: bool,
    on_progress: Callable[[ReindexProgress], object] | None,
) -> ReindexReport:
    """Read a source as a move would, and add up what it would do.

    Tokens are counted here, not by the service.

    Raises:
        ConfigurationError: The checkpoint belongs to another move.
        InvalidInputError: The source can't be read.
    """
    began, loop = time.monotonic(), asyncio.get_running_loop()
    report = ReindexReport(identity.source, identity.target, shard, dry_run=True)
    tokens: dict[Modality, int] = {}
    known = Known(checkpoint, identity)
    pages = read_pages(sharded(source, *shard), embedder, known, page)
    thread = ThreadPoolExecutor(1, thread_name_prefix="gemini2-reading")
    try:
        total = await loop.run_in_executor(thread, source.count)
        # Page by page, so that an interrupt needn't wait for the end of the source.
        while (some := await loop.run_in_executor(thread, next, pages, None)) is not None:
            for entry in some.entries:
                for modality, count in entry.tokens.items():
                    tokens[modality] = tokens.get(modality, 0) + count
            report = _added(report, some)
            if on_progress is not None:
                on_progress(
                    ReindexProgress(
                        read=report.read,
                        total=None if total is None else -(-total // shard[1]),
                        stored=0,
                        failed=report.failed,
                        dollars=embedder.dollars(tokens, batch_api=batch_api),
                        seconds=time.monotonic() - began,
                    )
                )
    finally:
        await loop.run_in_executor(thread, pages.close)
        thread.shutdown(wait=False)
        known.close()
    return replace(
        report,
        left_out=left_out(source),
        tokens=tokens,
        dollars=embedder.dollars(tokens, batch_api=batch_api),
        seconds=time.monotonic() - began,
    )


def _added(report: ReindexReport, page: Page) -> ReindexReport:
    room = _SHOWN - len(report.failures)
    return replace(
        report,
        read=report.read + page.read,
        stored=report.stored + len(page.entries),
        unchanged=report.unchanged + page.unchanged,
        changed=report.changed + page.changed,
        payloads=report.payloads + len(page.moved_on),
        repeated=report.repeated + page.repeated,
        failed=report.failed + len(page.failures),
        failures=(*report.failures, *(one for _, one in page.failures[:room])),
    )


def left_out(source: Source) -> int:
    """How many items the latest reading of a source left out by itself."""
    problems = getattr(source, "problems", None)
    return problems.total if isinstance(problems, Problems) else 0
