"""What has to be sent: contents to items with their task told, over-long texts in windows."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from gemini2_core.content import Content, Media, check_limits, split_text
from gemini2_core.errors import Gemini2Error, InvalidInputError, LimitError
from gemini2_core.model import (
    FILES_API_BYTES,
    MAX_BATCH_ITEMS,
    MAX_REQUEST_BYTES,
    Backend,
    Modality,
    ModelSpec,
    Prompt,
    Side,
    TaskType,
    count_tokens,
    media_tokens,
    prompt_for,
    token_bound,
)

__all__ = ["Aggregate", "Item", "OnEmpty", "OnOverflow", "Plan", "make_batches", "make_plan"]

Aggregate = Literal["joint", "mean"]
OnEmpty = Literal["error", "zero", "skip"]
OnOverflow = Literal["average", "error", "truncate"]

#: Fewer items than this aren't spread over several requests: a request has a price of its own.
_SMALLEST_BATCH = 16
#: JSON around a part, bytes; generous.
_OVERHEAD = 200
_CACHE_VERSION = 1
_FEW = 64


@dataclass(slots=True, eq=False)
class Item:
    """One content as it will be sent: exactly one vector comes back for it.

    Attributes:
        parts: Text with the prompt's prefix in it, and media references.
        prompt: How the task is told.
        doubtful: True if the text may be over the model's limit and has to be counted.
    """

    parts: tuple[str | Media, ...]
    prompt: Prompt
    doubtful: bool = False

    @property
    def media(self) -> bool:
        """True if a part is a medium."""
        return any(not isinstance(part, str) for part in self.parts)

    @property
    def identity(self) -> tuple[str, ...]:
        """Equal for items whose bodies are equal, and for no others; cheap, nothing is read."""
        # The first sign keeps a text apart from a medium whose identity it spells out.
        marks = (f"={p}" if isinstance(p, str) else f"@{p.identity}" for p in self.parts)
        return (self.prompt.field or "", self.prompt.title or "", *marks)

    @property
    def tokens(self) -> dict[Modality, int]:
        """Estimated tokens by modality."""
        tokens: dict[Modality, int] = {}
        for part in self.parts:
            if isinstance(part, str):
                modality, count = Modality.TEXT, count_tokens(part)
            else:
                modality, measure = part.modality, part.measure()
                count = media_tokens(modality, pages=measure.pages, seconds=measure.seconds)
            tokens[modality] = tokens.get(modality, 0) + count
        return tokens

    def size(self) -> int:
        """Bytes the item takes in a request, about; base64 adds a third to a medium."""
        total = _OVERHEAD
        for part in self.parts:
            total += _OVERHEAD
            if isinstance(part, str):
                # A character is at most 6 bytes of JSON, and few are; 2 is right for most scripts.
                total += 2 * len(part)
            else:
                # What can't be read is told when it is to be sent.
                with suppress(InvalidInputError):
                    total += part.size() * 4 // 3
        return total

    def cache_key(self, space: str) -> str | None:
        """Key of the vector in a cache, from the very bytes that are sent; reads the media.

        None if a part is a reference whose bytes aren't ours to see.
        """
        digest = hashlib.sha256()
        for part in (self.prompt.field or "", self.prompt.title or "", *self.parts):
            if isinstance(part, str):
                kind, data = b"t", part.encode()
            elif part.by_service:
                return None
            else:
                kind, data = b"m", f"{part.mime_type} {part.sha256()}".encode()
            digest.update(b"%s%d:" % (kind, len(data)) + data)
        return f"gemini2:{_CACHE_VERSION}:{space}:{digest.hexdigest()}"


@dataclass(slots=True)
class Plan:
    """What a call sends, and how its vectors come from it.

    Attributes:
        pieces: For each input that gets a vector, the items it is the weighted mean of; an
            empty list is a vector of zeros.
        indices: The inputs these are, in order.
    """

    pieces: list[list[tuple[Item, float]]] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)

    @property
    def light(self) -> bool:
        """True for a few texts; work on others may take a while, or open files."""
        return len(self.pieces) <= _FEW and not any(
            item.media for some in self.pieces for item, _ in some
        )

    def doubtful(self) -> Iterator[tuple[int, Item]]:
        """Position in ``pieces``, and the item, of every text that has to be counted."""
        for position, pieces in enumerate(self.pieces):
            for item, _ in pieces:
                if item.doubtful:
                    yield position, item

    def unique_items(self) -> tuple[list[Item], dict[int, int]]:
        """The items to send, equal ones once; and for each item's ``id`` its place among them."""
        places: dict[tuple[str, ...], int] = {}
        unique: list[Item] = []
        place_of: dict[int, int] = {}
        for index, pieces in zip(self.indices, self.pieces, strict=True):
            for item, _ in pieces:
                try:
                    place = places.setdefault(item.identity, len(unique))
                except Gemini2Error as error:
                    raise error.at(index)  # noqa: B904 - the same error, with its place
                if place == len(unique):
                    unique.append(item)
                place_of[id(item)] = place
        return unique, place_of

    def settle(
        self,
        position: int,
        item: Item,
        counted: int | None,
        spec: ModelSpec,
        on_overflow: OnOverflow,
    ) -> None:
        """Decide over a doubtful item, now that its tokens are known.

        Args:
            position: Where the item stands in ``pieces``.
            item: The item.
            counted: Its tokens by the service's count; None if that wasn't to be had.
            spec: The model.
            on_overflow: What to do with a text over the limit.

        Raises:
            LimitError: The text is over the limit and ``on_overflow`` is ``"error"``, or its title
                takes more than half of it.
        """
        item.doubtful = False
        text, limit = _only_text(item), spec.max_input_tokens
        estimate = count_tokens(text)
        if counted is None:
            # Without a count the bound decides: rather two windows than a silent cut.
            ratio = token_bound(text) / max(1, estimate)
        elif counted <= limit:
            return
        else:
            ratio = counted / max(1, estimate)
        index = self.indices[position]
        about = f"a text of about {int(estimate * ratio)} tokens is over {spec.id}'s {limit}"
        if on_overflow == "error":
            raise LimitError(f"{about}: split it, or use on_overflow='average' or 'truncate'").at(
                index
            )
        prefix = item.prompt.prefix
        told = count_tokens(prefix)
        if told * ratio > limit / 2:
            # It would stand in every window, and leave little or no room for the text.
            raise LimitError(
                f"a title of about {int(told * ratio)} tokens leaves no room for its text in "
                f"{spec.id}'s {limit}: shorten it"
            ).at(index)
        windows = split_text(
            text[len(prefix) :],
            # 5 % for a text whose density isn't even.
            max(1, int(limit / (1.05 * ratio)) - told - 1),
        )
        if on_overflow == "truncate":
            warnings.warn(
                f"input {index}: {about}; what is beyond it was cut off", UserWarning, stacklevel=2
            )
            windows = windows[:1]
        replaced: list[tuple[Item, float]] = []
        for other, weight in self.pieces[position]:
            if other is item:
                counts = [count_tokens(window) for window in windows]
                share = weight / max(1, sum(counts))
                replaced += [
                    (Item((prefix + window,), item.prompt), share * max(1, count))
                    for window, count in zip(windows, counts, strict=True)
                ]
            else:
                replaced.append((other, weight))
        self.pieces[position] = replaced


def _only_text(item: Item) -> str:
    return "".join(part for part in item.parts if isinstance(part, str))


def make_plan(
    contents: Sequence[Content],
    *,
    spec: ModelSpec,
    backend: Backend,
    task: TaskType | None,
    side: Side,
    aggregate: Aggregate = "joint",
    on_empty: OnEmpty = "error",
) -> Plan:
    """Plan a call: tell the task, check what the model takes, leave nothing to the service.

    The prefix goes on a content's leading text; a bare medium is sent bare, as Google's own
    examples do (what a prefix would do to it isn't documented).

    Raises:
        InvalidInputError: An empty content (unless ``on_empty`` says otherwise), or a medium for
            a model that reads text only.
        LimitError: Too many media, pages, seconds or tokens.
    """
    plan = Plan()
    for index, content in enumerate(contents):
        if content.is_empty:
            if on_empty == "skip":
                continue
            if on_empty == "error":
                raise InvalidInputError(
                    "the text is empty: leave it out, or use on_empty='zero' (or 'skip' where "
                    "a vector may be missing)"
                ).at(index)
            plan.pieces.append([])
        else:
            groups = [content.parts] if aggregate == "joint" else [(p,) for p in content.parts]
            prompt = prompt_for(spec, task, side, content.title)
            pieces: list[tuple[Item, float]] = []
            for group in groups:
                one = Content(group)
                if not one.is_empty:
                    _check(one, spec, backend, index)
                    pieces.append((_item(group, prompt, spec, index), 1.0))
            plan.pieces.append(pieces)
        plan.indices.append(index)
    return plan


def _check(content: Content, spec: ModelSpec, backend: Backend, index: int) -> None:
    if content.text_only:
        return
    check_limits(content, spec, backend, index=index)
    if backend is not Backend.VERTEX:
        return
    together = 0
    for medium in content.media:
        together += medium.size()
        if together > FILES_API_BYTES:
            others = " with the media before it" if together > medium.size() else ""
            raise LimitError(
                f"{medium.name} has{others} {together / 1e6:.1f} MB, more than the "
                f"{FILES_API_BYTES / 1e6:.0f} MB that go into a request, and Vertex has no Files "
                "API: put it into Cloud Storage and pass its gs:// address"
            ).at(index)


def _item(parts: tuple[str | Media, ...], prompt: Prompt, spec: ModelSpec, index: int) -> Item:
    # An empty part is a 400 of the service (recordings/errors/400_empty_part).
    parts = tuple(part for part in parts if not isinstance(part, str) or part)
    if isinstance(parts[0], str):
        parts = (prompt.prefix + parts[0], *parts[1:])
    item = Item(parts, prompt)
    limit = spec.max_input_tokens
    # A token is a byte at least, so most texts are in without counting anything.
    length = sum(4 * len(part) for part in parts if isinstance(part, str))
    if length <= limit and not item.media:
        return item
    if not item.media:
        if sum(token_bound(part) for part in parts if isinstance(part, str)) > limit:
            item.parts = (_only_text(item),)
            item.doubtful = True
        return item
    tokens = item.tokens
    if sum(tokens.values()) > limit:
        told = ", ".join(f"{count} {modality.lower()}" for modality, count in tokens.items())
        raise LimitError(
            f"about {sum(tokens.values())} tokens ({told}) are over {spec.id}'s {limit} for one "
            "content, and media can't be cut into windows: split it, or use aggregate='mean'"
        ).at(index)
    return item


def make_batches(
    items: Sequence[Item],
    places: Sequence[int],
    *,
    batch_size: int,
    max_concurrency: int,
    max_tokens: int | None = None,
) -> list[list[int]]:
    """Pack the items at ``places`` into requests: their places, in order.

    A request has at most 100 items and 20 MB, no more items than let every slot have one, and no
    more tokens than ``max_tokens``: what is over the quota of a minute would never be served.
    """
    even = -(-len(places) // max_concurrency)
    most = min(MAX_BATCH_ITEMS, batch_size, max(_SMALLEST_BATCH, even))
    batches: list[list[int]] = []
    room = left = 0
    for place in places:
        size = items[place].size()
        tokens = sum(items[place].tokens.values()) if max_tokens is not None else 0
        if not batches or len(batches[-1]) >= most or size > room or tokens > left:
            batches.append([])
            room, left = MAX_REQUEST_BYTES, max_tokens or 0
        batches[-1].append(place)
        room -= size
        left -= tokens
    return batches
