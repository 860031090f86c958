"""Gemini Embedding 2 for LangChain: text and interleaved media, in any vector store."""

from langchain_gemini2.embeddings import Gemini2Embeddings

__all__ = ["Gemini2Embeddings"]
