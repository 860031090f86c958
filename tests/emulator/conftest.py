"""One emulator for each test."""

from __future__ import annotations

from gemini2_core.emulator.fixtures import gemini2_emulator

__all__ = ["gemini2_emulator"]
