"""``FilesSource``: files and folders, read and cut into interleaved chunks."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from gemini2_core.content.chunking import (
    Chunk,
    ChunkSettings,
    MediaDir,
    OnMissing,
    PdfMode,
    chunk_documents,
    read,
)
from gemini2_core.corpus.item import Item
from gemini2_core.corpus.sources.paths import PLACES, PathLike, paths_name, read_paths
from gemini2_core.corpus.sources.points import document_payload
from gemini2_core.corpus.sources.reading import Broken, CheckedSource, Found, Policy
from gemini2_core.errors import ConfigurationError, InvalidInputError, MissingExtraError

if TYPE_CHECKING:
    from gemini2_core.index import Payload

__all__ = ["FilesSource", "ReadingOptions"]

#: What a folder is searched for: what readers exist for, and what a model may read.
_DOCUMENTS = frozenset(".htm .html .markdown .md .mdx .pdf .rst .text .txt .xhtml".split())
_MEDIA = frozenset(".jpeg .jpg .mov .mp3 .mp4 .png .wav".split())
_READ = _DOCUMENTS | _MEDIA


class ReadingOptions(TypedDict, total=False):
    """How files are read, as ``gemini2_core.content.chunking.read`` explains each."""

    media_dir: MediaDir | str | os.PathLike[str] | None
    on_missing: OnMissing
    allow_remote: bool
    mime_types: Collection[str] | None
    pdf_mode: PdfMode
    num_workers: int | None
    window: float | None
    window_overlap: float


class FilesSource(CheckedSource):
    """Markdown, HTML, PDF, text, pictures, sound and film, cut into chunks with media in place.

    A folder is searched with all its folders: documents by name, then media by name. A picture
    that a document shows is part of that chunk's vector and no item of its own, unless
    ``linked_media``. Names that begin with a dot are left alone, as are other kinds of files;
    these are counted (``problems.passed_over``).

    Items carry the chunk's id, its parts, and the heading trail as title; the payload is what
    LangChain's stores write, with the chunk's Markdown as ``page_content``, so that the finished
    collection, read as a source, gives the same items.

    Args:
        paths: Files and folders.
        media_root: The only folder that links are read from, and that names are relative to; None
            takes the folder that holds all paths.
        settings: How documents are cut; None leaves the heading trail out of the text, since it
            is the title.
        linked_media: Media that documents show are items of their own too.
        policy: What becomes of an item, or of a file, that can't be embedded.
        options: How files are read. Without a ``media_dir`` PDFs are embedded page by page
            (``pdf_mode="pages"``), and nothing is written anywhere.

    Raises:
        InvalidInputError: There is no such path.
    """

    def __init__(
        self,
        paths: PathLike | Sequence[PathLike],
        *,
        media_root: PathLike | None = None,
        settings: ChunkSettings | None = None,
        linked_media: bool = False,
        policy: Policy | None = None,
        **options: Unpack[ReadingOptions],
    ) -> None:
        self._paths = read_paths(paths)
        self._root = _common(self._paths) if media_root is None else Path(media_root).expanduser()
        self._settings = settings or ChunkSettings(heading_line=False)
        self._linked_media = linked_media
        self._options = options
        if options.get("media_dir") is None:
            # The pictures inside PDFs would have to be written somewhere.
            self._options.setdefault("pdf_mode", "pages")
        self._given = {path for path in self._paths if not path.is_dir()}
        super().__init__(paths_name(self._paths), policy)

    @property
    def media_root(self) -> Path:
        """The folder that the links of the chunks are relative to."""
        return self._root

    def files(self) -> Iterator[Path]:
        """The files, in the order they are read: documents, then media."""
        for media in (False, True):
            for path in self._paths:
                # One that is named itself comes at its own place.
                below = (one for one in _below(path) if one not in self._given)
                for one in below if path.is_dir() else [path]:
                    if (one.suffix.lower() in _MEDIA) is media:
                        yield one

    def _where(self, place: int) -> str:
        index, number = divmod(place, PLACES)
        path = next(itertools.islice(self.files(), index, None))
        return f"{path}, chunk {number}" if number else str(path)

    def _found(self) -> Iterator[Found | Broken]:
        linked: set[int] = set()
        for index, path in enumerate(self.files()):
            if (
                path.suffix.lower() in _MEDIA
                and path not in self._given
                and _hashed(path) in linked
            ):
                continue
            place = index * PLACES
            try:
                if path.is_dir():
                    os.scandir(path).close()  # says why it can't be looked into
                for number, chunk in enumerate(self._chunks(path), start=1):
                    if not self._linked_media:
                        linked.update(_shown(chunk, path))
                    yield Found(place + number, _item(chunk), derived=True)
            except MissingExtraError:
                raise
            except (ConfigurationError, InvalidInputError, OSError) as error:
                yield Broken(place, str(error))
        for path in self._paths:
            others = (
                one.suffix.lower() for one in _walked(path) if one.suffix.lower() not in _READ
            )
            self.problems.passed_over.update(others)

    def _chunks(self, path: Path) -> Iterator[Chunk]:
        documents = read(
            path,
            media_root=self._root,
            model=self._settings.model,
            backend=self._settings.backend,
            **self._options,
        )
        return chunk_documents(documents, self._settings)


def _item(chunk: Chunk) -> Item:
    payload: Payload = document_payload(chunk.text, {**chunk.metadata(), "chunk_id": chunk.id})
    return Item(chunk.id, chunk.content, chunk.title, payload)


def _shown(chunk: Chunk, path: Path) -> Iterator[int]:
    """The files of a document's media, the document itself (as pages) left out."""
    for media in chunk.media:
        if isinstance(media.source, Path) and media.source != path:
            yield _hashed(media.source)


def _below(folder: Path) -> Iterator[Path]:
    """The files of a folder that can be read, and the folders in it that can't be looked into."""
    closed: list[OSError] = []
    for one in _walked(folder, closed.append):
        if one.suffix.lower() in _READ:
            yield one
    yield from (Path(error.filename) for error in closed)


def _walked(folder: Path, failed: Callable[[OSError], object] | None = None) -> Iterator[Path]:
    """The files of a folder, by name, whatever the file system's order is."""
    for parent, folders, names in os.walk(folder, onerror=failed):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(parent, name)


def _common(paths: Sequence[Path]) -> Path:
    folders = [path if path.is_dir() else path.parent for path in paths]
    return Path(os.path.commonpath([folder.absolute() for folder in folders]))


def _hashed(path: Path) -> int:
    """A file by its real path, in little memory: a corpus may show a million pictures."""
    return hash(os.path.realpath(path))
