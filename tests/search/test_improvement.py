"""EHVI is the mean of what the package's own hypervolume gains, and behaves as a gain must."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tstitch_search.pareto import hypervolume
from tstitch_search.search.acquisition import expected_growth_by_moving, expected_hypervolume_improvement

REFERENCE = (10.0, 5.0)
numbers = st.floats(0, 12).map(lambda value: round(value, 3))
points = st.lists(st.tuples(numbers, numbers), max_size=8)


def ehvi(latency_s: float, mean: float, sd: float, front: list[tuple[float, float]]) -> float:
    known = np.array(front, dtype=float).reshape(-1, 2)
    return float(
        expected_hypervolume_improvement(np.array([latency_s]), np.array([mean]), np.array([sd]), known, REFERENCE)[0]
    )


def gain(front: list[tuple[float, float]], new: tuple[float, float]) -> float:
    return hypervolume([*front, new], REFERENCE) - hypervolume(front, REFERENCE)


@pytest.mark.parametrize("front", [[], [(2.0, 4.0), (4.0, 2.5), (7.0, 1.0)], [(1.0, 6.0), (3.0, 3.0), (5.0, 3.5)]])
@pytest.mark.parametrize(
    ("latency_s", "mean", "sd"), [(1.0, 4.5, 0.5), (3.0, 3.0, 1.0), (6.0, 1.5, 2.0), (9.5, 1, 0.1)]
)
def test_it_is_the_mean_gain_of_draws(front, latency_s, mean, sd):
    draws = np.random.default_rng(0).normal(mean, sd, 4000)
    gains = [gain(front, (latency_s, float(y))) for y in draws]
    tolerance = 4 * np.std(gains) / np.sqrt(len(gains)) + 1e-12
    assert ehvi(latency_s, mean, sd, front) == pytest.approx(np.mean(gains), abs=tolerance)


@given(points, numbers, numbers)
def test_without_uncertainty_it_is_the_gain_itself(front, latency_s, y):
    assert ehvi(latency_s, y, 0.0, front) == pytest.approx(gain(front, (latency_s, y)), abs=1e-9)


@given(points, numbers, numbers, st.floats(0, 3))
def test_it_is_never_negative_and_nothing_is_gained_beyond_the_longest_time(front, latency_s, mean, sd):
    value = ehvi(latency_s, mean, sd, front)
    assert value >= 0
    if latency_s >= REFERENCE[0]:
        assert value == 0


@given(points, numbers, numbers, st.floats(0, 3), st.floats(0.01, 3), st.floats(0.01, 3))
def test_it_grows_with_uncertainty_with_speed_and_with_quality(front, latency_s, mean, sd, more, better):
    value = ehvi(latency_s, mean, sd, front)
    assert ehvi(latency_s, mean, sd + more, front) >= value - 1e-9
    assert ehvi(latency_s - better, mean, sd, front) >= value - 1e-9
    assert ehvi(latency_s, mean - better, sd, front) >= value - 1e-9


def test_certainly_dominated_gains_nothing_and_an_uncertain_one_something():
    front = [(2.0, 2.0)]
    assert ehvi(3.0, 2.5, 0.0, front) == 0
    assert ehvi(3.0, 2.5, 1.0, front) > 0


def test_a_gain_counts_until_the_next_better_point_only():
    front = [(2.0, 4.0), (5.0, 1.0)]
    assert ehvi(3.0, 2.0, 0.0, front) == pytest.approx((5 - 3) * (4 - 2))


@given(seed=st.integers(0, 10**6), m=st.integers(1, 30))
def test_what_a_point_that_moves_adds_is_what_it_adds_to_the_others_less_what_it_adds_now(seed: int, m: int) -> None:
    """Also where points hide each other, tie, or lie beyond the reference."""
    rng = np.random.default_rng(seed)
    front = rng.integers(0, 12, (m, 2)) / 2.0 + 0.5
    sd = rng.random(m) * 2 + 0.01
    found = expected_growth_by_moving(front, sd, REFERENCE)
    for i, (x, y) in enumerate(front.tolist()):
        others = [tuple(p) for p in np.delete(front, i, axis=0).tolist()]
        expected = ehvi(x, y, sd[i], others) - gain(others, (x, y))
        assert found[i] == pytest.approx(max(expected, 0.0), abs=1e-9)


def test_many_candidates_are_answered_as_one_by_one():
    rng = np.random.default_rng(1)
    front = rng.random((6, 2)) * 5
    t, mean, sd = rng.random((3, 3000)) * 6
    values = expected_hypervolume_improvement(t, mean, sd, front, REFERENCE)
    alone = [ehvi(t[i], mean[i], sd[i], [tuple(p) for p in front]) for i in (0, 1023, 1024, 2999)]
    np.testing.assert_allclose(values[[0, 1023, 1024, 2999]], alone, rtol=1e-12, atol=1e-15)
