"""The lines of a batch job: an item to a request in JSON, a result to a row and its tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import orjson

from gemini2_core.content import Media
from gemini2_core.embedding.answer import Row, tokens_by_modality
from gemini2_core.embedding.plan import Item
from gemini2_core.embedding.wire import Json, bytes_part, file_part, text_part
from gemini2_core.errors import (
    BadResponseError,
    Gemini2Error,
    InvalidInputError,
    ServiceError,
)
from gemini2_core.model import FILES_API_BYTES, Modality, Prompt, truncate

__all__ = [
    "Line",
    "LineResult",
    "fit_row",
    "item_of",
    "make_line",
    "media_to_upload",
    "read_result",
    "request_line",
    "tokens_billed",
]

_KEPT = "kept"
#: What a line has besides its request: the key, names, braces.
_FRAME = 40
#: gRPC's and HTTP's ways to say that a request is wrong by itself: it will be again.
_PERMANENT = {3, 11, 400, 413, "INVALID_ARGUMENT", "OUT_OF_RANGE"}


@dataclass(slots=True)
class Line:
    """One item as the state keeps it until its vector has come.

    Attributes:
        digest: Equal for items whose requests are equal, and for no others.
        body: The request in JSON; in place of a medium stands the digest of its bytes.
        size: Bytes of the line, about.
        tokens: Our estimate, by modality.
        media: Bytes of its media by their digest.
        cache_key: Key of its vector in a cache, or None if it can't have one.
        row: Its vector, if a cache has it.
    """

    digest: str
    body: bytes
    size: int
    tokens: dict[Modality, int]
    media: dict[str, bytes] = field(default_factory=dict)
    cache_key: str | None = None
    row: Row | None = None


def make_line(item: Item, space: str, dimensions: int) -> Line:
    """The line of an item; its media are read here and now.

    Raises:
        InvalidInputError: A medium can't be read.
    """
    try:
        key = item.cache_key(space)
        media = {id(part): part.read() for part in _held(item.parts)}
    except OSError as error:
        if isinstance(error, Gemini2Error):
            raise
        raise InvalidInputError(f"a medium can't be read: {error}") from error
    together = sum(map(len, media.values()))
    # Each may fit into a request where all together don't; as for a request that is sent at once.
    most = FILES_API_BYTES if together <= FILES_API_BYTES else FILES_API_BYTES // len(media)
    kept: dict[str, bytes] = {}
    parts: list[Json] = []
    size = _FRAME
    for part in item.parts:
        if isinstance(part, str):
            parts.append(cast("Json", text_part(part)))
        elif part.by_service:
            parts.append(cast("Json", file_part(str(part.source), part.mime_type)))
        else:
            data = media[id(part)]
            digest = hashlib.sha256(data).hexdigest()
            kept[digest] = data
            upload = len(data) > most
            parts.append({_KEPT: digest, "mime_type": part.mime_type, "upload": upload})
            size += 0 if upload else len(data) * 4 // 3
    # Snake case, as in Google's example of a file of embedding requests.
    request: dict[str, Json] = {
        "output_dimensionality": dimensions,
        "content": {"parts": parts},
    }
    if item.prompt.field:
        request["task_type"] = item.prompt.field
    if item.prompt.title:
        request["title"] = item.prompt.title
    body = orjson.dumps(request)
    # Without a key of its own (an address whose bytes aren't ours to see) the request tells.
    identity = key.encode() if key else f"request:{space}:".encode() + body
    digest = hashlib.sha256(identity).hexdigest()
    return Line(digest, body, size + len(body), item.tokens, kept, key)


def _held(parts: Iterable[str | Media]) -> list[Media]:
    return [part for part in parts if not isinstance(part, str) and not part.by_service]


def request_line(
    key: int, body: bytes, media: Mapping[str, bytes], files: Mapping[str, str]
) -> bytes:
    """A line of the file that is uploaded.

    Args:
        key: What its result will be known by.
        body: As the state keeps it.
        media: Bytes of its media by their digest.
        files: Where the media are that were uploaded, by their digest.
    """
    if media:
        request = orjson.loads(body)
        content = request["content"]
        content["parts"] = [_filled(part, media, files) for part in content["parts"]]
        body = orjson.dumps(request)
    return b'{"key":"%d","request":%b}\n' % (key, body)


def media_to_upload(body: bytes) -> list[tuple[str, str]]:
    """Digest and MIME type of the media of a request that are too large to stand in it."""
    parts = orjson.loads(body)["content"]["parts"]
    return [(part[_KEPT], part["mime_type"]) for part in parts if part.get("upload")]


def item_of(body: bytes, media: Mapping[str, bytes]) -> Item:
    """The item that a kept request was made of, to be sent at once."""
    request = orjson.loads(body)
    parts: list[str | Media] = []
    for part in request["content"]["parts"]:
        if "text" in part:
            parts.append(part["text"])
        elif _KEPT in part:
            parts.append(Media.from_bytes(media[part[_KEPT]], part["mime_type"]))
        else:
            file = part["file_data"]
            parts.append(Media.from_uri(file["file_uri"], file["mime_type"]))
    # The prefix stands in the text already.
    return Item(tuple(parts), Prompt("", request.get("task_type"), request.get("title")))


def _filled(
    part: Mapping[str, Json], media: Mapping[str, bytes], files: Mapping[str, str]
) -> Mapping[str, Json]:
    digest = part.get(_KEPT)
    if not isinstance(digest, str):
        return part
    mime_type = str(part["mime_type"])
    if part["upload"]:
        return file_part(files[digest], mime_type)
    return bytes_part(media[digest], mime_type)


@dataclass(slots=True)
class LineResult:
    """What came back for one line: a row, or why there is none.

    Attributes:
        key: The line it's about; None if it doesn't say.
        row: float32, as the service sent it.
        tokens: Counted by the service, by modality if it says so; None if it doesn't say.
        error: Why there is no row.
        permanent: True if the same request would fail again.
    """

    key: int | None
    row: Row | None = None
    tokens: int | dict[Modality, int] | None = None
    error: Gemini2Error | None = None
    permanent: bool = False


def read_result(line: bytes | Mapping[str, object], dimensions: int) -> LineResult:
    """Read a line of results, in either of the forms that were seen.

    An error stands beside the key or in the response; tokens are ``tokenCount``, a string, or
    ``usageMetadata``.
    """
    try:
        document = orjson.loads(line) if isinstance(line, bytes) else line
        return _read(document, dimensions)
    except (ValueError, TypeError, AttributeError) as error:
        bad = BadResponseError(f"a line of results can't be read ({type(error).__name__}: {error})")
        return LineResult(None, error=bad)


def _read(document: Mapping[str, object], dimensions: int) -> LineResult:
    key = document.get("key")
    if key is None:
        key = _mapping(document.get("metadata")).get("key")
    number = int(key) if isinstance(key, str) and key.isdecimal() else None
    response = _mapping(document.get("response"))
    found = document.get("error") or response.get("error") or document.get("status")
    embedding = _mapping(response.get("embedding") or document.get("embedding"))
    values = embedding.get("values")
    if not values:
        return _failed(number, found)
    row = np.array(values, dtype=np.float32)
    if row.ndim != 1 or len(row) < dimensions or not np.isfinite(row).all():
        error = BadResponseError(
            f"the service sent a vector of shape {row.shape} instead of {dimensions} numbers"
            if len(row) < dimensions or row.ndim != 1
            else "the service sent a vector with numbers that aren't finite"
        )
        return LineResult(number, error=error)
    return LineResult(number, row, _counted(response))


def _failed(number: int | None, found: object) -> LineResult:
    if not found:
        return LineResult(number, error=BadResponseError("the service sent no vector"))
    error = _mapping(found)
    code, status = error.get("code"), error.get("status")
    message = str(error.get("message") or found)[:500]
    if code in _PERMANENT or status in _PERMANENT:
        refused = InvalidInputError(f"the service refused this input ({code}: {message})")
        return LineResult(number, error=refused, permanent=True)
    return LineResult(
        number, error=ServiceError(f"{code}: {message}", status=str(status) if status else "")
    )


def _counted(response: Mapping[str, object]) -> int | dict[Modality, int] | None:
    usage = _mapping(response.get("usageMetadata") or response.get("usage_metadata"))
    if usage.get("promptTokenDetails") or usage.get("promptTokensDetails"):
        return tokens_by_modality(usage)  # type: ignore[arg-type]  # a JSON object, unread
    for count in (
        usage.get("promptTokenCount"),
        response.get("tokenCount"),
        response.get("token_count"),
    ):
        if isinstance(count, (int, str)) and str(count).isdecimal():
            return int(count)
    return None


def _mapping(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else {}


def fit_row(row: Row, dimensions: int) -> Row:
    """A row at the size that is kept; one that is longer is no worse: sizes nest."""
    return row if len(row) == dimensions else truncate(row[None, :], dimensions)[0]


def tokens_billed(
    estimate: Mapping[Modality, int], counted: int | Mapping[Modality, int] | None
) -> tuple[dict[Modality, int], int]:
    """Tokens by modality as billed, and how many of them are our estimate.

    A bare number is shared out: media cost what they cost, and the text is what is left.
    """
    if counted is None:
        return dict(estimate), sum(estimate.values())
    if not isinstance(counted, int):
        return dict(counted), 0
    media = {kind: count for kind, count in estimate.items() if kind is not Modality.TEXT}
    together = sum(media.values())
    if together <= counted:
        text = counted - together
        return ({Modality.TEXT: text} if text or not media else {}) | media, 0
    # It counts the media otherwise than we do: in the same proportion, to the last token.
    shared: dict[Modality, int] = {}
    left = counted
    for place, (kind, count) in enumerate(media.items(), 1):
        shared[kind] = left if place == len(media) else counted * count // together
        left -= shared[kind]
    return shared, 0
