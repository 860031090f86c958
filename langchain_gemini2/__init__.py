"""Gemini Embedding 2 for LangChain: text and interleaved media, in any vector store."""

try:
    import langchain_core  # noqa: F401  # only to say which extra is missing
except ModuleNotFoundError as error:
    if error.name != "langchain_core":
        raise
    from gemini2_core.errors import MissingExtraError

    raise MissingExtraError(
        "langchain_gemini2", extra="langchain", package="langchain-core"
    ) from error

from langchain_gemini2.blob_parser import MultimodalBlobParser
from langchain_gemini2.blocks import MediaPrompt, content_blocks, documents_message
from langchain_gemini2.double_write import DoubleWriteVectorStore
from langchain_gemini2.embeddings import Gemini2Embeddings
from langchain_gemini2.retriever import MatryoshkaRetriever
from langchain_gemini2.splitter import MultimodalSplitter, document_key
from langchain_gemini2.tool import search_tool
from langchain_gemini2.vectorstore import MatryoshkaVectorStore

__all__ = [
    "DoubleWriteVectorStore",
    "Gemini2Embeddings",
    "MatryoshkaRetriever",
    "MatryoshkaVectorStore",
    "MediaPrompt",
    "MultimodalBlobParser",
    "MultimodalSplitter",
    "content_blocks",
    "document_key",
    "documents_message",
    "search_tool",
]
