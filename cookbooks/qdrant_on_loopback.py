"""Qdrant's REST interface on loopback, answered by qdrant-client's own local mode: not Qdrant."""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import orjson
import uvicorn
from qdrant_client import models
from qdrant_client.local.qdrant_local import QdrantLocal
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_HOST = "127.0.0.1"
_SLASH = "/"
_VERSION = "1.20.0"

Body: TypeAlias = dict[str, Any]
Handler: TypeAlias = "Callable[[Collections, Body, tuple[str, ...]], object]"


class RefusedError(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


# ---- what there is, and what each request does to it


class Collections:
    """Collections in qdrant-client's local mode, one request at a time.

    Filters, scores, fusion and aliases are that mode's, so they are Qdrant's own Python
    implementation of its rules; graphs, int8, shards and replicas are taken note of and have no
    effect.

    Args:
        folder: Where they are kept; None for memory.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        where = ":memory:" if folder is None else str(folder)
        self.local = QdrantLocal(where, force_disable_check_same_thread=True)
        self.kept = folder is not None
        self.lock = threading.Lock()
        # The local mode filters without indexes and forgets that it was given any.
        self.fields: dict[str, Body] = {}

    def answer(self, method: str, path: str, body: Body) -> object:
        """What Qdrant would put under ``result``.

        Raises:
            RefusedError: What Qdrant would refuse.
        """
        for verb, pattern, handler in _ROUTES:
            if verb == method and (found := pattern.fullmatch(path)):
                with self.lock:
                    return self._answered(handler, body, found.groups())
        raise RefusedError(404, f"{method} {path} isn't served on this loopback")

    def _answered(self, handler: Handler, body: Body, path: tuple[str, ...]) -> object:
        """What a handler says; the local mode's bare errors as a server's statuses."""
        try:
            return handler(self, body, path)
        except UserWarning:
            # The local mode warns of many points when it has stored them; some make that an error.
            return _DONE
        except (ValueError, KeyError, TypeError, NotImplementedError) as error:
            text = str(error)
            if "not found" in text and text.startswith("Collection"):
                raise RefusedError(404, f"Not found: {text}") from error
            status = 409 if "already exists" in text else 400
            raise RefusedError(status, f"Wrong input: {text}") from error

    def real(self, name: str) -> str:
        """A collection's name, or of what an alias of that name stands for."""
        return self.local.aliases.get(name, name)


def _created(there: Collections, body: Body, path: tuple[str, ...]) -> object:
    asked = models.CreateCollection.model_validate(body)
    there.local.create_collection(
        path[0],
        vectors_config=asked.vectors,
        sparse_vectors_config=asked.sparse_vectors,
        metadata=asked.metadata,
    )
    there.fields[path[0]] = {}
    return True


def _described(there: Collections, _body: Body, path: tuple[str, ...]) -> object:
    told: Body = there.local.get_collection(path[0]).model_dump(mode="json", exclude_none=True)
    told["payload_schema"] = there.fields.get(there.real(path[0]), {})
    return told


def _updated(there: Collections, body: Body, path: tuple[str, ...]) -> object:
    asked = models.UpdateCollection.model_validate(body)
    there.local.update_collection(
        path[0], metadata=asked.metadata, vectors_config=asked.vectors or None
    )
    return True


def _deleted(there: Collections, _body: Body, path: tuple[str, ...]) -> object:
    there.fields.pop(path[0], None)
    return there.local.delete_collection(path[0])


def _indexed(there: Collections, body: Body, path: tuple[str, ...]) -> object:
    there.local.get_collection(path[0])
    kind = body["field_schema"]
    kind = kind["type"] if isinstance(kind, dict) else kind
    name = there.real(path[0])
    there.fields.setdefault(name, {})[body["field_name"]] = {"data_type": kind, "points": 0}
    return _DONE


def _vector_added(there: Collections, body: Body, path: tuple[str, ...]) -> object:
    config = models.DenseVectorNameConfig.model_validate(body)
    there.local.create_vector_name(path[0], path[1], config)
    return _DONE


def _upserted(there: Collections, body: Body, path: tuple[str, ...]) -> object:
    points = [
        models.PointStruct.model_construct(
            id=one["id"], vector=_vectors(one["vector"], there.kept), payload=one.get("payload")
        )
        for one in body.get("points") or _rows(body["batch"])
    ]
    there.local.upsert(path[0], points)
    return _DONE


def _rows(batch: Body) -> list[Body]:
    """Points that came in columns."""
    ids, vectors = batch["ids"], batch["vectors"]
    payloads = batch.get("payloads") or [None] * len(ids)
    if isinstance(vectors, dict):
        names = list(vectors)
        vectors = [
            dict(zip(names, row, strict=True)) for row in zip(*vectors.values(), strict=True)
        ]
    return [
        {"id": own, "vector": vector, "payload": payload}
        for own, vector, payload in zip(ids, vectors, payloads, strict=True)
    ]


def _vectors_set(there: Collections, body: Body, path: tuple[str, ...]) -> object:
    points = [
        models.PointVectors.model_construct(
            id=one["id"], vector=_vectors(one["vector"], there.kept)
        )
        for one in body["points"]
    ]
    there.local.update_vectors(path[0], points)
    return _DONE


def _payload_set(there: Collections, body: Body, path: tuple[str, ...]) -> object:
    asked = models.SetPayload.model_validate(body)
    chosen: Any = asked.points if asked.points is not None else asked.filter
    there.local.set_payload(path[0], payload=asked.payload, points=chosen, key=asked.key)
    return _DONE


def _points_deleted(there: Collections, body: Body, path: tuple[str, ...]) -> object:
    kind = models.PointIdsList if "points" in body else models.FilterSelector
    there.local.delete(path[0], kind.model_validate(body))
    return _DONE


def _retrieved(there: Collections, body: Body, path: tuple[str, ...]) -> object:
    asked = models.PointRequest.model_validate(body)
    payload = True if asked.with_payload is None else asked.with_payload
    return there.local.retrieve(
        path[0], asked.ids, with_payload=payload, with_vectors=asked.with_vector or False
    )


def _counted(there: Collections, body: Body, path: tuple[str, ...]) -> object:
    asked = models.CountRequest.model_validate(body)
    return there.local.count(path[0], count_filter=asked.filter)


def _scrolled(there: Collections, body: Body, path: tuple[str, ...]) -> object:
    asked = models.ScrollRequest.model_validate(body)
    points, after = there.local.scroll(
        path[0],
        scroll_filter=asked.filter,
        limit=asked.limit or 10,
        offset=asked.offset,
        with_payload=True if asked.with_payload is None else asked.with_payload,
        with_vectors=asked.with_vector or False,
    )
    return {"points": points, "next_page_offset": after}


def _queried(there: Collections, body: Body, path: tuple[str, ...]) -> object:
    asked = models.QueryRequest.model_validate(_exact(body))
    return there.local.query_points(
        path[0],
        query=asked.query,  # type: ignore[arg-type]  # _exact leaves no bare vectors
        using=asked.using,
        prefetch=asked.prefetch,
        query_filter=asked.filter,
        limit=asked.limit or 10,
        offset=asked.offset,
        score_threshold=asked.score_threshold,
        with_payload=asked.with_payload or False,
        with_vectors=asked.with_vector or False,
    )


def _queried_together(there: Collections, body: Body, path: tuple[str, ...]) -> object:
    return [_queried(there, one, path) for one in body["searches"]]


def _aliases_changed(there: Collections, body: Body, _path: tuple[str, ...]) -> object:
    asked = models.ChangeAliasesOperation.model_validate(body)
    return there.local.update_collection_aliases(asked.actions)


_DONE: Body = {"operation_id": 0, "status": "completed"}
_WRITES = (_upserted, _vectors_set, _points_deleted, _payload_set)


def _route(method: str, path: str, handler: Handler) -> tuple[str, re.Pattern[str], Handler]:
    return method, re.compile(path.replace("{}", "([^/]+)")), handler


_ROUTES = (
    _route("GET", "/collections", lambda there, *_: there.local.get_collections()),
    _route("GET", "/aliases", lambda there, *_: there.local.get_aliases()),
    _route("POST", "/collections/aliases", _aliases_changed),
    _route("PUT", "/collections/{}", _created),
    _route("GET", "/collections/{}", _described),
    _route("PATCH", "/collections/{}", _updated),
    _route("DELETE", "/collections/{}", _deleted),
    _route(
        "GET",
        "/collections/{}/exists",
        lambda there, _, path: {"exists": there.local.collection_exists(path[0])},
    ),
    _route(
        "GET",
        "/collections/{}/aliases",
        lambda there, _, path: there.local.get_collection_aliases(path[0]),
    ),
    _route("PUT", "/collections/{}/index", _indexed),
    _route("PUT", "/collections/{}/vectors/{}", _vector_added),
    _route("PUT", "/collections/{}/points", _upserted),
    _route("POST", "/collections/{}/points", _retrieved),
    _route("PUT", "/collections/{}/points/vectors", _vectors_set),
    _route("POST", "/collections/{}/points/payload", _payload_set),
    _route("POST", "/collections/{}/points/delete", _points_deleted),
    _route("POST", "/collections/{}/points/count", _counted),
    _route("POST", "/collections/{}/points/scroll", _scrolled),
    _route("POST", "/collections/{}/points/query", _queried),
    _route("POST", "/collections/{}/points/query/batch", _queried_together),
)
_WRITE_PATHS = [pattern for _, pattern, handler in _ROUTES if handler in _WRITES]


def _vectors(given: object, kept: bool) -> Any:
    """A point's vectors without a check of each number, which takes longer than all the rest."""
    if isinstance(given, list):
        return given  # the local mode knows an unnamed vector by its being a list
    assert isinstance(given, dict)
    return {
        name: models.SparseVector.model_validate(one)
        if isinstance(one, dict)
        else one
        if kept
        else np.asarray(one, dtype=np.float32)
        for name, one in given.items()
    }


def _exact(query: Body) -> Body:
    """A query as the local mode takes it: no word for a graph, and no bare vector."""
    before = query.get("prefetch") or []
    passes = before if isinstance(before, list) else [before]
    asked = query.get("query")
    if isinstance(asked, list | int | str) or (isinstance(asked, dict) and "indices" in asked):
        asked = {"nearest": asked}
    exact = {"query": asked, "params": None, "prefetch": [_exact(one) for one in passes] or None}
    return query | exact


# ---- over HTTP


@dataclass
class Trouble:
    """What goes wrong, for tests of clients.

    Attributes:
        next_writes: Statuses for the next writes of points, 0 breaks the connection off; 200
            lets one pass.
        writes_to_live: Writes of points until the server is dead, None for ever.
        dies: What being dead is: None breaks every connection off.
        api_key: The key that is asked for.
    """

    next_writes: list[int] = field(default_factory=list)
    writes_to_live: int | None = None
    dies: Callable[[], None] | None = None
    api_key: str | None = None

    def status(self, path: str, key: str | None) -> int:
        """The status that a request gets instead of its answer; 200 for none."""
        if self.api_key is not None and key != self.api_key:
            return 403
        dead = self.writes_to_live is not None and self.writes_to_live <= 0
        if dead and self.dies is not None:
            self.dies()
        if dead:
            return 0
        if not any(pattern.fullmatch(path) for pattern in _WRITE_PATHS):
            return 200
        status = self.next_writes.pop(0) if self.next_writes else 200
        if status == 200 and self.writes_to_live is not None:
            self.writes_to_live -= 1
        return status


class Loopback(str):
    """The URL of a running server, and what can be done to it.

    Attributes:
        collections: What it holds.
        trouble: What goes wrong.
        requests: Method and path of each request so far.
    """

    collections: Collections
    trouble: Trouble
    requests: list[tuple[str, str]]

    def fail_next(self, *statuses: int) -> None:
        """Answer the next writes of points with these; 0 breaks the connection off."""
        self.trouble.next_writes += statuses

    def die_after(self, writes: int) -> None:
        """Answer so many writes of points more, then break every connection off."""
        self.trouble.writes_to_live = writes

    def revive(self) -> None:
        """Answer again, with everything that was stored."""
        self.trouble.writes_to_live = None


def _application(there: Collections, trouble: Trouble, seen: list[tuple[str, str]]) -> Any:
    def answered(method: str, path: str, data: bytes) -> Response:
        try:
            body = orjson.loads(data) if data else {}
            told: Body = {"status": "ok", "result": there.answer(method, path, body)}
            status = 200
        except orjson.JSONDecodeError as error:
            told, status = _refusal(f"Format error in JSON body: {error}"), 400
        except RefusedError as error:
            told, status = _refusal(error.reason), error.status
        content = orjson.dumps({"time": 0.0, **told}, default=_plain)
        return Response(content, status, media_type="application/json")

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        path = request.url.path
        data = await request.body()
        seen.append((request.method, path))
        status = trouble.status(path, request.headers.get("api-key"))
        if status == 0:
            # ASGI has no word for it; uvicorn's send is a method of what holds the connection.
            send.__self__.transport.abort()  # type: ignore[attr-defined]  # as above
            return
        if status != 200:
            reason = "Invalid API key or JWT" if status == 403 else "told to fail"
            response = Response(orjson.dumps(_refusal(reason)), status)
        elif path == _SLASH:
            response = Response(orjson.dumps(_ABOUT))
        else:
            response = await run_in_threadpool(answered, request.method, path, data)
        await response(scope, receive, send)

    return application


_ABOUT = {"title": "qdrant-client's local mode on loopback: not Qdrant", "version": _VERSION}


def _refusal(reason: str) -> Body:
    return {"status": {"error": reason}}


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json", exclude_none=True)


def _server(application: Any) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            application, lifespan="off", ws="none", access_log=False, log_level="critical"
        )
    )


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((_HOST, port))
    listener.listen(2048)
    return listener


@contextmanager
def serve(
    *, port: int = 0, folder: str | Path | None = None, api_key: str | None = None
) -> Iterator[Loopback]:
    """Serve in a thread of this process for as long as the block lasts; its URL.

    Args:
        port: 0 takes a free one.
        folder: Where collections are kept; None for memory.
        api_key: The key that clients have to give.

    Example:
        >>> with serve() as url:
        ...     MatryoshkaCollection("docs", space=space, url=url).open()
    """
    there, trouble = Collections(folder), Trouble(api_key=api_key)
    seen: list[tuple[str, str]] = []
    server = _server(_application(there, trouble, seen))
    with _listen(port) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        loopback = Loopback(f"http://{_HOST}:{listener.getsockname()[1]}")
        loopback.collections, loopback.trouble, loopback.requests = there, trouble, seen
        try:
            yield loopback
        finally:
            server.should_exit = True
            thread.join(timeout=10)
            there.local.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until the process ends; the first line says where."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=6333, help="0 takes a free one (%(default)s)")
    parser.add_argument("--folder", metavar="DIR", help="keep the collections there, not in memory")
    parser.add_argument("--api-key", metavar="KEY", help="refuse clients without it")
    parser.add_argument(
        "--die-after", type=int, metavar="N", help="kill this process after N writes of points"
    )
    told = parser.parse_args(arguments)
    trouble = Trouble(
        writes_to_live=told.die_after,
        dies=lambda: os.kill(os.getpid(), signal.SIGKILL),
        api_key=told.api_key,
    )
    with _listen(told.port) as listener:
        print(f"http://{_HOST}:{listener.getsockname()[1]}", flush=True)
        _server(_application(Collections(told.folder), trouble, [])).run([listener])


if __name__ == "__main__":
    main()
