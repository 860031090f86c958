"""The arguments of LlamaIndex's official ``GoogleGenAIEmbedding``, told in ours."""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from gemini2_core.embedding import OnOverflow
from gemini2_core.errors import ConfigurationError

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.genai.types import EmbedContentConfig, HttpOptions

__all__ = ["VertexAIConfig", "read_embedding_config", "refuse_unknown", "warn_of_retries"]

#: What the official class retries with, and how much of it is left of a meaning here.
_RETRY_DEFAULTS = {
    "retries": 3,
    "retry_min_seconds": 1,
    "retry_max_seconds": 60,
    "retry_exponential_base": 2,
}


class VertexAIConfig(TypedDict, total=False):
    """Where on Vertex AI, as the official class is told it."""

    credentials: Credentials | None
    project: str | None
    location: str | None


class _Read(TypedDict, total=False):
    """What an ``embedding_config`` says in our words; absent where it says nothing."""

    dimensions: int
    task_type: str
    on_overflow: OnOverflow
    http_options: HttpOptions | Mapping[str, object]


def read_embedding_config(config: EmbedContentConfig | Mapping[str, object] | None) -> _Read:
    """Tell an ``EmbedContentConfig``, or a mapping of its fields in either spelling, in our words.

    Raises:
        ConfigurationError: A field that can't be kept: one document's title or type can't be
            every document's, and what isn't sent can't be promised.
    """
    if config is None:
        return {}
    items = config.items() if isinstance(config, Mapping) else config
    fields: dict[str, Any] = {_snake(name): v for name, v in items if v is not None}
    read: _Read = {}
    if "output_dimensionality" in fields:
        read["dimensions"] = fields.pop("output_dimensionality")
    if "task_type" in fields:
        read["task_type"] = fields.pop("task_type")
    if "auto_truncate" in fields:
        read["on_overflow"] = "truncate" if fields.pop("auto_truncate") else "error"
    if "http_options" in fields:
        read["http_options"] = fields.pop("http_options")
    if "title" in fields:
        raise ConfigurationError(
            "embedding_config: one title for all documents misleads the model; put each node's "
            "own into its metadata (title_metadata_keys)"
        )
    if fields:
        raise ConfigurationError(
            f"embedding_config: {', '.join(sorted(fields))} can't be set here; of its fields, "
            "output_dimensionality, task_type, auto_truncate and http_options can"
        )
    return read


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])([A-Z])", lambda match: f"_{match[1].lower()}", name)


def warn_of_retries(given: Mapping[str, float | None]) -> float | None:
    """Read the official class's retry arguments; return ``retry_seconds`` if they decide it.

    ``retries`` counts attempts there: 1 (or 0) means that nothing is repeated.

    Warns:
        UserWarning: An argument was given that has no counterpart.
    """
    retries = given.get("retries")
    told = {
        name: value
        for name, value in given.items()
        if value is not None and value != _RETRY_DEFAULTS[name]
    }
    if retries is not None and retries <= 1:
        return 0.0
    if told:
        names = ", ".join(f"{name}={value:g}" for name, value in told.items())
        warnings.warn(
            f"{names} not used: failed requests are repeated for retry_seconds, after the wait "
            "that the service asks for; set retry_seconds instead",
            UserWarning,
            stacklevel=3,
        )
    return None


def refuse_unknown(unknown: Iterable[str], known: Iterable[str]) -> None:
    """Raise for arguments nobody knows, without their values: one may be a key.

    Raises:
        ConfigurationError: Names them, and the nearest known ones.
    """
    names = sorted(unknown)
    if not names:
        return
    candidates = list(known)
    near = [match for name in names for match in difflib.get_close_matches(name, candidates, n=1)]
    hint = f"; did you mean {', '.join(map(repr, near))}?" if near else ""
    raise ConfigurationError(
        f"Gemini2Embedding has no argument {', '.join(map(repr, names))}{hint}"
    )
