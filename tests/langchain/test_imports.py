"""What an import gives, and what it says where the extra is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import langchain_gemini2

ROOT = Path(__file__).resolve().parents[2]


def test_the_package_gives_these_names() -> None:
    assert langchain_gemini2.__all__ == [
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


def test_without_langchain_the_extra_is_named() -> None:
    code = "import sys; sys.modules['langchain_core'] = None; import langchain_gemini2"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "pip install 'gemini2-embeddings[langchain]'" in done.stderr.splitlines()[-1]
