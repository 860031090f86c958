"""What the model is: ids, sizes, limits, prices, task prompts, tokens; vector arithmetic."""

from gemini2_core.model.models import (
    DEFAULT_DIMENSIONS,
    DEFAULT_MODEL,
    FILES_API_BYTES,
    MAX_BATCH_ITEMS,
    MAX_REQUEST_BYTES,
    MODELS,
    VERTEX_LOCATIONS,
    Backend,
    MediaLimit,
    Modality,
    ModelSpec,
    check_dimensions,
    model_spec,
)
from gemini2_core.model.space import EmbeddingSpace
from gemini2_core.model.tasks import Prompt, Side, TaskType, document_prompt, prompt_for, task_type
from gemini2_core.model.tokens import VIDEO_FRAMES, count_tokens, media_tokens, token_bound
from gemini2_core.model.vectors import Vectors, average, normalize, truncate

__all__ = [
    "DEFAULT_DIMENSIONS",
    "DEFAULT_MODEL",
    "FILES_API_BYTES",
    "MAX_BATCH_ITEMS",
    "MAX_REQUEST_BYTES",
    "MODELS",
    "VERTEX_LOCATIONS",
    "VIDEO_FRAMES",
    "Backend",
    "EmbeddingSpace",
    "MediaLimit",
    "Modality",
    "ModelSpec",
    "Prompt",
    "Side",
    "TaskType",
    "Vectors",
    "average",
    "check_dimensions",
    "count_tokens",
    "document_prompt",
    "media_tokens",
    "model_spec",
    "normalize",
    "prompt_for",
    "task_type",
    "token_bound",
    "truncate",
]
