"""Points of members have the distances that were measured."""

import numpy as np
import pytest

from tstitch_search.search.positions import positions_of

NAMES = ("S", "B", "XL", "XL-free")


def distances(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - points[None], axis=2)


def test_distances_are_kept_up_to_one_scale():
    wanted = distances(np.random.default_rng(0).normal(size=(4, 3)))
    points = np.array([*positions_of(NAMES, wanted).values()])
    assert points.shape == (4, 3)
    ratio = distances(points)[np.triu_indices(4, 1)] / wanted[np.triu_indices(4, 1)]
    np.testing.assert_allclose(ratio, ratio[0], rtol=0.02)
    assert np.ptp(points, axis=0).max() == pytest.approx(1)


def test_members_all_alike_lie_in_one_place():
    assert set(positions_of(NAMES, np.zeros((4, 4))).values()) == {(0.0, 0.0, 0.0)}


def test_a_last_bit_changes_nothing():
    wanted = distances(np.random.default_rng(1).normal(size=(4, 3)))
    assert positions_of(NAMES, wanted) == positions_of(NAMES, wanted * (1 + 1e-9))


def test_two_members_are_a_line():
    points = positions_of(("S", "XL"), np.array([[0, 0.3], [0.3, 0]]))
    assert abs(points["S"][0] - points["XL"][0]) == 1
