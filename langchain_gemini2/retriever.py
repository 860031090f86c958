"""``MatryoshkaRetriever``: LangChain's retriever, asked with a text or any content."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStoreRetriever

from langchain_gemini2.inputs import Embeddable

__all__ = ["MatryoshkaRetriever"]


class MatryoshkaRetriever(VectorStoreRetriever):
    """The retriever of a ``MatryoshkaVectorStore``; ``invoke`` takes a text or any content."""

    k: int | None = None
    """How many documents; None leaves it to ``search_kwargs``."""

    def _get_relevant_documents(
        self, query: Embeddable, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        found: list[Document] = super()._get_relevant_documents(
            query,  # type: ignore[arg-type]  # LangChain's retrievers know only text
            run_manager=run_manager,
            **self._with_k(kwargs),
        )
        return found

    async def _aget_relevant_documents(
        self, query: Embeddable, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        found: list[Document] = await super()._aget_relevant_documents(
            query,  # type: ignore[arg-type]  # LangChain's retrievers know only text
            run_manager=run_manager,
            **self._with_k(kwargs),
        )
        return found

    def _with_k(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        return kwargs if self.k is None else {"k": self.k, **kwargs}
