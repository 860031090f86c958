"""What went over the wire, read from an emulator's log."""

from __future__ import annotations

from typing import Any

from gemini2_core.emulator import Emulator

__all__ = ["KEY", "items", "kinds", "sent", "texts"]

#: The key that tests use, and look for wherever it mustn't show.
KEY = "AIza-the-key-of-the-tests-0123456789"


def items(emulator: Emulator) -> list[dict[str, Any]]:
    """Each item that was to be embedded, in the order of the log."""
    found: list[dict[str, Any]] = []
    for request in emulator.requests:
        if "mbedContent" in request.path and request.body is not None:
            found += request.body.get("requests", [request.body])  # type: ignore[arg-type]
    return found


def sent(emulator: Emulator) -> list[list[dict[str, Any]]]:
    """The parts of each item."""
    return [item["content"]["parts"] for item in items(emulator)]


def texts(emulator: Emulator) -> list[str]:
    """The first part of each item, which must be a text."""
    return [parts[0]["text"] for parts in sent(emulator)]


def kinds(parts: list[dict[str, Any]]) -> list[str]:
    """What each part is: its text, or its MIME type."""
    return [p["text"] if "text" in p else p["inline_data"]["mime_type"] for p in parts]
