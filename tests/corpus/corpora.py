"""Corpora that are made up, small or large, the same in every process."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from gemini2_core.corpus import Item

_WORDS = (
    "pump valve filter tank gauge strainer hose clamp bolt washer fuel oil air coolant pressure "
    "temperature check replace remove install inspect clean torque tighten loosen drain fill "
    "before after flight engine idle full left right upper lower inner outer panel cover seal"
).split()


class MadeUp:
    """A source of so many short texts, none like another, made as they are read."""

    def __init__(
        self,
        count: int,
        *,
        words: int = 12,
        name: str = "made up",
        change: Callable[[int, Item], Item | None] = lambda _, item: item,
    ) -> None:
        self._count = count
        self._words = words
        self._change = change
        self.name = name

    def count(self) -> int | None:
        return self._count

    def __iter__(self) -> Iterator[Item]:
        for number in range(self._count):
            item = self._change(number, made_up(number, self._words))
            if item is not None:
                yield item


def made_up(number: int, words: int = 12) -> Item:
    """The item of a number."""
    some = random.Random(number).choices(_WORDS, k=words)
    text = f"{' '.join(some)} {number}"
    return Item(f"doc-{number}", text, None, {"page_content": text, "metadata": {"n": number}})
