"""Vectors: deterministic, close where words are shared, fused as the service fuses."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemini2_core.emulator import Emulator
from gemini2_core.emulator.vectors import FULL, fuse, prefix, text_vector
from tests.emulator.talk import BATCH, batch, call, vector, vectors

SPACE = "gemini-embedding-2"


def cosine(one: str, other: str, size: int = FULL) -> float:
    rows = [prefix(text_vector(text, SPACE), size, unit=True) for text in (one, other)]
    return float(rows[0] @ rows[1])


def test_vectors_are_the_same_in_another_process() -> None:
    program = (
        "from gemini2_core.emulator.vectors import text_vector, prefix;"
        f"print(prefix(text_vector('fuel pump', {SPACE!r}), 768, unit=True).tobytes().hex())"
    )
    run = [sys.executable, "-c", program]
    there = subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip()
    assert there == prefix(text_vector("fuel pump", SPACE), 768, unit=True).tobytes().hex()


def test_the_numbers_stay_what_they_were() -> None:
    """A change here changes every index and cassette made with the emulator."""
    row = prefix(text_vector("Hello, world!", SPACE), 128, unit=True)
    assert row[:4].tolist() == pytest.approx(
        [0.04986123, -0.11290554, 0.19518501, 0.01474541], abs=1e-7
    )


@pytest.mark.parametrize("size", [128, 768, FULL])
def test_texts_that_share_words_are_close_at_every_size(size: int) -> None:
    query = "task: search result | query: how do I replace the fuel pump?"
    right = "title: Manual | text: To replace the fuel pump, disconnect the battery first."
    wrong = "title: Garden | text: Birds sing in the old trees each morning."
    assert cosine(query, right, size) > 0.35
    assert cosine(query, wrong, size) < 0.2


def test_a_prompt_turns_a_vector_a_little() -> None:
    query, document = "task: search result | query: fuel pump", "title: none | text: fuel pump"
    assert 0.9 < cosine(query, document) < 0.99
    assert cosine(query, "task: clustering | query: fuel pump") < 0.99
    assert cosine(document, "title: Engine | text: fuel pump") < 0.97


def test_case_endings_and_order_matter_a_little() -> None:
    assert 0.9 < cosine("hello", "Hello") < 1
    assert cosine("pump", "pumps") > 0.4
    assert 0.8 < cosine("dog bites man", "man bites dog") < 0.99


@settings(max_examples=50, deadline=None)
@given(st.text(min_size=1, max_size=60))
def test_any_text_has_a_unit_vector(text: str) -> None:
    row = text_vector(text, SPACE)
    assert np.isfinite(row).all()
    assert np.linalg.norm(row) == pytest.approx(1)


def test_parts_are_fused_into_one_vector_that_is_not_their_mean() -> None:
    rows = [text_vector(text, SPACE) for text in ("a kiwi fruit", "green and fuzzy", "a photo")]
    fused = fuse(rows, ["a", "b", "c"], SPACE)
    mean = np.mean(rows, axis=0)
    assert 0.80 <= fused @ mean / np.linalg.norm(mean) <= 0.83  # recorded: 0.80 to 0.83
    assert np.linalg.norm(fused) == pytest.approx(1)
    turned = fuse(rows[::-1], ["c", "b", "a"], SPACE)
    assert fused @ turned < 0.99


def test_alone_or_in_a_batch_is_bit_equal(gemini2_emulator: Emulator) -> None:
    together = vectors(call(gemini2_emulator, BATCH, batch("one", "two", "three")))
    assert together == [vector(gemini2_emulator, text) for text in ("one", "two", "three")]


def test_2_ignores_the_task_field_and_001_honours_it(gemini2_emulator: Emulator) -> None:
    task = {"taskType": "RETRIEVAL_DOCUMENT", "title": "A title"}
    assert vector(gemini2_emulator, "text") == vector(gemini2_emulator, "text", **task)
    path, model = "/v1/models/gemini-embedding-001:batchEmbedContents", "gemini-embedding-001"
    (plain,) = vectors(call(gemini2_emulator, path, batch("text", model=model)))
    (told,) = vectors(call(gemini2_emulator, path, batch("text", model=model, **task)))
    assert 0.7 < np.dot(plain, told) < 0.99


def test_001_lives_in_another_space(gemini2_emulator: Emulator) -> None:
    path, model = "/v1/models/gemini-embedding-001:batchEmbedContents", "gemini-embedding-001"
    (other,) = vectors(call(gemini2_emulator, path, batch("text", model=model)))
    assert abs(np.dot(vector(gemini2_emulator, "text"), other)) < 0.1


def test_pooled_vectors_hang_on_the_text_alone(gemini2_emulator: Emulator) -> None:
    gemini2_emulator.configure(vectors="pool")
    texts = [f"text {number}" for number in range(100)]
    first = vectors(call(gemini2_emulator, BATCH, batch(*texts)))
    assert first == vectors(call(gemini2_emulator, BATCH, batch(*texts)))
    assert 20 < len({row[0] for row in first}) <= 64
