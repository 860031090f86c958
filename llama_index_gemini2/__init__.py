"""Gemini Embedding 2 for LlamaIndex: texts, pictures, sound, film and PDF in one space."""

try:
    import llama_index.core  # noqa: F401  # only to say which extra is missing
except ModuleNotFoundError as error:
    if not (error.name or "").startswith("llama_index"):
        raise
    from gemini2_core.errors import MissingExtraError

    raise MissingExtraError(
        "llama_index_gemini2", extra="llama-index", package="llama-index-core"
    ) from error

from llama_index_gemini2.blocks import (
    MEDIA_QA_PROMPT,
    MediaPostprocessor,
    node_blocks,
    nodes_message,
)
from llama_index_gemini2.corpus import NodesSource
from llama_index_gemini2.double_write import DoubleWriteVectorStore
from llama_index_gemini2.embedding import Gemini2Embedding
from llama_index_gemini2.node_parser import MultimodalNodeParser, file_document
from llama_index_gemini2.retriever import MatryoshkaRetriever
from llama_index_gemini2.tool import search_tool
from llama_index_gemini2.vectorstore import MatryoshkaVectorStore

__all__ = [
    "MEDIA_QA_PROMPT",
    "DoubleWriteVectorStore",
    "Gemini2Embedding",
    "MatryoshkaRetriever",
    "MatryoshkaVectorStore",
    "MediaPostprocessor",
    "MultimodalNodeParser",
    "NodesSource",
    "file_document",
    "node_blocks",
    "nodes_message",
    "search_tool",
]
