"""A chunk's metadata as vector stores take it: one level deep, nothing that is None."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TypeAlias

from gemini2_core.content.chunking.document import JSON

__all__ = ["Flat", "flat_metadata"]

#: What every vector store takes, and can filter by.
Flat: TypeAlias = "str | int | float | bool"


def flat_metadata(metadata: Mapping[str, JSON]) -> dict[str, Flat]:
    """Metadata without nesting, as Chroma and its like want it.

    What is None is left out. A time span ``seconds`` becomes the numbers ``seconds_start`` and
    ``seconds_end``, so that a filter can ask for a moment; any other list or mapping (``media``,
    ``bbox``) becomes its JSON, which ``json.loads`` reads back; numbers that aren't finite become
    text, as JSON has none.
    """
    flat: dict[str, Flat] = {}
    for name, value in metadata.items():
        if value is None:
            continue
        if name == "seconds" and isinstance(value, list | tuple) and len(value) == 2:
            for end, second in zip(("start", "end"), value, strict=True):
                if isinstance(second, int | float):
                    flat[f"seconds_{end}"] = second
        elif isinstance(value, float) and not math.isfinite(value):
            flat[name] = str(value)
        elif isinstance(value, str | int | float):
            flat[name] = value
        else:
            flat[name] = json.dumps(_plain(value), ensure_ascii=False)
    return flat


def _plain(value: JSON) -> JSON:
    """The same of lists and dicts, which is what ``json`` writes."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, str) or value is None or isinstance(value, int | float):
        return value
    return [_plain(inner) for inner in value]
