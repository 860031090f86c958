"""``estimate``: reads a corpus once and says what embedding it will take, before money is spent."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypedDict, TypeVar, Unpack

from gemini2_core.corpus.billing.bill import (
    Basis,
    Estimate,
    Finding,
    FindingKind,
    Interval,
    check_quotas,
)
from gemini2_core.corpus.billing.measuring import Measured, Meter, local_counts
from gemini2_core.corpus.billing.sampling import Reservoir, extrapolated, ratio
from gemini2_core.corpus.item import Item, Source
from gemini2_core.corpus.sources.reading import Problems, untold
from gemini2_core.embedding import Aggregate, Gemini2Embedder, OnOverflow, Progress
from gemini2_core.embedding.progress import progress_bar
from gemini2_core.errors import ConfigurationError
from gemini2_core.model import (
    DEFAULT_MODEL,
    TEXT_ESTIMATE_SPREAD,
    Backend,
    Modality,
    TaskType,
    model_spec,
)
from gemini2_core.model import task_type as read_task_type

__all__ = ["EstimateOptions", "aestimate", "estimate"]

_T = TypeVar("_T")

#: Items measured together: enough for all slots of an exact count, little for memory.
_TOGETHER = 256
_SMALLEST_SAMPLE = 30
_EXAMPLES = 5


class EstimateOptions(TypedDict, total=False):
    """Arguments of ``estimate``, which explains each."""

    embedder: Gemini2Embedder | None
    exact: bool
    sample: int | None
    model: str
    task_type: TaskType | str | None
    backend: Backend
    media_root: str | Path | None
    on_overflow: OnOverflow
    aggregate: Aggregate
    requests_per_minute: int | None
    tokens_per_minute: int | None
    pdf_text: bool
    on_progress: Callable[[int, int], object] | None
    show_progress: bool


def estimate(
    source: Source,
    *,
    embedder: Gemini2Embedder | None = None,
    exact: bool = False,
    sample: int | None = None,
    model: str = DEFAULT_MODEL,
    task_type: TaskType | str | None = TaskType.RETRIEVAL_QUERY,
    backend: Backend = Backend.GEMINI_API,
    media_root: str | Path | None = None,
    on_overflow: OnOverflow = "average",
    aggregate: Aggregate = "joint",
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
    pdf_text: bool = True,
    on_progress: Callable[[int, int], object] | None = None,
    show_progress: bool = False,
) -> Estimate:
    """What embedding a corpus will take: tokens, dollars, storage, time, and what won't go through.

    Every item is planned as the embedder plans it, with its prompt; nothing is embedded. Tokens
    of texts are our estimate, whose error is stated (``TEXT_ESTIMATE_SPREAD``); those of media
    follow the documented rates, and the text that PDF pages hold counts on top. Equal items count
    each, though the embedder sends those of one call once. With ``exact``
    the service counts the texts (``countTokens``, which costs nothing but time and quota).

    Args:
        source: The corpus; read once, item by item.
        embedder: Whose model, task and service count, instead of the arguments for them; it is
            asked for the counts of ``exact``.
        exact: Have the service count the texts: all of them, or the sample's, by which the
            estimate of all is then set right.
        sample: Measure only so many items, drawn at random, and extrapolate with an interval of
            95 %; everything is read all the same, to know how many there are.
        model: The model.
        task_type: What the vectors are for; its prompt is part of every text.
        backend: The service.
        media_root: Where the media links of texts are read from, as the embedder's.
        on_overflow: What becomes of an over-long text, as the embedder's.
        aggregate: Whether the parts of an item are fused or averaged.
        requests_per_minute: Your quota, in items.
        tokens_per_minute: Your quota of tokens.
        pdf_text: Open PDF pages for the text that counts on top of them.
        on_progress: Called with items done and items in all (0 if that isn't known).
        show_progress: Show a progress bar.

    Raises:
        InvalidInputError: The source can't be read; its policy says what it lets pass.
        ConfigurationError: ``exact`` without an embedder, a sample below 30, a quota below 1.
        ServiceError: The service kept failing to count.
    """
    if exact and embedder is None:
        raise ConfigurationError("exact=True needs embedder=, which asks the service to count")
    if sample is not None and sample < _SMALLEST_SAMPLE:
        raise ConfigurationError(
            f"sample={sample} is too few to say between what the whole lies: "
            f"{_SMALLEST_SAMPLE} or more"
        )
    check_quotas(requests_per_minute, tokens_per_minute)
    if embedder is not None:
        model, task_type, backend = embedder.model, embedder.task_type, embedder.backend
    spec = model_spec(model)
    meter = Meter(
        spec=spec,
        backend=backend,
        task=read_task_type(task_type),
        media_root=None if media_root is None else Path(media_root).expanduser(),
        on_overflow=on_overflow,
        aggregate=aggregate,
        pdf_text=pdf_text,
    )
    counter = embedder if exact else None
    with _watched(source, show_progress, on_progress) as items:
        if sample is None:
            total = _all(items, meter, counter)
        elif counter is None:
            total = _sampled(items, meter, sample)
        else:
            total = _calibrated(items, meter, counter, sample)
    problems = getattr(source, "problems", None)
    refused = total.findings.get("refused", ([], 0))[1]
    return Estimate(
        source=source.name,
        model=spec.id,
        items=total.items,
        vectors=max(0, total.items - refused),
        contents=total.contents,
        tokens=total.tokens,
        basis=total.basis,
        sampled=total.sampled,
        payload_bytes=round(total.payload_bytes),
        request_bytes=round(total.request_bytes),
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        backend=backend,
        findings=tuple(
            Finding(kind, count, tuple(examples))
            for kind, (examples, count) in total.findings.items()
        ),
        problems=problems if isinstance(problems, Problems) else None,
    )


async def aestimate(source: Source, **options: Unpack[EstimateOptions]) -> Estimate:
    """``estimate``, in a thread of its own; the same arguments."""
    return await asyncio.to_thread(partial(estimate, source, **options))


@dataclass(slots=True)
class _Total:
    """What has been measured so far, or stands for all."""

    basis: Basis
    items: int = 0
    sampled: int | None = None
    contents: Interval = field(default_factory=lambda: Interval.certain(0.0))
    tokens: dict[Modality, Interval] = field(default_factory=dict)
    payload_bytes: float = 0.0
    request_bytes: float = 0.0
    findings: dict[FindingKind, tuple[list[str], int]] = field(default_factory=dict)

    def find(self, item: Item, measured: Measured) -> None:
        """Note what will happen to an item."""
        if measured.finding is None:
            return
        kind, message = measured.finding
        examples, count = self.findings.get(kind, ([], 0))
        if len(examples) < _EXAMPLES:
            examples.append(f"{str(item.id)[:80]}: {message}")
        self.findings[kind] = (examples, count + 1)

    def set_tokens(self, media: dict[Modality, Interval], *texts: Interval) -> None:
        """Tokens by modality, in the table's order; those that nothing has are left out."""
        found = {**media, Modality.TEXT: Interval.sum(texts)}
        self.tokens = {kind: found[kind] for kind in Modality if kind in found and found[kind].high}


@dataclass(slots=True)
class _Sum:
    """Whole numbers that add up."""

    text: int = 0
    pdf: int = 0
    contents: int = 0
    payload: int = 0
    requests: int = 0
    media: dict[Modality, int] = field(default_factory=dict)

    def add(self, one: Measured) -> None:
        self.text += one.text_tokens
        self.pdf += one.pdf_tokens
        self.contents += one.contents
        self.payload += one.payload_bytes
        self.requests += one.request_bytes
        for modality, tokens in one.media_tokens.items():
            self.media[modality] = self.media.get(modality, 0) + tokens

    def tell(self, total: _Total, text: Interval) -> None:
        """Put them into the total; the tokens of texts are given."""
        total.contents = Interval.certain(self.contents)
        total.payload_bytes, total.request_bytes = self.payload, self.requests
        media = {kind: Interval.certain(count) for kind, count in self.media.items()}
        total.set_tokens(media, text, _estimated(Interval.certain(self.pdf)))


def _all(items: Iterable[Item], meter: Meter, counter: Gemini2Embedder | None) -> _Total:
    """Every item measured, its texts counted by the service if it shall."""
    total, sums, counted = _Total("local" if counter is None else "exact"), _Sum(), 0
    for some in _batches(items):
        measured = meter.measure(some, local_counts if counter is None else counter.count_tokens)
        if counter is not None:
            counted += sum(counter.count_tokens([text for one in measured for text in one.texts]))
        for item, one in zip(some, measured, strict=True):
            total.items += 1
            sums.add(one)
            total.find(item, one)
    text = _estimated(Interval.certain(sums.text)) if counter is None else Interval.certain(counted)
    sums.tell(total, text)
    return total


def _calibrated(
    items: Iterable[Item], meter: Meter, counter: Gemini2Embedder, sample: int
) -> _Total:
    """Every item measured by us, and a sample's texts by the service: their ratio sets it right."""
    total, sums = _Total("calibrated"), _Sum()
    drawn: Reservoir[Measured] = Reservoir(sample)
    for some in _batches(items):
        for item, one in zip(some, meter.measure(some), strict=True):
            total.items += 1
            sums.add(one)
            total.find(item, one)
            if one.texts:
                drawn.offer(one)
    chosen = drawn.drawn
    counts = iter(counter.count_tokens([text for one in chosen for text in one.texts]))
    counted = [sum(itertools.islice(counts, len(one.texts))) for one in chosen]
    factor = ratio(counted, [one.text_tokens for one in chosen], drawn.offered)
    total.sampled = len(chosen)
    sums.tell(total, factor.times(sums.text))
    return total


def _sampled(items: Iterable[Item], meter: Meter, sample: int) -> _Total:
    """A sample measured, and extrapolated."""
    drawn: Reservoir[Item] = Reservoir(sample)
    for item in items:
        drawn.offer(item)
    total = _Total("sample", items=drawn.offered, sampled=len(drawn.drawn))
    measured: list[Measured] = []
    for some in _batches(drawn.drawn):
        for item, one in zip(some, meter.measure(some), strict=True):
            measured.append(one)
            total.find(item, one)
            one.texts.clear()
    whole = partial(extrapolated, population=drawn.offered)
    total.contents = whole([one.contents for one in measured])
    total.payload_bytes = whole([one.payload_bytes for one in measured]).value
    total.request_bytes = whole([one.request_bytes for one in measured]).value
    kinds = {kind for one in measured for kind in one.media_tokens}
    media = {kind: whole([one.media_tokens.get(kind, 0) for one in measured]) for kind in kinds}
    texts = whole([one.text_tokens + one.pdf_tokens for one in measured])
    total.set_tokens(media, _estimated(texts))
    share = drawn.offered / max(1, len(measured))
    total.findings = {
        kind: (examples, round(count * share)) for kind, (examples, count) in total.findings.items()
    }
    return total


def _estimated(tokens: Interval) -> Interval:
    """Our count of text, with the error that is stated for it."""
    low, high = TEXT_ESTIMATE_SPREAD
    return Interval(tokens.value, tokens.low * low, tokens.high * high)


def _batches(items: Iterable[_T]) -> Iterator[list[_T]]:
    iterator = iter(items)
    while some := list(itertools.islice(iterator, _TOGETHER)):
        yield some


@contextmanager
def _watched(source: Source, show: bool, on_progress: Progress | None) -> Iterator[Iterator[Item]]:
    """The items of a source, with what it leaves out untold (the estimate tells) and a bar."""
    total = source.count() or 0 if show or on_progress is not None else 0

    def told(tell: Progress | None) -> Generator[Item, None, None]:
        done = 0
        for done, item in enumerate(untold(source), start=1):
            yield item
            if tell is not None and done % _TOGETHER == 0:
                tell(done, total)
        if tell is not None:
            tell(done, total)

    bar = progress_bar(show, on_progress, desc="estimating", unit="item")
    with bar as tell, closing(told(tell)) as items:
        yield items
