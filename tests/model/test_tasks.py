"""The task prompts, exactly as the model was trained on them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemini2_core.errors import ConfigurationError
from gemini2_core.model import EmbeddingSpace, TaskType, model_spec, prompt_for, task_type

GEMINI_2 = model_spec("gemini-embedding-2")
GEMINI_001 = model_spec("gemini-embedding-001")


@pytest.mark.parametrize(
    ("task", "query", "document"),
    [
        ("RETRIEVAL_QUERY", "task: search result | query: ", "title: none | text: "),
        ("RETRIEVAL_DOCUMENT", "task: search result | query: ", "title: none | text: "),
        ("QUESTION_ANSWERING", "task: question answering | query: ", "title: none | text: "),
        ("FACT_VERIFICATION", "task: fact checking | query: ", "title: none | text: "),
        ("CODE_RETRIEVAL_QUERY", "task: code retrieval | query: ", "title: none | text: "),
        ("CLASSIFICATION", "task: classification | query: ", "task: classification | query: "),
        ("CLUSTERING", "task: clustering | query: ", "task: clustering | query: "),
        (
            "SEMANTIC_SIMILARITY",
            "task: sentence similarity | query: ",
            "task: sentence similarity | query: ",
        ),
    ],
)
def test_gemini_2_is_told_the_task_in_the_text(task: str, query: str, document: str) -> None:
    for side, prefix in (("query", query), ("document", document)):
        prompt = prompt_for(GEMINI_2, TaskType(task), side)  # type: ignore[arg-type]
        assert (prompt.prefix, prompt.field, prompt.title) == (prefix, None, None)


@pytest.mark.parametrize(
    ("task", "query", "document"),
    [
        ("RETRIEVAL_QUERY", "RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT"),
        ("QUESTION_ANSWERING", "QUESTION_ANSWERING", "RETRIEVAL_DOCUMENT"),
        ("CODE_RETRIEVAL_QUERY", "CODE_RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT"),
        ("CLUSTERING", "CLUSTERING", "CLUSTERING"),
    ],
)
def test_001_is_told_the_task_in_a_field_and_never_in_the_text(
    task: str, query: str, document: str
) -> None:
    asked = prompt_for(GEMINI_001, TaskType(task), "query", "T")
    found = prompt_for(GEMINI_001, TaskType(task), "document", "T")
    assert (asked.prefix, asked.field, asked.title) == ("", query, None)
    assert (found.prefix, found.field) == ("", document)
    assert found.title == ("T" if document == "RETRIEVAL_DOCUMENT" else None)


def test_a_title_stands_in_the_document_prefix_on_one_line() -> None:
    prompt = prompt_for(GEMINI_2, TaskType.RETRIEVAL_QUERY, "document", " Fuel\n system ")
    assert prompt.prefix == "title: Fuel system | text: "
    assert prompt_for(GEMINI_2, TaskType.RETRIEVAL_QUERY, "document", "").prefix == (
        "title: none | text: "
    )


def test_without_a_task_nothing_is_told() -> None:
    for spec in (GEMINI_2, GEMINI_001):
        for side in ("query", "document"):
            prompt = prompt_for(spec, None, side, "T")
            assert (prompt.prefix, prompt.field, prompt.title) == ("", None, None)


def test_a_task_is_read_in_either_case_and_an_unknown_one_is_refused() -> None:
    assert task_type("clustering") is TaskType.CLUSTERING
    assert task_type(None) is None
    with pytest.raises(ConfigurationError, match="RETRIEVAL_QUERY"):
        task_type("SEARCH")


def test_the_space_is_the_models_and_the_task_familys() -> None:
    with pytest.warns(DeprecationWarning, match="2026-08-10"):
        preview = model_spec("models/gemini-embedding-2-preview")
    query = EmbeddingSpace.of(GEMINI_2, TaskType.RETRIEVAL_QUERY)
    assert query == EmbeddingSpace.of(GEMINI_2, TaskType.RETRIEVAL_DOCUMENT)
    assert query == EmbeddingSpace.of(preview, TaskType.RETRIEVAL_QUERY)
    assert query != EmbeddingSpace.of(GEMINI_001, TaskType.RETRIEVAL_QUERY)
    assert query != EmbeddingSpace.of(GEMINI_2, TaskType.CLUSTERING)
    assert str(query) == "gemini-embedding-2/RETRIEVAL"


@given(st.sampled_from([GEMINI_2, GEMINI_001]), st.sampled_from([None, *TaskType]))
def test_a_space_is_read_back_from_its_string(spec, task) -> None:  # type: ignore[no-untyped-def]
    space = EmbeddingSpace.of(spec, task)
    assert EmbeddingSpace.parse(str(space)) == space


@pytest.mark.parametrize("text", ["", "gemini-embedding-2", "gemini-embedding-3/RETRIEVAL", "a/b"])
def test_what_is_no_space_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        EmbeddingSpace.parse(text)
