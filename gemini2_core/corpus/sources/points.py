"""Payloads as the frameworks write them, and what is embedded of a point that has one."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Formatter
from typing import Literal, TypeAlias

import orjson

from gemini2_core.content import ContentLike, resolve_path
from gemini2_core.errors import InvalidInputError
from gemini2_core.index import Payload

__all__ = ["PointForm", "document_payload", "node_parts", "point_content", "point_form"]

#: LangChain's ``page_content`` and ``metadata``; LlamaIndex's ``_node_content``; any other field.
PointForm: TypeAlias = Literal["langchain", "llama-index", "text"]

_NODE = "_node_content"
_PAGE = "page_content"
_TEXTS = ("text", "content")
#: Of a field in a template; what is longer may ask for gigabytes of blanks.
_LONGEST_SPEC = 4
_RESOURCES = ("image_resource", "audio_resource", "video_resource")


def document_payload(text: str, metadata: Mapping[str, object]) -> Payload:
    """The payload of a text, as our LangChain adapter and langchain-qdrant write it."""
    return {_PAGE: text, "metadata": dict(metadata)}


def point_form(payload: Mapping[str, object]) -> PointForm | None:
    """Who wrote a point; None if that can't be told."""
    if isinstance(payload.get(_NODE), str):
        return "llama-index"
    if _PAGE in payload:
        return "langchain"
    return "text" if any(key in payload for key in _TEXTS) else None


def point_content(
    payload: Mapping[str, object],
    *,
    text_key: str | None,
    title_key: str | None,
    media_root: Path | None,
) -> tuple[ContentLike, str | None]:
    """What of a point is embedded, and its title.

    Args:
        payload: The point's payload.
        text_key: The field with the text (``"a.b"`` is a field in a field); None sees it from
            the payload.
        title_key: The field of the metadata (or of the payload) with the title; None for none.
        media_root: The only folder that files named by nodes are read from.

    Raises:
        InvalidInputError: No text can be found, or a node names a file outside ``media_root``.
    """
    if text_key is not None:
        named = _at(payload, text_key)
        if named is None:
            raise InvalidInputError(f"there is no text in {text_key!r}: {_keys(payload)}")
        return named, _title(payload, title_key)
    text: object
    match point_form(payload):
        case "llama-index":
            return _node(payload, title_key, media_root)
        case "langchain":
            text = payload[_PAGE]
        case "text":
            text = next(payload[key] for key in _TEXTS if key in payload)
        case _:
            raise InvalidInputError(
                f"no field of the point is known to hold its text: {_keys(payload)}; "
                "name it with text_key="
            )
    if text is None:
        text = ""
    if not isinstance(text, str):
        raise InvalidInputError(f"the text is {type(text).__name__}: {text!r:.80}")
    return text, _title(payload, title_key)


def node_parts(
    node: Mapping[str, object], *, title_key: str | None, media_root: Path | None
) -> tuple[list[ContentLike], str | None]:
    """What LlamaIndex's adapter embeds of a node, from the node's JSON; and its title.

    The text is LlamaIndex's own ``get_content(MetadataMode.EMBED)``; a title in the metadata
    that isn't kept from embedding is told as title and left out of the text.

    Raises:
        InvalidInputError: A file outside ``media_root``, or an image that isn't base64.
    """
    metadata = _mapping(node.get("metadata"))
    excluded = node.get("excluded_embed_metadata_keys")
    hidden = set(excluded) if isinstance(excluded, list) else set()
    title = str(metadata.get(title_key) or "").strip() if title_key else ""
    if title and title_key not in hidden:
        text = _embedded_text(node, metadata, hidden | {title_key})
        if text:
            return [text, *_media(node, media_root)], title
    text = _embedded_text(node, metadata, hidden)
    return [*([text] if text else []), *_media(node, media_root)], None


def _node(
    payload: Mapping[str, object], title_key: str | None, media_root: Path | None
) -> tuple[ContentLike, str | None]:
    try:
        node = orjson.loads(str(payload[_NODE]))
    except ValueError as error:
        raise InvalidInputError(f"{_NODE!r} isn't JSON: {error}") from None
    if not isinstance(node, dict):
        raise InvalidInputError(f"{_NODE!r} is no JSON object")
    if not node.get("text") and not node.get("text_resource") and payload.get("text"):
        node["text"] = payload["text"]  # where the text was taken out of the node's JSON
    parts, title = node_parts(node, title_key=title_key, media_root=media_root)
    return ("" if not parts else parts[0] if len(parts) == 1 else parts), title


def _embedded_text(
    node: Mapping[str, object], metadata: Mapping[str, object], hidden: set[object]
) -> str:
    """``get_content(MetadataMode.EMBED)``; a node without a text says its metadata."""
    template = _string(node.get("metadata_template")) or "{key}: {value}"
    separator = node.get("metadata_separator")
    told = (_string(separator) if isinstance(separator, str) else "\n").join(
        _filled(template, key=key, value=str(value))
        for key, value in metadata.items()
        if key not in hidden
    )
    resource = node.get("text_resource")
    if "text" in node:  # TextNode and what comes of it
        told = told.strip()
        text, has_text = _string(node.get("text")), True
    else:
        has_text = isinstance(resource, Mapping)
        text = _string(_mapping(resource).get("text"))
    if not has_text:
        whole = told
    elif not told:
        whole = text
    else:
        form = _string(node.get("text_template")) or "{metadata_str}\n\n{content}"
        whole = _filled(form, content=text, metadata_str=told).strip()
    whole = whole or told
    return whole if whole.strip() else ""


def _filled(template: str, **fields: str) -> str:
    """``str.format``, with nothing but these fields: a payload may come from strangers."""
    try:
        if all(
            name is None or (name in fields and len(spec or "") <= _LONGEST_SPEC)
            for _, name, spec, _ in Formatter().parse(template)
        ):
            return template.format(**fields)
    except (KeyError, ValueError):  # no template at all, or a field in a field's form
        pass
    wanted = " and ".join(f"{{{name}}}" for name in fields)
    raise InvalidInputError(f"a template of the node has more than {wanted}: {template!r:.80}")


def _media(node: Mapping[str, object], root: Path | None) -> Iterator[ContentLike]:
    if "image_path" in node or "image_url" in node:  # an ImageNode
        data, path, url = node.get("image"), node.get("image_path"), node.get("image_url")
        yield from _medium("image", data, path, url, root)
    for name in _RESOURCES:
        resource = _mapping(node.get(name))
        kind = name.partition("_")[0]
        yield from _medium(
            kind, resource.get("data"), resource.get("path"), resource.get("url"), root
        )


def _medium(
    kind: str, data: object, path: object, url: object, root: Path | None
) -> Iterator[ContentLike]:
    if isinstance(data, str) and data:
        try:
            yield base64.b64decode(data, validate=True)
        except binascii.Error:
            raise InvalidInputError(f"the {kind} of the node isn't base64") from None
    elif isinstance(path, str) and path:
        yield _inside(path, root)
    elif isinstance(url, str) and url:
        # A content block: it is fetched only where the embedder may.
        yield {"type": kind, "url": url}


def _inside(path: str, root: Path | None) -> Path:
    if root is None:
        raise InvalidInputError(
            f"the node names the file {path[:120]!r}: give media_root, the folder it may be "
            "read from"
        )
    from urllib.parse import quote

    return resolve_path(quote(path), root)


def _at(payload: Mapping[str, object], key: str) -> str | None:
    value: object = payload.get(key)
    if value is None and "." in key:
        value = payload
        for name in key.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, str) else None


def _title(payload: Mapping[str, object], key: str | None) -> str | None:
    if key is None:
        return None
    title = _mapping(payload.get("metadata")).get(key, payload.get(key))
    return title if isinstance(title, str) and title.strip() else None


def _keys(payload: Mapping[str, object]) -> str:
    return f"its fields are {', '.join(sorted(payload)) or 'none'}"[:300]


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""
