"""Arguments of an embedder, checked as they are given: a message names what can't work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from gemini2_core.errors import ConfigurationError

__all__ = ["choice", "optional", "positive", "seconds", "whole"]

_Word = TypeVar("_Word", bound=str)


def choice(name: str, value: _Word, allowed: Sequence[_Word]) -> _Word:
    """One of the words that are allowed.

    Raises:
        ConfigurationError: It isn't.
    """
    if value not in allowed:
        raise ConfigurationError(f"{name}={value!r} must be one of {', '.join(map(repr, allowed))}")
    return value


def positive(name: str, value: int, most: int | None = None) -> int:
    """A whole number from 1 on, and no more than ``most``.

    Raises:
        ConfigurationError: It isn't.
    """
    if whole(name, value) < 1 or (most is not None and value > most):
        allowed = "at least 1" if most is None else f"from 1 to {most}"
        raise ConfigurationError(f"{name}={value!r} must be {allowed}")
    return value


def whole(name: str, value: object) -> int:
    """A whole number.

    Raises:
        ConfigurationError: It isn't.
    """
    if not isinstance(value, int):
        raise ConfigurationError(f"{name}={value!r} must be a whole number")
    return value


def seconds(name: str, value: object) -> float:
    """A number of seconds, not below 0.

    Raises:
        ConfigurationError: It isn't.
    """
    if not isinstance(value, int | float) or not value >= 0:
        raise ConfigurationError(f"{name}={value!r} must be a number of seconds, not below 0")
    return value


def optional(name: str, value: int | None) -> int | None:
    """A whole number from 1 on, or None.

    Raises:
        ConfigurationError: It isn't.
    """
    return None if value is None else positive(name, value)
