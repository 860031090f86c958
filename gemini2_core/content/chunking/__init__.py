"""From documents to interleaved chunks: readers that keep every medium, and the one chunker."""

from gemini2_core.content.chunking.document import (
    Document,
    DocumentBuilder,
    Element,
    ElementKind,
    Placed,
)
from gemini2_core.content.chunking.media_dir import MediaDir
from gemini2_core.content.chunking.policy import MediaPolicy, OnMissing, readable_types

__all__ = [
    "Document",
    "DocumentBuilder",
    "Element",
    "ElementKind",
    "MediaDir",
    "MediaPolicy",
    "OnMissing",
    "Placed",
    "readable_types",
]
