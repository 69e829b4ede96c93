"""The standard errors: equal to formulas where there are some, honest on Gaussians where there are none."""

from math import hypot, sqrt

import numpy as np
import pytest

from tstitch_search.quality.frechet import FrechetDistance
from tstitch_search.quality.jackknife import N_GROUPS, jackknife, jackknife_difference
from tstitch_search.quality.reference import Reference

D, N = 8, 200
DISTANCE = FrechetDistance(Reference(np.zeros(D), np.eye(D), None, None, ""))


def gaussians(seed: int, n: int = N) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, D))


def mean(features: np.ndarray) -> float:
    return float(features.mean())


def test_error_of_a_mean_with_single_images_left_out_is_the_textbook_formula():
    x = gaussians(0)[:, :1]
    value, error = jackknife(mean, x, n_groups=N)
    assert value == x.mean()
    assert error == pytest.approx(x.std(ddof=1) / sqrt(N))


def test_error_of_a_mean_with_blocks_left_out_is_that_of_the_block_means():
    x = gaussians(0)[:, :1]
    blocks = x.reshape(N_GROUPS, -1).mean(axis=1)
    assert jackknife(mean, x)[1] == pytest.approx(blocks.std(ddof=1) / sqrt(N_GROUPS))


def test_value_is_that_of_all_images_not_a_resampled_one():
    x = gaussians(0, n=N + 7)  # blocks of unequal size
    assert jackknife(DISTANCE, x)[0] == DISTANCE(x)


def test_constant_statistic_has_no_error():
    assert jackknife(lambda _: 3.0, gaussians(0)) == (3.0, 0.0)


def test_difference_of_identical_images_is_exactly_zero_without_error():
    assert jackknife_difference(DISTANCE, gaussians(0), gaussians(0)) == (0.0, 0.0)


def test_difference_has_the_sign_of_the_loss():
    better, worse = gaussians(0), gaussians(0) + 0.5
    assert jackknife_difference(DISTANCE, worse, better)[0] == DISTANCE(worse) - DISTANCE(better) > 0
    assert jackknife_difference(DISTANCE, better, worse)[0] < 0


def test_unequal_numbers_of_images_cannot_be_paired():
    with pytest.raises(ValueError, match="the same images: 200 against 199"):
        jackknife_difference(DISTANCE, gaussians(0), gaussians(0)[:-1])


def test_fewer_images_than_groups_are_refused_for_the_error_would_be_too_small():
    with pytest.raises(ValueError, match="20 groups need at least as many images, got 19"):
        jackknife(mean, gaussians(0, n=19))


def test_interval_covers_the_expected_fid_about_as_often_as_it_says():
    results = np.array([jackknife(DISTANCE, gaussians(seed)) for seed in range(200)])
    expected = np.mean([*results[:, 0], *(DISTANCE(gaussians(seed)) for seed in range(200, 1200))])
    covered = np.abs(results[:, 0] - expected) < 1.6449 * results[:, 1]
    assert 0.83 <= covered.mean() <= 0.99  # nominal: 0.90


def test_error_of_a_paired_difference_is_the_spread_over_repetitions():
    pairs = [(gaussians(seed), gaussians(seed) + 0.1 * gaussians(seed + 10_000) + 0.1) for seed in range(200)]
    differences, errors = np.array([jackknife_difference(DISTANCE, worse, better) for better, worse in pairs]).T
    assert 0.85 < np.sqrt((errors**2).mean()) / differences.std(ddof=1) < 1.25


def test_common_noise_makes_the_paired_error_much_smaller_than_the_unpaired_one():
    better = gaussians(0)
    worse = better + 0.1 * gaussians(1)
    paired = jackknife_difference(DISTANCE, worse, better)[1]
    unpaired = hypot(jackknife(DISTANCE, worse)[1], jackknife(DISTANCE, better)[1])
    assert paired < unpaired / 3
