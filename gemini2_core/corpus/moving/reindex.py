"""``reindex``: a corpus embedded into a new collection, resumable, at a price that is known."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from gemini2_core.corpus.filling import amark_filled, amark_filling
from gemini2_core.corpus.item import Source
from gemini2_core.corpus.itself import refuse_itself
from gemini2_core.corpus.moving.batching import BatchMove, batch_state
from gemini2_core.corpus.moving.checkpoint import Checkpoint, Identity
from gemini2_core.corpus.moving.move import Move, Settings
from gemini2_core.corpus.moving.online import OnlineMove
from gemini2_core.corpus.moving.report import ReindexProgress, ReindexReport, money
from gemini2_core.corpus.moving.trying import dry_report, left_out
from gemini2_core.corpus.moving.waiting import WaitingItems
from gemini2_core.corpus.sources import CollectionSource, sharded
from gemini2_core.embedding import Gemini2Embedder, loop
from gemini2_core.embedding.batch import BatchOptions
from gemini2_core.errors import (
    AuthenticationError,
    ConfigurationError,
    Gemini2Error,
    IndexMismatchError,
)
from gemini2_core.index import MatryoshkaCollection, PointId

__all__ = ["OnProgress", "areindex", "reindex"]

OnProgress: TypeAlias = Callable[[ReindexProgress], object]

_USER = re.compile(r"//[^/@]*@")
_SHOWN = 100
_SAMPLE = 100
_DELETED_AT_ONCE = 1000
#: Seconds that Ctrl-C waits for what is in flight to be stored.
_LONGEST_END = 30.0


def reindex(
    source: Source,
    embedder: Gemini2Embedder,
    target: MatryoshkaCollection,
    *,
    checkpoint: str | Path,
    shard: tuple[int, int] = (0, 1),
    batch: bool | BatchOptions = False,
    max_dollars: float | None = None,
    page: int = 512,
    delete_removed: bool = False,
    stop_on_failure: bool = False,
    on_progress: OnProgress | None = None,
    show_progress: bool = False,
    dry_run: bool = False,
) -> ReindexReport:
    """Embed a corpus into a collection; interrupted anywhere, the same call goes on.

    Each item is embedded once, at the collection's largest tier, and stored under its own id with
    its payload. Reading, embedding and storing go on at once, a few pages of them in memory.

    A vector is in the checkpoint before it is in the collection, and what the collection has
    acknowledged is marked there: after a kill, only what was in flight is paid for again. That is
    at most ``max_concurrency`` requests, and for a small corpus they are made smaller, to a 1000th
    of it together, or 24 items. A further run embeds what is new and what has changed since, and
    tells what the source has no more. Ctrl-C lets come in what is in flight, and ends.

    Args:
        source: Where the items come from.
        embedder: Who embeds them: its model, task and quotas count. A cache of its own is asked
            first, and filled.
        target: Where they go; made if it isn't there. It counts as unfinished until every shard
            has come to its end, and no alias is switched to it before.
        checkpoint: A file for this move (SQLite); for this shard of it, if there are several.
        shard: Which part of the source this process moves, and of how many: ``(0, 2)`` and
            ``(1, 2)``. Each shard needs a checkpoint of its own.
        batch: Embed by the Batch API: half the price, in hours. True, or how its jobs are done
            (the fields of ``gemini2_core.embedding.batch.BatchSettings``). The jobs go on when
            this process ends; the same call collects them. Their state is a file beside the
            checkpoint; ``gemini2 batch status --offline`` shows it.
        max_dollars: Stop before all runs together have paid more, by our count of the tokens to
            come; a run with a higher limit goes on.
        page: Items that are looked up, embedded and stored together.
        delete_removed: Delete from the collection what the source has no more.
        stop_on_failure: End at the first item that can't be embedded; else such items are
            noted with their reasons and the others go on. Every run tries them again.
        on_progress: Called with a ``ReindexProgress`` after each page.
        show_progress: Show a progress bar.
        dry_run: Read and count; send, store and write nothing.

    Returns:
        What became of it. ``finished`` is False if ``max_dollars`` stopped it.

    Raises:
        ConfigurationError: The checkpoint belongs to another move, the collection isn't the
            one that was filled or is its own source, or a number is out of range.
        IndexMismatchError: The collection holds vectors of another space.
        IndexLockedError: Another process has the checkpoint, or the collection's folder.
        InvalidInputError: The source can't be read.
        DailyQuotaError: The day's quota is used up: go on tomorrow.
        ServiceError: The service, or the collection, kept failing. Whatever ends a run: what was
            paid for is kept.
    """
    ended = threading.Event()

    async def whole() -> ReindexReport:
        try:
            return await areindex(
                source,
                embedder,
                target,
                checkpoint=checkpoint,
                shard=shard,
                batch=batch,
                max_dollars=max_dollars,
                page=page,
                delete_removed=delete_removed,
                stop_on_failure=stop_on_failure,
                on_progress=on_progress,
                show_progress=show_progress,
                dry_run=dry_run,
            )
        finally:
            ended.set()

    try:
        return loop.run(whole())
    except KeyboardInterrupt:
        ended.wait(_LONGEST_END)
        raise


async def areindex(
    source: Source,
    embedder: Gemini2Embedder,
    target: MatryoshkaCollection,
    *,
    checkpoint: str | Path,
    shard: tuple[int, int] = (0, 1),
    batch: bool | BatchOptions = False,
    max_dollars: float | None = None,
    page: int = 512,
    delete_removed: bool = False,
    stop_on_failure: bool = False,
    on_progress: OnProgress | None = None,
    show_progress: bool = False,
    dry_run: bool = False,
) -> ReindexReport:
    """``reindex``, awaited; cancelling it lets come in what is in flight, as Ctrl-C does."""
    if page < 1:
        raise ConfigurationError(f"page={page!r} must be at least 1")
    if max_dollars is not None and not max_dollars > 0:
        raise ConfigurationError(
            f"max_dollars={max_dollars!r} must be above 0; dry_run=True costs nothing"
        )
    identity = Identity(
        source=source.name,
        space=str(embedder.space),
        target=f"{target.name!r} at {_place(target.where)}",
        shard=f"{shard[0]}/{shard[1]}",
    )
    if dry_run:
        with _shown(show_progress, on_progress) as told:
            return await dry_report(
                source,
                embedder,
                checkpoint,
                identity,
                shard=shard,
                page=page,
                batch_api=batch is not False,
                on_progress=told,
            )
    sharded(source, *shard)  # which says if there is no such shard
    if isinstance(source, CollectionSource):
        with suppress(AuthenticationError):  # of a key that mayn't know the aliases
            refuse_itself(target, source, await target.aaliases())
    await target.aopen()
    if target.space != embedder.space:
        raise IndexMismatchError(
            f"{identity.target} holds vectors of {target.space}, and the embedder makes those of "
            f"{embedder.space}: they can't be compared. Take a new collection"
        )
    noted = await asyncio.to_thread(Checkpoint, checkpoint, identity)
    try:
        with _shown(show_progress, on_progress) as told:
            settings = Settings(shard, page, max_dollars, stop_on_failure, told)
            await _check_filled(target, noted, identity)
            move = await _move(source, embedder, target, noted, settings, batch)
            return await _moved(source, target, noted, identity, settings, move, delete_removed)
    finally:
        await asyncio.to_thread(noted.close)


async def _move(
    source: Source,
    embedder: Gemini2Embedder,
    target: MatryoshkaCollection,
    noted: Checkpoint,
    settings: Settings,
    batch: bool | BatchOptions,
) -> Move:
    size, hybrid = target.dimensions, target.hybrid
    if batch is not False:
        options: BatchOptions = {} if batch is True else batch
        return BatchMove(
            source, embedder, target, noted, settings, size=size, hybrid=hybrid, options=options
        )
    waiting = await asyncio.to_thread(WaitingItems(noted).count)
    if waiting:
        raise ConfigurationError(
            f"{waiting:,} items are with the Batch API, and would be paid for twice: go on with "
            f"batch=True (--batch). To give them up, cancel the run in {batch_state(noted.path)} "
            "and take a new checkpoint"
        )
    return OnlineMove(source, embedder, target, noted, settings, size=size, hybrid=hybrid)


async def _moved(
    source: Source,
    target: MatryoshkaCollection,
    noted: Checkpoint,
    identity: Identity,
    settings: Settings,
    move: Move,
    delete_removed: bool,
) -> ReindexReport:
    removed = 0
    ids: tuple[PointId, ...] = ()
    try:
        async with target.abulk():
            await amark_filling(target, shard=settings.shard)
            finished = await move.go()
            if finished:
                removed, ids = await _removed(target, noted, delete_removed)
                await asyncio.to_thread(noted.completed)
    except Gemini2Error as error:
        stored = await asyncio.to_thread(noted.stored)
        error.message += (
            f" ({stored:,} items are stored; what was paid for is kept, and the same call goes on "
            "from there)"
        )
        raise
    if finished:
        await amark_filled(target, shard=settings.shard)
    counts = move.counts
    return ReindexReport(
        source=identity.source,
        target=identity.target,
        shard=settings.shard,
        read=counts.read,
        stored=counts.stored,
        unchanged=counts.unchanged,
        changed=counts.changed,
        payloads=counts.payloads,
        repeated=counts.repeated,
        left_out=left_out(source),
        failed=counts.failed,
        failures=tuple(noted.some_failures(_SHOWN)),
        removed=removed,
        removed_ids=ids,
        deleted=delete_removed and removed > 0,
        usage=counts.usage,
        tokens=noted.tokens,
        dollars=noted.dollars,
        seconds=move.seconds,
        finished=finished,
        stopped=move.stopped,
    )


async def _check_filled(
    target: MatryoshkaCollection, noted: Checkpoint, identity: Identity
) -> None:
    """See that the collection has what the checkpoint says it has, by a sample."""
    some = noted.some_stored(_SAMPLE)
    there = await target.aget(some)
    # Some may have been deleted since, by whoever serves from it; most haven't.
    if 2 * len(there) < len(some):
        raise ConfigurationError(
            f"the checkpoint {noted.path} says that {noted.stored():,} items are stored, but "
            f"{identity.target} hasn't got them. If it was deleted or made anew, delete the "
            "checkpoint too and begin again"
        )


async def _removed(
    target: MatryoshkaCollection, noted: Checkpoint, delete: bool
) -> tuple[int, tuple[PointId, ...]]:
    """How many stored items the source has no more, and the first of them as it called them."""
    count = await asyncio.to_thread(noted.removed)
    shown: list[PointId] = []
    for stored in noted.removed_ids(_DELETED_AT_ONCE):
        if not shown:
            shown = [record.id for record in await target.aget(stored[:_SHOWN])]
        if not delete:
            break
        await target.adelete(stored)
        await asyncio.to_thread(noted.forget, stored)
    return count, tuple(shown)


def _place(where: str) -> str:
    """An address without a password in it; a folder wherever this process stands."""
    if "://" in where:
        return _USER.sub("//", where)
    # ":memory:", or a client's "host:6333".
    return where if ":" in where else str(Path(where).resolve())


@contextmanager
def _shown(show: bool, on_progress: OnProgress | None) -> Iterator[OnProgress | None]:
    """What is told of each page: a progress bar, the caller's function, or both."""
    if not show:
        yield on_progress
        return
    from tqdm.auto import tqdm

    with tqdm(total=None, unit="item", desc="reindexing", smoothing=0.05) as bar:

        def tell(progress: ReindexProgress) -> None:
            bar.total = progress.total
            failed = f", {progress.failed:,} failed" if progress.failed else ""
            bar.set_postfix_str(f"{money(progress.dollars)}{failed}", refresh=False)
            bar.update(progress.read - bar.n)
            if on_progress is not None:
                on_progress(progress)

        yield tell
