"""Options that several commands share: how to embed, and where a collection is."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, TypedDict

from gemini2_core.errors import ConfigurationError
from gemini2_core.model import DEFAULT_MODEL, MODELS, TaskType

if TYPE_CHECKING:
    from gemini2_core.embedding import Gemini2Embedder

__all__ = ["Address", "add_address", "add_embedding", "address", "embedder"]

_KEY = "QDRANT_API_KEY"


class Address(TypedDict, total=False):
    """Where a collection is, as arguments of ``MatryoshkaCollection``."""

    path: str
    url: str
    api_key: str
    prefer_grpc: bool


def add_embedding(parser: argparse.ArgumentParser) -> None:
    """Options of the embedder; ``embedder`` reads them. The key comes from the environment."""
    group = parser.add_argument_group("embedding (the key is in GEMINI_API_KEY)")
    add = group.add_argument
    add("--model", default=DEFAULT_MODEL, help=f"{', '.join(MODELS)} (%(default)s)")
    add("--base-url", metavar="URL", help="another server, such as the emulator's")
    add(
        "--task-type",
        default=TaskType.RETRIEVAL_QUERY.value,
        metavar="TASK",
        help=f"{', '.join(TaskType)}, or none (%(default)s)",
    )
    add("--media-root", metavar="DIR", help="read the media that Markdown links from there")
    add("--cache", metavar="FILE", help="keep vectors there, and take them from there")
    add("--requests-per-minute", type=int, metavar="N", help="your quota, in items")
    add("--tokens-per-minute", type=int, metavar="N", help="your quota of tokens")
    add("--max-concurrency", type=int, default=8, metavar="N", help="requests at once")


def embedder(options: argparse.Namespace, *, dimensions: int) -> Gemini2Embedder:
    """The embedder that the options of ``add_embedding`` say.

    Raises:
        ConfigurationError: They can't work: no key, an unknown model.
    """
    from gemini2_core.embedding import Gemini2Embedder

    task = options.task_type
    return Gemini2Embedder(
        options.model,
        base_url=options.base_url,
        dimensions=dimensions,
        task_type=None if task.lower() == "none" else task,
        media_root=options.media_root,
        cache=options.cache,
        requests_per_minute=options.requests_per_minute,
        tokens_per_minute=options.tokens_per_minute,
        max_concurrency=options.max_concurrency,
    )


def add_address(parser: argparse.ArgumentParser, prefix: str = "") -> None:
    """Options of a collection's address, ``--PREFIXpath`` or ``--PREFIXurl``; see ``address``."""
    title = f"where the {prefix.rstrip('-')} collection is" if prefix else "where the collection is"
    group = parser.add_argument_group(f"{title} (a server's key is in {_KEY})")
    group.add_argument(f"--{prefix}path", metavar="DIR", help="a folder: the embedded engine")
    group.add_argument(f"--{prefix}url", metavar="URL", help="a Qdrant server or cluster")
    group.add_argument(f"--{prefix}grpc", action="store_true", help="points and searches over gRPC")


def address(options: argparse.Namespace, prefix: str = "") -> Address:
    """The address that the options of ``add_address`` say.

    Raises:
        ConfigurationError: Neither a folder nor a server, or both.
    """
    told = {name: getattr(options, f"{prefix}{name}".replace("-", "_")) for name in ("path", "url")}
    if (told["path"] is None) == (told["url"] is None):
        raise ConfigurationError(f"give --{prefix}path or --{prefix}url, one of them")
    if told["path"] is not None:
        return {"path": told["path"]}
    found: Address = {"url": told["url"]}
    if getattr(options, f"{prefix}grpc".replace("-", "_")):
        found["prefer_grpc"] = True
    key = os.environ.get(_KEY)
    if key:
        found["api_key"] = key
    return found
