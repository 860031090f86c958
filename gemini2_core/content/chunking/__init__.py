"""From documents to interleaved chunks: readers that keep every medium, and the one chunker."""

from gemini2_core.content.chunking.chunk import Chunk
from gemini2_core.content.chunking.chunker import (
    ChunkSettings,
    Granularity,
    chunk_document,
    chunk_documents,
)
from gemini2_core.content.chunking.document import (
    Document,
    DocumentBuilder,
    Element,
    ElementKind,
    Placed,
)
from gemini2_core.content.chunking.markdown_reader import read_markdown
from gemini2_core.content.chunking.media_dir import MediaDir
from gemini2_core.content.chunking.policy import MediaPolicy, OnMissing, readable_types

__all__ = [
    "Chunk",
    "ChunkSettings",
    "Document",
    "DocumentBuilder",
    "Element",
    "ElementKind",
    "Granularity",
    "MediaDir",
    "MediaPolicy",
    "OnMissing",
    "Placed",
    "chunk_document",
    "chunk_documents",
    "read_markdown",
    "readable_types",
]
