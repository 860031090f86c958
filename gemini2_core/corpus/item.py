"""One thing of a corpus that gets one vector, and where such things come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from gemini2_core.content import ContentLike
from gemini2_core.index import Payload, PointId

__all__ = ["Item", "Source"]


@dataclass(frozen=True, slots=True)
class Item:
    """One thing of a corpus that gets one vector.

    Attributes:
        id: The same for the same thing whenever the source is read; a collection stores it under
            this id, so that what is read twice is there once.
        content: What is embedded: a text, Markdown with media links, or parts.
        title: Told to the model with it, or None.
        payload: What is stored beside its vectors, JSON values.
    """

    id: PointId
    content: ContentLike
    title: str | None = None
    payload: Payload = field(default_factory=dict)


@runtime_checkable
class Source(Protocol):
    """Items that can be read again and again, in the same order, with bounded memory."""

    @property
    def name(self) -> str:
        """What messages and checkpoints call it; the same for the same source."""

    def __iter__(self) -> Iterator[Item]:
        """The items, from the first on."""

    def count(self) -> int | None:
        """How many items there are, or None where only reading them all would tell."""
