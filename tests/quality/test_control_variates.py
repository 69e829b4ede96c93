"""Control variates: the level of many images from few, less noise, honest errors; plain FID where they cannot help."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from tstitch_search.quality.control_variates import ControlVariates, Estimate
from tstitch_search.quality.frechet import FrechetDistance
from tstitch_search.quality.jackknife import Jackknifed, jackknifed
from tstitch_search.quality.reference import Reference

D, N_FEW, N_MANY, N_REPEATS = 8, 100, 400, 200
DISTANCE = FrechetDistance(Reference(np.zeros(D), np.diag(np.linspace(0.5, 2.0, D)), None, None, ""))


def family(seed: int, d: int = D, n: int = N_MANY, own: float = 0.2) -> dict[str, np.ndarray]:
    """Features of images that three allocations make from the same noise, and `own` of their own.

    "mixed" lies between the baselines "small" and "large" and depends on the common noise in a nonlinear way, too.
    """
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(n, d))
    rest = rng.normal(size=(3, n, d))
    small = 1.15 * noise + own * rest[0] + 0.3
    large = noise + own * rest[1] + 0.15
    mixed = 0.5 * (small + large) + 0.15 * (noise**2 - 1) + 0.1 * rest[2]
    return {"small": small, "large": large, "mixed": mixed}


def controls(features: dict[str, np.ndarray], *names: str) -> ControlVariates:
    return ControlVariates(DISTANCE, {name: features[name] for name in names}, anchor=names[-1])


@cache
def repeated(*names: str) -> tuple[list[Estimate], np.ndarray]:
    """Estimates of "mixed" in all repetitions from the baselines `names`, and plain FID of the same few images."""
    families = [family(seed) for seed in range(N_REPEATS)]
    estimates = [controls(f, *names).estimate(f["mixed"][:N_FEW]) for f in families]
    return estimates, np.array([DISTANCE(f["mixed"][:N_FEW]) for f in families])


@cache
def expected_at_many() -> tuple[float, float]:
    """The expected FID of N_MANY images of "mixed" and of the anchor, from images that no estimate sees."""
    families = [family(seed) for seed in range(10_000, 12_000)]
    return tuple(float(np.mean([DISTANCE(f[name]) for f in families])) for name in ("mixed", "large"))


def fids(estimates: list[Estimate]) -> np.ndarray:
    return np.array([estimate.fid for estimate in estimates])


def spread(errors: np.ndarray) -> float:
    return float(np.sqrt((errors**2).mean()))


def test_level_is_that_of_many_images_not_of_the_few_that_are_there():
    estimates, plain = repeated("small", "large")
    bias, plain_bias = fids(estimates).mean() - expected_at_many()[0], plain.mean() - expected_at_many()[0]
    assert all(estimate.n_level == N_MANY and estimate.active for estimate in estimates)
    assert abs(bias) < plain_bias / 8
    assert abs(bias) < fids(estimates).std() / 4


def test_paired_difference_is_more_certain_than_with_shared_noise_alone():
    estimates, plain = repeated("small", "large")
    expected = expected_at_many()[0] - expected_at_many()[1]
    plain_anchor = np.array([DISTANCE(family(seed)["large"][:N_FEW]) for seed in range(N_REPEATS)])
    differences = np.array([estimate.difference for estimate in estimates])
    assert spread(differences - expected) < 2 / 3 * spread(plain - plain_anchor - expected)


def test_two_baselines_beat_either_alone():
    families = [family(seed, own=0.5) for seed in range(N_REPEATS)]
    both, small, large = (
        np.std([controls(f, *names).estimate(f["mixed"][:N_FEW]).fid for f in families])
        for names in [("small", "large"), ("small",), ("large",)]
    )
    assert both < 0.95 * min(small, large)


def test_intervals_cover_as_often_as_they_say():
    estimates, _ = repeated("small", "large")
    level, anchor = expected_at_many()
    covered = [
        (abs(e.fid - level) < 1.6449 * e.fid_se, abs(e.difference - (level - anchor)) < 1.6449 * e.difference_se)
        for e in estimates
    ]
    assert np.all((np.mean(covered, axis=0) > 0.85) & (np.mean(covered, axis=0) < 0.95))  # nominal: 0.90


def test_effective_number_of_images_has_the_certainty_that_is_claimed():
    estimates, plain = repeated("small", "large")
    claimed = np.median([estimate.effective_n for estimate in estimates])
    relative = fids(estimates).std() / fids(estimates).mean(), plain.std() / plain.mean()
    assert 0.7 < claimed / (N_FEW * (relative[1] / relative[0]) ** 2) < 1.4
    assert N_FEW < claimed <= N_MANY


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.7, 0.75, 0.9, 0.99])
def test_never_clearly_noisier_than_plain_fid(correlation):
    def fids_of(seed: int) -> tuple[float, float]:
        rng = np.random.default_rng(seed)
        baseline = rng.normal(size=(N_MANY, D))
        x = correlation * baseline + np.sqrt(1 - correlation**2) * rng.normal(size=baseline.shape) + 0.2
        few = x[:N_FEW]
        return ControlVariates(DISTANCE, {"large": baseline}, "large").estimate(few).fid, DISTANCE(few)

    estimated, plain = np.array([fids_of(seed) for seed in range(100)]).T
    assert estimated.std() < 1.05 * plain.std()


def jackknife_alone(values: np.ndarray) -> Jackknifed:
    """Without second differences, as control variates take it (decision 5)."""
    return replace(jackknifed(DISTANCE, values), second=np.empty(0))


def test_baselines_that_predict_nothing_are_not_used_and_plain_fid_is_reported():
    baselines, x = family(0), family(1)["mixed"][:N_FEW]
    estimate = controls(baselines, "small", "large").estimate(x)
    assert (estimate.active, estimate.n_level, estimate.effective_n) == (False, N_FEW, N_FEW)
    assert estimate.fid == pytest.approx(DISTANCE(x), rel=1e-12)
    here, there = (jackknife_alone(values) for values in (x, baselines["large"][:N_FEW]))
    assert estimate.fid_se == pytest.approx(here.se, rel=0.1)
    paired = here.minus(there)
    difference, difference_se = paired.value, paired.se
    assert estimate.difference == pytest.approx(difference, rel=1e-9)
    assert estimate.difference_se == pytest.approx(difference_se, rel=0.1)
    paired = np.log(DISTANCE(x) / DISTANCE(baselines["large"][:N_FEW]))
    assert estimate.log_fid == pytest.approx(paired + np.log(DISTANCE(baselines["large"])))


def test_log_of_an_active_estimate_is_that_of_its_level():
    features = family(0)
    estimate = controls(features, "small", "large").estimate(features["mixed"][:N_FEW])
    assert estimate.log_fid == pytest.approx(np.log(estimate.fid), rel=1e-12)
    expected_se = estimate.difference_se / estimate.fid  # about: the anchor's own relative error weighs differently
    assert estimate.log_fid_se == pytest.approx(expected_se, rel=0.5)


@pytest.mark.parametrize("n", [20, N_FEW, N_MANY])
def test_baseline_has_its_own_value_and_the_anchor_differs_from_itself_by_exactly_nothing(n):
    features = family(0)
    of = controls(features, "small", "large").estimate
    small, anchor = of(features["small"][:n]), of(features["large"][:n])
    assert small.fid == pytest.approx(DISTANCE(features["small"]), rel=1e-12)
    assert small.n_level == anchor.n_level == N_MANY
    assert (anchor.difference, anchor.difference_se, anchor.log_fid_se) == (0.0, 0.0, 0.0)
    assert anchor.log_fid == pytest.approx(np.log(DISTANCE(features["large"])), rel=1e-12)


def test_copy_of_a_baseline_with_other_images_beyond_n_has_the_baselines_value():
    features = family(0)
    nearly = features["large"][:N_FEW] * (1 + 1e-9)  # not recognised as the baseline
    estimate = controls(features, "small", "large").estimate(nearly)
    assert estimate.active
    assert estimate.fid == pytest.approx(DISTANCE(features["large"]), rel=1e-6)
    assert estimate.difference_se == pytest.approx(0, abs=1e-6)


def test_all_images_give_plain_fid():
    features = family(0)
    estimate = controls(features, "small", "large").estimate(features["mixed"])
    assert estimate.fid == pytest.approx(DISTANCE(features["mixed"]), rel=1e-12)
    assert (estimate.n_level, estimate.effective_n) == (N_MANY, N_MANY)


def test_fewer_images_than_features_do_no_harm():
    d, n, n_many = 60, 40, 160
    distance = FrechetDistance(Reference(np.zeros(d), np.eye(d), None, None, ""))

    def errors_of(seed: int) -> tuple[float, float]:
        features = family(seed, d, n_many)
        baselines = {name: features[name] for name in ("small", "large")}
        level = distance(features["mixed"])
        few = features["mixed"][:n]
        return ControlVariates(distance, baselines, "large").estimate(few).fid - level, distance(few) - level

    estimated, plain = np.array([errors_of(seed) for seed in range(40)]).T
    assert spread(estimated) < spread(plain) / 4
    assert estimated.std() < plain.std()


def test_single_precision_features_are_computed_in_double_precision():
    features = {name: values.astype(np.float32) for name, values in family(0).items()}
    doubles = {name: values.astype(np.float64) for name, values in features.items()}
    few, few_doubles = features["mixed"][:N_FEW], doubles["mixed"][:N_FEW]
    single, double = controls(features, "small", "large"), controls(doubles, "small", "large")
    assert single.estimate(few) == double.estimate(few_doubles)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros((N_MANY + 1, D)), "20 to 400 images, 8 each, got (401, 8)"),
        (np.zeros((19, D)), "20 to 400 images, 8 each, got (19, 8)"),
        (np.zeros((N_FEW, D + 1)), "8 each, got (100, 9)"),
        (np.zeros(D), "got (8,)"),
        (np.full((N_FEW, D), np.nan), "not finite"),
    ],
)
def test_features_that_cannot_be_paired_are_refused(features, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        controls(family(0), "small", "large").estimate(features)
    assert message in str(caught.value)


def test_baselines_that_do_not_fit_together_are_refused():
    features = family(0)
    with pytest.raises(ValueError, match="the anchor XL among the baselines, got small, large"):
        ControlVariates(DISTANCE, {"small": features["small"], "large": features["large"]}, "XL")
    with pytest.raises(ValueError, match="baseline large: expected finite features"):
        ControlVariates(DISTANCE, {"small": features["small"], "large": features["large"][1:]}, "large")
    with pytest.raises(ValueError, match="baseline large: expected finite features"):
        ControlVariates(DISTANCE, {"large": np.full((N_MANY, D), np.inf)}, "large")
