"""Qdrant's engine inside this process: one folder, one writer, kept through a kill."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from gemini2_core.errors import (
    ConfigurationError,
    Gemini2Error,
    IndexLockedError,
    IndexMismatchError,
    IndexUnavailableError,
    MissingExtraError,
)
from gemini2_core.index import operations as op
from gemini2_core.index.backend import InThread
from gemini2_core.index.durable import sync_folder, write_json
from gemini2_core.index.edge_aliases import FolderAliases
from gemini2_core.index.edge_booleans import BOOLEANS_KEY
from gemini2_core.index.edge_filters import edge_filter
from gemini2_core.index.edge_words import (
    engine_filter,
    engine_id,
    engine_layout,
    engine_point,
    engine_query,
    engine_scroll,
    read_point,
)
from gemini2_core.index.lock import WriterLock
from gemini2_core.index.operations import (
    Description,
    FieldType,
    Layout,
    Operation,
)

if TYPE_CHECKING:
    import qdrant_edge

__all__ = ["EdgeBackend"]

_T = TypeVar("_T")

_BATCH = 128
_MARK_FILE = "gemini2.json"
_CONFIG_FILE = "edge_config.json"
# Comparing with this many points one by one takes a few milliseconds; a graph is worth it beyond.
_WAITING = 20_000
# A build holds Python's lock for as long as it takes, so it has a process of its own.
_BUILD = "import sys, qdrant_edge as e; s = e.EdgeShard.load(sys.argv[1]); s.optimize(); s.close()"

_BACKENDS: weakref.WeakSet[EdgeBackend] = weakref.WeakSet()
_ABANDONED: list[object] = []


class EdgeBackend(InThread):
    """One collection in a folder of its own under ``path``.

    Async calls take turns in one thread. Points are in the engine's write-ahead log when a write
    returns, and flushed to the disk at the end of each ``add``.

    Raises:
        ConfigurationError: A name that can't be a folder's.
        MissingExtraError: qdrant-edge-py isn't installed.
    """

    def __init__(self, name: str, path: Path) -> None:
        super().__init__("qdrant-edge")
        try:
            import qdrant_edge
        except ImportError as error:
            raise MissingExtraError(
                "A collection in a folder", extra="edge", package="qdrant-edge-py"
            ) from error
        _check_name(name)
        self._edge = qdrant_edge
        self._home = path.expanduser()
        self._aliases = FolderAliases(self._home)
        self._alias: str | None = None
        self._place(name)
        self.batch_size = _BATCH
        self.side_by_side = 1
        self.follows_aliases = False  # its files stay open
        self._lock = threading.RLock()
        self._writer: WriterLock | None = None
        self._shard: qdrant_edge.EdgeShard | None = None
        self._forked = False
        _BACKENDS.add(self)

    def _place(self, name: str) -> None:
        self._name = name
        self._folder = self._home / name
        self.where = str(self._folder)

    def beside(self, name: str) -> EdgeBackend:
        """Another collection in the same folder, with a lock of its own."""
        return EdgeBackend(name, self._home)

    # ---- running

    def run(self, operation: Operation[_T]) -> _T:
        """Do one thing; one after the other, whatever the thread."""
        if self._forked:
            raise IndexLockedError(
                f"{self.where} was opened before this process was forked, and is the other's: "
                "open it after the fork, in one process, or move to a Qdrant server"
            )
        with self._lock:
            self.check_open()
            try:
                return cast("_T", self._done(operation))
            except Gemini2Error:
                raise
            except Exception as error:  # the engine raises bare Exceptions
                raise self._told(error) from error

    def _told(self, error: Exception) -> Gemini2Error:
        text = str(error)
        if "WouldBlock" in text:
            return IndexLockedError(
                f"{self.where} is open in another program, or an earlier one is still building "
                "its graph: close it there, or wait"
            )
        return IndexUnavailableError(f"the engine in {self.where} failed: {text or repr(error)}")

    def _done(self, operation: Operation[Any]) -> object:
        match operation:
            case op.Describe():
                return self._describe()
            case op.Create(layout, mark):
                return self._create(layout, mark)
            case op.WriteMark(mark):
                self._write_mark(self._folder, mark)
            case op.IndexField(field, kind):
                self._index(field, kind)
            case op.Together():
                return self.in_turn(operation)
            case op.Upsert(points):
                self._update("upsert_points", [engine_point(one) for one in points])
            case op.AddVector(name, size):
                if name not in self._config()["vectors"]:
                    distance = self._edge.Distance.Cosine
                    self._update("create_dense_vector", name, size, distance)
            case op.Tune(layout):
                self._tune(layout)
            case op.SetVectors(name, ids, vectors):
                rows = [
                    self._edge.PointVectors(own, {name: row})
                    for own, row in zip(ids, vectors.tolist(), strict=True)
                ]
                self._update("update_vectors", rows)
            case op.Retrieve(ids, vectors=names):
                return [
                    read_point(one) for one in self._opened().retrieve(list(ids), True, list(names))
                ]
            case op.Delete(ids, filter=where):
                if ids is not None:
                    self._update("delete_points", list(ids))
                else:
                    self._update("delete_points_by_filter", edge_filter(where or {}))
            case op.Count(filter=where):
                return self._opened().count(self._edge.CountRequest(True, engine_filter(where)))
            case op.Scroll():
                page, after = self._opened().scroll(engine_scroll(operation))
                return [read_point(one) for one in page], engine_id(after)
            case op.Query():
                found = self._opened().query(engine_query(operation))
                return [op.Scored(read_point(one), float(one.score)) for one in found]
            case op.Flush():
                self._opened().flush()
            case op.Optimize(only_if_due):
                self._optimize(only_if_due)
            case op.Drop():
                self._drop()
            case op.Collections():
                return sorted(path.parent.name for path in self._home.glob(f"*/{_CONFIG_FILE}"))
            case op.Aliases():
                return self._aliases.read()
            case op.PointAlias(alias, collection):
                self._point_alias(alias, collection)
            case op.DropAlias(alias):
                with self._aliases.held():
                    self._aliases.set(alias, None)
            case _:
                raise AssertionError(f"unknown operation {operation!r}")
        return None

    # ---- the folder

    def _hold(self) -> None:
        """Be the one writer, from the first call until ``close``."""
        if self._writer is None:
            try:
                self._home.mkdir(parents=True, exist_ok=True)
                if (named := self._aliases.read().get(self._name)) is not None:
                    self._alias = self._name
                    self._place(named)
                self._writer = WriterLock(self._home / f".{self._name}.lock", self.where)
            except OSError as error:
                raise IndexUnavailableError(f"{self.where} can't be opened: {error}") from error

    def _opened(self) -> qdrant_edge.EdgeShard:
        if self._shard is None:
            self._hold()
            if not (self._folder / _CONFIG_FILE).is_file():
                raise IndexUnavailableError(f"there is no collection in {self.where} any more")
            self._shard = self._edge.EdgeShard.load(str(self._folder))
        return self._shard

    def _config(self) -> dict[str, Any]:
        try:
            config = json.loads((self._folder / _CONFIG_FILE).read_text("utf-8"))
        except ValueError as error:
            raise IndexMismatchError(f"{self.where} has an unreadable {_CONFIG_FILE}") from error
        return {
            "vectors": config.get("vectors") or {},
            "sparse": config.get("sparse_vectors") or {},
        }

    def _describe(self) -> Description | None:
        self._hold()
        if not self._folder.exists():
            if self._alias is not None:
                raise IndexMismatchError(
                    f"alias {self._alias!r} names collection {self._name!r}, and {self.where} "
                    "isn't there: point_alias on one that is"
                )
            return None
        if not (self._folder / _CONFIG_FILE).is_file():
            raise IndexMismatchError(
                f"{self.where} is there, and it isn't a collection of the embedded engine"
            )
        info = self._opened().info()
        config = self._config()
        try:
            mark = json.loads((self._folder / _MARK_FILE).read_text("utf-8"))
        except FileNotFoundError:
            mark = None
        except ValueError as error:
            raise IndexMismatchError(f"{self.where} has an unreadable {_MARK_FILE}") from error
        return Description(
            vectors={
                name: (int(one["size"]), str(one["distance"]))
                for name, one in config["vectors"].items()
            },
            sparse=frozenset(config["sparse"]),
            mark=mark,
            fields=frozenset(info.payload_schema),
            points=info.points_count,
            indexed=info.indexed_vectors_count,
        )

    def _create(self, layout: Layout, mark: Mapping[str, object]) -> bool:
        self._hold()
        if self._folder.exists():
            return False
        # Made beside and moved into place: a kill leaves all of it or nothing.
        new = self._home / f".{self._name}.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        self._edge.EdgeShard.create(str(new), engine_layout(layout)).close()
        self._write_mark(new, mark)
        with self._aliases.held():
            if self._name in self._aliases.read():
                raise IndexUnavailableError(f"{self._name!r} has just become an alias: open again")
            new.rename(self._folder)
            sync_folder(self._home)
        return True

    def _write_mark(self, folder: Path, mark: Mapping[str, object]) -> None:
        write_json(folder / _MARK_FILE, mark, beside=f"{_MARK_FILE}.new")

    def _point_alias(self, alias: str, collection: str) -> None:
        _check_name(alias)
        with self._aliases.held():
            for name, wanted in ((alias, False), (collection, True)):
                if (self._home / name).exists() is not wanted:
                    there = "isn't there any more" if wanted else "has just been made"
                    raise IndexUnavailableError(f"collection {self._home / name} {there}")
            self._aliases.set(alias, collection)

    def _drop(self) -> None:
        self._unload()
        # Out of the way first: a kill in between leaves no half of a collection.
        gone = self._home / f".{self._name}.gone"
        shutil.rmtree(gone, ignore_errors=True)
        with self._aliases.held():
            if self._name in self._aliases.read().values():
                raise IndexUnavailableError(f"an alias names {self.where} since just now")
            self._folder.rename(gone)
            sync_folder(self._home)
        shutil.rmtree(gone, ignore_errors=True)

    def _unload(self) -> None:
        if self._shard is not None:
            shard, self._shard = self._shard, None
            shard.close()

    def close(self) -> None:
        """Write everything out and let the next one in."""
        super().close()
        with self._lock:
            try:
                self._unload()
            finally:
                if self._writer is not None:
                    self._writer.release()
                    self._writer = None

    def _fork(self) -> None:
        """In a forked process: leave what is open to the other one."""
        if self._writer is None:
            return
        self._forked = True
        self._lock = threading.RLock()
        # The engine's threads aren't here: to close it, if only when it is freed, would hang.
        _ABANDONED.append(self._shard)
        self._shard = None

    # ---- layout

    def _tune(self, layout: Layout) -> None:
        self._opened().flush()
        self._unload()
        self._shard = self._edge.EdgeShard.load(str(self._folder), engine_layout(layout))

    def _optimize(self, only_if_due: bool) -> None:
        shard = self._opened()
        shard.flush()
        if only_if_due:
            info = shard.info()
            tiers = len(self._config()["vectors"])
            waiting = info.points_count - info.indexed_vectors_count // max(1, tiers)
            # Half as many as are in it: the work of all builds together stays in proportion.
            if waiting < max(_WAITING, info.points_count // 3):
                return
        self._unload()
        if not self._built_apart():
            self._opened().optimize()
        self._opened()

    def _built_apart(self) -> bool:
        """Build the graph in a process of its own; False where there is no interpreter for one.

        Raises:
            IndexUnavailableError: The process was killed.
        """
        if getattr(sys, "frozen", False):
            return False
        try:
            done = subprocess.run(  # noqa: S603  # our own interpreter and our own words
                [sys.executable, "-c", _BUILD, str(self._folder)],
                capture_output=True,
                check=False,
            )
        except OSError:
            return False
        if done.returncode < 0:
            # By the system for its memory, say: in this process it would take all with it.
            raise IndexUnavailableError(
                f"the process that built the graph of {self.where} was killed (signal "
                f"{-done.returncode}); the points are stored, and optimize() tries again"
            )
        return done.returncode == 0

    # ---- points

    def _update(self, operation: str, *arguments: object) -> None:
        shard = self._opened()
        shard.update(getattr(self._edge.UpdateOperation, operation)(*arguments))

    def _index(self, field: str, kind: FieldType) -> None:
        if kind == "bool":
            field, kind = BOOLEANS_KEY, "keyword"
        if field not in self._opened().info().payload_schema:
            schema = getattr(self._edge.PayloadSchemaType, kind.capitalize())
            self._update("create_field_index", field, schema)


def _fork() -> None:
    for backend in _BACKENDS:
        backend._fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fork)


def _check_name(name: str) -> None:
    if name.startswith(".") or Path(name).name != name or "\\" in name or ":" in name:
        raise ConfigurationError(f"a collection in a folder can't be named {name!r}")
