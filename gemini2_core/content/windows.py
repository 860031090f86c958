"""Over-long text in windows: cut at sentence borders, each within a token limit, nothing lost."""

# ruff: noqa: RUF001 - signs of other scripts are meant

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence

from gemini2_core.errors import InvalidInputError
from gemini2_core.model.tokens import count_tokens

__all__ = ["sentence_ends", "split_text"]

# Each alternative takes a whole run, so that no run is looked at twice.
_SENTENCE_END = re.compile(
    r"(?P<stop>[.!?…]++[\"'”’»)\]]*+)(?P<blank>\s*+)"
    r"|[。！？]++[」』”’）]*+\s*+"
    r"|(?P<breaks>\n\s*+)"
)
_LINE_END = re.compile(r"\n\s*+")
_WORD_END = re.compile(r"\s++")
_ZWJ = "\u200d"
_LONGEST_CLUSTER = 32


def split_text(text: str, max_tokens: int, count: Callable[[str], int] = count_tokens) -> list[str]:
    """Cut ``text`` into windows of at most ``max_tokens`` by ``count``, of about equal length.

    Windows end where sentences or paragraphs end; a sentence that is itself too long is cut
    between lines, then words, and a word that is too long between characters. Joined, the windows
    are ``text`` again. The work grows linearly with the text if that of ``count`` does.

    Args:
        text: Any text; one within the limit (an empty one too) comes back as the only window.
        max_tokens: At least 1.
        count: Tokens of a text; needn't be additive, as every window is counted itself.

    Raises:
        ValueError: ``max_tokens`` is below 1.
        InvalidInputError: A single character counts more than ``max_tokens``.
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens must be 1 or more, not {max_tokens}")
    if count(text) <= max_tokens:
        return [text]
    pieces = list(_pieces(text, max_tokens, count, (sentence_ends, _between_lines, _between_words)))
    windows: list[str] = []
    for group in _groups([tokens for _, tokens in pieces], max_tokens):
        windows.extend(_checked([piece for piece, _ in pieces[group]], max_tokens, count))
    return windows


_Border = Callable[[str], Iterator[int]]


def _pieces(
    text: str, max_tokens: int, count: Callable[[str], int], borders: Sequence[_Border]
) -> Iterator[tuple[str, int]]:
    """The largest natural pieces that are each within the limit, with their tokens."""
    start = 0
    for end in (*borders[0](text), len(text)):
        piece = text[start:end]
        start = end
        if not piece:
            continue
        tokens = count(piece)
        if tokens <= max_tokens:
            yield piece, tokens
        elif len(borders) > 1:
            yield from _pieces(piece, max_tokens, count, borders[1:])
        else:
            yield from _chopped(piece, tokens, max_tokens, count)


def sentence_ends(text: str) -> Iterator[int]:
    """Where sentences and paragraphs end, the blanks behind them included."""
    for match in _SENTENCE_END.finditer(text):
        if match["breaks"] is not None:
            if match[0].count("\n") > 1:
                yield match.end()
        elif match["stop"] is None:
            yield match.end()
        elif match["blank"] and not text[match.end() : match.end() + 1].islower():
            # Before a small letter it's an abbreviation ("e.g. this"), more likely than not.
            yield match.end()


def _between_lines(text: str) -> Iterator[int]:
    return (match.end() for match in _LINE_END.finditer(text))


def _between_words(text: str) -> Iterator[int]:
    return (match.end() for match in _WORD_END.finditer(text))


def _chopped(
    word: str, tokens: int, max_tokens: int, count: Callable[[str], int]
) -> Iterator[tuple[str, int]]:
    """A word without borders in equal parts, cut between characters as a reader sees them."""
    parts = min(-(-tokens // max_tokens), len(word))
    start = 0
    for number in range(1, parts + 1):
        end = len(word) if number == parts else _character_border(word, start, number, parts)
        piece = word[start:end]
        start = end
        if not piece:
            continue
        counted = count(piece)
        if counted <= max_tokens:
            yield piece, counted
        elif len(piece) == 1:
            raise InvalidInputError(
                f"the character {piece!r} alone counts {counted} tokens, more than the "
                f"{max_tokens} of a window"
            )
        else:
            yield from _chopped(piece, max(counted, max_tokens + 1), max_tokens, count)


def _character_border(word: str, start: int, number: int, parts: int) -> int:
    """The border nearest below an even cut that splits no accent, emoji or surrogate pair."""
    even = max(len(word) * number // parts, start)
    for end in range(even, max(start, even - _LONGEST_CLUSTER), -1):
        if not _joined(word[end - 1], word[end]):
            return end
    return even


def _joined(before: str, after: str) -> bool:
    return (
        unicodedata.category(after).startswith("M")
        or _ZWJ in (before, after)
        or "\U0001f3fb" <= after <= "\U0001f3ff"  # skin tones
        or ("\ud800" <= before <= "\udbff" and "\udc00" <= after <= "\udfff")
        or (before, after) == ("\r", "\n")
    )


def _groups(tokens: Sequence[int], max_tokens: int) -> list[slice]:
    """Neighbours put together, each group's sum within the limit, the sums about equal."""
    total = sum(tokens)
    fewest = -(-total // max_tokens)
    for windows in range(fewest, fewest + 3):
        groups = _filled(tokens, total / windows, max_tokens)
        if len(groups) <= windows:
            return groups
    return _filled(tokens, max_tokens, max_tokens)


def _filled(tokens: Sequence[int], share: float, max_tokens: int) -> list[slice]:
    """Groups that each end at the piece nearest to a multiple of ``share``."""
    groups: list[slice] = []
    start = used = done = 0
    for index, number in enumerate(tokens):
        aim = share * (len(groups) + 1)
        full = used + number > max_tokens
        if index > start and (full or done + number / 2 > aim):
            groups.append(slice(start, index))
            start, used = index, 0
        used += number
        done += number
    groups.append(slice(start, len(tokens)))
    return groups


def _checked(pieces: Sequence[str], max_tokens: int, count: Callable[[str], int]) -> Iterator[str]:
    """The pieces as one window, or as two halves where together they count more than apart."""
    window = "".join(pieces)
    if len(pieces) == 1 or count(window) <= max_tokens:
        yield window
        return
    middle = len(pieces) // 2
    yield from _checked(pieces[:middle], max_tokens, count)
    yield from _checked(pieces[middle:], max_tokens, count)
