"""A small HTTP server that keeps what it is asked and answers as Qdrant does: no search in it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HNSW = {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000}
OPTIMIZER = {
    "deleted_threshold": 0.2,
    "vacuum_min_vector_number": 1000,
    "default_segment_number": 0,
    "flush_interval_sec": 5,
}


@dataclass
class Asked:
    method: str
    path: str
    query: str
    body: Any
    key: str | None


@dataclass
class Recorder:
    """What was asked, and what is there."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    collections: dict[str, dict[str, Any]] = field(default_factory=dict)
    ids: list[Any] = field(default_factory=list)
    key: str | None = None
    keeps_metadata: bool = True
    lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, method: str, ending: str) -> list[Asked]:
        return [a for a in self.asked if a.method == method and a.path.endswith(ending)]

    def answer(self, asked: Asked) -> tuple[int, Any]:
        with self.lock:
            self.asked.append(asked)
            if self.key and asked.key != self.key:
                return 403, "Invalid API key or JWT"
            if asked.path == "/aliases":
                return 200, {"aliases": []}
            parts = asked.path.strip("/").split("/")
            name, rest = parts[1], parts[2:]
            return self._collection(asked, name, rest)

    def _collection(self, asked: Asked, name: str, rest: list[str]) -> tuple[int, Any]:
        if not rest and asked.method == "PUT":
            if name in self.collections:
                return 409, f"Wrong input: Collection `{name}` already exists!"
            self.collections[name] = asked.body
            return 200, True
        if name not in self.collections:
            return 404, f"Not found: Collection `{name}` doesn't exist!"
        there = self.collections[name]
        if not rest and asked.method == "PATCH":
            there.setdefault("metadata", {}).update(asked.body.get("metadata", {}))
            return 200, True
        if not rest:
            return 200, self._info(there)
        done = {"operation_id": len(self.asked), "status": "completed"}
        if rest == ["points"] and asked.method == "PUT":
            self.ids += [point["id"] for point in asked.body["points"]]
            return 200, done
        if rest == ["points", "query"]:
            point = {"id": 7, "version": 1, "score": 0.5, "payload": {"source": "a.md"}}
            return 200, {"points": [point]}
        if rest == ["points", "count"]:
            return 200, {"count": len(set(self.ids))}
        return 200, done

    def _info(self, there: dict[str, Any]) -> dict[str, Any]:
        params = {"vectors": there["vectors"], "sparse_vectors": there.get("sparse_vectors")}
        config: dict[str, Any] = {
            "params": params,
            "hnsw_config": HNSW,
            "optimizer_config": OPTIMIZER,
        }
        if self.keeps_metadata:
            config["metadata"] = there.get("metadata")
        return {
            "status": "green",
            "optimizer_status": "ok",
            "segments_count": 1,
            "points_count": len(set(self.ids)),
            "config": config,
            "payload_schema": {},
        }


@contextmanager
def recorder(**state: Any) -> Iterator[Recorder]:
    kept = Recorder(**state)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            path, _, query = self.path.partition("?")
            key = self.headers.get("api-key")
            status, result = kept.answer(Asked(self.command, path, query, body, key))
            told: dict[str, Any] = {"time": 0.0}
            if status == 200:
                told |= {"status": "ok", "result": result}
            else:
                told |= {"status": {"error": result}}
            data = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    kept.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield kept
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
