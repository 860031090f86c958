"""One embedder in an evaluation: what it is called, its sizes, what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from gemini2_core.embedding import EmbeddingResult, Gemini2Embedder, Usage
from gemini2_core.errors import BadResponseError, ConfigurationError, Gemini2Error
from gemini2_core.index.evaluation.beir import Document
from gemini2_core.index.evaluation.report import Cost
from gemini2_core.index.mark import check_tiers
from gemini2_core.index.rows import VectorsLike
from gemini2_core.model import (
    Backend,
    Modality,
    Side,
    Vectors,
    count_tokens,
    model_spec,
    prompt_for,
)

__all__ = ["Candidate", "Embedder", "candidates"]


class Embedder(Protocol):
    """What an evaluation needs of an embedder; ``Gemini2Embedder`` is one.

    For another vendor's model a class with these four is enough; its vectors may be any array
    of shape (n, dimensions).
    """

    @property
    def model(self) -> str:
        """What reports call it."""

    @property
    def dimensions(self) -> int:
        """Length of its vectors."""

    def embed_queries(self, queries: Sequence[str], /) -> VectorsLike:
        """One row a query, in order."""

    def embed_documents(
        self, texts: Sequence[str], /, titles: Sequence[str | None] | None
    ) -> VectorsLike:
        """One row a text, in order."""


class Candidate:
    """One embedder in an evaluation.

    Args:
        name: What the report calls it.
        embedder: Embeds.
        tiers: Sizes to measure, or None for the model's own.

    Raises:
        ConfigurationError: A size beyond the embedder's.
    """

    def __init__(self, name: str, embedder: Embedder, tiers: Sequence[int] | None) -> None:
        self.name = name
        self._embedder = embedder
        self._usage = Usage()
        self._tokens = 0
        self.tiers = _tiers(embedder, tiers)
        self._own = embedder if isinstance(embedder, Gemini2Embedder) else None
        task = self._own.task_type if self._own else None
        # Where the model isn't told the title, it belongs to the text, as BEIR has it.
        self._title_in_text = self._own is not None and (task is None or task.symmetric)

    @property
    def space(self) -> object:
        """The space of its vectors, None if it doesn't say."""
        return self._own.space if self._own else None

    @property
    def dimensions(self) -> int:
        """Length of its vectors."""
        return self._embedder.dimensions

    @property
    def server(self) -> str | None:
        """The server that isn't Google's, or None."""
        return self._own.base_url if self._own else None

    def count_document(self, document: Document) -> None:
        """Add a document to the estimate of what all costs."""
        text, title = self._told(document)
        self._count(text, "document", title)

    def count_queries(self, queries: Sequence[str]) -> None:
        """Add queries to the estimate of what all costs."""
        for query in queries:
            self._count(query, "query", None)

    def _count(self, text: str, side: Side, title: str | None) -> None:
        if self._own is None:
            return
        prompt = prompt_for(model_spec(self._own.model), self._own.task_type, side, title)
        self._tokens += count_tokens(prompt.prefix + text)

    @property
    def cost(self) -> Cost:
        """What was paid so far, and what embedding all of it would cost."""
        if self._own is None:
            return Cost(self.name, self._usage)
        spec, tokens = model_spec(self._own.model), {Modality.TEXT: self._tokens}
        has_batch = self._own.backend is Backend.GEMINI_API
        return Cost(
            self.name,
            self._usage,
            self._tokens,
            dollars=spec.dollars(tokens),
            batch_dollars=spec.dollars(tokens, batch_api=True) if has_batch else None,
        )

    def embed_queries(self, queries: Mapping[str, str]) -> Vectors:
        """Vectors of the queries, text by id, at full size."""
        ids = list(queries)
        try:
            answer = self._embedder.embed_queries(list(queries.values()))
        except Gemini2Error as error:
            raise _named(error, "query", ids) from None
        return self._rows(answer, len(ids))

    def embed_documents(self, documents: Sequence[Document]) -> Vectors:
        """Vectors of documents at full size."""
        told = [self._told(document) for document in documents]
        try:
            answer = self._embedder.embed_documents(
                [text for text, _ in told], titles=[title for _, title in told]
            )
        except Gemini2Error as error:
            raise _named(error, "document", [document.id for document in documents]) from None
        return self._rows(answer, len(documents))

    def _told(self, document: Document) -> tuple[str, str | None]:
        title = document.title.strip()
        if not document.text.strip():
            return title, None
        if self._title_in_text:
            return f"{title} {document.text}".lstrip(), None
        return document.text, title or None

    def _rows(self, answer: VectorsLike, count: int) -> Vectors:
        if isinstance(answer, EmbeddingResult):
            self._usage += answer.usage
            answer = answer.vectors
        rows = np.asarray(answer, np.float32)
        if rows.shape != (count, self.dimensions):
            raise BadResponseError(
                f"{self.name} gave vectors of shape {rows.shape} for {count} texts of "
                f"{self.dimensions} dimensions"
            )
        return rows


def candidates(
    embedder: Embedder,
    compare: Mapping[str, Embedder] | Sequence[Embedder],
    tiers: Sequence[int] | None,
) -> list[Candidate]:
    """The embedder and those it is compared with, each with a name of its own.

    Raises:
        ConfigurationError: Two of one name, or a size beyond an embedder's.
    """
    if isinstance(compare, Mapping):
        others = list(compare.items())
    else:
        others = [(_name(other, embedder), other) for other in compare]
    named = [(embedder.model, embedder), *others]
    if len({name for name, _ in named}) < len(named):
        raise ConfigurationError(
            f"embedders of one name, {', '.join(repr(name) for name, _ in named)}: give "
            "compare= as a mapping by name"
        )
    return [Candidate(name, other, tiers) for name, other in named]


def _name(other: Embedder, beside: Embedder) -> str:
    if other.model == beside.model and isinstance(other, Gemini2Embedder):
        return str(other.space)
    return other.model


def _tiers(embedder: Embedder, wanted: Sequence[int] | None) -> tuple[int, ...]:
    if wanted is not None:
        found = check_tiers(wanted)
        if found[-1] > embedder.dimensions:
            raise ConfigurationError(
                f"{embedder.model} gives {embedder.dimensions} numbers, too few for a size of "
                f"{found[-1]}: embed with dimensions={found[-1]}"
            )
        return found
    if not isinstance(embedder, Gemini2Embedder):
        return (embedder.dimensions,)
    own = [size for size in model_spec(embedder.model).tiers if size < embedder.dimensions]
    return (*own, embedder.dimensions)


def _named(error: Gemini2Error, kind: str, ids: Sequence[str]) -> Gemini2Error:
    """The error with the id of what it is about instead of a place among a chunk's inputs."""
    if error.index is not None:
        told = error.message.removeprefix(f"input {error.index}: ")
        error.message = f"{kind} {ids[error.index]!r}: {told}"
    return error
