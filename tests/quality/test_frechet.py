"""Our Fréchet distance is torch-fidelity's, and what both mean."""

import numpy as np
import pytest
import torch
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from tstitch_search.quality.frechet import BLOCK, FrechetDistance
from tstitch_search.quality.jackknife import jackknifed
from tstitch_search.quality.reference import Reference

D = 24


def reference_of(features: np.ndarray) -> Reference:
    return Reference(features.mean(axis=0), np.cov(features, rowvar=False), len(features), None, "")


def torch_fidelity_fid(features: np.ndarray, reference: Reference) -> float:
    """The published implementation, on the same features in float64."""
    statistics = fid_features_to_statistics(torch.from_numpy(features.astype(np.float64)))
    of_reference = {"mu": reference.mu, "sigma": reference.sigma}
    return float(fid_statistics_to_metric(statistics, of_reference, verbose=False)["frechet_inception_distance"])


def correlated(n: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """Features (n, D) with one covariance for all seeds."""
    mixing = np.random.default_rng(99).normal(size=(D, D)) / np.sqrt(D)
    return np.random.default_rng(seed).normal(size=(n, D)) @ mixing + shift


@pytest.mark.parametrize("n_reference", [8, D, 500], ids=["rank-deficient", "n = d", "full rank"])
@pytest.mark.parametrize("n", [2, D // 2, D, D + 1, 1000])
def test_equals_torch_fidelity_for_any_number_of_images(n, n_reference):
    reference, features = reference_of(correlated(n_reference, seed=1)), correlated(n, seed=2, shift=0.2)
    assert FrechetDistance(reference)(features) == pytest.approx(torch_fidelity_fid(features, reference), rel=1e-6)


def test_half_precision_storage_is_computed_in_double_precision():
    distance, features = FrechetDistance(reference_of(correlated(500, seed=1))), correlated(100, seed=2)
    single = features.astype(np.float32)
    assert distance(single) == distance(single.astype(np.float64))


def test_distance_between_gaussians_equals_the_closed_form():
    scales, deviations = np.array([1.0, 2.0, 3.0]), np.array([0.5, 2.0, 4.0])
    signs = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)]) * np.sqrt(7 / 8)  # covariance: 1
    reference = Reference(np.zeros(3), np.diag(scales**2), None, None, "")
    features = signs * deviations + [3.0, 0.0, 4.0]
    assert FrechetDistance(reference)(features) == pytest.approx(25 + ((scales - deviations) ** 2).sum())


def test_reference_images_themselves_have_no_distance():
    features = correlated(200, seed=1)
    assert FrechetDistance(reference_of(features))(features) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "worse", [lambda x: x + 1.0, lambda x: 2 * x, lambda x: 0.1 * x], ids=["shifted", "too varied", "too uniform"]
)
def test_clearly_worse_images_have_the_larger_distance(worse):
    distance, features = FrechetDistance(reference_of(correlated(500, seed=1))), correlated(500, seed=2)
    assert distance(worse(features)) > 2 * distance(features)


def test_fewer_images_of_the_same_kind_have_the_larger_distance():
    distance = FrechetDistance(reference_of(correlated(2000, seed=1)))
    few, many = (np.mean([distance(correlated(n, seed)) for seed in range(2, 12)]) for n in (50, 500))
    assert few > 2 * many  # why every FID carries its n


def test_order_of_the_images_does_not_matter():
    distance, features = FrechetDistance(reference_of(correlated(500, seed=1))), correlated(100, seed=2)
    assert distance(features[::-1]) == pytest.approx(distance(features), rel=1e-9)


def test_shift_of_all_images_needs_no_new_summary():
    distance, features = FrechetDistance(reference_of(correlated(500, seed=1))), correlated(100, seed=2)
    shift = np.linspace(-1.0, 1.0, D)
    assert distance.of(distance.summary(features).moved(shift)) == pytest.approx(distance(features + shift), rel=1e-9)


def test_many_images_are_summed_in_blocks_to_the_same_value():
    rng = np.random.default_rng(0)
    reference = Reference(np.zeros(6), np.diag(np.arange(1.0, 7.0)), None, None, "")
    features = (rng.normal(size=(3 * BLOCK + 17, 6)) * [1, 2, 1, 3, 1, 0.5] + 5).astype(np.float32)
    mean, sigma = features.mean(0, dtype=np.float64), np.cov(features.astype(np.float64), rowvar=False)
    root = np.sqrt(reference.sigma)
    expected = mean @ mean + np.trace(sigma + reference.sigma)
    expected -= 2 * np.sqrt(np.linalg.eigvalsh(root @ sigma @ root)).sum()
    assert FrechetDistance(reference)(features) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("n", "d", "rank"),
    [
        pytest.param(20, 30, 30, id="one image in each block"),
        pytest.param(307, 24, 24, id="blocks of unequal size"),
        pytest.param(300, 320, 320, id="fewer images than features"),
        pytest.param(700, 320, 320, id="more images than features"),
        pytest.param(700, 320, 300, id="features that depend on each other"),
        pytest.param(2100, 270, 270, id="large blocks"),
    ],
)
def test_all_values_with_a_block_left_out_from_one_eigenproblem_are_those_one_by_one(n, d, rank):
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(d, rank)) @ (np.exp(-np.arange(rank) / (rank / 4))[:, None] * rng.normal(size=(rank, d)))
    distance = FrechetDistance(reference_of(rng.normal(size=(3 * d, d)) @ mixing / d))
    features = ((1.1 * rng.normal(size=(n, d)) + 0.05) @ mixing / d).astype(np.float32)
    found = distance.jackknifed(features)
    one_by_one = jackknifed(lambda x: distance(x), features)
    assert found.value == pytest.approx(one_by_one.value, rel=1e-6)
    assert found.se == pytest.approx(one_by_one.se, rel=2e-3)
    assert np.abs(found.left_out - one_by_one.left_out).max() < 5e-3 * one_by_one.se
    assert np.abs(found.second - one_by_one.second).max() < 0.05 * one_by_one.se


def test_images_all_alike_have_a_value_and_no_error():
    distance = FrechetDistance(reference_of(correlated(500, seed=1)))
    found = distance.jackknifed(np.ones((40, D), dtype=np.float32))
    assert found.value == pytest.approx(distance(np.ones((40, D))))
    assert found.se == pytest.approx(0, abs=1e-9)
