"""What one item will take, found out as the embedder itself plans it, and without sending it."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from gemini2_core.content import Content, Media
from gemini2_core.corpus.billing.bill import FindingKind
from gemini2_core.corpus.item import Item
from gemini2_core.embedding import Aggregate, OnOverflow
from gemini2_core.embedding.plan import Item as Planned
from gemini2_core.embedding.plan import Plan, make_plan
from gemini2_core.errors import Gemini2Error
from gemini2_core.model import Backend, Modality, ModelSpec, TaskType, count_tokens

__all__ = ["Count", "Measured", "Meter", "local_counts"]

Count = Callable[[Sequence[str]], Sequence[int]]

#: Characters of an over-long text that are counted; what the embedder has counted, too.
_COUNTED_CHARACTERS = 60_000


@dataclass(slots=True)
class Measured:
    """What one item will take.

    Attributes:
        text_tokens: Tokens of its texts, prompts included, by our estimate.
        pdf_tokens: Tokens of the text in its PDF pages, by our estimate of what can be read there.
        media_tokens: Tokens of its media at the documented rates.
        contents: What is embedded for it and counts against a quota.
        texts: What is sent as text, part by part.
        request_bytes: Bytes of it in requests.
        payload_bytes: Bytes of its payload as JSON.
        finding: What will happen to it, and how a message tells it; None for nothing.
    """

    text_tokens: int = 0
    pdf_tokens: int = 0
    media_tokens: dict[Modality, int] = field(default_factory=dict)
    contents: int = 0
    texts: list[str] = field(default_factory=list)
    request_bytes: int = 0
    payload_bytes: int = 0
    finding: tuple[FindingKind, str] | None = None


def local_counts(texts: Sequence[str]) -> list[int]:
    """Our own estimate of each text."""
    return [count_tokens(text) for text in texts]


@dataclass(frozen=True, slots=True)
class Meter:
    """Measures items as an embedder of these settings would plan them.

    Attributes:
        spec: The model.
        backend: The service.
        task: What the vectors are for.
        media_root: Where the media links of texts are read from; None leaves texts as they are.
        on_overflow: What becomes of an over-long text.
        aggregate: Whether the parts of an item are fused or averaged.
        pdf_text: Whether PDF pages are opened for their text.
    """

    spec: ModelSpec
    backend: Backend
    task: TaskType | None
    media_root: Path | None
    on_overflow: OnOverflow
    aggregate: Aggregate
    pdf_text: bool

    def measure(self, items: Sequence[Item], count: Count = local_counts) -> list[Measured]:
        """What each item will take, in order.

        Args:
            items: The items.
            count: Counts the texts that may be too long for one window.

        Raises:
            ServiceError: ``count`` failed.
        """
        plans = [self._plan(item) for item in items]
        doubtful = [
            (plan, position, planned)
            for plan in plans
            if isinstance(plan, Plan)
            for position, planned in plan.doubtful()
        ]
        counts = count([_text(planned)[:_COUNTED_CHARACTERS] for _, _, planned in doubtful])
        told: dict[int, tuple[FindingKind, str]] = {}
        for (plan, position, planned), counted in zip(doubtful, counts, strict=True):
            text = _text(planned)
            whole = -(-counted * len(text) // len(text[:_COUNTED_CHARACTERS]))
            before = plan.pieces[position]
            # Cutting warns, which is for those who really cut.
            windows: OnOverflow = "error" if self.on_overflow == "error" else "average"
            try:
                plan.settle(position, planned, whole, self.spec, windows)
            except Gemini2Error as error:
                told[id(plan)] = ("refused", _reason(error))
                continue
            more = len(plan.pieces[position]) - len(before)
            if more == 0:
                continue
            about = f"a text of about {whole:,} tokens"
            if self.on_overflow == "truncate":
                first = next(at for at, (one, _) in enumerate(before) if one is planned)
                del plan.pieces[position][first + 1 : first + 1 + more]
                told[id(plan)] = ("cut", f"{about}, cut to {self.spec.max_input_tokens:,}")
            else:
                told[id(plan)] = ("windows", f"{about}, in {more + 1} windows")
        return [
            self._measured(item, plan, told.get(id(plan)))
            for item, plan in zip(items, plans, strict=True)
        ]

    def _plan(self, item: Item) -> Plan | str:
        """How the item will be sent, or why it can't be."""
        try:
            content = Content.of(item.content, media_root=self.media_root, title=item.title)
            return make_plan(
                [content],
                spec=self.spec,
                backend=self.backend,
                task=self.task,
                side="document",
                aggregate=self.aggregate,
            )
        except Gemini2Error as error:
            return _reason(error)

    def _measured(
        self, item: Item, plan: Plan | str, told: tuple[FindingKind, str] | None
    ) -> Measured:
        if isinstance(plan, str):
            return Measured(finding=("refused", plan))
        if told is not None and told[0] == "refused":
            return Measured(finding=told)
        pieces = [planned for some in plan.pieces for planned, _ in some]
        found = Measured(contents=len(pieces), finding=told)
        for piece in pieces:
            self._add(found, piece)
        found.payload_bytes = _payload_bytes(item)
        return found

    def _add(self, found: Measured, piece: Planned) -> None:
        for modality, tokens in piece.tokens.items():
            if modality is Modality.TEXT:
                found.text_tokens += tokens
            else:
                found.media_tokens[modality] = found.media_tokens.get(modality, 0) + tokens
        found.texts += [part for part in piece.parts if isinstance(part, str)]
        found.request_bytes += piece.size()
        if self.pdf_text:
            found.pdf_tokens += sum(
                _pdf_tokens(part)
                for part in piece.parts
                if isinstance(part, Media) and part.modality is Modality.DOCUMENT
            )


def _text(piece: Planned) -> str:
    return "".join(part for part in piece.parts if isinstance(part, str))


def _reason(error: Gemini2Error) -> str:
    return str(error).removeprefix(f"input {error.index}: ")


def _payload_bytes(item: Item) -> int:
    try:
        return len(orjson.dumps(item.payload, option=orjson.OPT_SERIALIZE_NUMPY))
    except TypeError:
        return len(str(item.payload))  # storing it will tell what is wrong


def _pdf_tokens(media: Media) -> int:
    """Tokens of the text that stands in a PDF; what only its pictures show isn't seen here."""
    if media.by_service or media.remote:
        return 0
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    try:
        reader = PdfReader(io.BytesIO(media.read()))
        return sum(count_tokens(page.extract_text()) for page in reader.pages)
    except (Gemini2Error, PyPdfError, ValueError, KeyError, TypeError, RecursionError):
        return 0  # its pages count all the same
