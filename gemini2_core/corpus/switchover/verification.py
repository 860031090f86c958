"""What a verification found: whether a new collection is whole, and what would change with it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from gemini2_core.corpus.switchover.side_by_side import QueryChange
from gemini2_core.index import PointId

__all__ = ["Difference", "Verification"]

_MOST_QUERY = 44
_BOX = "border:1px solid #8884;border-radius:6px;padding:8px 12px;margin:6px 0;max-width:70em"


@dataclass(frozen=True, slots=True)
class Difference:
    """A sampled point that isn't what embedding its content anew gives.

    Attributes:
        id: The point.
        what: What differs, in words.
    """

    id: PointId
    what: str


@dataclass(frozen=True, slots=True, repr=False)
class Verification:
    """A new collection held against what should be in it.

    Attributes:
        collection: The new collection's name.
        space: The space of its vectors.
        tiers: Its sizes.
        expected: Different ids in the source.
        points: Points in the new collection.
        repeated: Ids that the source has more than once; the last of such is what is stored.
        missing: Ids of the source that the new collection hasn't.
        extra: Ids of the new collection that the source hasn't.
        some_missing: A few of the missing ones.
        some_extra: A few of the extra ones.
        unfilled: Points without a vector, by tier; empty if every point has every tier.
        shards: Shards of a re-embedding that haven't said they are done.
        seed: What the sample was drawn with.
        sampled: Points whose content was embedded anew and compared.
        tolerance: How far below 1 a cosine may be.
        cosines: The lowest cosine of the sample, by tier.
        differences: Sampled points that differ.
        k: How many each query asked for.
        queries: What each query finds before and after.
        at: When it was made, ISO 8601.
    """

    collection: str
    space: str
    tiers: tuple[int, ...]
    expected: int
    points: int
    repeated: int = 0
    missing: int = 0
    extra: int = 0
    some_missing: tuple[PointId, ...] = ()
    some_extra: tuple[PointId, ...] = ()
    unfilled: Mapping[int, int] = field(default_factory=dict)
    shards: tuple[str, ...] = ()
    seed: int = 0
    sampled: int = 0
    tolerance: float = 1e-5
    cosines: Mapping[int, float] = field(default_factory=dict)
    differences: tuple[Difference, ...] = ()
    k: int = 10
    queries: tuple[QueryChange, ...] = ()
    at: str = ""

    @property
    def reasons(self) -> list[str]:
        """Why it didn't pass; empty if it did. Other results for a query are no reason."""
        found = []
        if self.shards:
            found.append(f"it is still being filled (shard {', '.join(self.shards)})")
        if not self.points:
            found.append("it is empty")
        for count, some, what in (
            (self.missing, self.some_missing, "of the source are missing"),
            (self.extra, self.some_extra, "are in it that the source hasn't"),
        ):
            if count:
                found.append(f"{count:,} {what} ({_some(some, count)})")
        found += [
            f"{count:,} points have no vector of {tier} numbers"
            for tier, count in sorted(self.unfilled.items())
        ]
        if self.differences:
            first = self.differences[0]
            found.append(
                f"{len(self.differences):,} of {self.sampled:,} sampled points differ "
                f"({first.id!r}: {first.what})"
            )
        return found

    @property
    def passed(self) -> bool:
        """Whether the collection is whole and holds what it should."""
        return not self.reasons

    @property
    def overlap(self) -> float | None:
        """The mean overlap of the queries' results, 0 to 1; None without queries."""
        if not self.queries:
            return None
        return sum(one.overlap for one in self.queries) / len(self.queries)

    def __repr__(self) -> str:
        word = "passed" if self.passed else "not passed"
        return f"<Verification of {self.collection!r}: {word}, {self.points:,} points>"

    def __str__(self) -> str:
        lines = [f"{self.collection}: {self._verdict()}", *_lined(self._checks(), "  ")]
        if self.queries:
            lines += ["", *_lined([self._heads(), *map(self._row, self.queries)], "  ")]
        return "\n".join(lines)

    def _verdict(self) -> str:
        return "passed" if self.passed else f"NOT passed: {'; '.join(self.reasons)}"

    def _checks(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = [
            ("space", self.space),
            ("expected", f"{self.expected:,}" + self._repetitions()),
            ("points", f"{self.points:,}"),
            ("missing", f"{self.missing:,}"),
            ("extra", f"{self.extra:,}"),
        ]
        for tier in self.tiers:
            cosine = self.cosines.get(tier)
            told = f"{self.points - self.unfilled.get(tier, 0):,} filled"
            if cosine is not None:
                told += f", lowest cosine of the sample {cosine:.7f}"
            rows.append((f"tier {tier}", told))
        rows.append(("sample", f"{self.sampled:,} embedded anew, {len(self.differences):,} differ"))
        if self.overlap is not None:
            rows.append((f"overlap@{self.k}", f"{self.overlap:.2f} over {len(self.queries):,}"))
        return rows

    def _repetitions(self) -> str:
        return f" ({self.repeated:,} repeated)" if self.repeated else ""

    def _heads(self) -> tuple[str, ...]:
        return ("query", f"overlap@{self.k}", "same first", "new", "gone", "furthest move")

    def _row(self, one: QueryChange) -> tuple[str, ...]:
        furthest = max(one.moves.values(), key=abs, default=0)
        return (
            _short(one.query, _MOST_QUERY),
            f"{one.overlap:.2f}",
            "yes" if one.same_first else "no",
            str(len(one.new)),
            str(len(one.gone)),
            f"{furthest:+d}" if furthest else "0",
        )

    def _repr_html_(self) -> str:
        color = "#2a7" if self.passed else "#c33"
        head = f'<b>{escape(self.collection)}</b>: <b style="color:{color}">'
        head += f"{escape(self._verdict())}</b>"
        body = _table(self._checks())
        return f'<div style="{_BOX}">{head}{body}{"".join(map(_compared, self.queries))}</div>'

    def to_json(self) -> str:
        """All of it as JSON."""
        told = {
            "collection": self.collection,
            "passed": self.passed,
            "reasons": self.reasons,
            "space": self.space,
            "tiers": list(self.tiers),
            "expected": self.expected,
            "points": self.points,
            "repeated": self.repeated,
            "missing": self.missing,
            "extra": self.extra,
            "some_missing": list(self.some_missing),
            "some_extra": list(self.some_extra),
            "unfilled": {str(tier): count for tier, count in self.unfilled.items()},
            "shards": list(self.shards),
            "seed": self.seed,
            "sampled": self.sampled,
            "tolerance": self.tolerance,
            "cosines": {str(tier): cosine for tier, cosine in self.cosines.items()},
            "differences": [{"id": one.id, "what": one.what} for one in self.differences],
            "k": self.k,
            "overlap": self.overlap,
            "queries": [
                {
                    "query": one.query,
                    "before": list(one.before),
                    "after": list(one.after),
                    "overlap": one.overlap,
                    "same_first": one.same_first,
                    "moves": {str(own): places for own, places in one.moves.items()},
                    "new": list(one.new),
                    "gone": list(one.gone),
                }
                for one in self.queries
            ],
            "at": self.at,
        }
        return json.dumps(told, indent=1, ensure_ascii=False)


def _some(ids: Sequence[PointId], count: int) -> str:
    return ", ".join(repr(one) for one in ids) + (", …" if count > len(ids) else "")


def _short(text: str, most: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _lined(rows: Iterable[tuple[str, ...]], indent: str) -> list[str]:
    """Rows whose columns line up: words to the left, numbers of a wide table to the right."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    wide = len(widths) > 2

    def cell(text: str, at: int) -> str:
        return text.rjust(widths[at]) if wide and at else text.ljust(widths[at])

    return [(indent + "  ".join(map(cell, row, range(len(row))))).rstrip() for row in rows]


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    lines = (
        f"<tr><td>{escape(row[0])}</td><td style='text-align:left'>{escape(row[1])}</td></tr>"
        for row in rows
    )
    return f"<table>{''.join(lines)}</table>"


def _compared(one: QueryChange) -> str:
    """One query's results side by side, with where each went."""
    moves = one.moves

    def line(own: PointId, mark: str) -> str:
        text = one.texts.get(str(own), "")
        return f"<li>{escape(mark)} <code>{escape(str(own))}</code> {escape(text)}</li>"

    before = "".join(line(own, "✕" if own in one.gone else "") for own in one.before)
    after = "".join(line(own, _arrow(moves.get(own))) for own in one.after)
    cell = "<td style='vertical-align:top;text-align:left'><ol>{}</ol></td>"
    return (
        f"<p><b>{escape(one.query)}</b> (overlap {one.overlap:.2f})</p>"
        f"<table><tr><th>live</th><th>new</th></tr><tr>"
        f"{cell.format(before)}{cell.format(after)}</tr></table>"
    )


def _arrow(places: int | None) -> str:
    if places is None:
        return "+"
    return f"↑{places}" if places > 0 else f"↓{-places}" if places else "="
