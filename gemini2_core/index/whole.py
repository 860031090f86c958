"""A collection as a whole: opened and closed, dropped, named, and noted about."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, get_args

from gemini2_core.errors import ConfigurationError
from gemini2_core.index.backend import Backend
from gemini2_core.index.mark import check_tiers
from gemini2_core.index.naming import (
    drop_collection,
    point_alias,
    read_aliases,
    read_marked,
    read_names,
    read_note,
    take_alias,
    write_note,
)
from gemini2_core.index.opening import Opening, Wanted
from gemini2_core.index.operations import FieldType, Optimize
from gemini2_core.index.steps import Steps, ask, atake, take
from gemini2_core.model import EmbeddingSpace

if TYPE_CHECKING:
    from qdrant_client import AsyncQdrantClient, QdrantClient

__all__ = ["CollectionAsAWhole"]

_MEMORY = ":memory:"


class CollectionAsAWhole:
    """What a ``MatryoshkaCollection`` does apart from its points; that explains the arguments."""

    def __init__(
        self,
        name: str = "gemini2",
        *,
        space: EmbeddingSpace | str | None,
        tiers: Sequence[int] | None = None,
        location: str | None = None,
        path: str | Path | None = None,
        url: str | None = None,
        api_key: str | None = None,
        prefer_grpc: bool = False,
        client: QdrantClient | None = None,
        async_client: AsyncQdrantClient | None = None,
        payload_indexes: Mapping[str, FieldType] | None = None,
        hybrid: bool = False,
        adopt: bool = False,
        shard_number: int | None = None,
        replication_factor: int | None = None,
        timeout: float = 60.0,
        retry_seconds: float = 30.0,
        parallel: int = 4,
    ) -> None:
        told: object = name
        if not isinstance(told, str) or not told:
            raise ConfigurationError(f"a collection's name is a string, not {name!r}")
        for what, empty in (("url", url), ("path", path)):
            if empty == "":
                raise ConfigurationError(f"{what}= is empty; without it {_MEMORY!r} is meant")
        given = [location, path, url, client or async_client]
        if sum(one is not None for one in given) > 1:
            raise ConfigurationError("give one of location=, path=, url= and client=")
        if location not in {None, _MEMORY}:
            raise ConfigurationError(
                f"location= is {_MEMORY!r}; a folder is path=, a server url= (got {location!r})"
            )
        for field, kind in (payload_indexes or {}).items():
            if kind not in get_args(FieldType):
                raise ConfigurationError(
                    f"payload_indexes: {field!r} can't be {kind!r}; "
                    f"there are {', '.join(get_args(FieldType))}"
                )
        wanted = Wanted(
            name=name,
            space=EmbeddingSpace.parse(space) if isinstance(space, str) else space,
            tiers=None if tiers is None else check_tiers(tiers),
            payload_indexes=dict(payload_indexes or {}),
            hybrid=hybrid,
            adopt=adopt,
            shard_number=shard_number,
            replication_factor=replication_factor,
        )
        self._name = name
        self._space = wanted.space
        self._backend: Backend
        if path is not None:
            from gemini2_core.index.edge_backend import EdgeBackend

            self._backend = EdgeBackend(name, Path(path))
        else:
            from gemini2_core.index.qdrant_backend import QdrantBackend

            self._backend = QdrantBackend(
                name,
                url=url,
                api_key=api_key,
                prefer_grpc=prefer_grpc,
                timeout=timeout,
                retry_seconds=retry_seconds,
                parallel=parallel,
                client=client,
                async_client=async_client,
            )
        self._opening = Opening(wanted, self._backend)

    # ---- what it is

    @property
    def name(self) -> str:
        """The collection's name."""
        return self._name

    @property
    def where(self) -> str:
        """``:memory:``, the folder, or the URL."""
        return self._backend.where

    @property
    def space(self) -> EmbeddingSpace:
        """The space its vectors live in; opens the collection if it wasn't given."""
        return self._space or take(self._opening.opened(), self._backend).space

    @property
    def tiers(self) -> tuple[int, ...]:
        """The sizes that are searched, the smallest first; opens the collection."""
        return take(self._opening.opened(), self._backend).sizes

    @property
    def dimensions(self) -> int:
        """The largest tier: the size ``add`` and ``search`` need; opens the collection."""
        return max(take(self._opening.opened(), self._backend).tiers)

    @property
    def hybrid(self) -> bool:
        """Whether it has a sparse BM25 vector; opens the collection."""
        return take(self._opening.opened(), self._backend).sparse is not None

    def __repr__(self) -> str:
        tiers = list(self._opening.known_tiers)
        return f"MatryoshkaCollection({self._name!r}, {self._space}, tiers={tiers}, {self.where})"

    # ---- opening and closing

    def open(self) -> Self:
        """Open the collection, making it if it isn't there.

        Raises:
            IndexMismatchError: It holds vectors of another space or of other sizes, or has no
                mark and ``adopt`` is False.
            IndexUnavailableError: The server doesn't answer.
            IndexLockedError: The folder is open elsewhere.
        """
        take(self._opening.opened(), self._backend)
        return self

    async def aopen(self) -> Self:
        """Open the collection; see ``open``."""
        await atake(self._opening.opened(), self._backend)
        return self

    def close(self) -> None:
        """Let go of files and connections; a client that was handed in stays open."""
        self._opening.close()
        self._backend.close()

    async def aclose(self) -> None:
        """Let go of files and connections; see ``close``."""
        self._opening.close()
        await self._backend.aclose()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await self.aopen()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def optimize(self) -> None:
        """Build the graph over all points now.

        A server does so by itself. In a folder ``add`` does when enough points are waiting; the
        build runs in a process of its own, and other calls wait until it is done.
        """
        take(self._optimizing(), self._backend)

    async def aoptimize(self) -> None:
        """Build the graph over all points now; see ``optimize``."""
        await atake(self._optimizing(), self._backend)

    def drop(self, *, unmarked: bool = False) -> None:
        """Delete the collection with all its points.

        Args:
            unmarked: Also one without a mark, which others made.

        Raises:
            ConfigurationError: An alias names it.
            IndexMismatchError: It has no mark.
        """
        take(drop_collection(self._opening, unmarked=unmarked), self._backend)

    async def adrop(self, *, unmarked: bool = False) -> None:
        """Delete the collection with all its points; see ``drop``."""
        await atake(drop_collection(self._opening, unmarked=unmarked), self._backend)

    # ---- its other names, its neighbours, and what is noted about it

    def beside(self, name: str) -> Self:
        """Another collection at this address, over the same connection; opens nothing.

        Its space and tiers are what it says of itself. It works as long as this one is open, and
        is closed by itself.
        """
        other = copy.copy(self)
        other._name, other._space = name, None
        other._backend = self._backend.beside(name)
        wanted = Wanted(name, None, None, {}, False, False, None, None)
        other._opening = Opening(wanted, other._backend)
        return other

    def collections(self) -> list[str]:
        """Names of all collections at this address; opens none."""
        return take(read_names(self._opening), self._backend)

    async def acollections(self) -> list[str]:
        """Names of all collections at this address; opens none."""
        return await atake(read_names(self._opening), self._backend)

    def aliases(self) -> dict[str, str]:
        """The collection that each alias at this address names; opens nothing."""
        return take(read_aliases(self._opening), self._backend)

    async def aaliases(self) -> dict[str, str]:
        """The collection that each alias at this address names; opens nothing."""
        return await atake(read_aliases(self._opening), self._backend)

    def point_alias(self, alias: str, *, unmarked: bool = False) -> str | None:
        """Make an alias name this collection, in one step whatever it named before.

        ``MatryoshkaCollection(alias, …)`` then opens this one. One that is open through the
        alias already follows on a server and in memory, with its next search or ``add``; if the
        other collection holds vectors of another space, that is an error. (To see a switch, each
        search by an alias is followed by one small request.) In a folder it keeps to what it
        opened: close it and open it again.

        Args:
            alias: The other name.
            unmarked: Also if this one has no mark, since others made it.

        Returns:
            The collection that the alias named before, or None.

        Raises:
            ConfigurationError: A collection has that name.
        """
        return take(point_alias(self._opening, alias, unmarked=unmarked), self._backend)

    async def apoint_alias(self, alias: str, *, unmarked: bool = False) -> str | None:
        """Make an alias name this collection; see ``point_alias``."""
        return await atake(point_alias(self._opening, alias, unmarked=unmarked), self._backend)

    def drop_alias(self, alias: str) -> str | None:
        """Take an alias away; the collection stays.

        Returns:
            The collection that it named, or None if there is no such alias.
        """
        return take(take_alias(self._opening, alias), self._backend)

    async def adrop_alias(self, alias: str) -> str | None:
        """Take an alias away; see ``drop_alias``."""
        return await atake(take_alias(self._opening, alias), self._backend)

    def marked(self) -> bool:
        """Whether the collection is there and says of itself what is in it; opens nothing."""
        return take(read_marked(self._opening), self._backend)

    async def amarked(self) -> bool:
        """Whether the collection is there and says of itself what is in it; opens nothing."""
        return await atake(read_marked(self._opening), self._backend)

    def note(self) -> dict[str, object]:
        """What ``write_note`` stored; empty if nothing was."""
        return take(read_note(self._opening), self._backend)

    async def anote(self) -> dict[str, object]:
        """What ``write_note`` stored; empty if nothing was."""
        return await atake(read_note(self._opening), self._backend)

    def write_note(self, note: Mapping[str, object]) -> None:
        """Keep a few JSON values with the collection, in place of those of before.

        They stand beside its space and tiers, for whoever opens it: where it came from, say.

        Raises:
            InvalidInputError: Something that isn't JSON.
        """
        take(write_note(self._opening, note), self._backend)

    async def awrite_note(self, note: Mapping[str, object]) -> None:
        """Keep a few JSON values with the collection; see ``write_note``."""
        await atake(write_note(self._opening, note), self._backend)

    def _optimizing(self) -> Steps[None]:
        yield from self._opening.opened()
        yield from ask(Optimize())
