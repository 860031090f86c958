"""From anything that can be read to its chunks, one after the other: what both adapters call."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gemini2_core.content.chunking.chunk import Chunk
from gemini2_core.content.chunking.chunker import ChunkSettings, chunk_documents
from gemini2_core.content.chunking.document import JSON
from gemini2_core.content.chunking.media_dir import MediaDir
from gemini2_core.content.chunking.pdf_reader import PdfMode
from gemini2_core.content.chunking.policy import MediaPolicy, OnMissing, readable_types
from gemini2_core.content.chunking.read import read
from gemini2_core.content.content import ContentLike

__all__ = ["Chunking"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunking:
    """How documents are read, and how they are cut.

    Attributes:
        settings: How they are cut.
        media_root: The only folder that links are read from; None refuses local links.
        media_dir: Where embedded media are written, in ``media_root``.
        on_missing: What becomes of media that are missing or can't be read.
        allow_remote: Whether ``https:`` media are taken.
        pdf_mode: How PDFs are read.
        window: Seconds of the windows that sound and film are cut into; None as ``read_media``.
        window_overlap: Seconds that such windows overlap.
        num_workers: Processes that read PDFs.

    Raises:
        ConfigurationError: ``media_dir`` isn't in ``media_root``, or an unknown ``on_missing``.
    """

    settings: ChunkSettings
    media_root: str | os.PathLike[str] | None = None
    media_dir: str | os.PathLike[str] | None = None
    on_missing: OnMissing = "error"
    allow_remote: bool = False
    pdf_mode: PdfMode = "auto"
    window: float | None = None
    window_overlap: float = 0.0
    num_workers: int | None = None

    def __post_init__(self) -> None:
        MediaPolicy(  # which checks them
            source="",
            media_root=self.media_root,
            media_dir=MediaDir.of(self.media_dir),
            on_missing=self.on_missing,
        )

    def chunks(
        self,
        value: ContentLike,
        *,
        source: str | None = None,
        title: str | None = None,
        metadata: Mapping[str, JSON] | None = None,
        mime_type: str | None = None,
    ) -> Iterator[Chunk]:
        """Read and cut.

        Args:
            value: What ``read`` takes.
            source: Its name. If it is a file in ``media_root``, relative links start there, and
                it is called by its path from there, so that ids are the same everywhere.
            title: Its title.
            metadata: What goes with every chunk.
            mime_type: What it is said to be; Markdown if it's a text and nothing is said.

        Raises:
            InvalidInputError: It can't be read, or a medium is missing.
        """
        name, base = self._place(source)
        documents = read(
            value,
            source=name,
            title=title,
            metadata=metadata,
            mime_type=mime_type,
            media_root=self.media_root,
            base=base,
            media_dir=self.media_dir,
            on_missing=self.on_missing,
            allow_remote=self.allow_remote,
            mime_types=readable_types(self.settings.model, self.settings.backend),
            pdf_mode=self.pdf_mode,
            num_workers=self.num_workers,
            window=self.window,
            window_overlap=self.window_overlap,
            model=self.settings.model,
            backend=self.settings.backend,
        )
        return chunk_documents(documents, self.settings)

    def _place(self, source: str | None) -> tuple[str | None, Path | None]:
        """Name and folder of a source; a file in ``media_root`` is called by its path from it."""
        if not source or self.media_root is None:
            return source, None
        root = Path(os.path.realpath(self.media_root))
        bare, mark, fragment = source.partition("#")
        for name, end in ((source, ""), (bare, mark + fragment)):
            for path in (Path(name), root / name):
                try:
                    found = Path(os.path.realpath(path))
                    if found.is_relative_to(root) and found.is_file():
                        return f"{found.relative_to(root).as_posix()}{end}", found.parent
                except (OSError, ValueError):
                    continue
        return source, None
