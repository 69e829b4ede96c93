"""Looks planned in advance err together no more than once would, and cost little where one look would do."""

import numpy as np
import pytest
from scipy.special import ndtri

from tstitch_search.quality.sequential import images_needed, planned_looks, spent, thresholds

QUARTERS = (0.25, 0.5, 0.75, 1.0)


def test_the_thresholds_are_the_published_ones() -> None:
    """gsDesign(k = 4, test.type = 1, alpha = 0.025, sfu = sfLDOF) of R's gsDesign."""
    found = [-ndtri(p) for p in thresholds(0.025, QUARTERS)]
    assert found == pytest.approx([4.3326, 2.9631, 2.3590, 2.0141], abs=2e-4)
    assert thresholds(0.05, (1.0,))[0] == pytest.approx(0.05)
    assert spent(0.05, 1) == pytest.approx(0.05)


@pytest.mark.parametrize("shares", [QUARTERS, (0.1, 0.2, 1.0), (0.6, 0.8, 1.0)])
def test_all_looks_together_err_at_the_level(shares: tuple[float, ...]) -> None:
    n_paths, level = 200_000, 0.05
    steps = np.sqrt(np.diff((0.0, *shares)))
    paths = (np.random.default_rng(0).normal(size=(n_paths, len(shares))) * steps).cumsum(axis=1) / np.sqrt(shares)
    wrong = np.mean((paths > -ndtri(thresholds(level, shares))).any(axis=1))
    assert wrong == pytest.approx(level, abs=4 * (level * (1 - level) / n_paths) ** 0.5)
    each_for_itself = np.mean((paths > -ndtri(level)).any(axis=1))
    assert each_for_itself > 1.5 * level  # what the plan is for


def test_a_plan_ends_where_the_images_suffice_or_end() -> None:
    assert planned_looks(390, step=20, n_most=4000) == (100, 200, 300, 400)
    assert planned_looks(390, step=20, n_most=250) == (100, 200, 240)
    assert planned_looks(390, step=100, n_most=99) == ()
    assert images_needed(0.0, 0.02, 100, margin=0.05, level=0.05) == pytest.approx(100 * (2.926 * 0.4) ** 2, rel=1e-3)
    assert images_needed(0.05, 0.02, 100, margin=0.05, level=0.05) == np.inf
