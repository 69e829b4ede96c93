"""Coordinates tell allocations apart, mean what they say, and put like beside like."""

import numpy as np
import pytest
from search.studies import ALONE, ANY_ORDER, MANY

from tstitch_search.allocation import Allocation
from tstitch_search.search.embedding import MAX_POINTS, Embedding, positions_in_order
from tstitch_search.search_space import SearchSpace

SANDWICH = SearchSpace(("S", "XL"), (("S", "XL", "S"), ("XL", "S", "XL")), 12, 3)


def coordinates(denoisers: tuple[str, ...], *texts: str, n_points: int = 1) -> np.ndarray:
    return Embedding(positions_in_order(denoisers), n_points).of([Allocation.parse(text) for text in texts])


def test_small_first_with_three_members_has_the_two_cut_points_as_fractions():
    embedding = Embedding.for_set(MANY.denoisers, MANY.allocations)
    assert embedding.n_points == 1
    cut_points = [
        (a.steps.get("S", 0) / 20, (a.steps.get("S", 0) + a.steps.get("B", 0)) / 20) for a in MANY.allocations
    ]
    np.testing.assert_allclose(embedding.of(MANY.allocations), cut_points, atol=1e-12)


@pytest.mark.parametrize("space", [MANY, ANY_ORDER, SANDWICH, ALONE])
def test_no_two_allocations_share_their_coordinates(space):
    rows = Embedding.for_set(space.denoisers, space.allocations).of(space.allocations)
    assert len({tuple(row) for row in rows.round(9)}) == len(space)


def test_curves_are_read_along_the_trajectory():
    """XL first: no step is S's at the half, a quarter of all at the end."""
    end, half = coordinates(("S", "XL"), "XL*6-S*2", n_points=2)[0]
    assert (end, half) == (0.25, 0)
    end, half = coordinates(("S", "XL"), "S*2-XL*6", n_points=2)[0]
    assert (end, half) == (0.25, 0.25)


def test_same_shares_in_another_order_differ_on_the_way_only():
    one, other = coordinates(("S", "B", "XL"), "S*2-XL*4-B*2", "B*2-S*2-XL*4", n_points=4)
    np.testing.assert_array_equal(one[:2], other[:2])
    assert np.abs(one[2:] - other[2:]).max() > 0.1


def test_each_profile_gets_a_column_and_a_length_scale_of_its_own():
    texts = ("S*2-XL*2", "S*2-XL*2@fast", "S*2-XL*2@slow")
    found = [Allocation.parse(text) for text in texts]
    embedding = Embedding.for_set(("S", "XL"), found)
    np.testing.assert_array_equal(embedding.of(found), [[0.5, 0, 0], [0.5, 1, 0], [0.5, 0, 1]])
    assert embedding.groups.tolist() == [0, 1, 2]


def test_several_step_counts_get_a_column_of_their_own():
    both = [Allocation.parse(text) for text in ("S*5-XL*5", "S*10-XL*10")]
    embedding = Embedding.for_set(("S", "XL"), both)
    np.testing.assert_allclose(embedding.of(both), [[0.5, np.log(0.5)], [0.5, 0]])
    assert list(embedding.groups) == [0, 1]


def test_what_cannot_be_told_apart_ends_at_the_finest_reading():
    alike = [Allocation.parse(text) for text in ("S*1-B*1-XL*98", "B*1-S*1-XL*98")]
    assert Embedding.for_set(("S", "B", "XL"), alike).n_points == MAX_POINTS


def test_points_on_the_way_share_one_length_scale_per_curve():
    embedding = Embedding(positions_in_order(("S", "B", "XL")), 4)
    assert list(embedding.groups) == [0, 1, 2, 2, 2, 3, 3, 3]
    assert embedding.of([Allocation.parse("S*4-XL*4")]).shape == (1, 8)


def test_members_alike_make_allocations_alike():
    """Where B lies on XL, it does not matter which of the two takes the late steps."""
    positions = {"S": (0.0, 0.5), "B": (1.0, 0.5), "XL": (1.0, 0.5)}
    rows = Embedding(positions, 4).of([Allocation.parse(text) for text in ("S*4-B*4", "S*4-XL*4", "B*8", "S*8")])
    np.testing.assert_array_equal(rows[0], rows[1])
    assert np.linalg.norm(rows[2] - rows[0]) < np.linalg.norm(rows[3] - rows[2])


def test_the_order_of_the_list_is_no_property_of_measured_members():
    positions = {"S": (0.0, 0.2), "B": (0.7, 0.0), "XL": (1.0, 0.1)}
    turned = dict(reversed(positions.items()))
    np.testing.assert_allclose(
        Embedding(positions, 4).of(ANY_ORDER_OF_THREE), Embedding(turned, 4).of(ANY_ORDER_OF_THREE), atol=1e-12
    )


ANY_ORDER_OF_THREE = SearchSpace(("S", "B", "XL"), (), 12, 3, max_switches=2).allocations
