"""How many tokens the service counts: an estimate for text, the documented rates for media."""

from __future__ import annotations

import math
import re

from gemini2_core.model.models import Modality

__all__ = [
    "TEXT_ESTIMATE_SPREAD",
    "VIDEO_FRAMES",
    "count_tokens",
    "media_tokens",
    "token_bound",
]

# The tokenizer isn't public. The estimate gives every count of the recordings exactly.
_PIECES = re.compile(r"[A-Za-z]+|[0-9]|\n+|[^\S\n]{2,}|[^\sA-Za-z0-9]")
_COMMON_LETTERS = 10
_LETTERS_PER_TOKEN = 4
_IMAGE_TOKENS = 258
_PAGE_TOKENS = 258
_AUDIO_TOKENS_PER_SECOND = 25
_VIDEO_TOKENS_PER_FRAME = 66
#: What the tokens of a corpus may be, as shares of the estimate. The recordings' short English
#: texts it gives exactly. For more, tokenizers of others stood in, OpenAI's o200k (of nearly the
#: size) and cl100k: theirs were 0.87 of it on English prose, 0.92 on Spanish, 0.78 on Python,
#: 0.71 (o200k) to 1.09 (cl100k) on Korean, Japanese and Chinese. Gemini's own isn't established.
TEXT_ESTIMATE_SPREAD = (0.70, 1.10)
#: Frames of a film that the service looks at, one a second as long as they last.
VIDEO_FRAMES = 32


def count_tokens(text: str) -> int:
    """Estimate the tokens of ``text``, as ``embedContent`` bills them.

    A word of up to 10 letters counts one, a longer one a token for each 4; a digit, a sign or a
    character of another script one. Exact on every recording; not established elsewhere, so
    nothing that would be lost by an error hangs on it (see ``token_bound``).
    """
    pieces = _PIECES.findall(text)
    total = len(pieces)
    for piece in [one for one in pieces if len(one) > _COMMON_LETTERS]:
        if not piece.isspace():  # nothing but words and blanks is of more than one character
            total += -(-len(piece) // _LETTERS_PER_TOKEN) - 1
    return total


def token_bound(text: str) -> int:
    """A count that the tokens of ``text`` don't exceed: two letters or one byte a token.

    A text whose bound is within the model's limit is surely not cut; one between estimate and
    bound has to be counted by the service.
    """
    total = 0
    for match in _PIECES.finditer(text):
        piece = match[0]
        if piece.isascii():
            total += -(-len(piece) // 2)
        else:
            total += len(piece.encode("utf-8", "surrogatepass"))
    return total


def media_tokens(
    modality: Modality, *, pages: int | None = None, seconds: float | None = None
) -> int:
    """Tokens of one medium at the documented rates (an image's 258 are recorded).

    A PDF's own text comes on top of its pages; a film is read at one frame a second, 32 frames
    at most. An unknown measure counts as one page or one second.
    """
    if modality is Modality.IMAGE:
        return _IMAGE_TOKENS
    if modality is Modality.DOCUMENT:
        return _PAGE_TOKENS * (pages or 1)
    length = seconds or 1.0
    if modality is Modality.AUDIO:
        # recordings/audio_only_3072: 4.488 s were billed 112, so a part of a token isn't.
        return max(1, int(length * _AUDIO_TOKENS_PER_SECOND))
    if modality is Modality.VIDEO:
        return _VIDEO_TOKENS_PER_FRAME * min(VIDEO_FRAMES, math.ceil(length))
    raise ValueError(f"{modality} is no medium: use count_tokens")
