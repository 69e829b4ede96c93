"""The search space: exactly the allocations it promises, each once, and the baselines every study needs."""

import json
import re
from itertools import pairwise, product
from math import comb
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tstitch_search.allocation import Allocation
from tstitch_search.config import SpaceConfig, allocation_in
from tstitch_search.errors import ConfigError
from tstitch_search.search_space import SearchSpace
from tstitch_search.space_size import MAX_ALLOCATIONS, MAX_LISTED, count_regular

PAPER = json.loads((Path(__file__).parent / "golden" / "tstitch_paper.json").read_text())
NAMES = ("S", "B", "L", "XL")


def small_first(n_denoisers: int, n_steps: int, grid_steps: int) -> SearchSpace:
    names = NAMES[:n_denoisers]
    return SearchSpace(names, (names,), n_steps, grid_steps)


def from_config(**fields: object) -> SearchSpace:
    denoisers = [{"name": name} for name in ("S", "B", "XL")]
    basis = {"name": "test", "denoisers": denoisers, "n_steps": 20, "fewer_steps": []}
    return SearchSpace.from_config(SpaceConfig.model_validate(basis | fields))


@pytest.mark.parametrize(
    ("n_denoisers", "n_steps", "grid_steps", "count"),
    [(1, 20, 1, 1), (2, 100, 1, 101), (3, 100, 10, 66), (3, 20, 2, 66), (3, 100, 1, 5151), (4, 100, 10, 286)],
)
def test_number_of_allocations_is_the_published_one(n_denoisers, n_steps, grid_steps, count):
    space = small_first(n_denoisers, n_steps, grid_steps)
    assert len(space.allocations) == count + len(space.extras)


def test_three_denoisers_in_tenths_are_the_papers_66_allocations():
    assert len(from_config(grid=0.1)) == PAPER["three_models"]["n_allocations"]


@settings(max_examples=30)
@given(st.integers(1, 4), st.integers(1, 8), st.integers(1, 3))
def test_every_small_first_member_is_a_run_of_grid_steps_that_never_goes_back(n_denoisers, n_units, grid_steps):
    space = small_first(n_denoisers, n_units * grid_steps, grid_steps)
    regular = [a for a in space if a not in space.extras]
    assert len(set(space)) == len(space)
    assert len(regular) == comb(n_units + n_denoisers - 1, n_denoisers - 1)
    for allocation in regular:
        ranks = [NAMES.index(name) for name in allocation.by_step]
        assert len(ranks) == space.n_steps
        assert ranks == sorted(ranks)
        assert all(segment.n_steps % grid_steps == 0 for segment in allocation.segments)


def test_any_order_holds_each_allocation_once():
    space = from_config(orders="any", grid=0.25)
    # by how many denoisers take part: 3 singles, 3 * 2 ordered pairs of 3 splits, 6 orders of 3 splits
    assert len(space) == len(set(space)) == 3 + 6 * 3 + 6 * 3 + 1
    assert set(from_config(grid=0.25)) < set(space)


def test_explicit_orders_may_differ_in_length_and_repeat_a_denoiser():
    space = from_config(orders=[["S", "XL"], ["XL", "S"], ["S", "B", "S"]], grid=10)
    assert {str(a) for a in space} == {
        "S*20", "XL*20", "B*20", "S*10-XL*10", "XL*10-S*10", "S*10-B*10", "B*10-S*10", "S*8-XL*12",
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
        (2, 20, 5, ["S*20", "B*20", "S*8-B*12"]),  # exactly 40 %, though between two points of the grid
    ],
)
def test_baselines_are_the_denoisers_alone_and_the_papers_rule_whatever_the_grid(
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


# -- sampling profiles


def test_a_profile_adds_the_allocations_of_its_members_and_its_steps_by_the_same_orders() -> None:
    plain = from_config(grid=5)
    fast = {"n_steps": [4, 2], "scheduler": {"timestep_spacing": "trailing"}, "denoisers": ["S", "XL"]}
    space = from_config(grid=5, profiles={"fast": fast})
    added = [a for a in space if a.profile]
    assert [a for a in space if not a.profile] == list(plain)
    assert {str(a) for a in added} == {
        *("S*4@fast", "XL*4@fast", "S*1-XL*3@fast", "S*2-XL*2@fast", "S*3-XL*1@fast"),
        *("S*2@fast", "XL*2@fast", "S*1-XL*1@fast"),
    }
    assert len(space) == len(plain) + 8 == space.n_regular + len(space.extras)
    assert [space.baseline_names[a] for a in space.baselines() if a.profile] == ["S, fast", "XL, fast"]
    assert Allocation.parse("B*4@fast") not in space
    assert Allocation.parse("S*1-XL*3@other") not in space


@pytest.mark.parametrize("orders", ["small_first", "any", [["S", "XL"], ["XL", "S", "B"]]])
@pytest.mark.parametrize("max_switches", [None, 2])
def test_profiles_are_counted_without_enumerating_them(orders: object, max_switches: int | None) -> None:
    if max_switches is not None and orders != "any":
        return
    profiles = {"fast": {"n_steps": [5, 3], "denoisers": ["B", "XL"]}, "all": {"n_steps": 4}}
    space = from_config(grid=2, orders=orders, max_switches=max_switches, fewer_steps=[], profiles=profiles)
    if space.n_regular is not None:
        assert space.n_regular == len([a for a in space.allocations if a not in space.extras])
    assert all(a in space for a in space)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("S*4@slow", "unknown profile 'slow', the search space has the profiles fast"),
        ("S*3@fast", "has 3 steps, its profile has 4 or 2"),
        ("B*4@fast", "'B' takes no part in the profile, but S, XL"),
    ],
)
def test_an_allocation_outside_its_profile_is_refused_by_name(text: str, message: str) -> None:
    fields = {"name": "test", "denoisers": [{"name": name} for name in ("S", "B", "XL")], "n_steps": 20}
    fast = {"n_steps": [4, 2], "denoisers": ["S", "XL"]}
    config = SpaceConfig.model_validate({**fields, "profiles": {"fast": fast}})
    assert str(allocation_in(config, "S*1-XL*3@fast")) == "S*1-XL*3@fast"
    with pytest.raises(ConfigError, match=re.escape(message)):
        allocation_in(config, text)


# -- several step counts


def counted(**fields: object) -> dict[int, int]:
    """How many regular allocations the space of config has, by number of steps."""
    space = from_config(**fields)
    return {
        n: len([a for a in space if a.n_steps == n and a not in space.extras])
        for n in sorted({a.n_steps for a in space})
    }


def test_a_list_of_step_counts_is_the_union_of_their_spaces() -> None:
    counts = counted(n_steps=[10, 20, 14], grid=1, fewer_steps=[])
    assert counts == {n: comb(n + 2, 2) for n in (10, 14, 20)}
    assert from_config(n_steps=[10, 20, 14]).anchor == Allocation.parse("XL*20")


@pytest.mark.parametrize("grid", [0.1, 2])
def test_fewer_steps_are_cut_at_the_same_shares_rounded_to_whole_steps_or_at_every_step(grid: float) -> None:
    space = from_config(n_steps=[20, 12, 8], grid=grid)
    assert space.cuts(20) == tuple(range(0, 21, 2))
    assert space.cuts(12) == (0, 1, 2, 4, 5, 6, 7, 8, 10, 11, 12)
    assert space.cuts(8) == tuple(range(9))


@given(st.integers(1, 60), st.integers(1, 12), st.integers(1, 60))
def test_cuts_are_within_half_a_step_of_their_share_and_never_repeat(n_units: int, grid_steps: int, n: int) -> None:
    space = small_first(2, n_units * grid_steps, grid_steps)
    cuts = space.cuts(n)
    assert (cuts[0], cuts[-1]) == (0, n)
    assert all(a < b for a, b in pairwise(cuts))
    assert len(cuts) - 1 == min(n, n_units)
    assert all(abs(cut - k * n / (len(cuts) - 1)) <= 0.5 for k, cut in enumerate(cuts))


def test_the_largest_at_each_step_count_and_the_fastest_of_all_are_baselines() -> None:
    names = from_config(n_steps=[20, 12, 8], fewer_steps=None).baseline_names
    assert {str(a): name for a, name in names.items()} == {
        "S*20": "S alone",
        "B*20": "B alone",
        "XL*20": "XL alone",
        "S*8-XL*12": "40 % rule",
        "XL*12": "XL, 12 steps",
        "XL*8": "XL, 8 steps",
        "S*8": "S, 8 steps",
    }


# -- baselines


@pytest.mark.parametrize(
    ("given_steps", "expected"),
    [(None, [10, 15, 5]), ([], []), ([7], [7]), (["50%", 3], [10, 3]), ([0.01, 0.99, 1], [1])],
)
def test_fewer_steps_of_the_largest_are_baselines_in_whole_steps(given_steps: object, expected: list[int]) -> None:
    space = from_config(grid=0.1, fewer_steps=given_steps)
    assert space.fewer_steps == tuple(expected)
    assert [str(a) for a in space.extras] == [f"XL*{n}" for n in expected]


def test_few_steps_have_few_baselines_with_fewer() -> None:
    assert from_config(n_steps=1, fewer_steps=None).fewer_steps == ()
    assert from_config(n_steps=2, fewer_steps=None).fewer_steps == (1,)


def test_rules_of_table_7_are_baselines_on_request_and_give_each_one_half() -> None:
    rules = ["interleaving", "decreasing_probability", "large_to_small"]
    space = from_config(grid=0.1, baselines=rules)
    found = {space.baseline_names[a]: a for a in space.extras}
    assert list(found) == ["interleaving", "decreasing probability", "large to small"]
    assert {tuple(sorted(a.steps.items())) for a in found.values()} == {(("S", 10), ("XL", 10))}
    assert str(found["large to small"]) == "XL*10-S*10"
    assert found["interleaving"].by_step == ("S", "XL") * 10
    drawn = found["decreasing probability"].by_step
    assert drawn[:10].count("S") > drawn[10:].count("S")
    assert found["decreasing probability"] in from_config(grid=0.1, baselines=rules)  # the same draw again


TWINS = [
    {"name": "S", "weights": "s"},
    {"name": "XL-free", "of": "XL", "guidance_scale": 1},
    {"name": "XL-fast", "of": "XL", "guidance_scale": 1, "lora": [{"weights": "fast"}]},
    {"name": "XL-dc", "of": "XL", "accelerator": "deepcache3"},
    {"name": "XL-fbc", "of": "XL", "accelerator": {"first_block": {}}},
    {"name": "XL", "weights": "xl"},
]


def test_members_of_the_largest_ones_weights_are_called_by_what_they_have_beside_it() -> None:
    names = from_config(denoisers=TWINS, orders="any", max_switches=2).baseline_names
    assert [names[Allocation.of([(d["name"], 20)])] for d in TWINS] == [
        "S alone",
        "no guidance for all steps",
        "LoRA for all steps",
        "cache for all steps, XL-dc",
        "cache for all steps, XL-fbc",
        "XL alone",
    ]


def test_a_guidance_interval_and_fewer_steps_of_each_are_baselines_on_request() -> None:
    asked = {"denoisers": TWINS, "orders": "any", "max_switches": 1, "fewer_steps": [10]}
    plain = from_config(**asked).baseline_names
    more = from_config(**asked, baselines=["guidance_interval", "fewer_steps_each"]).baseline_names
    assert {str(a): name for a, name in more.items() if a not in plain} == {
        "XL-free*6-XL*8-XL-free*6": "guidance interval",
        "XL-free*10": "XL-free, 10 steps",
        "XL-fast*10": "XL-fast, 10 steps",
        "XL-dc*10": "XL-dc, 10 steps",
        "XL-fbc*10": "XL-fbc, 10 steps",
    }
    with pytest.raises(ValidationError, match="got guidance_interval, expected a denoiser `of` the largest with"):
        from_config(baselines=["guidance_interval"])


def test_baselines_come_last_and_once_where_grid_and_orders_hold_them_too() -> None:
    space = from_config(grid=10, fewer_steps=[10], baselines=["large_to_small"], orders=[["S", "B", "XL"], ["XL", "S"]])
    assert [str(a) for a in space][-2:] == ["S*8-XL*12", "XL*10"]
    assert [str(a) for a in space].count("XL*10-S*10") == 1


# -- any sequence


@settings(max_examples=40)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(2, 7))
def test_any_sequence_with_few_switches_is_there_once_and_no_other(k: int, switches: int, n_steps: int) -> None:
    """Against the plain definition: all ways to give every step to one of the denoisers."""
    space = SearchSpace(NAMES[:k], (), n_steps, 1, max_switches=switches)
    every = {Allocation.of((name, 1) for name in who) for who in product(NAMES[:k], repeat=n_steps)}
    expected = {a for a in every if len(a.segments) <= switches + 1}
    assert set(space) == expected | set(space.baselines())
    assert len(space) == len(set(space))
    assert {a for a in every if a in space} == set(space)


def test_sandwiches_and_large_first_need_switches_and_no_listed_order() -> None:
    space = from_config(orders="any", max_switches=2, grid=0.1)
    assert {"XL*10-S*10", "S*4-XL*12-S*4", "B*2-S*2-B*16"} <= {str(a) for a in space}
    assert "S*4-XL*4-S*4-XL*8" not in {str(a) for a in space}


@pytest.mark.parametrize(
    "fields",
    [
        {"grid": 0.1},
        {"grid": 1, "orders": "any"},
        {"grid": 0.25, "orders": "any", "max_switches": 3},
        {"n_steps": 7, "orders": "any", "max_switches": 5},
    ],
)
def test_the_count_without_enumeration_is_the_number_of_regular_allocations(fields: dict[str, object]) -> None:
    space = from_config(**fields)
    denoisers = [{"name": name} for name in ("S", "B", "XL")]
    config = SpaceConfig.model_validate({"name": "x", "denoisers": denoisers, "n_steps": 20} | fields)
    assert count_regular(config, space.n_steps // space.grid_steps) == len(space) - len(space.extras)


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"n_steps": 100, "grid": 1, "orders": "any", "max_switches": 4}, "184,513,233"),
        ({"n_steps": 1000, "grid": 1, "orders": [["S", "B", "XL"]] * 4}, "up to 2,006,004"),
    ],
)
def test_a_space_that_is_too_large_is_refused_with_its_size_before_it_is_built(
    fields: dict[str, object], size: str
) -> None:
    limit = MAX_LISTED if isinstance(fields.get("orders"), list) else MAX_ALLOCATIONS
    with pytest.raises(ConfigError, match=f"test: {size} allocations, expected at most {limit:,}") as caught:
        from_config(**fields)
    assert "max_switches" in caught.value.hint
