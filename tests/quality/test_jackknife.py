"""The standard errors: equal to formulas where there are some, honest on Gaussians where there are none."""

from math import hypot, sqrt

import numpy as np
import pytest

from tstitch_search.quality.frechet import FrechetDistance
from tstitch_search.quality.jackknife import N_GROUPS, Jackknifed, jackknifed, jackknifed_mean
from tstitch_search.quality.reference import Reference

D, N = 8, 200
DISTANCE = FrechetDistance(Reference(np.zeros(D), np.eye(D), None, None, ""))


def gaussians(seed: int, n: int = N) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, D))


def mean(features: np.ndarray) -> float:
    return float(features.mean())


def difference(worse: np.ndarray, better: np.ndarray) -> tuple[float, float]:
    paired = jackknifed(DISTANCE, worse).minus(jackknifed(DISTANCE, better))
    return paired.value, paired.se


def test_error_of_a_mean_with_single_images_left_out_is_the_textbook_formula():
    x = gaussians(0)[:, :1]
    found = jackknifed(mean, x, n_groups=N)
    assert found.value == x.mean()
    assert found.se == pytest.approx(x.std(ddof=1) / sqrt(N))


def test_error_of_a_mean_does_not_count_how_labels_differ_where_they_cycle():
    cycle, labels = 10, np.arange(10.0)
    draws = [labels[np.arange(N) % cycle] + np.random.default_rng(seed).normal(size=N) for seed in range(400)]
    spread = np.std([x.mean() for x in draws], ddof=1)
    by_cycle, by_image = (
        np.sqrt(np.mean([jackknifed_mean(x, by).se ** 2 for x in draws])) / spread for by in (cycle, 1)
    )
    assert by_cycle == pytest.approx(1, abs=0.15)
    assert by_image > 2.5
    assert jackknifed_mean(draws[0][: N - 1], cycle).value == pytest.approx(draws[0][: N - 1].mean())
    few = draws[0][:190]  # of so few cycles the spread is not known
    assert jackknifed_mean(few, cycle).se == jackknifed_mean(few).se


def test_error_of_a_mean_with_blocks_left_out_is_that_of_the_block_means():
    x = gaussians(0)[:, :1]
    blocks = x.reshape(N_GROUPS, -1).mean(axis=1)
    assert jackknifed(mean, x).se == pytest.approx(blocks.std(ddof=1) / sqrt(N_GROUPS))


def test_error_of_a_statistic_that_is_all_curvature_is_not_the_jackknifes():
    """The squared length of a mean that is zero: the jackknife says twice its variance."""
    draws = (np.random.default_rng(seed).normal(size=(100, 60)) for seed in range(500))
    found = [jackknifed(lambda x: float((x.mean(axis=0) ** 2).sum()), x) for x in draws]
    spread = np.std([f.value for f in found], ddof=1)
    alone = [Jackknifed(f.value, f.left_out, f.n_images).se for f in found]
    assert np.sqrt(np.mean(np.square(alone))) / spread == pytest.approx(sqrt(2), rel=0.1)
    assert np.sqrt(np.mean([f.se**2 for f in found])) / spread == pytest.approx(1.05, abs=0.1)
    assert min(f.df for f in found) == pytest.approx((N_GROUPS - 1) / 4)


def test_second_differences_of_a_mean_are_none_and_take_nothing_off():
    found = jackknifed(mean, gaussians(0, n=N + 7))  # blocks of unequal size
    assert np.abs(found.second).max() < 1e-9
    assert found.df == pytest.approx(N_GROUPS - 1)


def test_second_differences_of_a_square_are_those_of_the_formula():
    """T = mean^2: Q_kl is 2 m_k m_l / (G - 2)."""
    x = gaussians(0)[:, :1]
    m = x.reshape(N_GROUPS, -1).mean(axis=1)
    g, total = N_GROUPS, m.sum()
    by_hand = [
        total**2 / g
        - ((total - m[k]) ** 2 + (total - m[k - g + 1]) ** 2) / (g - 1)
        + (total - m[k] - m[k - g + 1]) ** 2 / (g - 2)
        for k in range(g)
    ]
    assert jackknifed(lambda x: float(x.mean() ** 2), x).second.tolist() == pytest.approx(by_hand)


def test_value_is_that_of_all_images_not_a_resampled_one():
    x = gaussians(0, n=N + 7)  # blocks of unequal size
    assert jackknifed(DISTANCE, x).value == pytest.approx(DISTANCE(x), rel=1e-9)


def test_constant_statistic_has_no_error():
    assert jackknifed(lambda _: 3.0, gaussians(0)).se == 0.0


def test_difference_of_identical_images_is_exactly_zero_without_error():
    assert difference(gaussians(0), gaussians(0)) == (0.0, 0.0)


def test_difference_has_the_sign_of_the_loss():
    better, worse = gaussians(0), gaussians(0) + 0.5
    assert difference(worse, better)[0] == pytest.approx(DISTANCE(worse) - DISTANCE(better), rel=1e-9)
    assert difference(worse, better)[0] > 0
    assert difference(better, worse)[0] < 0


def test_unequal_numbers_of_images_cannot_be_paired():
    with pytest.raises(ValueError, match="the same images: 200 against 199"):
        difference(gaussians(0), gaussians(0)[:-1])


def test_fewer_images_than_groups_are_refused_for_the_error_would_be_too_small():
    with pytest.raises(ValueError, match="20 groups need at least as many images, got 19"):
        jackknifed(mean, gaussians(0, n=19))


# Nominal 90 % intervals; 1,000 replicates leave an error of 0.01 in a coverage of 0.9.
REPLICATES = 1000
LOWEST, HIGHEST = 0.85 - 0.02, 0.95


def test_interval_covers_the_expected_fid_about_as_often_as_it_says():
    found = [jackknifed(DISTANCE, gaussians(seed)) for seed in range(REPLICATES)]
    expected = np.mean([f.value for f in found])  # the mean over replicates: its own error is 1/30 of one interval
    covered = [abs(f.value - expected) < 1.6449 * f.se for f in found]
    assert LOWEST <= np.mean(covered) <= HIGHEST


def test_interval_of_a_paired_difference_covers_as_often_as_it_says():
    shift = 0.1

    def pair(seed: int) -> tuple[float, float]:
        better = gaussians(seed)
        return difference(better + 0.1 * gaussians(seed + 10_000) + shift, better)

    values, errors = np.array([pair(seed) for seed in range(REPLICATES)]).T
    covered = np.abs(values - values.mean()) < 1.6449 * errors
    assert LOWEST <= covered.mean() <= HIGHEST


def test_error_of_a_paired_difference_is_the_spread_over_repetitions():
    pairs = [(gaussians(seed), gaussians(seed) + 0.1 * gaussians(seed + 10_000) + 0.1) for seed in range(200)]
    differences, errors = np.array([difference(worse, better) for better, worse in pairs]).T
    assert 0.85 < np.sqrt((errors**2).mean()) / differences.std(ddof=1) < 1.15


def test_common_noise_makes_the_paired_error_much_smaller_than_the_unpaired_one():
    better = gaussians(0)
    worse = better + 0.1 * gaussians(1)
    unpaired = hypot(jackknifed(DISTANCE, worse).se, jackknifed(DISTANCE, better).se)
    assert difference(worse, better)[1] < unpaired / 3


def test_blocks_of_unequal_size_do_not_take_the_bias_for_noise():
    """FID of 50 images is biased upwards, and the more so without 3 of them than without 2."""
    wide = FrechetDistance(Reference(np.zeros(60), np.eye(60), None, None, ""))
    draws = [np.random.default_rng(seed).normal(size=(n, 60)) for n in (50, 60) for seed in range(60)]
    found = [wide.jackknifed(x) for x in draws]
    ratios = [
        np.mean([f.se for f in of_n]) / np.std([f.value for f in of_n], ddof=1) for of_n in (found[:60], found[60:])
    ]
    assert ratios[0] < 1.35 * ratios[1]
