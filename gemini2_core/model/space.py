"""The identity of the space that a vector lives in."""

from __future__ import annotations

from dataclasses import dataclass

from gemini2_core.errors import ConfigurationError
from gemini2_core.model.models import MODELS, ModelSpec
from gemini2_core.model.tasks import TaskType

__all__ = ["EmbeddingSpace"]

_NO_TASK = "NONE"


@dataclass(frozen=True, slots=True)
class EmbeddingSpace:
    """Which vectors may be compared: those of one model space and one task family.

    ``str(space)`` is stable, to be stored with an index: ``"gemini-embedding-2/RETRIEVAL"``.
    The preview shares its successor's space; 001 has one of its own. Sizes of one space nest,
    so they are no part of it.

    Attributes:
        model: The model's space (``ModelSpec.space``).
        task_family: ``TaskType.family``, or ``"NONE"`` for text embedded as it is.
    """

    model: str
    task_family: str

    @classmethod
    def of(cls, spec: ModelSpec, task: TaskType | None) -> EmbeddingSpace:
        """The space of a model's vectors for a task."""
        return cls(spec.space, task.family if task else _NO_TASK)

    @classmethod
    def parse(cls, text: str) -> EmbeddingSpace:
        """Read ``str(space)`` back.

        Raises:
            ConfigurationError: Not the form, or a space that no model of the table has.
        """
        model, slash, family = text.partition("/")
        families = {task.family for task in TaskType} | {_NO_TASK}
        if not slash or model not in {s.space for s in MODELS.values()} or family not in families:
            raise ConfigurationError(f"not an embedding space: {text!r}")
        return cls(model, family)

    def __str__(self) -> str:
        return f"{self.model}/{self.task_family}"
