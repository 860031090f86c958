"""What an evaluation found: rows, differences, storage, cost, and the sentences that follow."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from gemini2_core.embedding import Usage
from gemini2_core.index.evaluation.bootstrap import Interval
from gemini2_core.index.evaluation.metrics import METRICS, Scores
from gemini2_core.index.evaluation.verdict import Difference

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Cost", "EvaluationReport", "Row"]


@dataclass(frozen=True, slots=True)
class Row:
    """One way to search, and how it did.

    Attributes:
        model: The embedder.
        search: A size, two passes, or an engine's passes.
        tiers: Sizes that are stored for it, the smallest first.
        shortlist: What the first pass hands on, or None for one pass.
        scores: Mean over all queries with its interval, by metric; a metric that looks further
            than the short list reaches is left out.
        milliseconds: Median time of one search in the engine, or None without one.
    """

    model: str
    search: str
    tiers: tuple[int, ...]
    shortlist: int | None
    scores: Mapping[str, Interval]
    milliseconds: float | None = None

    @property
    def bytes_a_document(self) -> int:
        """Bytes of its vectors as float32."""
        return 4 * sum(self.tiers)


@dataclass(frozen=True, slots=True)
class Cost:
    """What embedding costs; it is the same for every size, since all come from one embedding.

    Attributes:
        model: The embedder.
        paid: What this run sent and was billed for; what a cache knew cost nothing.
        tokens: Estimated text tokens of all documents and queries, prompts included; None for an
            embedder whose prices aren't known here.
        dollars: Their price online.
        batch_dollars: Their price by Batch API; None where there is none.
    """

    model: str
    paid: Usage
    tokens: int | None = None
    dollars: float | None = None
    batch_dollars: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationReport:
    """What an evaluation found; ``print`` shows the table, a notebook the plot too.

    Attributes:
        documents: Documents that were searched.
        queries: Ids of the queries that were measured: those with a relevant document.
        rows: Each way to search.
        differences: Pairs of them that a decision hangs on.
        sentences: The decisions: first whether more than the smallest size pays.
        costs: One an embedder.
        notes: What was left out or is odd about the data.
        servers: Servers other than Google's that gave vectors, such as an emulator.
        per_query: Score of each query, by model, search and metric.
        seconds: How long the evaluation took.
    """

    documents: int
    queries: tuple[str, ...]
    rows: tuple[Row, ...]
    differences: tuple[Difference, ...]
    sentences: tuple[str, ...]
    costs: tuple[Cost, ...]
    notes: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    per_query: Mapping[tuple[str, str], Mapping[str, Scores]] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def sentence(self) -> str:
        """Whether this data shows a gap that pays for more than the smallest size."""
        return self.sentences[0]

    @property
    def origin(self) -> str:
        """Whose vectors these are, if not all are from Google's own service; else ""."""
        if not self.servers:
            return ""
        return f"vectors came from {', '.join(self.servers)}; an emulator's aren't the model's"

    def row(self, search: str | int, model: str | None = None) -> Row:
        """The row of a search, such as ``768``; the first model's, if none is named.

        Raises:
            KeyError: No such row.
        """
        for row in self.rows:
            if row.search == str(search) and model in {None, row.model}:
                return row
        raise KeyError(search)

    def __str__(self) -> str:
        from gemini2_core.index.evaluation.table import report_text

        return report_text(self)

    def __repr__(self) -> str:
        return f"<EvaluationReport of {len(self.rows)} searches, {len(self.queries)} queries>"

    def _repr_html_(self) -> str:
        from gemini2_core.index.evaluation.table import report_html

        return report_html(self)

    def to_dict(self) -> dict[str, object]:
        """Everything but the single queries' scores, as JSON values."""
        return {
            "documents": self.documents,
            "queries": len(self.queries),
            "rows": [
                {**asdict(row), "bytes_a_document": row.bytes_a_document} for row in self.rows
            ],
            "differences": [{**asdict(one), "verdict": one.verdict} for one in self.differences],
            "sentences": list(self.sentences),
            "costs": [
                {
                    "model": cost.model,
                    "paid_dollars": cost.paid.dollars,
                    "paid_tokens": cost.paid.total_tokens,
                    "cached": cost.paid.cached,
                    "tokens": cost.tokens,
                    "dollars": cost.dollars,
                    "batch_dollars": cost.batch_dollars,
                }
                for cost in self.costs
            ],
            "notes": list(self.notes),
            "servers": list(self.servers),
            "seconds": round(self.seconds, 3),
        }

    def per_query_dict(self) -> dict[str, object]:
        """Score of every query, for statistics of your own."""
        return {
            "queries": list(self.queries),
            "searches": [
                {
                    "model": model,
                    "search": search,
                    **{metric: scores[metric].tolist() for metric in METRICS if metric in scores},
                }
                for (model, search), scores in self.per_query.items()
            ],
        }

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw it: each search with its interval, and the gaps beside what would pay.

        Args:
            path: Where to write it as well; the suffix says as what, ``.png`` for one.

        Raises:
            MissingExtraError: matplotlib isn't installed (extra ``[plot]``).
        """
        from gemini2_core.index.evaluation.plot import draw

        figure = draw(self)
        if path is not None:
            figure.savefig(path, dpi=150)
        return figure

    def save(self, folder: str | os.PathLike[str], *, plot: bool = True) -> list[Path]:
        """Write ``report.txt``, ``report.json``, ``per_query.json`` and ``report.png``.

        Args:
            folder: Made if it isn't there.
            plot: Draw the picture as well.

        Returns:
            What was written.

        Raises:
            MissingExtraError: ``plot`` without matplotlib (extra ``[plot]``).
        """
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        written = [place / name for name in ("report.txt", "report.json", "per_query.json")]
        written[0].write_text(f"{self}\n", "utf-8")
        written[1].write_bytes(orjson.dumps(self.to_dict(), option=orjson.OPT_INDENT_2))
        written[2].write_bytes(orjson.dumps(self.per_query_dict()))
        if plot:
            written.append(place / "report.png")
            self.plot(written[-1])
        return written
