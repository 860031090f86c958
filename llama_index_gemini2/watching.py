"""What LlamaIndex is told of a call: callbacks, instrumentation events, a progress bar."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from llama_index.core.base.embeddings.base import Embedding
from llama_index.core.callbacks import CallbackManager
from llama_index.core.callbacks.schema import CBEventType, EventPayload
from llama_index.core.instrumentation.events.embedding import (
    EmbeddingEndEvent,
    EmbeddingStartEvent,
)
from llama_index_instrumentation import get_dispatcher

from gemini2_core.content import Content, ContentLike, Media
from gemini2_core.embedding import Progress
from gemini2_core.embedding.progress import progress_bar

__all__ = ["tell_progress", "watched"]

_dispatcher = get_dispatcher(__name__)
#: The progress of the call that runs in this context. The framework asks for a bar call by call,
#: the embedder takes one function for all; a call's context follows it to the engine's thread.
_PROGRESS: ContextVar[Progress | None] = ContextVar("_PROGRESS", default=None)


def tell_progress(done: int, total: int) -> None:
    """Move the bar of the call that this belongs to, if it shows one."""
    tell = _PROGRESS.get()
    if tell is not None:
        tell(done, total)


@contextmanager
def watched(
    inputs: Sequence[ContentLike],
    payload: Mapping[str, object],
    callbacks: CallbackManager,
    show_progress: bool,
) -> Iterator[list[Embedding]]:
    """Tell of a call before and after it; whoever makes it fills in the vectors.

    Args:
        inputs: What is embedded.
        payload: What may be told of the model.
        callbacks: Get one EMBEDDING event.
        show_progress: Show a bar.

    Yields:
        The list for the vectors, which the events keep.
    """
    chunks = [_told(value) for value in inputs]
    vectors: list[Embedding] = []
    _dispatcher.event(EmbeddingStartEvent(model_dict=dict(payload)))
    with (
        callbacks.event(
            CBEventType.EMBEDDING, payload={EventPayload.SERIALIZED: dict(payload)}
        ) as event,
        _bar(show_progress),
    ):
        yield vectors
        event.on_end(payload={EventPayload.CHUNKS: chunks, EventPayload.EMBEDDINGS: vectors})
    # Validating would copy every number of every vector.
    _dispatcher.event(EmbeddingEndEvent.model_construct(chunks=chunks, embeddings=vectors))


@contextmanager
def _bar(show: bool) -> Iterator[None]:
    with progress_bar(show, None) as tell:
        token = _PROGRESS.set(tell)
        try:
            yield
        finally:
            _PROGRESS.reset(token)


def _told(value: object) -> str:
    """How an event names an input: a text by itself, a medium by where it is."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return " ".join(map(_told, value))
    if isinstance(value, Content):
        return " ".join(map(_told, value.parts))
    text = getattr(value, "text", None)
    if isinstance(text, str) and text:
        return text
    if isinstance(value, Path | Media):
        return str(value)
    place = getattr(value, "path", None) or getattr(value, "url", None)
    return str(place) if place else f"<{type(value).__name__}>"
