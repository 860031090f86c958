"""Task types, and the texts that tell the model about them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from gemini2_core.errors import ConfigurationError
from gemini2_core.model.models import ModelSpec

__all__ = ["Prompt", "Side", "TaskType", "document_prompt", "prompt_for", "task_type"]

Side = Literal["query", "document"]


class TaskType(StrEnum):
    """What the vectors are for. The query and the document side follow from it."""

    RETRIEVAL_QUERY = "RETRIEVAL_QUERY"
    """Search; one pair with RETRIEVAL_DOCUMENT, so either name means the same."""
    RETRIEVAL_DOCUMENT = "RETRIEVAL_DOCUMENT"
    """Search; one pair with RETRIEVAL_QUERY, so either name means the same."""
    SEMANTIC_SIMILARITY = "SEMANTIC_SIMILARITY"
    """How much two texts mean the same; both sides are told alike."""
    CLASSIFICATION = "CLASSIFICATION"
    """Features for a classifier; both sides are told alike."""
    CLUSTERING = "CLUSTERING"
    """Grouping by topic; both sides are told alike."""
    QUESTION_ANSWERING = "QUESTION_ANSWERING"
    """Questions against passages that answer them."""
    FACT_VERIFICATION = "FACT_VERIFICATION"
    """Claims against passages that support or refute them."""
    CODE_RETRIEVAL_QUERY = "CODE_RETRIEVAL_QUERY"
    """Questions in plain words against code."""

    @property
    def family(self) -> str:
        """Name of the pair: RETRIEVAL for both retrieval types, else the type's own name."""
        return "RETRIEVAL" if self in _RETRIEVAL else self.value

    @property
    def symmetric(self) -> bool:
        """True if queries and documents are told alike."""
        return self in _SYMMETRIC


_RETRIEVAL = (TaskType.RETRIEVAL_QUERY, TaskType.RETRIEVAL_DOCUMENT)
_SYMMETRIC = (TaskType.SEMANTIC_SIMILARITY, TaskType.CLASSIFICATION, TaskType.CLUSTERING)
#: The words the model was trained on (Google's documentation; recordings/text_*_3072).
_WORDS = {
    TaskType.RETRIEVAL_QUERY: "search result",
    TaskType.RETRIEVAL_DOCUMENT: "search result",
    TaskType.QUESTION_ANSWERING: "question answering",
    TaskType.FACT_VERIFICATION: "fact checking",
    TaskType.CODE_RETRIEVAL_QUERY: "code retrieval",
    TaskType.CLASSIFICATION: "classification",
    TaskType.CLUSTERING: "clustering",
    TaskType.SEMANTIC_SIMILARITY: "sentence similarity",
}


@dataclass(frozen=True, slots=True)
class Prompt:
    """How one side of a task is told to one model.

    Attributes:
        prefix: Put in front of the content's leading text; "" for none.
        field: Value of the request's ``taskType``; None for none.
        title: Value of the request's ``title``; None for none.
    """

    prefix: str = ""
    field: str | None = None
    title: str | None = None


def task_type(value: TaskType | str | None) -> TaskType | None:
    """Read a task type from an enum or a string in either case; None stays None.

    Raises:
        ConfigurationError: No such task type.
    """
    if value is None or isinstance(value, TaskType):
        return value
    try:
        return TaskType(value.upper())
    except (ValueError, AttributeError):
        names = ", ".join(TaskType)
        raise ConfigurationError(f"unknown task type {value!r}: use one of {names}") from None


def document_prompt(title: str | None) -> str:
    """The document side's prefix; a title is kept on one line and its ``|`` as they are."""
    one_line = " ".join(title.split()) if title else ""
    return f"title: {one_line or 'none'} | text: "


def prompt_for(
    spec: ModelSpec, task: TaskType | None, side: Side, title: str | None = None
) -> Prompt:
    """How ``task`` is told to ``spec`` on one side.

    ``gemini-embedding-2`` reads it from the text and ignores the field; 001 the other way
    round. Without a task nothing is told, and a title is of no use.
    """
    if task is None:
        return Prompt()
    if spec.task_in_prompt:
        if side == "query" or task.symmetric:
            return Prompt(prefix=f"task: {_WORDS[task]} | query: ")
        return Prompt(prefix=document_prompt(title))
    if task.symmetric:
        return Prompt(field=task.value)
    if side == "document":
        return Prompt(field=TaskType.RETRIEVAL_DOCUMENT.value, title=title or None)
    field = TaskType.RETRIEVAL_QUERY if task in _RETRIEVAL else task
    return Prompt(field=field.value)
