"""LangChain's own standard tests, none overridden."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from gemini2_core.emulator import Emulator
from langchain_gemini2 import Gemini2Embeddings


class TestUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[Gemini2Embeddings]:
        return Gemini2Embeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"api_key": "any"}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return {"GEMINI_API_KEY": "any"}, {"dimensions": 1536}, {"api_key": "any"}


class TestIntegration(EmbeddingsIntegrationTests):
    base_url: str

    @pytest.fixture(autouse=True)
    def _at_the_emulator(self, emulator: Emulator) -> None:
        type(self).base_url = emulator.base_url

    @property
    def embeddings_class(self) -> type[Gemini2Embeddings]:
        return Gemini2Embeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"api_key": "any", "base_url": self.base_url}
