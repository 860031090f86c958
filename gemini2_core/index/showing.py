"""A result list drawn for a notebook: everything that comes out of a payload is escaped."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING

from gemini2_core.content.chunking.shown import ShownMedia, shown_parts
from gemini2_core.errors import Gemini2Error
from gemini2_core.index.page_image import page_image
from gemini2_core.model import Modality

if TYPE_CHECKING:
    from gemini2_core.index.results import Hit

__all__ = ["hits_html"]

_TEXT_KEYS = ("text", "page_content")
_MAX_TEXT = 1200
# A notebook keeps what it shows in its file.
_MAX_BYTES = 4_000_000
# Not SVG, which is a document of a stranger's, nor what browsers can't show.
_PIXELS = {"image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "image/avif"}
_PAGE = 'style="max-width:100%;max-height:400px;border:1px solid #8884"'
_STYLE = (
    "border:1px solid #8884;border-radius:6px;padding:8px 12px;margin:6px 0;"
    "max-width:60em;overflow-wrap:anywhere"
)


def hits_html(hits: Iterable[Hit], *, media_root: str | os.PathLike[str] | None) -> str:
    """One box a hit: place and scores, heading trail, text, and its media if they can be read."""
    boxes = [_box(place, hit, media_root) for place, hit in enumerate(hits, start=1)]
    return "".join(boxes) or "<p>no results</p>"


def _box(place: int, hit: Hit, media_root: str | os.PathLike[str] | None) -> str:
    metadata = _metadata(hit.payload)
    scores = f"{hit.score:.4f}"
    if hit.first_score is not None:
        scores += f" <small>(first pass {hit.first_score:.4f})</small>"
    source = " ".join(
        f"{escape(str(metadata[key]))}" for key in ("source", "page") if metadata.get(key)
    )
    head = f"<b>{place}</b> · {scores} · <code>{escape(str(hit.id))}</code> {source}"
    trail = metadata.get("headings")
    if isinstance(trail, list | tuple):
        trail = " > ".join(str(one) for one in trail)
    marked = f"<div><mark>{escape(str(trail))}</mark></div>" if trail else ""
    body = "".join(_parts(_text(hit.payload), media_root))
    return f'<div style="{_STYLE}"><div style="opacity:.8">{head}</div>{marked}{body}</div>'


def _metadata(payload: Mapping[str, object]) -> Mapping[str, object]:
    metadata = payload.get("metadata")
    return metadata if isinstance(metadata, Mapping) else payload


def _text(payload: Mapping[str, object]) -> str:
    found = (payload.get(key) for key in _TEXT_KEYS)
    return next((text for text in found if isinstance(text, str)), "")


def _parts(text: str, media_root: str | os.PathLike[str] | None) -> Iterable[str]:
    try:
        parts = shown_parts(text, media_root=media_root, links=False, on_missing="alt")
    except Gemini2Error:
        # What can't be read must not keep the rest of the list from being seen.
        parts = [text]
    left = _MAX_TEXT
    for part in parts:
        if isinstance(part, ShownMedia):
            yield _medium(part)
        elif left > 0:
            cut = part[:left] + ("…" if len(part) > left else "")
            left -= len(part)
            yield f'<div style="white-space:pre-wrap">{escape(cut.strip())}</div>'


def _medium(medium: ShownMedia) -> str:
    name = escape(medium.alt or medium.target)
    unseen = f"<div>[{escape(medium.mime_type)}: {name}]</div>"
    if medium.data is None or len(medium.data) > _MAX_BYTES:
        return unseen
    address = _address(medium.mime_type, medium.data)
    size = 'style="max-width:100%;max-height:240px"'
    match medium.modality:
        case Modality.IMAGE if medium.mime_type in _PIXELS:
            return f'<div><img src={address} alt="{name}" title="{name}" {size}></div>'
        case Modality.AUDIO:
            return f"<div><audio controls src={address}></audio> {name}</div>"
        case Modality.VIDEO:
            return f"<div><video controls src={address} {size}></video> {name}</div>"
        case Modality.DOCUMENT:
            drawn = page_image(medium.data)
            if drawn is None:
                return unseen
            page, pages = drawn
            shown = f'<img src={_address("image/jpeg", page)} alt="{name}" title="{name}" {_PAGE}>'
            more = f" <small>(page 1 of {pages})</small>" if pages > 1 else ""
            return f"<div>{shown}<br>{name}{more}</div>"
    return unseen


def _address(mime_type: str, data: bytes) -> str:
    """A quoted ``data:`` address: base64 has no character that ends an attribute."""
    encoded = base64.b64encode(data).decode("ascii")
    return f'"data:{escape(mime_type, quote=True)};base64,{encoded}"'
