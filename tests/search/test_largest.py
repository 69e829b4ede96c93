"""The largest value is found from bounds, and few values are worked out for it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tstitch_search.search.largest import AT_ONCE, largest


@given(seed=st.integers(0, 10**6), n=st.integers(1, 2000), slack=st.sampled_from([0.0, 0.01, 1.0, 100.0]))
def test_it_is_the_first_of_the_largest_whatever_the_bounds(seed: int, n: int, slack: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 50, n).astype(float)
    bounds = values + slack * rng.random(n)
    is_out = rng.random(n) < 0.3
    bounds[is_out] = -1.0
    found = largest(bounds, lambda rows: values[rows])
    if not is_out.all():
        assert found == np.argmax(np.where(is_out, -1.0, values))


def test_bounds_that_are_too_low_to_matter_are_left_alone() -> None:
    asked = list[int]()

    def values(rows: np.ndarray) -> np.ndarray:
        asked.extend(rows)
        return np.linspace(0, 1, 100_000)[rows]

    assert largest(1.001 * np.linspace(0, 1, 100_000), values) == 99_999
    assert len(asked) <= 2 * AT_ONCE


def test_values_that_differ_by_rounding_alone_are_equal() -> None:
    values = np.array([0.5, 1.0, 1.0 + 1e-15])
    assert largest(values.copy(), lambda rows: values[rows]) == 1
    assert largest(np.zeros(3), lambda rows: pytest.fail("zero needs no value")) == 0
