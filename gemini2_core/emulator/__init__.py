"""The service on loopback, for tests, demos and people without a key: not the model."""

from gemini2_core.emulator.log import RequestRecord
from gemini2_core.emulator.runner import Emulator, run, serve
from gemini2_core.emulator.settings import BatchOutcome, FailureKind, Settings, VectorMode

__all__ = [
    "BatchOutcome",
    "Emulator",
    "FailureKind",
    "RequestRecord",
    "Settings",
    "VectorMode",
    "run",
    "serve",
]
