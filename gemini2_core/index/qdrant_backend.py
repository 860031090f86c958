"""Qdrant through its own client: a server or a cluster at a URL, or the memory of this process."""

from __future__ import annotations

import asyncio
import copy
import random
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import orjson

from gemini2_core.errors import (
    AuthenticationError,
    ConfigurationError,
    Gemini2Error,
    IndexUnavailableError,
    MissingExtraError,
)
from gemini2_core.index.backend import InThread
from gemini2_core.index.filters import JsonFilter
from gemini2_core.index.operations import (
    AddVector,
    Aliases,
    Collections,
    Count,
    Create,
    Delete,
    Describe,
    Description,
    Drop,
    DropAlias,
    Flush,
    IndexField,
    Layout,
    Numbers,
    Operation,
    Optimize,
    Pass,
    Point,
    PointAlias,
    Query,
    Retrieve,
    Scored,
    Scroll,
    SetVectors,
    Sparse,
    Together,
    Tune,
    Upsert,
    WriteMark,
)

if TYPE_CHECKING:
    from types import ModuleType

    from qdrant_client import AsyncQdrantClient, QdrantClient, models

__all__ = ["QdrantBackend"]

_T = TypeVar("_T")
_Read = Callable[[Any], _T]
_Call = tuple[str, dict[str, object], _Read[_T]]

_BATCH = 100
_FIRST_WAIT, _LONGEST_WAIT = 0.25, 4.0
_PASSING = {408, 425, 429, 500, 502, 503, 504}


class _NotFoundError(Exception):
    """There is no such collection."""


class _ExistsError(Exception):
    """There is such a collection already."""


class QdrantBackend(InThread):
    """One collection in Qdrant.

    Async calls go to an ``AsyncQdrantClient`` where there is a server; the memory of the process
    has no async half that sees the same points, so there they take a thread.

    Args:
        name: The collection.
        url: A server, or None for the memory of this process.
        api_key: The server's key.
        prefer_grpc: Points and searches go over gRPC.
        timeout: Seconds for one request.
        retry_seconds: How long a request is repeated that failed in passing.
        parallel: Writes at once.
        client: A client to use as it is, instead of ``url`` and what follows it.
        async_client: The same for async calls.
    """

    def __init__(
        self,
        name: str,
        *,
        url: str | None = None,
        api_key: str | None = None,
        prefer_grpc: bool = False,
        timeout: float = 60.0,
        retry_seconds: float = 30.0,
        parallel: int = 4,
        client: QdrantClient | None = None,
        async_client: AsyncQdrantClient | None = None,
    ) -> None:
        super().__init__("qdrant")
        try:
            import qdrant_client
        except ImportError as error:
            raise MissingExtraError(
                "A Qdrant collection", extra="qdrant", package="qdrant-client"
            ) from error
        self._models: ModuleType = qdrant_client.models
        self._name = name
        self.batch_size = _BATCH
        self.side_by_side = 4 * parallel
        self.follows_aliases = True
        self._options: dict[str, Any] = {
            "url": url,
            "api_key": api_key,
            "prefer_grpc": prefer_grpc,
            "timeout": int(timeout),
            # The check is a request of its own, and its warning says less than our errors.
            "check_compatibility": False,
        }
        self._retry_seconds = retry_seconds
        self._parallel = parallel
        self._own = client is None
        self._client = client
        self._async_client = async_client
        self._async_clients: weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, AsyncQdrantClient
        ] = weakref.WeakKeyDictionary()
        self._lock = threading.RLock()
        self._remote = url is not None
        self.where = url or ":memory:"
        if client is not None or async_client is not None:
            options = (client or async_client).init_options  # type: ignore[union-attr]
            self._remote = not (options.get("location") == ":memory:" or options.get("path"))
            host = options.get("host") or "localhost"
            self.where = str(
                options.get("url")
                or options.get("location")
                or options.get("path")
                or f"{host}:{options.get('port')}"
            )
            self._options = options

    def beside(self, name: str) -> QdrantBackend:
        """Another collection at the same address, over the same client as long as it is open."""
        if self._remote or self._async_client is None:
            self._sync()
        other = copy.copy(self)
        other._name, other._own, other._pool = name, False, None
        other._async_clients = weakref.WeakKeyDictionary()
        return other

    # ---- running

    def run(self, operation: Operation[_T]) -> _T:
        """Do one thing, repeating what failed in passing."""
        if isinstance(operation, Together):
            return cast("_T", self._together(operation))
        call = self._call(operation)
        if call is None:
            return cast("_T", None)
        method, arguments, read = call
        if not self._remote:
            # Python's own brute force isn't meant for several threads.
            with self._lock:
                return self._once(operation, method, arguments, read)
        for wait in self._waits(operation):
            try:
                return self._once(operation, method, arguments, read)
            except IndexUnavailableError as error:
                if wait is None or not _passing(error):
                    raise
                time.sleep(wait)
        raise AssertionError("the last wait is None")

    def _once(
        self, operation: Operation[_T], method: str, arguments: dict[str, object], read: _Read[_T]
    ) -> _T:
        try:
            return read(getattr(self._sync(), method)(**arguments))
        except Exception as error:  # noqa: BLE001  # the client raises its own and httpx's and grpc's
            return self._failed(operation, error)

    def _together(self, operation: Together) -> list[IndexUnavailableError | None]:
        if not self._remote or self._parallel == 1 or len(operation.writes) == 1:
            return self.in_turn(operation)

        def write(one: Operation[None]) -> IndexUnavailableError | None:
            try:
                self.run(one)
            except IndexUnavailableError as error:
                return error
            return None

        with ThreadPoolExecutor(self._parallel, thread_name_prefix="qdrant-write") as pool:
            return list(pool.map(write, operation.writes))

    async def arun(self, operation: Operation[_T]) -> _T:
        """Do one thing on the running loop, repeating what failed in passing."""
        if not self._remote:
            return await super().arun(operation)
        if isinstance(operation, Together):
            return cast("_T", await self._atogether(operation))
        call = self._call(operation)
        if call is None:
            return cast("_T", None)
        method, arguments, read = call
        for wait in self._waits(operation):
            try:
                answer: Awaitable[object] = getattr(self._async(), method)(**arguments)
                return read(await answer)
            except Exception as error:  # noqa: BLE001  # as above
                try:
                    return self._failed(operation, error)
                except IndexUnavailableError as failed:
                    if wait is None or not _passing(failed):
                        raise
            await asyncio.sleep(wait)
        raise AssertionError("the last wait is None")

    async def _atogether(self, operation: Together) -> list[IndexUnavailableError | None]:
        gate = asyncio.Semaphore(self._parallel)

        async def write(one: Operation[None]) -> IndexUnavailableError | None:
            async with gate:
                try:
                    await self.arun(one)
                except IndexUnavailableError as error:
                    return error
                return None

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(write(one)) for one in operation.writes]
        return [task.result() for task in tasks]

    def _waits(self, operation: Operation[_T]) -> Iterator[float | None]:
        """Seconds before each repetition; None when this was the last try."""
        # Opening asks first of all whether anybody is there: that is answered at once.
        seconds = 0.0 if isinstance(operation, Describe) else self._retry_seconds
        end = time.monotonic() + seconds
        wait = _FIRST_WAIT
        while time.monotonic() + wait < end:
            yield wait * random.uniform(0.75, 1.25)
            wait = min(2 * wait, _LONGEST_WAIT)
        yield None

    def _failed(self, operation: Operation[_T], error: Exception) -> _T:
        if isinstance(error, Gemini2Error):
            raise error
        try:
            raise self._told(error) from error
        except _NotFoundError:
            if isinstance(operation, Describe):
                return cast("_T", None)
            raise IndexUnavailableError(
                f"there is no collection {self._name!r} at {self.where} any more",
                code=404,
            ) from error
        except _ExistsError:
            if isinstance(operation, Create):
                return cast("_T", False)
            raise IndexUnavailableError(f"{self.where}: {error}", code=409) from error

    def _told(self, error: Exception) -> Exception:
        """The client's many errors as one of ours."""
        from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
        from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

        match error:
            case UnexpectedResponse(status_code=int(code)):
                return self._by_status(code, _reason(error))
            case ResourceExhaustedResponse():
                return self._by_status(429, str(error))
            case ResponseHandlingException(source=source):
                cause = f"{type(source).__name__}: {source}".rstrip(": ")
                if isinstance(source, ValueError):
                    return IndexUnavailableError(
                        f"Qdrant at {self.where} answered what its client can't read: {cause}",
                        code=200,
                    )
                # Broken off or refused: httpx's words, and nothing came back.
                return IndexUnavailableError(
                    f"Qdrant at {self.where} didn't answer ({cause}). Is it running, "
                    "and is the address right?"
                )
        if type(error).__module__.startswith("grpc"):
            return self._by_grpc(error)
        text = str(error)
        if isinstance(error, ValueError) and not self._remote:
            if "not found" in text and "Collection" in text:
                return _NotFoundError()
            if "already exists" in text:
                return _ExistsError()
        return IndexUnavailableError(f"Qdrant at {self.where} failed: {text or repr(error)}")

    def _by_status(self, code: int, reason: str) -> Exception:
        if code == 404:
            return _NotFoundError()
        if code == 409 or (code == 400 and "already exists" in reason):
            return _ExistsError()
        if code in {401, 403}:
            return AuthenticationError(
                f"Qdrant at {self.where} refused the key (api_key=): {reason}", code=code
            )
        word = "failed" if code >= 500 or code == 429 else "refused"
        return IndexUnavailableError(f"Qdrant at {self.where} {word} ({code}): {reason}", code=code)

    def _by_grpc(self, error: Exception) -> Exception:
        status = getattr(error, "code", lambda: None)()
        name = getattr(status, "name", "UNKNOWN")
        reason = str(getattr(error, "details", lambda: "")() or error)
        codes = {
            "NOT_FOUND": 404,
            "ALREADY_EXISTS": 409,
            "UNAUTHENTICATED": 401,
            "PERMISSION_DENIED": 403,
            "INVALID_ARGUMENT": 400,
            "RESOURCE_EXHAUSTED": 429,
            "DEADLINE_EXCEEDED": 504,
            "INTERNAL": 500,
        }
        if name in codes:
            return self._by_status(codes[name], reason)
        return IndexUnavailableError(
            f"Qdrant at {self.where} didn't answer ({name}: {reason}). Is it running, "
            "and is the address right?"
        )

    # ---- clients

    def _sync(self) -> QdrantClient:
        with self._lock:
            if self._client is None:
                if self._async_client is not None and not self._remote:
                    raise ConfigurationError(
                        "an AsyncQdrantClient of this process's memory has no sync half: "
                        "use the async methods, or give client="
                    )
                from qdrant_client import QdrantClient

                if self._remote:
                    self._client = QdrantClient(**self._options)
                else:
                    self._client = QdrantClient(":memory:")
            return self._client

    def _async(self) -> AsyncQdrantClient:
        if self._async_client is not None:
            return self._async_client
        # Connections belong to the loop they were opened on.
        loop = asyncio.get_running_loop()
        with self._lock:
            client = self._async_clients.get(loop)
            if client is None:
                from qdrant_client import AsyncQdrantClient

                client = AsyncQdrantClient(**{**self._options, "check_compatibility": False})
                self._async_clients[loop] = client
            return client

    def close(self) -> None:
        """Close the client that was opened here; a client that was handed in stays open."""
        super().close()
        with self._lock:
            if self._own and self._client is not None:
                self._client.close()
                self._client = None

    async def aclose(self) -> None:
        """Close the clients that were opened here, the running loop's too."""
        client = self._async_clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()
        await super().aclose()

    # ---- what each operation is in the client's words

    def _call(self, operation: Operation[_T]) -> _Call[_T] | None:
        """Method, arguments and reader; None for what this engine does by itself."""
        call = self._worded(operation)
        return cast("_Call[_T] | None", call)

    def _worded(self, operation: Operation[Any]) -> _Call[Any] | None:
        models = self._models
        at: dict[str, object] = {"collection_name": self._name}
        match operation:
            case Describe():
                return "get_collection", at, _description
            case Create(layout, mark):
                return "create_collection", at | self._created(layout, mark), _true
            case WriteMark(mark):
                return "update_collection", at | {"metadata": dict(mark)}, _nothing
            case IndexField(field, kind):
                if not self._remote:
                    return None
                arguments = {"field_name": field, "field_schema": kind, "wait": True}
                return "create_payload_index", at | arguments, _nothing
            case Upsert(points):
                told = [
                    models.PointStruct(
                        id=p.id, vector=self._vectors(p.vectors), payload=dict(p.payload)
                    )
                    for p in points
                ]
                return "upsert", at | {"points": told, "wait": True}, _nothing
            case AddVector(name, size):
                config = models.DenseVectorNameConfig(
                    dense=models.DenseVectorConfig(size=size, distance=models.Distance.COSINE)
                )
                arguments = {"vector_name": name, "vector_name_config": config}
                return "create_vector_name", at | arguments, _nothing
            case SetVectors(name, ids, vectors):
                told = [
                    models.PointVectors(id=own, vector={name: self._vector(row)})
                    for own, row in zip(ids, vectors, strict=True)
                ]
                return "update_vectors", at | {"points": told, "wait": True}, _nothing
            case Retrieve(ids, vectors=names):
                arguments = {"ids": list(ids), "with_vectors": list(names) or False}
                return "retrieve", at | arguments | {"with_payload": True}, _points
            case Delete(ids, filter=where):
                selector = (
                    models.PointIdsList(points=list(ids))
                    if ids is not None
                    else models.FilterSelector(filter=self._filter(where) or models.Filter())
                )
                return "delete", at | {"points_selector": selector, "wait": True}, _nothing
            case Count(filter=where):
                arguments = {"count_filter": self._filter(where), "exact": True}
                return "count", at | arguments, _count
            case Scroll(limit, offset, filter=where, vectors=names):
                arguments = {
                    "scroll_filter": self._filter(where),
                    "limit": limit,
                    "offset": offset,
                    "with_payload": True,
                    "with_vectors": list(names) or False,
                }
                return "scroll", at | arguments, _page
            case Query(last, vectors=names):
                arguments = {
                    "prefetch": [self._prefetch(one) for one in last.before] or None,
                    "query": self._query(last),
                    "using": last.using,
                    "query_filter": self._filter(last.filter),
                    "search_params": self._params(last),
                    "limit": last.limit,
                    "with_payload": True,
                    "with_vectors": list(names) or False,
                }
                return "query_points", at | arguments, _scored
            case Drop():
                return "delete_collection", at, _nothing
            case Tune(layout):
                return "update_collection", at | {"vectors_config": self._tuned(layout)}, _nothing
            case Collections():
                return "get_collections", {}, _names
            case Aliases():
                return "get_aliases", {}, _aliases
            case PointAlias(alias, collection):
                created = models.CreateAlias(alias_name=alias, collection_name=collection)
                create = models.CreateAliasOperation(create_alias=created)
                changes = [self._dropped(alias), create]
                return "update_collection_aliases", _changes(changes), _nothing
            case DropAlias(alias):
                return "update_collection_aliases", _changes([self._dropped(alias)]), _nothing
            case Optimize() | Flush():
                return None  # a server does it by itself
        raise AssertionError(f"unknown operation {operation!r}")

    def _dropped(self, alias: str) -> object:
        models = self._models
        return models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))

    def _created(self, layout: Layout, mark: Mapping[str, object]) -> dict[str, object]:
        models = self._models
        first = next(iter(layout.vectors))
        vectors = {
            name: models.VectorParams(
                size=size,
                distance=models.Distance.COSINE,
                on_disk=True,
                hnsw_config=self._graph(layout, name == first),
                quantization_config=self._int8() if name == first else None,
            )
            for name, size in layout.vectors.items()
        }
        created: dict[str, object] = {
            "vectors_config": vectors,
            "metadata": dict(mark),
            "on_disk_payload": True,
        }
        if layout.sparse:
            created["sparse_vectors_config"] = {
                layout.sparse: models.SparseVectorParams(modifier=models.Modifier.IDF)
            }
        if layout.shard_number is not None:
            created["shard_number"] = layout.shard_number
        if layout.replication_factor is not None:
            created["replication_factor"] = layout.replication_factor
        return created

    def _tuned(self, layout: Layout) -> dict[str, object]:
        models = self._models
        first = next(iter(layout.vectors))
        return {
            name: models.VectorParamsDiff(
                on_disk=True,
                hnsw_config=self._graph(layout, name == first),
                quantization_config=self._int8() if name == first else models.Disabled.DISABLED,
            )
            for name in layout.vectors
        }

    def _graph(self, layout: Layout, first: bool) -> object:
        # Later tiers are only re-scored: no graph, and the disk is where they live.
        if not first:
            return self._models.HnswConfigDiff(m=0)
        return self._models.HnswConfigDiff(m=layout.m, ef_construct=layout.ef_construct)

    def _int8(self) -> object:
        scalar = self._models.ScalarQuantizationConfig(
            type=self._models.ScalarType.INT8, quantile=0.99, always_ram=True
        )
        return self._models.ScalarQuantization(scalar=scalar)

    def _vectors(self, vectors: Mapping[str, Numbers | Sparse]) -> dict[str, object]:
        return {name: self._vector(vector) for name, vector in vectors.items()}

    def _vector(self, vector: Numbers | Sparse) -> object:
        if isinstance(vector, Sparse):
            return self._models.SparseVector(indices=vector.indices, values=vector.values)
        return _decimals(vector) if self._remote else vector.tolist()

    def _filter(self, given: JsonFilter | None) -> models.Filter | None:
        if given is None:
            return None
        return cast("models.Filter", self._models.Filter.model_validate(given))

    def _query(self, one: Pass) -> object:
        if one.query is None:
            return self._models.FusionQuery(fusion=self._models.Fusion.RRF)
        return self._vector(one.query)

    def _prefetch(self, one: Pass) -> models.Prefetch:
        return cast(
            "models.Prefetch",
            self._models.Prefetch(
                prefetch=[self._prefetch(before) for before in one.before] or None,
                query=self._query(one),
                using=one.using,
                filter=self._filter(one.filter),
                params=self._params(one),
                limit=one.limit,
            ),
        )

    def _params(self, one: Pass) -> object:
        if not self._remote:
            return None  # always exact, and it warns of being told so
        params, quantization = self._models.SearchParams, self._models.QuantizationSearchParams
        if one.exact:
            return params(exact=True, quantization=quantization(ignore=True))
        if one.ef is None and one.rescore is None:
            return None
        rescored = None if one.rescore is None else quantization(rescore=one.rescore)
        return params(hnsw_ef=one.ef, quantization=rescored)


def _passing(error: IndexUnavailableError) -> bool:
    return error.code is None or error.code in _PASSING


def _reason(error: Exception) -> str:
    import json

    content = getattr(error, "content", b"")
    try:
        return str(json.loads(content)["status"]["error"])
    except (ValueError, KeyError, TypeError):
        text = content.decode("utf-8", "replace") if isinstance(content, bytes) else str(content)
        return text[:200] or str(getattr(error, "reason_phrase", ""))


def _decimals(vector: Numbers) -> list[float]:
    """The numbers with as few digits as tell a float32: little more than half the bytes sent."""
    numbers: list[float] = orjson.loads(orjson.dumps(vector, option=orjson.OPT_SERIALIZE_NUMPY))
    return numbers


def _nothing(_answer: object) -> None:
    return None


def _true(_answer: object) -> bool:
    return True


def _changes(operations: Sequence[object]) -> dict[str, object]:
    return {"change_aliases_operations": operations}


def _names(answer: Any) -> list[str]:
    return sorted(one.name for one in answer.collections)


def _aliases(answer: Any) -> dict[str, str]:
    told = {one.alias_name: one.collection_name for one in answer.aliases}
    return dict(sorted(told.items()))


def _count(answer: Any) -> int:
    return int(answer.count)


def _description(answer: Any) -> Description:
    params = answer.config.params
    vectors = params.vectors if isinstance(params.vectors, dict) else {"": params.vectors}
    return Description(
        vectors={
            name: (int(one.size), str(getattr(one.distance, "value", one.distance)))
            for name, one in vectors.items()
            if one is not None
        },
        sparse=frozenset(params.sparse_vectors or ()),
        mark=answer.config.metadata,
        fields=frozenset(answer.payload_schema or ()),
        points=int(answer.points_count or 0),
        indexed=int(answer.indexed_vectors_count or 0),
    )


def _point(one: Any) -> Point:
    vectors: dict[str, Numbers | Sparse] = {}
    given = one.vector if isinstance(one.vector, dict) else {}
    for name, vector in given.items():
        if hasattr(vector, "indices"):
            vectors[name] = Sparse(list(vector.indices), list(vector.values))
        else:
            vectors[name] = np.asarray(vector, dtype=np.float32)
    return Point(one.id, vectors, dict(one.payload or {}))


def _points(answer: Sequence[Any]) -> list[Point]:
    return [_point(one) for one in answer]


def _page(answer: Any) -> tuple[list[Point], int | str | None]:
    points, after = answer
    return _points(points), after


def _scored(answer: Any) -> list[Scored]:
    return [Scored(_point(one), float(one.score)) for one in answer.points]
