"""Which part of a medium a link means: ``#page=3`` of a PDF, ``#t=10,30`` of sound or film."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal
from urllib.parse import unquote

from gemini2_core.errors import InvalidInputError

__all__ = ["Fragment", "parse_fragment"]

_MAX_PAGE = 1_000_000
_MAX_SECONDS = 10_000_000.0
_SHOWN = 60

_PAGES = re.compile(r"(-?[0-9]{1,20})(?:-([0-9]{1,20}))?")
_SECONDS = re.compile(r"[0-9]{1,20}(?:\.[0-9]{0,20})?")
_CLOCK = re.compile(r"(?:([0-9]{1,10}):)?([0-5][0-9]):([0-5][0-9](?:\.[0-9]{0,20})?)")


@dataclass(frozen=True, slots=True)
class Fragment:
    """Pages of a PDF or a span of time; ``str`` gives the text after the ``#`` of a link.

    Attributes:
        kind: ``"page"`` (RFC 8118) or ``"t"`` (W3C Media Fragments, normal play time).
        start: First page, counted from 1; or seconds, kept to the microsecond.
        end: Last page, inclusive (None becomes ``start``: one page); or the second where the
            span ends, exclusive (None: to the end of the medium).

    Raises:
        InvalidInputError: An empty or reversed span, page 0, NaN, infinite, negative or huge
            numbers.
    """

    kind: Literal["page", "t"]
    start: float
    end: float | None = None

    def __post_init__(self) -> None:
        if self.kind == "page":
            first = _page(self.start)
            last = first if self.end is None else _page(self.end)
            if last < first:
                raise InvalidInputError(f"page={first}-{last} ends before it starts")
            object.__setattr__(self, "start", first)
            object.__setattr__(self, "end", last)
        elif self.kind == "t":
            start = _second(self.start)
            end = None if self.end is None else _second(self.end)
            if end is not None and end <= start:
                raise InvalidInputError(
                    f"t={_plain(start)},{_plain(end)} must end after it starts: no time is in it"
                )
            object.__setattr__(self, "start", start)
            object.__setattr__(self, "end", end)
        else:
            raise InvalidInputError(f"a fragment's kind is 'page' or 't', not {self.kind!r}")

    def __str__(self) -> str:
        if self.kind == "page":
            one = self.end == self.start
            return f"page={self.start}" if one else f"page={self.start}-{self.end}"
        if self.end is None:
            return f"t={_plain(self.start)}"
        return f"t={_plain(self.start)},{_plain(self.end)}"


def parse_fragment(text: str) -> Fragment | None:
    """Read the text after a link's ``#``; None if it is about something else (``#section``).

    ``page=3`` is RFC 8118; ``page=3-5`` is an extension of ours, as the RFC knows single pages
    only. ``t=10,30``, ``t=10`` (to the end), ``t=,30`` (from 0), ``t=npt:10,30`` and
    ``t=0:01:30,0:02:00`` are W3C Media Fragments. Other parameters beside them
    (``page=3&zoom=50``) are left alone; of a parameter given twice the last one counts, as the
    W3C has it.

    Raises:
        InvalidInputError: A page or time that makes no sense, or both at once.
    """
    found: dict[str, Fragment] = {}
    for parameter in text.split("&"):
        name, equals, value = parameter.partition("=")
        if not equals:
            continue
        name = unquote(name)
        if name == "page":
            found[name] = _parse_pages(unquote(value))
        elif name == "t":
            found[name] = _parse_time(unquote(value))
    if len(found) > 1:
        raise InvalidInputError(f"#{_shown(text)} names both pages and a time: a medium has one")
    return next(iter(found.values()), None)


def _parse_pages(value: str) -> Fragment:
    match = _PAGES.fullmatch(value)
    if not match:
        raise InvalidInputError(
            f"#page={_shown(value)} is no page: write page=3, or page=3-5 for several"
        )
    return Fragment("page", int(match[1]), int(match[2]) if match[2] else None)


def _parse_time(value: str) -> Fragment:
    span = value.removeprefix("npt:")
    if span.startswith(("smpte", "clock:")):
        raise InvalidInputError(
            f"#t={_shown(value)}: time codes can't be read, write seconds (t=10,30)"
        )
    start, comma, end = span.partition(",")
    if not span or (comma and not end):
        raise InvalidInputError(
            f"#t={_shown(value)} has no end after the comma: write t=10,30, t=10 or t=,30"
        )
    return Fragment(
        "t",
        _parse_seconds(start, value) if start else 0.0,
        _parse_seconds(end, value) if end else None,
    )


def _parse_seconds(text: str, value: str) -> float:
    if _SECONDS.fullmatch(text):
        return float(text)
    match = _CLOCK.fullmatch(text)
    if not match:
        raise InvalidInputError(
            f"#t={_shown(value)} is no time: write seconds (t=10,30.5) or h:mm:ss (t=0:01:30)"
        )
    return int(match[1] or 0) * 3600 + int(match[2]) * 60 + float(match[3])


def _page(number: float) -> int:
    if not math.isfinite(number) or number != int(number):
        raise InvalidInputError(f"a page is a whole number, not {number}")
    if not 1 <= number <= _MAX_PAGE:
        raise InvalidInputError(
            f"page={int(number)} can't be: pages count from 1 and end before {_MAX_PAGE:,}"
        )
    return int(number)


def _second(number: float) -> float:
    if not math.isfinite(number) or not 0 <= number <= _MAX_SECONDS:
        raise InvalidInputError(
            f"t={number} can't be: times are seconds from 0 to {_MAX_SECONDS:,.0f}"
        )
    return round(float(number), 6) + 0.0  # + 0.0 makes -0.0 a plain 0


def _plain(seconds: float) -> str:
    """Seconds as digits, never with an exponent."""
    text = format(Decimal(repr(seconds)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
