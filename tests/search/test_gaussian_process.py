"""The posterior is the textbook's, the evidence is a normal density, and the fit finds what is there."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.stats import multivariate_normal

from tstitch_search.search.gaussian_process import (
    MEAN_SD,
    GaussianProcess,
    Observations,
    fit,
    log_evidence,
)
from tstitch_search.search.gaussian_process.hyperparameters import Hyperparameters

HYPER = Hyperparameters(variance=0.7, length_scales=(0.4, 1.3), noise_share=0.5)
RNG = np.random.default_rng(0)
NEW = RNG.random((7, 2))


def observations(n: int = 12, noise: float = 0.05, seed: int = 1) -> Observations:
    """A smooth surface over the unit square, seen with errors of two sizes."""
    rng = np.random.default_rng(seed)
    x, sd = rng.random((n, 2)), noise * np.where(np.arange(n) % 2, 1.0, 2.0)
    return Observations(x, surface(x) + sd * rng.normal(size=n), sd**2, np.arange(2))


def surface(x: np.ndarray) -> np.ndarray:
    return 3 + np.sin(3 * x[:, 0]) - 0.5 * x[:, 1] ** 2


def kernel(a: np.ndarray, b: np.ndarray, hyper: Hyperparameters) -> np.ndarray:
    """The prior covariance, written out point by point."""

    def one(p: np.ndarray, q: np.ndarray) -> float:
        r = np.sqrt(sum(((p[k] - q[k]) / hyper.length_scales[k]) ** 2 for k in range(len(p))))
        matern = (1 + np.sqrt(5) * r + 5 * r**2 / 3) * np.exp(-np.sqrt(5) * r)
        return float(hyper.variance * matern + MEAN_SD**2 * (1 + p @ q))

    return np.array([[one(p, q) for q in b] for p in a])


def test_posterior_is_that_of_the_joint_normal_distribution():
    seen = observations()
    process = GaussianProcess(seen, HYPER)
    y = (seen.y - seen.y.mean()) / seen.y.std()
    noise = HYPER.noise_share * seen.noise_variance / seen.y.var()
    known = np.linalg.inv(kernel(seen.x, seen.x, HYPER) + np.diag(noise))
    between = kernel(NEW, seen.x, HYPER)
    expected = kernel(NEW, NEW, HYPER) - between @ known @ between.T
    mean, sd = process.posterior(NEW)
    np.testing.assert_allclose(mean, seen.y.mean() + seen.y.std() * between @ known @ y, rtol=1e-5)
    np.testing.assert_allclose(process.covariance(NEW, NEW), seen.y.var() * expected, atol=1e-6)
    np.testing.assert_allclose(sd**2, np.diag(process.covariance(NEW, NEW)), atol=1e-9)


def test_evidence_is_the_density_of_the_observations():
    seen = observations()
    noise = HYPER.noise_share * seen.noise_variance / seen.y.var()
    y = (seen.y - seen.y.mean()) / seen.y.std()
    expected = multivariate_normal.logpdf(y, cov=kernel(seen.x, seen.x, HYPER) + np.diag(noise))
    assert log_evidence(seen, HYPER)[0] == pytest.approx(expected, rel=1e-5)


def test_gradient_of_the_evidence_is_its_slope():
    seen = replace(observations(), x=np.column_stack([observations().x, observations(seed=2).x[:, 0]]))
    seen = replace(seen, groups=np.array([0, 1, 1]))  # two columns share a length scale
    slope = approx_fprime(HYPER.logs, lambda logs: log_evidence(seen, Hyperparameters.of_logs(logs))[0], 1e-6)
    np.testing.assert_allclose(log_evidence(seen, HYPER)[1], slope, rtol=1e-3, atol=1e-4)


def test_exact_observations_are_reproduced_and_known():
    seen = observations(noise=0.0)
    mean, sd = GaussianProcess(seen, HYPER).posterior(seen.x)
    np.testing.assert_allclose(mean, seen.y, atol=1e-4)
    assert sd.max() < 1e-3 < GaussianProcess(seen, HYPER).posterior(NEW)[1].min()


def test_each_observation_counts_by_its_own_noise():
    exact = observations(noise=0.01)
    wrong = replace(exact, y=exact.y + np.eye(12)[3], noise_variance=exact.noise_variance + 1e6 * np.eye(12)[3])
    without = Observations(
        *(np.delete(part, 3, axis=0) for part in (exact.x, exact.y, exact.noise_variance)), exact.groups
    )
    believed, ignored = fit(wrong), fit(without)
    truth = surface(exact.x[[3]])
    assert abs(believed.posterior(exact.x[[3]])[0] - truth) < 0.3
    assert abs(believed.posterior(exact.x[[3]])[0] - ignored.posterior(exact.x[[3]])[0]) < 0.1


def test_believing_leaves_the_mean_and_shrinks_the_spread():
    process = fit(observations())
    mean, sd = process.posterior(NEW)
    mean_after, sd_after = process.believing(NEW[:2], noise_variance=0.05**2).posterior(NEW)
    np.testing.assert_allclose(mean_after, mean, atol=1e-6)
    assert np.all(sd_after <= sd + 1e-9)
    assert np.all(sd_after[:2] < 0.8 * sd[:2])
    assert process.believing(NEW[:0], 0.1) is process


def test_believing_is_having_observed_what_was_expected():
    process = fit(observations())
    x, noise = NEW[:3], 0.05**2
    believer = process.believing(x[:1], noise).believing(x[1:], noise)
    seen = process.seen
    observed = seen.with_more(x, process.mean(x), np.full(3, noise))
    expected = GaussianProcess(observed, process.hyper, process.widening).posterior(NEW)
    np.testing.assert_allclose(believer.posterior(NEW), expected, atol=1e-6)


@pytest.mark.parametrize("n", [12, 90])
def test_bounds_have_the_same_mean_and_are_never_surer_than_all_that_was_observed(n: int):
    process = fit(observations(n))
    x = np.random.default_rng(3).random((500, 2))
    (mean, sd), (same_mean, at_most) = process.posterior(x), process.bounds(x)
    np.testing.assert_allclose(same_mean, mean, rtol=1e-12)
    assert np.all(at_most >= sd * (1 - 1e-9))
    assert at_most.max() < 4 * sd.max()


def test_fit_predicts_a_smooth_surface_better_than_its_noise_and_knows_how_well():
    process = fit(observations(n=40, noise=0.05))
    new = np.random.default_rng(5).random((200, 2))
    mean, sd = process.posterior(new)
    errors = np.abs(mean - surface(new))
    assert np.sqrt(np.mean(errors**2)) < 0.06  # the noise: 0.08
    assert np.mean(errors < 2 * sd) > 0.85


def test_fit_follows_the_unit_of_y_and_repeats_itself():
    seen = observations()
    mean, sd = fit(seen).posterior(NEW)
    rescaled = replace(seen, y=5 - 10 * seen.y, noise_variance=100 * seen.noise_variance)
    mean_rescaled, sd_rescaled = fit(rescaled).posterior(NEW)
    np.testing.assert_allclose(mean_rescaled, 5 - 10 * mean, rtol=1e-3)
    np.testing.assert_allclose(sd_rescaled, 10 * sd, rtol=1e-2)
    assert np.array_equal(fit(seen).posterior(NEW)[0], mean)


def test_one_observation_or_equal_ones_are_no_problem():
    for n in (1, 3):
        process = fit(Observations(NEW[:n], np.full(n, 2.0), np.full(n, 0.01), np.arange(2)))
        mean, sd = process.posterior(NEW)
        assert np.all(np.isfinite(mean))
        assert np.all(sd >= 0)
        assert mean[0] == pytest.approx(2.0)


def test_large_sets_are_the_sum_of_their_blocks():
    process, many = fit(observations()), np.random.default_rng(3).random((3000, 2))
    mean, sd = process.posterior(many)
    mean_last, sd_last = process.posterior(many[-5:])
    np.testing.assert_allclose(mean[-5:], mean_last, rtol=1e-10)
    np.testing.assert_allclose(sd[-5:], sd_last, rtol=1e-7)
