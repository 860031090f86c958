"""Vector arithmetic: what truncation, normalization and averaging keep."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gemini2_core.model import Vectors, average, normalize, truncate

ROWS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(2, 40)),
    elements=st.floats(-10, 10, width=32).filter(lambda x: x == 0 or abs(x) > 1e-3),
)


@given(ROWS)
def test_rows_come_out_with_length_1_or_stay_zero(rows: Vectors) -> None:
    lengths = np.linalg.norm(normalize(rows), axis=1)
    zero = ~rows.any(axis=1)
    assert np.allclose(lengths[~zero], 1, atol=1e-6)
    assert (lengths[zero] == 0).all()


@given(ROWS, st.data())
def test_truncating_twice_is_truncating_once(rows: Vectors, data: st.DataObject) -> None:
    middle = data.draw(st.integers(1, rows.shape[1]))
    small = data.draw(st.integers(1, middle))
    direct, stepwise = truncate(rows, small), truncate(truncate(rows, middle), small)
    assert direct.shape == (len(rows), small)
    assert direct.dtype == np.float32
    # Numbers far smaller than the part that was cut lose bits on the way.
    assert np.allclose(direct, stepwise, atol=1e-4)


@given(ROWS)
def test_the_average_of_equal_rows_is_the_row(rows: Vectors) -> None:
    same = np.repeat(rows[:1], 3, axis=0)
    assert np.allclose(average(same, [1, 2, 5]), normalize(rows[:1]), atol=1e-6)


def test_a_weight_pulls_the_average() -> None:
    rows = np.eye(2, dtype=np.float32)
    assert average(rows, [3, 1])[0].tolist() == pytest.approx([0.9486833, 0.3162278])
    assert average(rows).shape == (1, 2)


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: truncate(np.ones((1, 8), np.float32), 9), "truncate"),
        (lambda: truncate(np.ones((1, 8), np.float32), 0), "truncate"),
        (lambda: normalize(np.ones(8, np.float32)), "shape"),
        (lambda: average(np.ones((0, 8), np.float32)), "n > 0"),
        (lambda: average(np.ones((2, 8), np.float32), [1.0]), "weights"),
        (lambda: average(np.ones((2, 8), np.float32), [1.0, 0.0]), "weights"),
    ],
)
def test_what_makes_no_sense_is_refused(call, word: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=word):
        call()
