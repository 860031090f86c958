"""Contents on their way into a batch run: planned, compared with what is there, kept."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from gemini2_core.content import ContentLike
from gemini2_core.embedding.batch.kept_contents import NewContent, content_digest
from gemini2_core.embedding.batch.lines import Line, fit_row, make_line
from gemini2_core.embedding.batch.origin import Origin
from gemini2_core.embedding.batch.state import State
from gemini2_core.embedding.cache import unpack_row
from gemini2_core.embedding.engine import Engine
from gemini2_core.embedding.plan import Aggregate, Plan
from gemini2_core.errors import InvalidInputError
from gemini2_core.model import Side

__all__ = ["Entry", "KeyedContent", "Submission"]

KeyedContent: TypeAlias = tuple[str, ContentLike] | tuple[str, ContentLike, str | None]
"""A key of the caller's, a content, and its title if it has one."""


_REFUSED = "refused"


@dataclass(slots=True)
class Entry:
    """A content on its way into the state: its plan, or why it has none.

    Attributes:
        key: The caller's.
        digest: Of what it is.
        plan: How it is embedded.
        error: Why it can't be.
    """

    key: str
    digest: str = _REFUSED
    plan: Plan | None = None
    error: InvalidInputError | None = None


class Submission:
    """Takes contents into a state.

    Args:
        state: What the run knows.
        origin: What the embedder gave.
        dimensions: Size of the vectors.
        side: Which side of the task the contents are.
        aggregate: How the parts of a content make one vector.
        report_bad: Keep a content that can't be embedded as an error, instead of raising.
    """

    def __init__(
        self,
        state: State,
        origin: Origin,
        dimensions: int,
        *,
        side: Side,
        aggregate: Aggregate,
        report_bad: bool,
    ) -> None:
        self._state = state
        self._origin = origin
        self._dimensions = dimensions
        self._side: Side = side
        self._aggregate: Aggregate = aggregate
        self._report_bad = report_bad

    def plan(self, some: Sequence[KeyedContent]) -> list[Entry]:
        """Plan contents, up to the first that can't be embedded, unless these are reported.

        Raises:
            InvalidInputError: What should be a key and a content isn't.
        """
        entries: list[Entry] = []
        for one in some:
            key, content, title = _keyed(one)
            entries.append(self._planned(key, content, title))
            if entries[-1].error is not None and not self._report_bad:
                break
        return entries

    def _planned(self, key: str, content: ContentLike, title: str | None) -> Entry:
        try:
            plan = self._origin.plan([content], self._side, [title], self._aggregate)
            digest = content_digest(
                item.cache_key(self._origin.spec.space) or repr(item.identity)
                for pieces in plan.pieces
                for item, _ in pieces
            )
        except InvalidInputError as error:
            return Entry(key, error=_about(error, key))
        return Entry(key, digest, plan)

    async def keep(self, entries: Sequence[Entry]) -> int:
        """Keep those whose keys aren't known yet; returns how many they are.

        Those that were given up, and might work another time, are free for another job.

        Raises:
            InvalidInputError: One can't be embedded, or its key stands for another content; those
                before it are kept.
        """
        new, again, wrong = await asyncio.to_thread(self._unsettled, entries)
        doubtful = [e for e in new + again if e.plan is not None and any(e.plan.doubtful())]
        if doubtful:
            engine = await self._origin.engine()
            await asyncio.gather(*(self._settle(engine, entry) for entry in doubtful))
        await asyncio.to_thread(self._add, new)
        if again:
            await asyncio.to_thread(self._try_again, again)
        if wrong is not None:
            raise wrong
        return len(new)

    def _unsettled(
        self, entries: Sequence[Entry]
    ) -> tuple[list[Entry], list[Entry], InvalidInputError | None]:
        """Those that are new and that were given up, up to one whose key is another content's."""
        keys = [entry.key for entry in entries]
        known = self._state.contents.digests(keys)
        given_up = self._state.contents.given_up(keys) if known else set()
        new: list[Entry] = []
        again: list[Entry] = []
        for entry in entries:
            digest = known.setdefault(entry.key, "")
            if not digest:
                known[entry.key] = entry.digest
                new.append(entry)
            elif digest != entry.digest:
                told = (
                    f"the key {entry.key!r} was submitted with another content: keys are for good "
                    "in a run, so give the changed content a new one"
                )
                return new, again, InvalidInputError(told)
            elif entry.key in given_up:
                again.append(entry)
        return new, again, None

    async def _settle(self, engine: Engine, entry: Entry) -> None:
        assert entry.plan is not None
        try:
            await engine.settle(entry.plan, self._origin.on_overflow)
        except InvalidInputError as error:
            entry.error = _about(error, entry.key)

    def _add(self, entries: Sequence[Entry]) -> None:
        kept: list[NewContent] = []
        bad: InvalidInputError | None = None
        for entry in entries:
            content = self._new_content(entry)
            if content.error is not None and not self._report_bad:
                bad = entry.error
                break
            kept.append(content)
        self._look_up(kept)
        self._origin.spent(self._state.contents.add(kept))
        if bad is not None:
            raise bad

    def _try_again(self, entries: Sequence[Entry]) -> None:
        contents = [self._new_content(entry) for entry in entries]
        self._look_up(contents)
        self._state.contents.try_again(contents)

    def _new_content(self, entry: Entry) -> NewContent:
        if entry.plan is not None and entry.error is None:
            try:
                pieces: list[tuple[Line, float]] = [
                    (make_line(item, self._origin.spec.space, self._dimensions), weight)
                    for some in entry.plan.pieces
                    for item, weight in some
                ]
            except InvalidInputError as error:
                entry.error = _about(error, entry.key)
            else:
                skipped = not entry.plan.indices
                return NewContent(entry.key, entry.digest, pieces, forgotten=skipped)
        return NewContent(entry.key, entry.digest, error=str(entry.error))

    def _look_up(self, contents: Sequence[NewContent]) -> None:
        """Give the lines the vectors that a cache has of them."""
        cache = self._origin.cache
        if cache is None:
            return
        keys: dict[str, list[Line]] = {}
        for content in contents:
            for line, _ in content.pieces:
                if line.cache_key is not None:
                    keys.setdefault(line.cache_key, []).append(line)
        for data, lines in zip(cache.mget(list(keys)), keys.values(), strict=True):
            row = unpack_row(data, self._origin.spec.full_dimensions)
            for line in lines if row is not None else ():
                line.row = row if row is None else fit_row(row, self._dimensions)


def _keyed(entry: object) -> tuple[str, ContentLike, str | None]:
    if not isinstance(entry, tuple) or len(entry) not in (2, 3) or not isinstance(entry[0], str):
        raise InvalidInputError(
            f"a (key, content) or (key, content, title) with a str as key is wanted, not "
            f"{entry!r:.80}"
        )
    return entry[0], entry[1], entry[2] if len(entry) == 3 else None


def _about(error: InvalidInputError, key: str) -> InvalidInputError:
    """An error of one content says which: by its key, not by its place in a list of one."""
    error.message = f"content {key!r}: {error.message.removeprefix('input 0: ')}"
    error.index = int(key) if key.isdecimal() else None
    return error
