"""Qdrant's gRPC interface on loopback, over qdrant-client's local mode: for the client's side."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc  # type: ignore[import-untyped]  # no types of its own
from qdrant_client import grpc as q
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc, grpc_to_payload
from qdrant_client.grpc.collections_service_pb2_grpc import (
    CollectionsServicer,
    add_CollectionsServicer_to_server,
)
from qdrant_client.grpc.points_service_pb2_grpc import (
    PointsServicer,
    add_PointsServicer_to_server,
)
from qdrant_client.local.qdrant_local import QdrantLocal


@dataclass
class Seen:
    """What was asked, and how the next writes fail."""

    port: int = 0
    requests: list[Any] = field(default_factory=list)
    failures: list[grpc.StatusCode] = field(default_factory=list)
    local: QdrantLocal = field(
        default_factory=lambda: QdrantLocal(":memory:", force_disable_check_same_thread=True)
    )

    lock: threading.Lock = field(default_factory=threading.Lock)
    """The local mode isn't meant for several threads."""

    def answer(self, request: Any, context: grpc.ServicerContext, do: Callable[[], Any]) -> Any:
        self.requests.append(request)
        if isinstance(request, q.UpsertPoints) and self.failures:
            context.abort(self.failures.pop(0), "told to fail")
        try:
            with self.lock:
                return do()
        except ValueError as error:
            missing = "not found" in str(error)
            there = "already exists" in str(error)
            code = grpc.StatusCode.NOT_FOUND if missing else grpc.StatusCode.INVALID_ARGUMENT
            context.abort(grpc.StatusCode.ALREADY_EXISTS if there else code, str(error))


_DONE = q.UpdateResult(operation_id=0, status=q.UpdateStatus.Completed)


class Collections(CollectionsServicer):
    def __init__(self, seen: Seen) -> None:
        self.seen = seen

    def Get(self, request: Any, context: Any) -> Any:  # noqa: N802
        def do() -> Any:
            info = self.seen.local.get_collection(request.collection_name)
            told = RestToGrpc.convert_collection_info(info)
            return q.GetCollectionInfoResponse(result=told)

        return self.seen.answer(request, context, do)

    def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        def do() -> Any:
            done = self.seen.local.create_collection(
                request.collection_name,
                vectors_config=GrpcToRest.convert_vectors_config(request.vectors_config),
                metadata=grpc_to_payload(request.metadata),
            )
            return q.CollectionOperationResponse(result=done)

        return self.seen.answer(request, context, do)

    def ListAliases(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self.seen.answer(request, context, q.ListAliasesResponse)


class Points(PointsServicer):
    def __init__(self, seen: Seen) -> None:
        self.seen = seen

    def Upsert(self, request: Any, context: Any) -> Any:  # noqa: N802
        def do() -> Any:
            points = [GrpcToRest.convert_point_struct(one) for one in request.points]
            self.seen.local.upsert(request.collection_name, points)
            return q.PointsOperationResponse(result=_DONE)

        return self.seen.answer(request, context, do)

    def Count(self, request: Any, context: Any) -> Any:  # noqa: N802
        def do() -> Any:
            where = (
                GrpcToRest.convert_filter(request.filter) if request.HasField("filter") else None
            )
            found = self.seen.local.count(request.collection_name, count_filter=where)
            return q.CountResponse(result=q.CountResult(count=found.count))

        return self.seen.answer(request, context, do)

    def Query(self, request: Any, context: Any) -> Any:  # noqa: N802
        def do() -> Any:
            prefetch = [GrpcToRest.convert_prefetch_query(one) for one in request.prefetch]
            for one in prefetch:
                one.params = None  # of a graph, of which the local mode warns
            found = self.seen.local.query_points(
                request.collection_name,
                query=GrpcToRest.convert_query(request.query),
                using=request.using,
                prefetch=prefetch or None,
                limit=request.limit,
                with_payload=True,
            )
            points = [RestToGrpc.convert_scored_point(one) for one in found.points]
            return q.QueryResponse(result=points)

        return self.seen.answer(request, context, do)


@contextmanager
def serve_grpc() -> Iterator[Seen]:
    seen = Seen()
    server = grpc.server(ThreadPoolExecutor(4))
    add_CollectionsServicer_to_server(Collections(seen), server)  # type: ignore[no-untyped-call]
    add_PointsServicer_to_server(Points(seen), server)  # type: ignore[no-untyped-call]
    seen.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield seen
    finally:
        server.stop(None).wait()
        seen.local.close()
