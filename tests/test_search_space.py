"""The search space: exactly the allocations it promises, each once, and the baselines every study needs."""

import json
from math import comb
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tstitch_search.allocation import Allocation
from tstitch_search.config import SpaceConfig
from tstitch_search.errors import ConfigError
from tstitch_search.search_space import SearchSpace, compositions

PAPER = json.loads((Path(__file__).parent / "golden" / "tstitch_paper.json").read_text())
NAMES = ("S", "B", "L", "XL")


def small_first(n_denoisers: int, n_steps: int, grid_steps: int) -> SearchSpace:
    names = NAMES[:n_denoisers]
    return SearchSpace(names, (names,), n_steps, grid_steps)


def from_config(**fields: object) -> SearchSpace:
    denoisers = [{"name": name, "weights": "zoo:fashion/S"} for name in ("S", "B", "XL")]
    basis = {"name": "test", "family": "dit", "pipeline": "zoo:fashion", "denoisers": denoisers, "n_steps": 20}
    return SearchSpace.from_config(SpaceConfig.model_validate(basis | fields))


@pytest.mark.parametrize(
    ("n_denoisers", "n_steps", "grid_steps", "count"),
    [(1, 20, 1, 1), (2, 100, 1, 101), (3, 100, 10, 66), (3, 20, 2, 66), (3, 100, 1, 5151), (4, 100, 10, 286)],
)
def test_number_of_allocations_is_the_published_one(n_denoisers, n_steps, grid_steps, count):
    assert len(small_first(n_denoisers, n_steps, grid_steps)) == count


def test_three_denoisers_in_tenths_are_the_papers_66_allocations():
    assert len(from_config(grid=0.1)) == PAPER["three_models"]["n_allocations"]


@settings(deadline=None)
@given(st.integers(0, 12), st.integers(1, 4))
def test_enumeration_counts_what_the_binomial_says(total, n_parts):
    found = list(compositions(total, n_parts))
    assert len(found) == len(set(found)) == comb(total + n_parts - 1, n_parts - 1)
    assert all(sum(parts) == total and min(parts) >= 0 for parts in found)
    assert found == sorted(found)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 4), st.integers(1, 8), st.integers(1, 3))
def test_every_small_first_member_is_a_run_of_grid_steps_that_never_goes_back(n_denoisers, n_units, grid_steps):
    space = small_first(n_denoisers, n_units * grid_steps, grid_steps)
    assert len(set(space)) == len(space) == comb(n_units + n_denoisers - 1, n_denoisers - 1)
    for allocation in space:
        ranks = [NAMES.index(name) for name in allocation.by_step]
        assert len(ranks) == space.n_steps
        assert ranks == sorted(ranks)
        assert all(segment.n_steps % grid_steps == 0 for segment in allocation.segments)


def test_any_order_holds_each_allocation_once():
    space = from_config(orders="any", grid=0.25)
    # by how many denoisers take part: 3 singles, 3 * 2 ordered pairs of 3 splits, 6 orders of 3 splits
    assert len(space) == len(set(space)) == 3 + 6 * 3 + 6 * 3
    assert set(from_config(grid=0.25)) < set(space)


def test_explicit_orders_may_differ_in_length_and_repeat_a_denoiser():
    space = from_config(orders=[["S", "XL"], ["XL", "S"], ["S", "B", "S"]], grid=10)
    assert {str(a) for a in space} == {
        "S*20", "XL*20", "B*20", "S*10-XL*10", "XL*10-S*10", "S*10-B*10", "B*10-S*10",
    }  # fmt: skip


def test_membership_is_what_the_grid_and_the_orders_allow():
    space = small_first(3, 20, 2)
    assert Allocation.parse("S*8-L*12") in space
    assert Allocation.parse("S*7-L*13") not in space  # between two grid steps
    assert Allocation.parse("L*12-S*8") not in space  # another order
    assert Allocation.parse("S*8-L*10") not in space  # too short
    assert "S*8-L*12" not in space


def test_anchor_is_the_last_denoiser_alone():
    assert from_config().anchor == Allocation.parse("XL*20")
    assert small_first(1, 4, 1).anchor == Allocation.parse("S*4")


@pytest.mark.parametrize(
    ("n_denoisers", "n_steps", "grid_steps", "expected"),
    [
        (1, 10, 1, ["S*10"]),
        (2, 10, 1, ["S*10", "B*10", "S*4-B*6"]),
        (3, 20, 2, ["S*20", "B*20", "L*20", "S*8-L*12"]),
        (2, 4, 1, ["S*4", "B*4", "S*2-B*2"]),  # 40 % of 4 steps: 1.6, rounded as everywhere
        (2, 20, 5, ["S*20", "B*20"]),  # the grid does not hold 40 %
    ],
)
def test_baselines_are_the_denoisers_alone_and_the_papers_rule_where_the_grid_holds_it(
    n_denoisers, n_steps, grid_steps, expected
):
    space = small_first(n_denoisers, n_steps, grid_steps)
    assert [str(a) for a in space.baselines()] == expected


@pytest.mark.parametrize("orders", ["small_first", "any", [["S", "XL"], ["XL", "S"], ["S", "B", "XL"]]])
def test_baselines_are_members_whatever_the_orders(orders):
    space = from_config(orders=orders, grid=0.1)
    assert set(space.baselines()) <= set(space)
    assert space.anchor in space.baselines()


def test_denoiser_that_no_order_uses_is_refused_for_it_could_not_be_compared_with():
    with pytest.raises(ConfigError, match="orders leave out B, XL, expected every denoiser") as caught:
        from_config(orders=[["S"]])
    assert caught.value.hint
