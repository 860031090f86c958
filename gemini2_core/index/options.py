"""Where a collection is and what it is made like, as the keyword arguments that say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from gemini2_core.index.operations import FieldType

if TYPE_CHECKING:
    from qdrant_client import AsyncQdrantClient, QdrantClient

__all__ = ["CollectionOptions"]


class CollectionOptions(TypedDict, total=False):
    """Arguments of ``MatryoshkaCollection``, which explains each.

    In the frameworks' stores ``payload_indexes`` names fields of the metadata, as filters do.
    """

    tiers: Sequence[int] | None
    location: str | None
    path: str | Path | None
    url: str | None
    api_key: str | None
    prefer_grpc: bool
    client: QdrantClient | None
    async_client: AsyncQdrantClient | None
    payload_indexes: Mapping[str, FieldType] | None
    hybrid: bool
    adopt: bool
    shard_number: int | None
    replication_factor: int | None
    timeout: float
    retry_seconds: float
    parallel: int
