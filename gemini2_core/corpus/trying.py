"""What a move would do and cost: the source is read, and nothing is sent or written."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from gemini2_core.corpus.checkpoint import Identity
from gemini2_core.corpus.failure import Failure
from gemini2_core.corpus.item import Source
from gemini2_core.corpus.pages import read_pages
from gemini2_core.corpus.peeking import Known
from gemini2_core.corpus.report import ReindexReport
from gemini2_core.corpus.sources import Problems, sharded
from gemini2_core.embedding import Gemini2Embedder
from gemini2_core.model import Modality

__all__ = ["dry_report", "left_out"]

_SHOWN = 100


def dry_report(
    source: Source,
    embedder: Gemini2Embedder,
    checkpoint: str | Path,
    identity: Identity,
    *,
    shard: tuple[int, int],
    page: int,
    batch_api: bool,
) -> ReindexReport:
    """Read a source as a move would, and add up what it would do.

    Tokens are counted here, not by the service.

    Raises:
        ConfigurationError: The checkpoint belongs to another move.
        InvalidInputError: The source can't be read.
    """
    began = time.monotonic()
    report = ReindexReport(identity.source, identity.target, shard, dry_run=True)
    tokens: dict[Modality, int] = {}
    failures: list[Failure] = []
    known = Known(checkpoint, identity)
    try:
        for some in read_pages(sharded(source, *shard), embedder, known, page):
            for entry in some.entries:
                for modality, count in entry.tokens.items():
                    tokens[modality] = tokens.get(modality, 0) + count
            failures += [one for _, one in some.failures[: _SHOWN - len(failures)]]
            report = replace(
                report,
                read=report.read + some.read,
                stored=report.stored + len(some.entries),
                unchanged=report.unchanged + some.unchanged,
                changed=report.changed + some.changed,
                payloads=report.payloads + len(some.moved_on),
                repeated=report.repeated + some.repeated,
                failed=report.failed + len(some.failures),
            )
    finally:
        known.close()
    return replace(
        report,
        left_out=left_out(source),
        failures=tuple(failures),
        tokens=tokens,
        dollars=embedder.dollars(tokens, batch_api=batch_api),
        seconds=time.monotonic() - began,
    )


def left_out(source: Source) -> int:
    """How many items the latest reading of a source left out by itself."""
    problems = getattr(source, "problems", None)
    return problems.total if isinstance(problems, Problems) else 0
