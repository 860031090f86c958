"""How much one chunk may hold: the budget of text, and the model's limits on media."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from gemini2_core.content.chunking.document import Placed
from gemini2_core.content.chunking.units import Unit
from gemini2_core.content.media import Media
from gemini2_core.content.media_types import modality_of
from gemini2_core.model import Backend, MediaLimit, Modality, ModelSpec, media_tokens

__all__ = ["Capacity", "Load"]

#: Headers round: a sound of 180.02 s was meant as one of 180.
_SLACK_SECONDS = 0.1


@dataclass(slots=True)
class Load:
    """What is in a chunk so far."""

    text: int = 0
    media: int = 0
    counts: dict[Modality, int] = field(default_factory=dict)
    amounts: dict[Modality, float] = field(default_factory=dict)

    def plus(self, other: Load) -> Load:
        """Both together."""
        return Load(
            self.text + other.text,
            self.media + other.media,
            _sum(self.counts, other.counts),
            _sum(self.amounts, other.amounts),
        )


class Capacity:
    """What a chunk may hold of a model on a service.

    Args:
        spec: The model.
        backend: The service.
        max_tokens: Budget of text.
    """

    def __init__(self, spec: ModelSpec, backend: Backend, max_tokens: int) -> None:
        self._limits = spec.limits[backend]
        self.max_tokens = max_tokens
        self.model_tokens = spec.max_input_tokens

    def load(self, units: Iterable[Unit]) -> Load:
        """What units weigh; opens sounds, films and PDF files to measure them."""
        total = Load()
        for unit in units:
            total.text += unit.tokens
            for link in unit.links:
                self._add(total, link)
        return total

    def fits(self, load: Load, reserved: int) -> bool:
        """True if a chunk can hold it beside ``reserved`` tokens of prompt and repeated text."""
        if load.text + reserved > self.max_tokens:
            return False
        if load.media and load.text + load.media + reserved > self.model_tokens:
            return False
        for modality, count in load.counts.items():
            limit = self._limits.get(modality)
            if limit is None:
                continue
            if limit.count is not None and count > limit.count:
                return False
            most = _most(limit)
            if most is not None and load.amounts.get(modality, 0) > most:
                return False
        return True

    def _add(self, load: Load, link: Placed) -> None:
        modality = modality_of(link.media.mime_type) or Modality.IMAGE
        amount, tokens = _weight(link.media, modality)
        load.media += tokens
        load.counts[modality] = load.counts.get(modality, 0) + 1
        if amount:
            load.amounts[modality] = load.amounts.get(modality, 0) + amount


def _weight(media: Media, modality: Modality) -> tuple[float, int]:
    """Pages or seconds, and tokens."""
    if modality is Modality.IMAGE:
        return 0, media_tokens(modality)
    measure = media.measure()
    return (
        measure.pages or measure.seconds or 0,
        media_tokens(modality, pages=measure.pages, seconds=measure.seconds),
    )


def _most(limit: MediaLimit) -> float | None:
    if limit.pages is not None:
        return limit.pages
    return None if limit.seconds is None else limit.seconds + _SLACK_SECONDS


_Number = TypeVar("_Number", int, float)


def _sum(left: dict[Modality, _Number], right: dict[Modality, _Number]) -> dict[Modality, _Number]:
    if not right:
        return left
    return {name: left.get(name, 0) + right.get(name, 0) for name in {**left, **right}}
