"""``CollectionSource``: the texts of a Qdrant collection that is there, whoever made it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gemini2_core.corpus.item import Item
from gemini2_core.corpus.sources.points import point_content
from gemini2_core.corpus.sources.reading import Broken, CheckedSource, Found, Policy
from gemini2_core.errors import (
    ConfigurationError,
    IndexLockedError,
    IndexUnavailableError,
    InvalidInputError,
)
from gemini2_core.index import FilterLike, PointId, read_filter
from gemini2_core.index.backend import Backend
from gemini2_core.index.ids import ID_KEY, caller_id
from gemini2_core.index.operations import Aliases, Collections, Count, Describe, Point, Scroll

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from qdrant_client import QdrantClient

__all__ = ["CollectionSource"]


class CollectionSource(CheckedSource):
    """The points of a collection, with their ids and payloads; it is only read, never marked.

    What is embedded of a point is seen from its payload: LangChain's ``page_content`` (and the
    title of its ``metadata``), LlamaIndex's ``_node_content`` (as the adapter embeds that node),
    ``text`` or ``content``, or the field ``text_key``. Media links in texts are read by the
    embedder, if it has a ``media_root``.

    Args:
        name: The collection, or an alias of it. An alias is followed anew with each page, so a
            long run had better name the collection itself.
        path: A folder: of the embedded engine, or of a ``QdrantClient(path=…)``.
        url: A Qdrant server or cluster.
        api_key: The server's key.
        prefer_grpc: Points go over gRPC.
        client: A ``QdrantClient`` to use instead of an address; it isn't closed here.
        text_key: The field with the text; ``"a.b"`` is a field in a field.
        title_key: The field of the metadata with the title; None tells no title.
        filter: Which points count, as for a search.
        media_root: The only folder that files named by LlamaIndex's nodes are read from.
        page: Points fetched at a time.
        policy: What becomes of a point that can't be embedded.

    Raises:
        ConfigurationError: Not one address, or no such folder.
        IndexLockedError: Another process has the folder open.
        IndexUnavailableError: The folder is damaged.
        MissingExtraError: The engine's package isn't installed.
    """

    _ids_may_repeat = False

    def __init__(
        self,
        name: str,
        *,
        path: str | Path | None = None,
        url: str | None = None,
        api_key: str | None = None,
        prefer_grpc: bool = False,
        client: QdrantClient | None = None,
        text_key: str | None = None,
        title_key: str | None = "title",
        filter: FilterLike | None = None,  # noqa: A002  # Qdrant's word
        media_root: str | Path | None = None,
        page: int = 256,
        policy: Policy | None = None,
    ) -> None:
        if sum(one is not None for one in (path, url, client)) != 1:
            raise ConfigurationError("give one of path=, url= and client=")
        self._own: QdrantClient | None = None
        self._in_folder = False
        self._backend = self._opened(name, path, url, api_key, prefer_grpc, client)
        self._collection = name
        self._text_key = text_key
        self._title_key = title_key
        self._filter = read_filter(filter)
        self._media_root = None if media_root is None else Path(media_root).expanduser()
        self._page = page
        self._latest: PointId | None = None
        super().__init__(f"collection {name!r} at {self._backend.where}", policy)

    def _opened(
        self,
        name: str,
        path: str | Path | None,
        url: str | None,
        api_key: str | None,
        prefer_grpc: bool,
        client: QdrantClient | None,
    ) -> Backend:
        if path is not None:
            folder = Path(path).expanduser()
            if not folder.is_dir():
                raise ConfigurationError(f"there is no folder {str(path)!r}")
            if not (folder / "meta.json").is_file():
                from gemini2_core.index.edge_backend import EdgeBackend

                self._in_folder = True
                return EdgeBackend(name, folder)
            # QdrantClient's own folder, as langchain-qdrant and LlamaIndex make it.
            from qdrant_client import QdrantClient

            try:
                client = self._own = QdrantClient(path=str(folder))
            except RuntimeError as error:
                raise IndexLockedError(f"{folder} is open in another process: {error}") from error
            except Exception as error:  # a damaged one makes it raise nearly anything
                raise IndexUnavailableError(
                    f"{folder} is no folder of a QdrantClient that can be read: {error}"
                ) from error
        from gemini2_core.index.qdrant_backend import QdrantBackend

        return QdrantBackend(name, url=url, api_key=api_key, prefer_grpc=prefer_grpc, client=client)

    @property
    def backend(self) -> Backend:
        """The engine that it is read from, open or not."""
        return self._backend

    @property
    def collection(self) -> str:
        """The collection's name, or the alias of it."""
        return self._collection

    def close(self) -> None:
        """Let go of files and connections; a client that was handed in stays open."""
        self._backend.close()
        if self._own is not None:
            self._own.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _where(self, place: int) -> str:  # noqa: ARG002 - the point's id says more
        return f"{self._name}, point {self._latest!r}"

    def _counted(self) -> int | None:
        self._check_there()
        return self._backend.run(Count(self._filter))

    def _check_there(self) -> None:
        run = self._backend.run
        # Opening what isn't there would leave a lock behind in the folder.
        named = not self._in_folder or self._collection in {*run(Collections()), *run(Aliases())}
        if not named or run(Describe()) is None:
            raise IndexUnavailableError(f"there is no {self._name}", code=404)

    def _found(self) -> Iterator[Found | Broken]:
        self._check_there()
        offset: PointId | None = None
        number = 0
        while True:
            points, offset = self._backend.run(Scroll(self._page, offset, self._filter))
            for point in points:
                number += 1
                try:
                    found: Found | Broken = Found(number, self._item(point))
                except InvalidInputError as error:
                    found = Broken(number, str(error))
                self._latest = point.id
                yield found
            if offset is None:
                return

    def _item(self, point: Point) -> Item:
        payload = dict(point.payload)
        own = caller_id(point.id, payload)
        if own != point.id:
            del payload[ID_KEY]
        content, title = point_content(
            payload,
            text_key=self._text_key,
            title_key=self._title_key,
            media_root=self._media_root,
        )
        return Item(own, content, title, payload)
