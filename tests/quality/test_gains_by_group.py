"""What choosing by group gains: found where it is planted, hardly ever where there is nothing."""

import numpy as np
import pytest

from tstitch_search.quality.groups import FEWEST, gains, measured_in_groups, surest
from tstitch_search.quality.jackknife import jackknifed_mean
from tstitch_search.quality.metrics import metric_named

GROUPS, ALLOCATIONS, N, N_STUDIES = 6, 5, 40, 1000
CHOICES = [(a, b) for a in range(ALLOCATIONS) for b in range(a)]


def study(rng: np.random.Generator, planted: float = 0.0):
    """Losses of allocations on common images; in group 0 the fastest allocation loses less by `planted`."""
    values = {}
    for group in range(GROUPS):
        common = rng.normal(size=N)
        own = common + 0.5 * rng.normal(size=(ALLOCATIONS, N))
        own[0] -= planted if group == 0 else 0.0
        values[str(group)] = {a: jackknifed_mean(own[a]) for a in range(ALLOCATIONS)}
    return gains(values, CHOICES, higher_is_better=False)


def test_where_all_are_equal_hardly_any_study_finds_a_gain() -> None:
    rng = np.random.default_rng(0)
    studies = [study(rng) for _ in range(N_STUDIES)]
    assert {len(found) for found in studies} == {GROUPS * len(CHOICES)}
    wrong = np.mean([any(g.low > 0 or g.high < 0 for g in found) for found in studies])
    assert 0.005 < wrong <= 0.05 + 3 * (0.05 * 0.95 / N_STUDIES) ** 0.5
    each_for_itself = np.mean([any(abs(g.gain) > 1.96 * g.se for g in found) for found in studies])
    assert each_for_itself > 0.5  # what the wider intervals are for


def test_a_planted_gain_is_found_in_its_group() -> None:
    rng = np.random.default_rng(1)
    found = [surest(study(rng, planted=0.8))[0] for _ in range(100)]
    assert np.mean([g.group == "0" and g.better == 0 and g.low > 0 for g in found]) > 0.95
    assert np.mean([g.low < 0.8 < g.high for g in found]) > 0.9


def test_a_gain_is_a_lower_loss_whichever_direction_is_better() -> None:
    rng = np.random.default_rng(2)
    a, b = jackknifed_mean(rng.normal(1, 0.1, 50)), jackknifed_mean(rng.normal(0, 0.1, 50))
    (lower,), (higher,) = (gains({"g": {"a": a, "b": b}}, [("a", "b")], up) for up in (False, True))
    assert lower.gain == pytest.approx(1, abs=0.1)
    assert higher.gain == -lower.gain
    assert lower.low < lower.gain < lower.high


def test_a_group_that_is_too_small_is_left_out() -> None:
    fid, psnr = metric_named("inception_score"), metric_named("psnr")
    groups = {"two": np.arange(2), "some": np.arange(FEWEST["pair"]), "many": np.arange(FEWEST["set"])}
    values = np.random.default_rng(3).normal(size=FEWEST["set"])
    assert set(measured_in_groups(psnr, psnr.bind(None), values, groups)) == {"some", "many"}
    logits = np.random.default_rng(4).normal(size=(FEWEST["set"], 10))
    assert set(measured_in_groups(fid, fid.bind(None), logits, groups)) == {"many"}
