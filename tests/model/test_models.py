"""The table of models, and the token counts against the recordings."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemini2_core.errors import ConfigurationError
from gemini2_core.model import (
    MODELS,
    Backend,
    Modality,
    check_dimensions,
    count_tokens,
    media_tokens,
    model_spec,
    token_bound,
)

#: Texts of the recordings and what the service billed for them.
BILLED = {
    "task: search result | query: Hello, world!": 11,
    "task: question answering | query: Hello, world!": 11,
    "task: clustering | query: hello": 7,
    "title: Greeting | text: hello": 7,
    "title: none | text: hello": 7,
    "title: none | text: world": 7,
    "Some text goes here": 4,
    "a kiwi fruit": 3,
    "green and fuzzy": 3,
    "Hello, world!": 4,
}


@pytest.mark.parametrize(("text", "billed"), BILLED.items())
def test_the_estimate_gives_every_recorded_count(text: str, billed: int) -> None:
    assert count_tokens(text) == billed
    assert token_bound(text) >= billed


@given(st.text())
def test_the_bound_is_never_below_the_estimate(text: str) -> None:
    assert count_tokens(text) <= token_bound(text) <= 4 * len(text) + 1


def test_media_count_at_the_documented_rates() -> None:
    assert media_tokens(Modality.IMAGE) == 258
    assert media_tokens(Modality.DOCUMENT, pages=3) == 3 * 258
    assert media_tokens(Modality.AUDIO, seconds=10) == 250
    assert media_tokens(Modality.AUDIO, seconds=4.488) == 112  # recorded
    assert media_tokens(Modality.VIDEO, seconds=10) == 660
    assert media_tokens(Modality.VIDEO, seconds=100) == 32 * 66
    with pytest.raises(ValueError, match="count_tokens"):
        media_tokens(Modality.TEXT)


def test_ten_million_chunks_of_500_tokens_cost_what_the_article_says() -> None:
    spec = model_spec("gemini-embedding-2")
    tokens = {Modality.TEXT: 10_000_000 * 500}
    assert spec.dollars(tokens) == pytest.approx(1000)
    assert spec.dollars(tokens, batch_api=True) == pytest.approx(500)


def test_the_preview_works_with_a_warning_and_the_others_without() -> None:
    with pytest.warns(DeprecationWarning, match="gemini-embedding-2"):
        assert model_spec("gemini-embedding-2-preview").space == "gemini-embedding-2"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model_spec("models/gemini-embedding-001").task_in_prompt is False


def test_an_unknown_model_is_refused_with_the_known_ones_named() -> None:
    with pytest.raises(ConfigurationError, match="gemini-embedding-2"):
        model_spec("text-embedding-3-large")


def test_sizes_out_of_range_are_refused_and_odd_ones_warned_of() -> None:
    spec = model_spec("gemini-embedding-2")
    for size in (5, 127, 3073):
        with pytest.raises(ConfigurationError, match="768"):
            check_dimensions(spec, size)
    with pytest.warns(UserWarning, match="2048"):
        check_dimensions(spec, 2048)
    assert [check_dimensions(spec, size) for size in spec.tiers] == [768, 1536, 3072]


def test_vertex_reads_more_kinds_of_pictures() -> None:
    limits = MODELS["gemini-embedding-2"].limits
    gemini = limits[Backend.GEMINI_API][Modality.IMAGE].mime_types
    assert gemini == {"image/png", "image/jpeg"}
    assert gemini < limits[Backend.VERTEX][Modality.IMAGE].mime_types
