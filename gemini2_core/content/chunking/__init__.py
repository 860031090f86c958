"""From documents to interleaved chunks: readers that keep every medium, and the one chunker."""

from gemini2_core.content.chunking.blocks_reader import read_blocks
from gemini2_core.content.chunking.chunk import Chunk
from gemini2_core.content.chunking.chunker import (
    ChunkSettings,
    Granularity,
    chunk_document,
    chunk_documents,
)
from gemini2_core.content.chunking.docling_reader import read_docling
from gemini2_core.content.chunking.document import (
    Document,
    DocumentBuilder,
    Element,
    ElementKind,
    Placed,
)
from gemini2_core.content.chunking.html_reader import read_html
from gemini2_core.content.chunking.markdown_reader import read_markdown
from gemini2_core.content.chunking.media_dir import MediaDir
from gemini2_core.content.chunking.media_reader import read_media
from gemini2_core.content.chunking.pdf_reader import PdfMode, read_pdf
from gemini2_core.content.chunking.policy import MediaPolicy, OnMissing, readable_types
from gemini2_core.content.chunking.read import read
from gemini2_core.content.chunking.unstructured_reader import read_unstructured

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
    "PdfMode",
    "Placed",
    "chunk_document",
    "chunk_documents",
    "read",
    "read_blocks",
    "read_docling",
    "read_html",
    "read_markdown",
    "read_media",
    "read_pdf",
    "read_unstructured",
    "readable_types",
]
