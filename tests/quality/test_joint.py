"""Verdicts that hold together: hardly ever is one of them wrong, however many are looked at."""

import numpy as np
import pytest

from tstitch_search.quality.estimate import QualityEstimate
from tstitch_search.quality.joint import errors_together, shown_together

MARGIN, N_TABLES = 0.05, 2000


def verdicts(losses: np.ndarray, seed: int, se: float = 0.02) -> set[int]:
    """Which entries of a table with these true losses are called lossless, on values with shared and own noise."""
    rng = np.random.default_rng(seed)
    shared, own = rng.normal(size=1), rng.normal(size=len(losses))
    seen = losses + se * (0.6 * shared + 0.8 * own)
    estimates = {i: QualityEstimate(1 + x, se, 100, x, se) for i, x in enumerate(seen)}
    return shown_together({i: q.p_of_loss(MARGIN) for i, q in estimates.items()})


def test_of_a_dozen_entries_on_the_margin_hardly_any_table_calls_one_lossless() -> None:
    wrong = np.mean([bool(verdicts(np.full(12, MARGIN), seed)) for seed in range(N_TABLES)])
    assert wrong <= 0.05 + 3 * (0.05 * 0.95 / N_TABLES) ** 0.5
    each_for_itself = np.mean(
        [bool((np.random.default_rng(s).normal(size=12) < -1.645).any()) for s in range(N_TABLES)]
    )
    assert each_for_itself > 0.3  # what the procedure is for


def test_intervals_that_hold_together_hardly_ever_miss_one() -> None:
    """A dozen values with noise in common, their spread known from 20 blocks."""
    rng = np.random.default_rng(0)
    shared, own = rng.normal(size=(N_TABLES, 20, 1)), rng.normal(size=(N_TABLES, 20, 12))
    blocks = 0.6 * shared + 0.8 * own
    off = np.abs(blocks.mean(axis=1)) / (blocks.std(axis=1, ddof=1) / 20**0.5)
    together, alone = (float((off < errors_together([19.0] * n)).all(axis=1).mean()) for n in (12, 1))
    assert together > 0.95 - 3 * (0.05 * 0.95 / N_TABLES) ** 0.5
    assert alone < 0.75  # each for itself


def test_planted_losses_are_told_apart() -> None:
    planted = np.array([0.0, 0.0, 0.2, 0.3])
    found = [verdicts(planted, seed, se=0.01) for seed in range(200)]
    assert all(f <= {0, 1} for f in found)
    assert np.mean([f == {0, 1} for f in found]) > 0.95


def test_the_procedure_is_holms() -> None:
    assert shown_together({"a": 0.01, "b": 0.02, "c": 0.04}) == {"a", "b", "c"}
    assert shown_together({"a": 0.01, "b": 0.03, "c": 0.04}) == {"a"}
    assert shown_together({"a": 0.02, "b": 0.03, "c": 0.04}) == set()
    assert shown_together({}) == set()


def test_without_an_error_nothing_is_shown() -> None:
    assert QualityEstimate(1.0, 0.0, 100, 0.0, 0.0).p_of_loss(MARGIN) == 1
    assert QualityEstimate(1.0, 0.01, 100, 0.0, 0.01).p_of_loss(0.01 * 1.6449) == pytest.approx(0.05, abs=1e-4)
