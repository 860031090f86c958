"""A bill as text whose columns line up, and as tables for a notebook."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from gemini2_core.model import TEXT_ESTIMATE_SPREAD, Modality

if TYPE_CHECKING:
    from gemini2_core.corpus.billing.bill import Basis, Estimate, FindingKind, Interval

__all__ = ["bill_html", "bill_text"]

_DAY = 86_400.0
_WIDTH = 100
_FINDINGS: dict[FindingKind, str] = {
    "windows": "too long for one window: averaged over several",
    "cut": "too long: cut",
    "refused": "refused",
}


@dataclass(frozen=True, slots=True)
class _Table:
    """A table whose first column is words and whose others are numbers."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def bill_text(bill: Estimate) -> str:
    """The headline, the tables one under the other, and the notes."""
    text = [_headline(bill), ""]
    for table in _tables(bill):
        text += [*_drawn(table), ""]
    for line in _notes(bill):
        text += [line] if line.startswith(" ") else textwrap.wrap(line, _WIDTH)
    return "\n".join(line.rstrip() for line in text).rstrip()


def bill_html(bill: Estimate) -> str:
    """The same for a notebook; whatever comes from the corpus is escaped."""
    tables = "".join(_html(table) for table in _tables(bill))
    notes = "<br>".join(f"<small>{escape(line)}</small>" for line in _notes(bill))
    return f"<b>{escape(_headline(bill))}</b>{tables}<p>{notes}</p>"


def _headline(bill: Estimate) -> str:
    vectors = "" if bill.vectors == bill.items else f", {bill.vectors:,} of them get a vector"
    items = "item" if bill.items == 1 else "items"
    return f"{bill.source}: {bill.items:,} {items}{vectors}, with {bill.model}"


def _tables(bill: Estimate) -> list[_Table]:
    return [_costs(bill), _storage(bill), _time(bill)]


def _costs(bill: Estimate) -> _Table:
    batch = bill.batch_dollars
    rows = [
        [
            kind.value.lower(),
            _span(tokens, _count),
            _span(bill.price(kind), _dollars),
            "" if batch is None else _span(bill.price(kind, batch_api=True), _dollars),
        ]
        for kind, tokens in bill.tokens.items()
    ]
    rows.append(
        [
            "all",
            _span(bill.total_tokens, _count),
            _span(bill.dollars, _dollars),
            "none" if batch is None else _span(batch, _dollars),
        ]
    )
    return _Table(("", "tokens", "online", "Batch API"), rows[-1:] if len(rows) == 2 else rows)


def _storage(bill: Estimate) -> _Table:
    rows = [[f"{one.dimensions}", _bytes(one.float32), _bytes(one.int8)] for one in bill.storage]
    if bill.payload_bytes is not None:
        rows.append(["payload", _bytes(bill.payload_bytes), ""])
    return _Table(("vectors of", "float32", "int8"), rows)


def _time(bill: Estimate) -> _Table:
    rows: list[list[str]] = []
    if bill.seconds is not None:
        quotas = [
            f"{quota:,} {what} a minute"
            for quota, what in (
                (bill.requests_per_minute, "items"),
                (bill.tokens_per_minute, "tokens"),
            )
            if quota is not None
        ]
        rows.append([f"online, at {' and '.join(quotas)}", _span(bill.seconds, _duration)])
    else:
        rows.append(["online", "depends on your quota, which isn't given"])
    if bill.batch_seconds:
        jobs = "1 file" if bill.batch_jobs == 1 else f"{bill.batch_jobs:,} files"
        rows.append(
            [f"Batch API, in {jobs}", f"{_duration(bill.batch_seconds)} is the service's target"]
        )
    return _Table(("time", "at least"), rows)


def _notes(bill: Estimate) -> list[str]:
    notes = [_basis(bill.basis, bill.sampled)]
    if Modality.DOCUMENT in bill.tokens and bill.basis in {"exact", "calibrated"}:
        notes.append("The text in PDF pages is counted by us, so it keeps the brackets open.")
    if bill.contents.value != bill.vectors:
        notes.append(
            f"{_span(bill.contents, _count)} contents are embedded: an over-long text in windows"
        )
    about = "about " if bill.basis == "sample" else ""
    for finding in bill.findings:
        notes.append(f"{about}{finding.count:,} {_FINDINGS[finding.kind]}, such as")
        notes += [f"  {example}" for example in finding.examples]
    if bill.problems:
        notes.append(f"left out by the source: {bill.problems.total:,}, such as")
        notes += [f"  {problem}" for problem in bill.problems.examples]
    if bill.problems is not None and (passed := bill.problems.passed_over):
        most = ", ".join(
            f"{count:,} {suffix or 'without a suffix'}" for suffix, count in passed.most_common(5)
        )
        notes.append(f"not read, since other kinds of files: {passed.total():,} ({most})")
    return notes


def _basis(basis: Basis, sampled: int | None) -> str:
    low, high = (f"{abs(share - 1):.0%}" for share in TEXT_ESTIMATE_SPREAD)
    stated = f"-{low} to +{high}, the error of our own count of text"
    match basis:
        case "given":
            return "Tokens as given; nothing was read."
        case "exact":
            return "Texts counted by the service; media at the documented rates."
        case "calibrated":
            return (
                f"Texts counted by us, set right by the service's count of {sampled:,} items drawn "
                "at random; in brackets 95 %. Media at the documented rates."
            )
        case "sample":
            return (
                f"Extrapolated from {sampled:,} items drawn at random; in brackets 95 %, and "
                f"{stated}. The service counts with --exact."
            )
    return (
        f"Texts counted by us; in brackets {stated}. The service counts with --exact. "
        "Media at the documented rates."
    )


def _drawn(table: _Table) -> list[str]:
    lines = [table.head, *table.rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(table.head))]
    return [
        "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]


def _html(table: _Table) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.head)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _span(number: Interval, told: Callable[[float], str]) -> str:
    if number.is_certain:
        return told(number.value)
    return f"{told(number.value)} ({told(number.low)} – {told(number.high)})"


def _count(number: float) -> str:
    return f"{number:,.0f}"


def _dollars(number: float) -> str:
    if number == 0 or number >= 100:
        return f"${number:,.0f}"
    # Three digits that count, and never an exponent.
    return f"${number:.{2 if number >= 1 else 2 - math.floor(math.log10(number))}f}"


def _bytes(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:,.3g} TB"


def _duration(seconds: float) -> str:
    for unit, length in (("days", 2 * _DAY), ("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / (_DAY if unit == 'days' else length):,.3g} {unit}"
    return f"{seconds:,.0f} s"
