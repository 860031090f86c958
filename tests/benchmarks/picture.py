"""The picture of a retrieval benchmark: recall against latency, memory as the size of a mark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks.corpora import LARGE
from tests.benchmarks.retrieval import K, Row, Run, Tiers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# A card of its own colour: readable on a light page and on a dark one.
CARD, INK, MUTED, GRID = "#fcfcfb", "#1a1a19", "#6b6a66", "#e4e3df"
TWO, THREE, ONE, EXACT = "#2a6fc9", "#b0487a", "#d97a1e", "#55544f"
COLORS: dict[Tiers, str] = {(768, LARGE): TWO, (768, 1536, LARGE): THREE}


def draw(runs: Sequence[Run], path: Path) -> None:
    """One panel a run, those with a single plan left out if there are others; .png or .svg."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    style: Any = {  # matplotlib's type lists all keys there are
        "font.family": "DejaVu Sans",
        "font.size": 9.5,
        "text.color": INK,
        "axes.labelcolor": MUTED,
        "axes.edgecolor": GRID,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "svg.fonttype": "path",
        "svg.hashsalt": "two passes",
    }
    runs = [run for run in runs if len(run.stores) > 1] or runs
    with plt.rc_context(style):
        width = 1.2 + 4.6 * len(runs)
        figure, panels = plt.subplots(
            1, len(runs), figsize=(width, 4.9), squeeze=False, sharey=True, facecolor=CARD
        )
        lowest = min(row.recall for run in runs for row in run.rows)
        for axes, run in zip(panels[0], runs, strict=True):
            _panel(axes, run)
            axes.set_ylim(lowest - 0.035, 1.035)
        panels[0][0].set_ylabel(f"recall@{K} against exact search with {LARGE} numbers")
        _legend(panels[0][0], runs[0])
        figure.tight_layout(w_pad=2.2)
        figure.savefig(path, dpi=140, facecolor=CARD, metadata=_without_date(path))
        plt.close(figure)


def _without_date(path: Path) -> dict[str, str | None]:
    return {"Date": None} if path.suffix == ".svg" else {"Software": None}


def _panel(axes: Axes, run: Run) -> None:
    axes.set_facecolor(CARD)
    axes.set_xscale("log")
    axes.grid(visible=True, which="major", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=0)
    axes.minorticks_off()
    axes.set_xlabel("median time of a search, ms")
    axes.set_title(_title(run), loc="left", fontsize=10.5, color=INK, linespacing=1.5)
    for tiers in dict.fromkeys(row.tiers for row in run.rows):
        rows = [row for row in run.rows if row.tiers == tiers and not row.exact]
        if len(tiers) > 1:
            _curve(axes, run, rows)
        else:
            _dot(axes, run, rows[0], f"{tiers[0]} alone", ONE)
    _dot(axes, run, run.slowest, f"exact, {LARGE}", EXACT)
    times = [row.milliseconds for row in run.rows]
    axes.set_xlim(min(times) / 1.6, max(times) * 1.9)
    ticks = [t for n in range(-1, 5) for t in (10.0**n, 2 * 10.0**n, 5 * 10.0**n)]
    shown = [t for t in ticks if axes.get_xlim()[0] <= t <= axes.get_xlim()[1]]
    axes.set_xticks(shown, [f"{t:g}" for t in shown])


def _title(run: Run) -> str:
    if run.corpus == "synthetic":
        return f"{run.points:,} synthetic vectors\nwith a Matryoshka-like structure"
    return f"{run.points:,} real texts on the emulator\n(hashed words, not the model's vectors)"


def _area(run: Run, row: Row) -> float:
    """Of a mark: in proportion to the bytes a point in memory."""
    return 22 * run.memory(row) / 800


def _curve(axes: Axes, run: Run, rows: Sequence[Row]) -> None:
    color = COLORS.get(rows[0].tiers, MUTED)
    x, y = [row.milliseconds for row in rows], [row.recall for row in rows]
    axes.plot(x, y, color=color, linewidth=1.6, zorder=2)
    axes.scatter(x, y, s=[_area(run, row) for row in rows], color=color, zorder=3)
    two = rows[0].tiers == (768, LARGE)
    for n, close in enumerate(_close(rows)):
        if n == 0:
            place, align = ((7, -4), "left") if two else ((0, -13), "center")
        elif two:
            place, align = (-6, 4), "right"
        else:
            place, align = ((0, 7), "center") if close[-1].recall > 0.98 else ((7, -6), "left")
        axes.annotate(
            ", ".join(str(row.shortlist) for row in close),
            (close[-1].milliseconds, close[-1].recall),
            xytext=place,
            textcoords="offset points",
            ha=align,
            fontsize=8,
            color=color,
        )


def _close(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows in order; those whose marks nearly touch share a label."""
    groups: list[list[Row]] = []
    for row in rows:
        last = groups[-1][-1] if groups else None
        if (
            last
            and row.milliseconds < 1.35 * last.milliseconds
            and row.recall - last.recall < 0.006
        ):
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def _dot(axes: Axes, run: Run, row: Row, text: str, color: str) -> None:
    axes.scatter(
        row.milliseconds,
        row.recall,
        s=_area(run, row),
        color=color,
        alpha=0.85,
        linewidths=0,
        zorder=2.5,
    )
    beside = not row.exact and row.tiers != (768,)
    away = 5 + _area(run, row) ** 0.5 / 2
    axes.annotate(
        text,
        (row.milliseconds, row.recall),
        xytext=(away, 0) if beside else (0, -away),
        textcoords="offset points",
        ha="left" if beside else "center",
        va="center" if beside else "top",
        fontsize=8.5,
        color=color,
    )


def _legend(axes: Axes, run: Run) -> None:
    from matplotlib.lines import Line2D

    curves = [row.tiers for row in run.rows if len(row.tiers) > 1]
    lines = [
        Line2D([], [], color=COLORS.get(tiers, MUTED), linewidth=1.6, marker="o", markersize=5,
               label=" → ".join(map(str, tiers)) + ", by short list")
        for tiers in dict.fromkeys(curves)
    ]  # fmt: skip
    areas = [
        Line2D([], [], color=MUTED, linestyle="", marker="o", markersize=(22 * size / 800) ** 0.5,
               markeredgewidth=0, label=f"{size / 1000:.1f} kB a point in memory")
        for size in (800, 3100, 4 * LARGE)
    ]  # fmt: skip
    axes.legend(
        handles=[*lines, *areas],
        loc="lower right",
        frameon=False,
        fontsize=8.5,
        labelcolor=INK,
        borderpad=0.2,
        labelspacing=0.9,
        handletextpad=0.9,
    )
