"""A report as text whose columns line up, and as a table for a notebook."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import TYPE_CHECKING

from gemini2_core.errors import MissingExtraError
from gemini2_core.index.evaluation.metrics import METRICS

if TYPE_CHECKING:
    from gemini2_core.index.evaluation.report import Cost, EvaluationReport, Row

__all__ = ["report_html", "report_text"]

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    cell: Callable[[Row], str]
    number: bool = True


def report_text(report: EvaluationReport) -> str:
    """The table, the gaps, the decisions, the cost and what is odd."""
    text = [
        _headline(report),
        "",
        *_drawn(_columns(report), report.rows),
        "",
        "In brackets: 95 % interval of a bootstrap over the queries.",
        "Stored: float32 vectors of these documents, and of a million.",
        *_gaps(report),
        "",
        *report.sentences,
        "",
        *(_cost_line(cost) for cost in report.costs),
        "Embedding costs the same for every size: all are cut from one.",
        *(f"Note: {note}" for note in (*report.notes, report.origin) if note),
    ]
    return "\n".join(line.rstrip() for line in text)


def report_html(report: EvaluationReport) -> str:
    """The same for a notebook, with the picture if matplotlib is there."""
    columns = _columns(report)
    head = "".join(f"<th>{escape(column.title)}</th>" for column in columns)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(column.cell(row))}</td>' for column in columns)}</tr>"
        for row in report.rows
    )
    said = "".join(f"<p><b>{escape(sentence)}</b></p>" for sentence in report.sentences)
    rest = "<br>".join(
        escape(line)
        for line in [
            *(_cost_line(cost) for cost in report.costs),
            *(f"Note: {note}" for note in (*report.notes, report.origin) if note),
        ]
    )
    return (
        f"<div><p>{escape(_headline(report))}</p><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>{said}<p><small>{rest}</small></p>{_picture(report)}</div>"
    )


def _picture(report: EvaluationReport) -> str:
    try:
        figure = report.plot()
    except MissingExtraError:
        return ""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=80)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    return f'<img src="data:image/png;base64,{data}" alt="each search with its interval">'


def _headline(report: EvaluationReport) -> str:
    queries = len(report.queries)
    return f"{report.documents:,} documents, {queries:,} {'query' if queries == 1 else 'queries'}"


def _columns(report: EvaluationReport) -> list[_Column]:
    columns = [_Column("search", lambda row: row.search, number=False)]
    if len(report.costs) > 1:
        columns.insert(0, _Column("model", lambda row: row.model, number=False))
    columns += [_Column(metric, partial(_score, metric)) for metric in METRICS]
    columns += [
        _Column("stored", lambda row: _storage(report.documents * row.bytes_a_document)),
        _Column("a million", lambda row: _storage(_MILLION * row.bytes_a_document)),
    ]
    if any(row.milliseconds is not None for row in report.rows):
        columns.append(_Column("ms", _milliseconds))
    return columns


def _score(metric: str, row: Row) -> str:
    score = row.scores.get(metric)
    if score is None:
        return "–"
    if metric == METRICS[0]:
        return f"{score.value:.4f} [{score.low:.3f}, {score.high:.3f}]"
    return f"{score.value:.4f}"


def _milliseconds(row: Row) -> str:
    return "–" if row.milliseconds is None else f"{row.milliseconds:.1f}"


def _drawn(columns: Sequence[_Column], rows: Sequence[Row]) -> list[str]:
    """Words to the left, numbers to the right."""
    drawn = []
    for column in columns:
        cells = [column.title, *(column.cell(row) for row in rows)]
        width = max(map(len, cells))
        drawn.append([c.rjust(width) if column.number else c.ljust(width) for c in cells])
    lines = ["  ".join(cells) for cells in zip(*drawn, strict=True)]
    return [lines[0], "─" * len(lines[0]), *lines[1:]]


def _gaps(report: EvaluationReport) -> list[str]:
    if not report.differences:
        return []
    several = len(report.costs) > 1
    pairs = [
        (f"{one.model}, {one.search}", f"{one.base_model}, {one.base}")
        if several
        else (one.search, one.base)
        for one in report.differences
    ]
    widths = [max(len(pair[side]) for pair in pairs) for side in (0, 1)]
    lines = [
        f"  {pair[0].ljust(widths[0])}  against  {pair[1].ljust(widths[1])}  "
        f"{100 * one.gap.value:+6.2f}  [{100 * one.gap.low:+6.2f}, {100 * one.gap.high:+6.2f}]  "
        f"{one.differing:,} of {one.queries:,}"
        for pair, one in zip(pairs, report.differences, strict=True)
    ]
    return [f"Gaps in points of {METRICS[0]}, and on how many queries the two differ:", *lines]


def _cost_line(cost: Cost) -> str:
    said = f"{cost.model}: paid in this run {cost.paid}"
    if cost.tokens is not None and cost.dollars is not None:
        said += (
            f"; embedding all of it anew, about {cost.tokens:,} text tokens, "
            f"${cost.dollars:,.4f} online"
        )
        if cost.batch_dollars is not None:
            said += f" or ${cost.batch_dollars:,.4f} by Batch API"
    return said + "."


def _storage(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
