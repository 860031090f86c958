"""The service's rules for one content, and for what it bills."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from gemini2_core.emulator.media import Medium
from gemini2_core.emulator.reading import Item
from gemini2_core.emulator.refusals import invalid
from gemini2_core.model import MAX_BATCH_ITEMS, Backend, Modality, ModelSpec, count_tokens

__all__ = [
    "batch_too_long",
    "check_content",
    "check_item",
    "cut",
    "token_details",
    "tokens_of",
]

_LEARN_MORE = (
    "Learn more: https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/"
    "text-embeddings-api"
)
_WORDS = {
    Modality.IMAGE: "image",
    Modality.AUDIO: "audio",
    Modality.VIDEO: "video",
    Modality.DOCUMENT: "document",
}


def batch_too_long(count: int) -> None:
    """Refuse more than 100 items (recordings/errors/400_batch_over_100)."""
    if count > MAX_BATCH_ITEMS:
        raise invalid(
            "* BatchEmbedContentsRequest.requests: at most "
            f"{MAX_BATCH_ITEMS} requests can be in one batch\n"
        )


def check_item(item: Item, spec: ModelSpec, message: str = "EmbedContentRequest") -> None:
    """Refuse an item without parts, with an empty one, or of a size the model doesn't give."""
    if not item.parts:
        raise invalid(f"* {message}.content.parts: parts is not specified\n")
    if any(part == "" for part in item.parts):
        raise invalid("EmbedContentRequest.content contains an empty Part.")
    size = item.dimensions
    if size is not None and not spec.min_dimensions <= size <= spec.full_dimensions:
        # The service's own words for this aren't known.
        raise invalid(
            f"* {message}.output_dimensionality: must be between {spec.min_dimensions} and "
            f"{spec.full_dimensions}, but {size} was given\n"
        )


def check_content(parts: Sequence[str | Medium], spec: ModelSpec, backend: Backend) -> None:
    """Refuse media of a type, number or length that the model doesn't take.

    The words for too many images are recorded; the others are shaped after them.
    """
    media = [part for part in parts if isinstance(part, Medium)]
    limits = spec.limits[backend]
    for modality, count in Counter(medium.modality for medium in media).items():
        limit = limits.get(modality)
        if limit is None:
            raise invalid("Request contains an invalid argument.")
        if limit.count is not None and count > limit.count:
            raise _too_much(f"{limit.count} {_WORDS[modality]} parts", f"{count} were provided")
    for medium in media:
        limit = limits[medium.modality]
        word = _WORDS[medium.modality]
        if medium.mime_type not in limit.mime_types:
            # Opaque, as users report it.
            raise invalid("Request contains an invalid argument.")
        if limit.pages and medium.pages and medium.pages > limit.pages:
            raise _too_much(f"{limit.pages} {word} pages", f"{medium.pages} were provided")
        if limit.seconds and medium.seconds and medium.seconds > limit.seconds:
            raise _too_much(
                f"{limit.seconds:g} seconds of {word}", f"{medium.seconds:.1f} were provided"
            )


def _too_much(limit: str, given: str) -> Exception:
    return invalid(
        f"Unable to submit request because the model supports at most {limit} per input "
        f"instance, but {given}. {_LEARN_MORE}"
    )


def tokens_of(parts: Iterable[str | Medium]) -> Counter[Modality]:
    """Tokens by modality, uncut."""
    tokens: Counter[Modality] = Counter()
    for part in parts:
        if isinstance(part, Medium):
            for modality, count in part.tokens:
                tokens[modality] += count
        else:
            tokens[Modality.TEXT] += count_tokens(part)
    return tokens


def cut(
    parts: Sequence[str | Medium], limit: int
) -> tuple[list[str | Medium], Counter[Modality], bool]:
    """Keep the first ``limit`` tokens, as the service does without a word.

    Returns:
        What is left of the parts, its tokens, and whether anything was cut. Whether the service
        bills what it cuts isn't known; here it doesn't.
    """
    tokens = tokens_of(parts)
    if tokens.total() <= limit:
        return list(parts), tokens, False
    kept: list[str | Medium] = []
    left = limit
    for part in parts:
        count = tokens_of([part]).total()
        if count > left:
            if isinstance(part, str) and (piece := _start(part, left)):
                kept.append(piece)
            break
        kept.append(part)
        left -= count
    # A single medium beyond the limit is read as far as it goes; it still bills no more.
    if not kept:
        return list(parts), Counter({next(iter(tokens)): limit}), True
    return kept, tokens_of(kept), True


def _start(text: str, tokens: int) -> str:
    """The longest start of a text within a number of tokens."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if count_tokens(text[:middle]) <= tokens:
            low = middle
        else:
            high = middle - 1
    return text[:low]


def token_details(tokens: Mapping[Modality, int]) -> list[dict[str, object]]:
    """``promptTokenDetails``; recorded with IMAGE before TEXT, so in the order of names."""
    return [
        {"modality": modality.value, "tokenCount": count}
        for modality, count in sorted(tokens.items())
        if count
    ]
