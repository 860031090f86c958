"""Requests read from JSON as the service reads them: both spellings of keys, both of base64."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass

from gemini2_core.emulator.refusals import invalid

__all__ = [
    "Inline",
    "Item",
    "Link",
    "Part",
    "as_mapping",
    "items_of",
    "read_contents",
    "read_item",
    "take",
]

_CAMEL = re.compile(r"_([a-z])")
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_ITEM_KEYS = frozenset(
    {"model", "content", "taskType", "title", "outputDimensionality", "embedContentConfig"}
)
_CONFIG_KEYS = frozenset(
    {
        "taskType",
        "title",
        "outputDimensionality",
        "autoTruncate",
        "documentOcr",
        "audioTrackExtraction",
    }
)
_CONTENT_KEYS = frozenset({"parts", "role"})
_PART_KEYS = frozenset({"text", "inlineData", "fileData", "videoMetadata", "mediaResolution"})
_TASK_TYPES = frozenset(
    {
        "TASK_TYPE_UNSPECIFIED",
        "RETRIEVAL_QUERY",
        "RETRIEVAL_DOCUMENT",
        "SEMANTIC_SIMILARITY",
        "CLASSIFICATION",
        "CLUSTERING",
        "QUESTION_ANSWERING",
        "FACT_VERIFICATION",
        "CODE_RETRIEVAL_QUERY",
    }
)


@dataclass(frozen=True, slots=True)
class Inline:
    """A medium whose bytes came with the request."""

    data: bytes
    mime_type: str


@dataclass(frozen=True, slots=True)
class Link:
    """A medium named by a URI."""

    uri: str
    mime_type: str


Part = str | Inline | Link


@dataclass(frozen=True, slots=True)
class Item:
    """One input: what one vector is wanted for.

    Attributes:
        model: As the item names it; "" if it doesn't.
        parts: In order; texts may be empty here.
        dimensions: Numbers wanted, or None for all.
        task_type: Honoured by 001 alone; "" for none.
        title: Likewise.
    """

    model: str
    parts: tuple[Part, ...]
    dimensions: int | None = None
    task_type: str = ""
    title: str = ""


def _camel(key: str) -> str:
    return _CAMEL.sub(lambda m: m[1].upper(), key) if "_" in key else key


def _object(value: object, where: str, known: frozenset[str] | None = None) -> dict[str, object]:
    """A JSON object with its keys in camel case."""
    if not isinstance(value, dict):
        raise invalid(f"Invalid value at '{where}' (type.googleapis.com/Message), {value!r:.60}")
    fields = {_camel(key): inner for key, inner in value.items()}
    if known is not None and not fields.keys() <= known:
        key = next(k for k in value if _camel(k) not in known)
        at = f" at '{where}'" if where else ""
        raise invalid(
            f'Invalid JSON payload received. Unknown name "{key}"{at}: Cannot find field.'
        )
    return fields


def _list(value: object, where: str) -> list[object]:
    # One message where many are allowed is read as a list of one, as protobuf's JSON does here.
    if isinstance(value, dict):
        return [value]
    if not isinstance(value, list):
        raise invalid(f"Invalid value at '{where}', {value!r:.60}")
    return value


def _string(value: object, where: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise invalid(f"Invalid value at '{where}' (TYPE_STRING), {value!r:.60}")
    return value


def take(body: object, name: str, where: str = "") -> object:
    """A field of a JSON object in either spelling, or None."""
    return _object(body, where).get(name)


def _bytes(value: object, where: str) -> bytes:
    text = _string(value, where)
    data = text.encode("ascii", "replace").translate(_TO_STANDARD, b"=\r\n")
    try:
        return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except binascii.Error:
        raise invalid(
            f"Invalid value at '{where}' (TYPE_BYTES), Base64 decoding failed for \"{text:.60}\""
        ) from None


def _part(value: object, where: str, message: str) -> Part:
    part = _object(value, where, _PART_KEYS)
    if (text := part.get("text")) is not None:
        return _string(text, f"{where}.text")
    if (inline := part.get("inlineData")) is not None:
        blob = _object(inline, f"{where}.inline_data")
        data = _bytes(blob.get("data"), f"{where}.inline_data.data")
        return Inline(data, _string(blob.get("mimeType"), f"{where}.inline_data.mime_type"))
    if (link := part.get("fileData")) is not None:
        file = _object(link, f"{where}.file_data")
        uri = _string(file.get("fileUri"), f"{where}.file_data.file_uri")
        return Link(uri, _string(file.get("mimeType"), f"{where}.file_data.mime_type"))
    raise invalid(
        f"* {message}.data: required oneof field 'data' must have one initialized field\n"
    )


def _parts(content: object, where: str, message: str) -> tuple[Part, ...]:
    fields = _object(content, where, _CONTENT_KEYS)
    parts = _list(fields.get("parts") or [], f"{where}.parts")
    return tuple(
        _part(part, f"{where}.parts[{n}]", f"{message}.parts[{n}]") for n, part in enumerate(parts)
    )


def read_item(value: object, where: str = "", message: str = "EmbedContentRequest") -> Item:
    """Read one request to embed.

    Args:
        value: JSON object.
        where: Its place in the body, as ``requests[3]``, for messages.
        message: Its name in messages.

    Raises:
        Refusal: 400, not the form of a request.
    """
    fields = _object(value, where, _ITEM_KEYS)
    dot = f"{where}." if where else ""
    if "content" not in fields:
        raise invalid(f"* {message}.content: content is required\n")
    if (config := fields.get("embedContentConfig")) is not None:
        within = _object(config, f"{dot}embed_content_config", _CONFIG_KEYS)
        fields = {**fields, **within}
    size = fields.get("outputDimensionality")
    if isinstance(size, str) and size.isdecimal():  # protobuf's JSON takes quoted numbers
        size = int(size)
    if size is not None and (not isinstance(size, int) or isinstance(size, bool)):
        raise invalid(f"Invalid value at '{dot}output_dimensionality' (TYPE_INT32), {size!r:.60}")
    task = _string(fields.get("taskType"), f"{dot}task_type")
    if task and task not in _TASK_TYPES:
        raise invalid(
            f"Invalid value at '{dot}task_type' "
            f'(type.googleapis.com/google.ai.generativelanguage.v1beta.TaskType), "{task:.60}"'
        )
    return Item(
        model=_string(fields.get("model"), f"{dot}model"),
        parts=_parts(fields["content"], f"{dot}content", f"{message}.content"),
        dimensions=size,
        task_type="" if task == "TASK_TYPE_UNSPECIFIED" else task,
        title=_string(fields.get("title"), f"{dot}title"),
    )


def items_of(body: object) -> list[object]:
    """The ``requests`` of a batch, unread."""
    return _list(
        _object(body, "", frozenset({"requests", "model"})).get("requests") or [], "requests"
    )


def read_contents(body: object) -> tuple[Part, ...]:
    """All parts of the contents of a ``countTokens`` request.

    Raises:
        Refusal: 400, not the form of one.
    """
    fields = _object(body, "")
    inner = fields.get("generateContentRequest")
    contents = (_object(inner, "generate_content_request") if inner else fields).get("contents")
    if not contents:
        raise invalid("* CountTokensRequest.contents: contents is not specified\n")
    return tuple(
        part
        for n, content in enumerate(_list(contents, "contents"))
        for part in _parts(content, f"contents[{n}]", f"CountTokensRequest.contents[{n}]")
    )


def as_mapping(value: object) -> Mapping[str, object]:
    """A JSON object with its keys in camel case; empty for anything else."""
    return _object(value, "") if isinstance(value, dict) else {}
