"""Fragments: what they accept, what they refuse, and that writing one is reading it backwards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemini2_core.content.fragments import Fragment, parse_fragment
from gemini2_core.errors import InvalidInputError


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("page=3", Fragment("page", 3, 3)),
        ("page=3-5", Fragment("page", 3, 5)),
        ("page=3&zoom=50", Fragment("page", 3)),
        ("t=10,30", Fragment("t", 10, 30)),
        ("t=10", Fragment("t", 10)),
        ("t=,30", Fragment("t", 0, 30)),
        ("t=npt:10.5,30", Fragment("t", 10.5, 30)),
        ("t=npt%3A10,30", Fragment("t", 10, 30)),
        ("t=0:01:30,0:02:00", Fragment("t", 90, 120)),
        ("t=01:30,120", Fragment("t", 90, 120)),
        ("t=1,2&t=3,4", Fragment("t", 3, 4)),
    ],
)
def test_standard_fragments_are_read(text: str, fragment: Fragment) -> None:
    assert parse_fragment(text) == fragment


@pytest.mark.parametrize("text", ["", "section", "page", "t", "xywh=1,2,3,4", "title=5", "L10-L20"])
def test_fragments_about_something_else_are_none(text: str) -> None:
    assert parse_fragment(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "t=5,2",
        "t=5,5",
        "t=",
        "t=,",
        "t=5,",
        "t=-1,5",
        "t=nan",
        "t=inf",
        "t=1e5",
        "t=a,b",
        "t=99999999999",
        "t=0:61:00",
        "t=smpte:0:00:10",
        "t=1,2,3",
        "t=٣,٤",
        "page=0",
        "page=-1",
        "page=",
        "page=x",
        "page=5-3",
        "page=2-",
        "page=1.5",
        "page=" + "9" * 500,
        "page=1&t=2,3",
    ],
)
def test_nonsense_is_an_error(text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_fragment(text)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 1e300])
def test_numbers_that_are_no_time_or_page_are_refused_by_the_constructor(value: float) -> None:
    with pytest.raises(InvalidInputError):
        Fragment("t", value)
    with pytest.raises(InvalidInputError):
        Fragment("t", 0, value if value != -1.0 else 0)
    with pytest.raises(InvalidInputError):
        Fragment("page", value)


pages = st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)).map(sorted)
times = st.lists(st.integers(0, 10**13), min_size=2, max_size=2, unique=True).map(sorted)
fragments = st.one_of(
    pages.map(lambda p: Fragment("page", p[0], p[1])),
    times.map(lambda t: Fragment("t", t[0] / 1e6, t[1] / 1e6)),
    st.floats(0, 1e7).map(lambda t: Fragment("t", t)),
)


@given(fragments)
def test_parsing_is_the_inverse_of_str(fragment: Fragment) -> None:
    assert parse_fragment(str(fragment)) == fragment


@given(st.text(max_size=40).map("t=".__add__) | st.text("pagetn=:,.-0123456789&", max_size=30))
def test_any_text_is_a_fragment_or_none_or_a_clear_error(text: str) -> None:
    try:
        fragment = parse_fragment(text)
    except InvalidInputError:
        return
    assert fragment is None or parse_fragment(str(fragment)) == fragment
