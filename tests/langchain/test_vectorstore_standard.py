"""LangChain's own standard tests of vector stores and retrievers, none overridden."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_tests.integration_tests import (
    RetrieversIntegrationTests,
    VectorStoreIntegrationTests,
)

from gemini2_core.emulator import Emulator
from langchain_gemini2 import Gemini2Embeddings, MatryoshkaRetriever, MatryoshkaVectorStore

pytest.importorskip("qdrant_client")

#: The suite's fake vectors are of no model; the mark of a collection must say one all the same.
SPACE = "gemini-embedding-2/NONE"


class TestInMemory(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self) -> Iterator[MatryoshkaVectorStore]:
        embeddings = self.get_embeddings()
        with MatryoshkaVectorStore(embeddings, space=SPACE, tiers=(3, 6)) as store:
            yield store


class TestOneTier(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self) -> Iterator[MatryoshkaVectorStore]:
        embeddings = self.get_embeddings()
        with MatryoshkaVectorStore(embeddings, space=SPACE, tiers=[6]) as store:
            yield store


class TestInAFolder(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> Iterator[MatryoshkaVectorStore]:
        pytest.importorskip("qdrant_edge")
        embeddings = self.get_embeddings()
        with MatryoshkaVectorStore(
            embeddings, space=SPACE, tiers=(3, 6), path=tmp_path / "index"
        ) as store:
            yield store


class TestEmbeddedByGemini(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, embeddings: Gemini2Embeddings) -> Iterator[MatryoshkaVectorStore]:
        with MatryoshkaVectorStore(embeddings) as store:
            yield store


class TestRetriever(RetrieversIntegrationTests):
    store: MatryoshkaVectorStore

    @pytest.fixture(autouse=True)
    def _with_texts(self) -> Iterator[None]:
        with MatryoshkaVectorStore(
            DeterministicFakeEmbedding(size=6), space=SPACE, tiers=(3, 6)
        ) as store:
            store.add_texts(["pump", "strainer", "hose", "horn"])
            type(self).store = store
            yield

    @property
    def retriever_constructor(self) -> type[MatryoshkaRetriever]:
        return MatryoshkaRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"vectorstore": self.store}

    @property
    def retriever_query_example(self) -> str:
        return "strainer"


class TestRetrieverOverGemini(TestRetriever):
    @pytest.fixture(autouse=True)
    def _with_texts(self, embeddings: Gemini2Embeddings, emulator: Emulator) -> Iterator[None]:
        with MatryoshkaVectorStore(embeddings) as store:
            store.add_texts(["pump", "strainer", "hose", "horn"])
            type(self).store = store
            yield
