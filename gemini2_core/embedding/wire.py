"""The body of a request: contents to the JSON that the service takes."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import TypeAlias

__all__ = ["Json", "bytes_part", "file_part", "request_item", "text_part"]

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"


def text_part(text: str) -> dict[str, Json]:
    """A text part."""
    return {"text": text}


def bytes_part(data: bytes, mime_type: str) -> dict[str, Json]:
    """A medium inline: URL-safe base64 and snake case, as in recordings/image_only_3072."""
    encoded = base64.urlsafe_b64encode(data).decode("ascii")
    return {"inline_data": {"data": encoded, "mime_type": mime_type}}


def file_part(uri: str, mime_type: str) -> dict[str, Json]:
    """A medium by reference: a file of the Files API or a ``gs://`` object."""
    return {"file_data": {"file_uri": uri, "mime_type": mime_type}}


def request_item(
    model: str,
    parts: Sequence[Mapping[str, Json]],
    *,
    dimensions: int | None,
    task_field: str | None = None,
    title: str | None = None,
) -> dict[str, Json]:
    """One item of ``batchEmbedContents``; ``dimensions=None`` asks for the full size."""
    item: dict[str, Json] = {"model": f"models/{model}", "content": {"parts": [*map(dict, parts)]}}
    if task_field:
        item["taskType"] = task_field
    if title:
        item["title"] = title
    if dimensions is not None:
        item["outputDimensionality"] = dimensions
    return item
