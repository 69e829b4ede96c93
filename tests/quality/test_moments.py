"""Streamed mean and covariance are numpy's, however the rows are cut, and no more than a chunk is held."""

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tstitch_search.quality.moments import Moments, moments_of


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(1, 6), st.sampled_from([0.0, 1e6]), st.data())
def test_any_cut_gives_numpys_mean_and_covariance(sizes: list[int], d: int, offset: float, data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    rows = rng.normal(size=(sum(sizes) + 1, d)) * rng.uniform(0.1, 10, d) + offset
    found = moments_of(np.split(rows, np.cumsum(sizes)))
    expected = np.cov(rows, rowvar=False).reshape(d, d)
    assert found.n == len(rows)
    np.testing.assert_allclose(found.mean, rows.mean(axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.covariance, expected, rtol=1e-12 * (1 + offset), atol=1e-12 * expected.max())


def test_two_thousand_features_agree_to_twelve_digits() -> None:
    rows = np.random.default_rng(0).gamma(0.5, size=(3000, 300)).astype(np.float32)
    found, expected = moments_of(np.array_split(rows, 7)).covariance, np.cov(rows.astype(np.float64), rowvar=False)
    assert np.abs(found - expected).max() <= 1e-12 * np.abs(expected).max()


def test_parts_may_be_merged_in_any_grouping() -> None:
    a, b, c = (Moments.of(rows) for rows in np.split(np.random.default_rng(0).normal(size=(90, 5)), [10, 40]))
    left, right = a.merge(b).merge(c), a.merge(b.merge(c))
    np.testing.assert_allclose(left.covariance, right.covariance, rtol=1e-12)
    assert left.n == right.n == 90


def test_memory_does_not_grow_with_the_number_of_rows() -> None:
    def chunks(n: int) -> Iterator[np.ndarray]:
        return (np.random.default_rng(i).normal(size=(100, 64)).astype(np.float32) for i in range(n))

    def peak(n: int) -> int:
        tracemalloc.start()
        moments_of(chunks(n))
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    assert peak(100) < 1.5 * peak(10)


def test_one_row_has_no_covariance() -> None:
    with pytest.raises(ValueError, match="at least two rows"):
        _ = Moments.of(np.ones((1, 3))).covariance
