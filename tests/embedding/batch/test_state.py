"""A run's state under any course of events: what is in which job, what is kept and what is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gemini2_core.embedding.batch.kept_contents import NewContent
from gemini2_core.embedding.batch.kept_lines import Outcome
from gemini2_core.embedding.batch.lines import Line
from gemini2_core.embedding.batch.state import State
from gemini2_core.embedding.result import Usage
from gemini2_core.model import Modality

SIZES = st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=1, max_size=40)


def opened() -> State:
    return State(Path(":memory:"), {"model": "m", "space": "s", "dimensions": "2"})


def add(state: State, sizes: list[tuple[int, int]]) -> None:
    state.contents.add(
        NewContent(
            f"k{n}",
            f"d{n}",
            [(Line(f"line {n}", b"{}", size, {Modality.TEXT: tokens}, {f"m{n % 3}": b"m"}), 1.0)],
        )
        for n, (size, tokens) in enumerate(sizes)
    )


@settings(max_examples=40)
@given(SIZES, st.integers(1, 10), st.integers(20, 200), st.none() | st.integers(20, 200))
def test_every_line_is_in_one_job_and_no_job_is_over_a_limit(
    sizes: list[tuple[int, int]], lines: int, size: int, tokens: int | None
) -> None:
    state = opened()
    half = len(sizes) // 2
    add(state, sizes[:half])
    state.jobs.pack(lines, size, tokens, seal=False)
    state.contents.add(
        NewContent(f"l{n}", f"e{n}", [(Line(f"l{n}", b"{}", s, {Modality.TEXT: t}), 1.0)])
        for n, (s, t) in enumerate(sizes[half:])
    )
    state.jobs.pack(lines, size, tokens, seal=True)
    packed: list[int] = []
    for job in state.jobs.all():
        inside = state.lines.of_job(job.id, 0, 100)
        packed += [line.id for line in inside]
        assert job.phase == "packed"
        assert job.lines == len(inside) <= lines
        assert job.size <= size or job.lines == 1
        assert tokens is None or job.tokens <= tokens or job.lines == 1
        assert job.tokens == sum(line.tokens[Modality.TEXT] for line in inside)
    assert packed == list(range(1, len(sizes) + 1))
    state.file.close()


@settings(max_examples=40)
@given(
    SIZES.filter(lambda sizes: len(sizes) < 12),
    st.lists(st.sampled_from(["row", "error", "permanent", "missing"]), max_size=40),
    st.integers(1, 3),
)
def test_nothing_is_kept_longer_than_it_is_needed_and_nothing_shorter(
    sizes: list[tuple[int, int]], events: list[str], tries: int
) -> None:
    state = opened()
    add(state, sizes)
    coming = iter(events)
    for _ in range(len(events) + 1):
        state.jobs.pack(4, 1000, None, seal=True)
        for job in state.jobs.all("packed"):
            outcomes = []
            for line in state.lines.of_job(job.id, 0, 100):
                match next(coming, "missing"):
                    case "row":
                        outcomes.append(Outcome(line.id, np.ones(2, np.float32)))
                    case "error":
                        outcomes.append(Outcome(line.id, None, "an error"))
                    case "permanent":
                        outcomes.append(Outcome(line.id, None, "an error", permanent=True))
            usage = Usage(items=sum(one.row is not None for one in outcomes))
            state.lines.keep(outcomes, usage, tries=tries, job=job.id)
            state.jobs.end(job.id, "SUCCEEDED", "it's missing", tries=tries)
        counts = state.contents.counts()
        bodies = {row[0] for row in state.file.rows("SELECT line FROM bodies")}
        free = {row[0] for row in state.file.rows("SELECT id FROM lines WHERE status = 0")}
        used = {row[0] for row in state.file.rows("SELECT digest FROM line_media")}
        media = {row[0] for row in state.file.rows("SELECT digest FROM media")}
        assert bodies == free
        assert media == used
        assert len(free) == counts["lines"] - counts["done"] - counts["failed"]
        assert state.file.usage.items == counts["done"]
        settled, _ = state.contents.settled(0, 100)
        assert len(settled) == counts["done"] + counts["failed"]
    assert not free or tries > 1
    state.contents.forget([one.key for one in settled])
    assert state.contents.settled(0, 100)[0] == []
    assert state.file.rows("SELECT count(*) FROM vectors") == [(0,)]
    state.file.close()


@settings(max_examples=30)
@given(st.lists(st.sampled_from(["done", "failed", "at fault", "open"]), min_size=1, max_size=12))
def test_what_was_given_up_is_open_again_as_it_was_and_nothing_else_is(ends: list[str]) -> None:
    state = opened()
    contents = [
        NewContent(
            f"k{n}",
            f"d{n}",
            [(Line(f"line {n}", b"{}", 9, {Modality.TEXT: 2}, {f"m{n % 3}": b"m"}), 1.0)],
        )
        for n in range(len(ends))
    ]
    state.contents.add(contents)
    counted = state.contents.counts()
    state.jobs.pack(100, 10_000, None, seal=True)
    told = {
        "done": lambda n: Outcome(n, np.ones(2, np.float32)),
        "failed": lambda n: Outcome(n, None, "now"),
        "at fault": lambda n: Outcome(n, None, "always", permanent=True),
    }
    outcomes = [told[end](n) for n, end in enumerate(ends, 1) if end != "open"]
    state.lines.keep(outcomes, Usage(), tries=1, job=1)
    failed = {f"k{n}" for n, end in enumerate(ends) if end == "failed"}
    assert state.contents.given_up([one.key for one in contents]) == failed
    state.contents.try_again(contents)
    assert state.contents.given_up([one.key for one in contents]) == set()
    counts = state.contents.counts()
    assert counts == {**counted, "done": ends.count("done"), "failed": ends.count("at fault")}
    state.jobs.pack(100, 10_000, None, seal=True)
    again = {
        line.id
        for job in state.jobs.all("packed")[1:]
        for line in state.lines.of_job(job.id, 0, 99)
    }
    assert again == {n for n, end in enumerate(ends, 1) if end == "failed"}
    assert all(state.lines.media_of(n) == {f"m{(n - 1) % 3}": b"m"} for n in again)
    state.file.close()
