"""What may be called lossless: only a loss that is shown to be small."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tstitch_search.quality.estimate import QualityEstimate
from tstitch_search.quality.estimate import estimate as estimate_from
from tstitch_search.quality.frechet import FrechetDistance
from tstitch_search.quality.jackknife import jackknifed
from tstitch_search.quality.metrics.fid import FID
from tstitch_search.quality.reference import Reference

D, N = 8, 200
DISTANCE = FrechetDistance(Reference(np.zeros(D), np.eye(D), None, None, ""))
ANCHOR_FID = 10.0


def estimate_quality(features: np.ndarray, anchor: np.ndarray) -> QualityEstimate:
    return estimate_from(jackknifed(DISTANCE, features), jackknifed(DISTANCE, anchor), FID)


def estimate(difference: float, difference_se: float) -> QualityEstimate:
    """An entry against an anchor of FID 10: a margin of 2 % is 0.2."""
    return QualityEstimate(ANCHOR_FID + difference, 0.5, 500, difference, difference_se)


@pytest.mark.parametrize(
    ("difference", "difference_se", "lossless"),
    [
        (0.0, 0.01, True),
        (0.1, 0.01, True),  # a small loss, known well
        (-0.5, 0.3, True),  # a gain, known well enough
        (0.0, 0.2, False),  # no difference detected: the interval reaches 0.33
        (-0.5, 0.5, False),  # looks better, but may be worse
        (0.19, 0.01, False),  # below the margin, but not surely
        (0.3, 0.0, False),  # a loss
        (float("nan"), 0.1, False),
        (0.0, float("nan"), False),
    ],
)
def test_lossless_is_said_only_of_an_interval_wholly_below_the_margin(difference, difference_se, lossless):
    assert estimate(difference, difference_se).is_lossless(margin=0.02) is lossless


def test_margin_is_a_share_of_the_anchors_fid_not_of_the_entrys():
    worse = QualityEstimate(value=20.0, se=0.5, n_images=500, difference=10.0, difference_se=0.1)
    assert not worse.is_lossless(margin=1.0)  # 10.16 is more than 100 % of the anchor's 10, though not of 20
    assert worse.is_lossless(margin=1.1)


@given(st.floats(-5, 5), st.floats(0, 5), st.floats(0, 5), st.floats(0, 0.5))
def test_less_certainty_never_makes_an_entry_lossless(difference, se, more, margin):
    if estimate(difference, se + more).is_lossless(margin):
        assert estimate(difference, se).is_lossless(margin)


def test_one_sided_interval_leaves_out_five_percent():
    normal = np.random.default_rng(0).normal(size=200_000)
    assert np.mean(normal > estimate(0.0, 1.0).loss_upper_95) == pytest.approx(0.05, abs=0.002)


def test_loss_as_large_as_the_margin_is_called_lossless_about_once_in_twenty():
    shift = 0.05
    expected_anchor_fid = np.mean([DISTANCE(np.random.default_rng(s).normal(size=(N, D))) for s in range(1000, 2000)])
    margin = D * shift**2 / expected_anchor_fid  # the true loss of a shifted mean is its squared length

    def called_lossless(seed: int) -> bool:
        anchor = np.random.default_rng(seed).normal(size=(N, D))
        return estimate_quality(anchor + shift, anchor).is_lossless(margin)

    assert 0.01 <= np.mean([called_lossless(seed) for seed in range(200)]) <= 0.10


def test_estimate_holds_the_fid_of_its_images_and_the_difference_to_the_anchors():
    rng = np.random.default_rng(0)
    anchor = rng.normal(size=(N, D))
    features = anchor + 0.3
    quality = estimate_quality(features, anchor)
    assert quality.value == DISTANCE(features)
    assert quality.difference == pytest.approx(DISTANCE(features) - DISTANCE(anchor))
    assert quality.n_images == N
    assert quality.se > 0
    assert quality.difference_se > 0


def test_anchor_differs_from_itself_by_exactly_nothing():
    anchor = np.random.default_rng(0).normal(size=(N, D))
    quality = estimate_quality(anchor, anchor)
    assert (quality.difference, quality.difference_se) == (0.0, 0.0)
    assert quality.is_lossless(margin=0.01)


def test_a_gain_in_a_metric_where_higher_is_better_is_no_loss():
    better = QualityEstimate(0.8, 0.01, 500, 0.1, 0.01, higher_is_better=True)
    worse = QualityEstimate(0.6, 0.01, 500, -0.1, 0.01, higher_is_better=True)
    assert better.loss == -0.1
    assert better.is_lossless(margin=0.02)
    assert not worse.is_lossless(margin=0.02)
    assert worse.relative_loss == pytest.approx(1 / 7)


def test_difference_smaller_than_its_interval_is_none():
    assert not estimate(0.16, 0.1).differs
    assert estimate(-0.17, 0.1).differs
