"""Windows: nothing lost, none too long, cut where a reader would."""

# ruff: noqa: RUF001 - signs of other scripts are meant

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemini2_core.content.windows import split_text
from gemini2_core.errors import InvalidInputError
from gemini2_core.model.tokens import count_tokens, token_bound

texts = st.text(max_size=300) | st.text("ab .!?…。\n'”\r\u0301\u200d🚗", max_size=300)
texts |= st.lists(
    st.sampled_from(["Foo bar baz. ", "One! ", "\n\n", "three\n", "x" * 90, "e.g. this ", "文。"]),
    max_size=60,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(texts, st.integers(1, 40))
def test_windows_join_to_the_text_and_each_is_within_the_limit(text: str, limit: int) -> None:
    windows = split_text(text, limit)
    assert "".join(windows) == text
    assert all(count_tokens(window) <= limit for window in windows)
    assert all(windows) or windows == [""]


@given(texts, st.integers(4, 40))
def test_any_count_is_kept_to(text: str, limit: int) -> None:
    windows = split_text(text, limit, token_bound)
    assert "".join(windows) == text
    assert all(token_bound(window) <= limit for window in windows)


def test_a_short_text_is_one_window() -> None:
    assert split_text("Hello, world!", 100) == ["Hello, world!"]
    assert split_text("", 1) == [""]


def test_windows_end_with_sentences_and_are_of_about_equal_length() -> None:
    text = " ".join(f"This is sentence number {n} of the text." for n in range(101))
    windows = split_text(text, 400)
    assert all(window.rstrip().endswith(".") for window in windows)
    counts = [count_tokens(window) for window in windows]
    assert len(counts) == 3
    assert max(counts) - min(counts) < 20


@pytest.mark.parametrize(
    ("text", "windows"),
    [
        ("Go on! Is it? No… Yes.", ["Go on! ", "Is it? ", "No… ", "Yes."]),
        ('He said "No way." Then left.', ['He said "No way." ', "Then left."]),
        ("走れ。止まれ！何？", ["走れ。", "止まれ！", "何？"]),
        ("one two three\n\nfour five six", ["one two three\n\n", "four five six"]),
        ("nine eight seven\nsix five four", ["nine eight seven\n", "six five four"]),
    ],
)
def test_borders_of_many_languages(text: str, windows: list[str]) -> None:
    assert split_text(text, max(map(count_tokens, windows))) == windows


def test_a_giant_sentence_is_cut_between_words_and_a_giant_word_between_characters() -> None:
    words = "alpha beta gamma " * 50
    assert all(window.endswith(" ") for window in split_text(words, 7))
    accents = "e\u0301" * 200
    windows = split_text(accents, 15)
    assert "".join(windows) == accents
    assert all(window[0] == "e" for window in windows)
    assert max(map(count_tokens, windows)) - min(map(count_tokens, windows)) < 8


def test_a_limit_no_character_fits_in_is_an_error() -> None:
    with pytest.raises(InvalidInputError, match="character"):
        split_text("a 🚗 b", 2, token_bound)
    with pytest.raises(ValueError, match="max_tokens"):
        split_text("a", 0)


@pytest.mark.parametrize(
    "piece", ["word ", ".", " ", "\n", "x", "x\n", "Foo bar. ", "\u0301", ". "]
)
def test_long_texts_take_linear_time(piece: str) -> None:
    def seconds(size: int) -> float:
        text = piece * (size // len(piece))
        start = time.process_time()
        split_text(text, 100, token_bound)
        return time.process_time() - start

    def least(size: int) -> float:
        return min(seconds(size) for _ in range(2))  # one slow turn says nothing

    # Quadratic time would be 16 times as much; 0.2 s lets noise pass.
    assert least(200_000) < 9 * least(50_000) + 0.2
