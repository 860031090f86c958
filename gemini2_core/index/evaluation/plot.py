"""The picture of a report: each search with its interval, and each gap beside what would pay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gemini2_core.errors import MissingExtraError
from gemini2_core.index.evaluation.metrics import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gemini2_core.index.evaluation.bootstrap import Interval
    from gemini2_core.index.evaluation.report import EvaluationReport
    from gemini2_core.index.evaluation.verdict import Difference

__all__ = ["draw"]

_COLOURS = ("#1a73e8", "#e8710a", "#188038", "#a142f4")
_INCHES_A_ROW = 0.32


def draw(report: EvaluationReport) -> Figure:
    """Draw a report on a figure of its own, without touching pyplot's.

    Raises:
        MissingExtraError: matplotlib isn't installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            "the plot of an evaluation", extra="plot", package="matplotlib"
        ) from error
    lines = max(len(report.rows), len(report.differences))
    figure = Figure(figsize=(12, 2.2 + _INCHES_A_ROW * lines), layout="constrained")
    FigureCanvasAgg(figure)
    found, gaps = figure.subplots(1, 2)
    colours = {cost.model: _COLOURS[n % len(_COLOURS)] for n, cost in enumerate(report.costs)}
    _draw_rows(found, report, colours)
    _draw_gaps(gaps, report, colours)
    for model, colour in colours.items():
        found.plot([], [], "o-", color=colour, label=model)
    figure.legend(*found.get_legend_handles_labels(), loc="outside lower left", ncols=4)
    figure.text(0.995, 0.01, report.origin, ha="right", va="bottom", fontsize=8)
    return figure


def _draw_rows(axes: Axes, report: EvaluationReport, colours: Mapping[str, str]) -> None:
    for place, row in enumerate(report.rows):
        _bar(axes, place, row.scores[METRICS[0]], colours[row.model])
    _lines(axes, [row.search for row in report.rows])
    axes.set_xlabel(f"mean of {len(report.queries):,} queries and its 95 % interval")
    axes.set_title(f"How well each search finds: {METRICS[0]}", loc="left")


def _draw_gaps(axes: Axes, report: EvaluationReport, colours: Mapping[str, str]) -> None:
    axes.set_title("What the difference is", loc="left")
    if not report.differences:
        axes.text(0.5, 0.5, "nothing to compare with", ha="center", transform=axes.transAxes)
        axes.set_yticks([])
        return
    for place, one in enumerate(report.differences):
        _bar(axes, place, one.gap, colours[one.model], scale=100)
    _lines(axes, [_pair(one) for one in report.differences])
    margin = 100 * report.differences[0].margin
    axes.set_xlabel(f"points, 95 % interval; dashed: the {margin:g} that would pay")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.axvline(margin, color="black", linestyle="--", linewidth=0.8)


def _pair(one: Difference) -> str:
    if one.model == one.base_model:
        return f"{one.search} over {one.base}"
    return f"{one.search} over {one.base_model}, {one.base}"


def _lines(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels, fontsize=9)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(axis="x", alpha=0.3)


def _bar(axes: Axes, place: int, score: Interval, colour: str, *, scale: float = 1) -> None:
    axes.plot([scale * score.low, scale * score.high], [place, place], color=colour, linewidth=2)
    axes.plot([scale * score.value], [place], "o", color=colour, markersize=6)
