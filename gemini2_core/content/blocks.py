"""The frameworks' and google-genai's blocks and parts, read by shape, without importing them."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from os import PathLike
from typing import cast

from gemini2_core.content.fragments import Fragment
from gemini2_core.content.media import Media
from gemini2_core.content.media_types import modality_of, normalize_mime_type
from gemini2_core.errors import InvalidInputError
from gemini2_core.model import Modality

__all__ = ["block_parts"]

_KINDS = {"image": Modality.IMAGE, "audio": Modality.AUDIO, "video": Modality.VIDEO}
_SECONDS = re.compile(r"([0-9]+(?:\.[0-9]+)?)s?")


def block_parts(block: object, *, allow_remote: bool = False) -> list[str | Media] | None:
    """The parts that a block stands for, in order; None if ``block`` is no block at all.

    Read are LangChain's content blocks (v1, v0, ``image_url``, ``input_audio``, ``media``),
    google.genai's ``Content``, ``Part``, ``Blob``, ``FileData`` and ``File`` (objects or dicts),
    LlamaIndex's blocks (``block_type``) and ``MediaResource``. Ids, indices and annotations in
    them are left out. Local files are read only from fields that hold paths, never from URLs.

    Raises:
        InvalidInputError: A block of a kind that can't be embedded, without data, or with data
            that contradict its kind or type.
    """
    if isinstance(block, Mapping):
        return _from_mapping(cast("Mapping[str, object]", block), allow_remote)
    if hasattr(block, "block_type"):
        return [_from_llama_block(block, allow_remote)]
    if hasattr(block, "inline_data") and hasattr(block, "file_data"):
        return [_from_genai_part(lambda name: getattr(block, name, None), allow_remote)]
    if hasattr(block, "parts") and hasattr(block, "role"):
        return _each(getattr(block, "parts", None), allow_remote)
    if hasattr(block, "mimetype") and hasattr(block, "path") and hasattr(block, "url"):
        return [_from_resource(block, allow_remote)]
    mime_type = getattr(block, "mime_type", None)
    for field in ("uri", "file_uri"):
        uri = getattr(block, field, None)
        if isinstance(uri, str):
            return [_remote(uri, _text_or_none(mime_type), allow_remote)]
    data = getattr(block, "data", None)
    if isinstance(data, bytes) and hasattr(block, "mime_type"):
        return [_held(data, _text_or_none(mime_type))]
    return None


def _from_mapping(block: Mapping[str, object], allow_remote: bool) -> list[str | Media]:
    kind = block.get("type")
    if isinstance(kind, str):
        return [_from_langchain(kind, block, allow_remote)]
    if "parts" in block:
        return _each(block["parts"], allow_remote)
    if {"text", "inline_data", "inlineData", "file_data", "fileData"} & block.keys():
        return [_from_genai_part(lambda name: _either(block, name), allow_remote)]
    if {"file_uri", "fileUri"} & block.keys() or ("data" in block and "mime_type" in block):
        whole = "file_data" if "data" not in block else "inline_data"
        return [_from_genai_part(lambda name: block if name == whole else None, allow_remote)]
    raise InvalidInputError(
        f"a dict with {_names(block)} is no content block: it has no 'type', e.g. "
        "{'type': 'image', 'base64': …, 'mime_type': 'image/png'}"
    )


def _from_langchain(kind: str, block: Mapping[str, object], allow_remote: bool) -> str | Media:
    """A block of LangChain's messages or of the chat APIs that they pass through."""
    mime_type = _text_or_none(block.get("mime_type"))
    if kind in ("text", "text-plain") and isinstance(block.get("text"), str):
        return str(block["text"])
    if kind == "image_url":
        inner = block.get("image_url")
        url = inner.get("url") if isinstance(inner, Mapping) else inner
        return _expect(kind, "image", _located(kind, {"url": url}, None, allow_remote))
    if kind == "input_audio":
        inner = block.get("input_audio")
        inner = inner if isinstance(inner, Mapping) else {}
        found = _located(
            kind, {"base64": inner.get("data")}, _audio_type(inner.get("format")), allow_remote
        )
        return _expect(kind, "audio", found)
    if kind == "media":  # langchain-google-genai
        return _located(
            kind, {"data": block.get("data"), "url": block.get("file_uri")}, mime_type, allow_remote
        )
    if kind not in (*_KINDS, "file", "text-plain"):
        raise InvalidInputError(
            f"a block of type {kind!r} can't be embedded: text, image, audio, video and file can"
        )
    inner = block.get("source") or block.get(kind)
    if isinstance(inner, Mapping):  # Anthropic's and OpenAI's nesting
        mime_type = mime_type or _text_or_none(inner.get("media_type"))
        block = {**inner, "base64": inner.get("data")}
        if isinstance(inner.get("file_data"), str):
            block["url"] = inner["file_data"]
    source = block.get("source_type")
    if source == "text" and isinstance(block.get("text"), str):
        return str(block["text"])
    if source in ("base64", "id"):  # LangChain's v0
        block = {"base64" if source == "base64" else "file_id": block.get("data", block.get("id"))}
    if kind == "text-plain":
        mime_type = mime_type or "text/plain"
    return _expect(kind, kind, _located(kind, block, mime_type, allow_remote))


def _located(
    kind: str, fields: Mapping[str, object], mime_type: str | None, allow_remote: bool
) -> str | Media:
    """What a block's data, url or file id hold."""
    for name in ("base64", "data"):
        data = fields.get(name)
        if isinstance(data, str):
            return _decoded(data, mime_type)
        if isinstance(data, bytes):
            return _held(data, mime_type)
    for name in ("url", "file_uri", "file_id"):
        uri = fields.get(name)
        if isinstance(uri, str) and uri:
            return _remote(uri, mime_type, allow_remote)
    raise InvalidInputError(f"a block of type {kind!r} has no base64, url or file_id")


def _from_genai_part(get: Callable[[str], object], allow_remote: bool) -> str | Media:
    text = get("text")
    if isinstance(text, str):
        return text
    found: str | Media | None = None
    blob, file = get("inline_data"), get("file_data")
    if blob is not None:
        data, mime_type = _field(blob, "data"), _text_or_none(_field(blob, "mime_type"))
        if isinstance(data, bytes):
            found = _held(data, mime_type)
        elif isinstance(data, str):
            found = _decoded(data, mime_type)
    elif file is not None:
        uri = _field(file, "file_uri")
        if isinstance(uri, str):
            found = _remote(uri, _text_or_none(_field(file, "mime_type")), allow_remote)
    if found is None:
        raise InvalidInputError(
            "a Part without text, inline_data or file_data can't be embedded (function calls, "
            "code and the like have no vector)"
        )
    span = get("video_metadata")
    if span is not None and isinstance(found, Media):
        start, end = _offset(span, "start_offset"), _offset(span, "end_offset")
        if start or end is not None:
            return Media(found.source, found.mime_type, Fragment("t", start or 0.0, end))
    return found


def _from_llama_block(block: object, allow_remote: bool) -> str | Media:
    kind = getattr(block, "block_type", None)
    if kind == "text":
        return str(getattr(block, "text", ""))
    if kind == "image":
        found = _resolved(block, "image", "image_mimetype", allow_remote)
    elif kind == "audio":
        found = _resolved(block, "audio", "format", allow_remote)
    elif kind == "video":
        found = _resolved(block, "video", "video_mimetype", allow_remote)
    elif kind == "document":
        found = _resolved(block, "data", "document_mimetype", allow_remote)
    else:
        raise InvalidInputError(
            f"a block of type {kind!r} can't be embedded: "
            "text, image, audio, video and document can"
        )
    return _expect(str(kind), str(kind), found)


def _from_resource(resource: object, allow_remote: bool) -> str | Media:
    """LlamaIndex's ``MediaResource``: text, or a medium of any kind."""
    text = getattr(resource, "text", None)
    held = any(getattr(resource, name, None) is not None for name in ("data", "path", "url"))
    if isinstance(text, str) and not held:
        return text
    return _resolved(resource, "data", "mimetype", allow_remote)


def _resolved(block: object, data_name: str, mime_name: str, allow_remote: bool) -> str | Media:
    """What LlamaIndex's data (base64 as bytes), path or url hold, in its own order."""
    mime_type = _text_or_none(getattr(block, mime_name, None))
    if mime_name == "format":
        mime_type = _audio_type(mime_type)
    data = getattr(block, data_name, None)
    read = getattr(data, "read", None)
    if callable(read):
        data = read()
    if isinstance(data, bytes) and data:
        with suppress(binascii.Error):  # set after validation: bytes as they are
            data = base64.b64decode(data, validate=True)
        return _held(data, mime_type)
    path = getattr(block, "path", None)
    if isinstance(path, str | PathLike) and str(path):
        return Media.from_path(path, mime_type)
    url = getattr(block, "url", None)
    if url is not None:
        return _remote(str(url), mime_type, allow_remote)
    raise InvalidInputError(f"a {type(block).__name__} has no data, path or url")


def _held(data: bytes, mime_type: str | None) -> str | Media:
    """Bytes as a medium, or as text if that's what they are declared as."""
    if mime_type and normalize_mime_type(mime_type).startswith("text/"):
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise InvalidInputError(f"the data of a {mime_type} block is not UTF-8") from None
    return Media.from_bytes(data, mime_type)


def _decoded(data: str, mime_type: str | None) -> str | Media:
    if data[:5].lower() == "data:":
        return _remote(data, mime_type, False)
    if mime_type and normalize_mime_type(mime_type).startswith("text/"):
        try:
            return _held(base64.b64decode(data, validate=True), mime_type)
        except binascii.Error:
            raise InvalidInputError(f"the data of a {mime_type} block is not base64") from None
    return Media.from_base64(data, mime_type)


def _remote(uri: str, mime_type: str | None, allow_remote: bool) -> Media:
    return Media.from_uri(uri, mime_type, allow_remote=allow_remote)


def _expect(block: str, kind: str, found: str | Media) -> str | Media:
    """``found``, if it is of the block's kind; a file or document may be anything."""
    wanted = _KINDS.get(kind)
    if wanted is None:
        return found
    modality = None if isinstance(found, str) else modality_of(found.mime_type)
    if isinstance(found, str) or (modality is not None and modality is not wanted):
        what = "text" if isinstance(found, str) else found.mime_type
        raise InvalidInputError(f"a block of type {block!r} holds {what}")
    return found


def _each(parts: object, allow_remote: bool) -> list[str | Media]:
    if isinstance(parts, str):
        return [parts]
    found: list[str | Media] = []
    for position, part in enumerate(cast("Iterable[object]", parts or ())):
        inner = [part] if isinstance(part, str) else block_parts(part, allow_remote=allow_remote)
        if inner is None:
            raise InvalidInputError(f"part {position} of a Content is a {type(part).__name__}")
        found += inner
    return found


def _audio_type(name: object) -> str | None:
    if not isinstance(name, str) or not name:
        return None
    return name if "/" in name else f"audio/{name}"


def _field(holder: object, name: str) -> object:
    if isinstance(holder, Mapping):
        return _either(cast("Mapping[str, object]", holder), name)
    return getattr(holder, name, None)


def _either(block: Mapping[str, object], name: str) -> object:
    """A field by its Python name or by its name on the wire."""
    first, *rest = name.split("_")
    return block.get(name, block.get(first + "".join(word.title() for word in rest)))


def _offset(span: object, name: str) -> float | None:
    match = _SECONDS.fullmatch(str(_field(span, name) or ""))
    return float(match[1]) if match else None


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _names(block: Mapping[str, object]) -> str:
    return ", ".join(map(repr, list(block)[:5])) or "no keys"
