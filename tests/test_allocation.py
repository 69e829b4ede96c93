"""The allocation: every way to write it means one thing, and fractions become steps by one stated rule."""

import json
from fractions import Fraction
from itertools import combinations_with_replacement, pairwise
from math import floor
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tstitch_search.allocation import Allocation, Segment, steps_from_fractions
from tstitch_search.errors import ConfigError

PAPER = json.loads((Path(__file__).parent / "golden" / "tstitch_paper.json").read_text())

names = st.sampled_from(["S", "B", "XL", "XL+deepcache3", "s_1.5"])
parts = st.lists(st.tuples(names, st.integers(0, 30)), max_size=6)
allocations = parts.filter(lambda p: any(n for _, n in p)).map(Allocation.of)
shares = st.lists(st.integers(0, 50), min_size=1, max_size=5).filter(any)


def as_fractions(counts: list[int]) -> dict[str, float]:
    """`counts` as named fractions, listed from the noise end."""
    return {f"d{k}": n / sum(counts) for k, n in enumerate(counts)}


@given(allocations)
def test_text_form_means_the_same_allocation(allocation):
    assert Allocation.parse(str(allocation)) == allocation


def test_parse_ignores_spaces_around_segments():
    assert Allocation.parse(" S*8 - XL*12 ") == Allocation((Segment("S", 8), Segment("XL", 12)))


@given(allocations)
def test_text_form_may_say_the_sum_of_the_steps(allocation):
    assert Allocation.parse(f"{allocation}@{allocation.n_steps}") == allocation
    with pytest.raises(
        ConfigError, match=rf"says {allocation.n_steps + 1} steps in all, but its segments have"
    ) as caught:
        Allocation.parse(f"{allocation}@{allocation.n_steps + 1}")
    assert f"@{allocation.n_steps}, or leave the @ out" in caught.value.hint


@given(allocations, st.sampled_from(["lightning", "hyper-sd_1.5"]))
def test_a_profile_is_part_of_the_allocation_and_of_its_text(allocation, profile):
    profiled = Allocation(allocation.segments, profile)
    assert Allocation.parse(f"{allocation} @ {profile}") == Allocation.parse(str(profiled)) == profiled != allocation
    assert profiled.by_step == allocation.by_step
    assert sorted([profiled, allocation]) == [allocation, profiled]


def test_a_profile_that_would_read_as_the_sum_of_steps_is_refused():
    with pytest.raises(ConfigError, match="'20' is not a profile name"):
        Allocation((Segment("S", 20),), "20")


@given(parts.filter(lambda p: any(n for _, n in p)))
def test_steps_follow_the_parts_in_order_and_none_is_lost(given_parts):
    allocation = Allocation.of(given_parts)
    assert allocation.by_step == tuple(name for name, n in given_parts for _ in range(n))
    assert len(allocation.by_step) == allocation.n_steps == sum(n for _, n in given_parts)


@given(allocations)
def test_segments_are_merged_and_never_empty(allocation):
    assert all(a.denoiser != b.denoiser for a, b in pairwise(allocation.segments))
    assert all(segment.n_steps > 0 for segment in allocation.segments)


@given(allocations)
def test_fractions_are_shares_of_the_steps_and_sum_to_one(allocation):
    assert sum(allocation.fractions.values()) == pytest.approx(1, abs=1e-12)
    assert list(allocation.fractions) == list(allocation.steps) == list(dict.fromkeys(allocation.by_step))
    for name, n in allocation.steps.items():
        assert n == allocation.by_step.count(name)
        assert allocation.fractions[name] == n / allocation.n_steps


def test_denoiser_that_returns_counts_once_in_the_steps():
    assert Allocation.parse("S*2-XL*3-S*5").steps == {"S": 7, "XL": 3}


@given(allocations, allocations)
def test_file_names_differ_where_allocations_do_and_are_safe(a, b):
    assert (a.file_name == b.file_name) == (a == b)
    assert not set("*/\\ ?") & set(a.file_name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "S",
        "S8",
        "S*",
        "*8",
        "S*8-",
        "-S*8",
        "S*8--XL*2",
        "S*-8",
        "S*1.5",
        "8*S",
        "S*٣",
        "S*8+XL*2",
        "S*8@",
        "@8",
        "S*8@-8",
        "S*8@8@8",
        "S*8@fast@8",
        "S*8@two words",
        "S*8@8fast",
        "S*" + "9" * 5000,
    ],
)
def test_text_that_is_no_allocation_is_refused_with_the_form_expected(text):
    with pytest.raises(ConfigError, match=r"expected segments DENOISER\*STEPS joined by '-'") as caught:
        Allocation.parse(text)
    assert caught.value.message.startswith(repr(text))
    assert caught.value.hint == "for example S*8-XL*12, or S*4@PROFILE"


@given(st.text(max_size=30))
def test_any_text_is_an_allocation_or_a_config_error(text):
    try:
        allocation = Allocation.parse(text)
    except ConfigError:
        return
    assert Allocation.parse(str(allocation)) == allocation


@pytest.mark.parametrize("build", [lambda: Allocation.of([]), lambda: Allocation.parse("S*0"), lambda: Allocation(())])
def test_allocation_without_steps_is_refused(build):
    with pytest.raises(ConfigError, match="needs at least one step"):
        build()


def test_equal_neighbours_cannot_be_built():
    with pytest.raises(ConfigError, match=r"neighbouring segments must differ, got S\*1-S\*2"):
        Allocation((Segment("S", 1), Segment("S", 2)))


@pytest.mark.parametrize("given_parts", [[("S", -1)], [("S", 5), ("S", -2)], [("S", 5), ("XL", -1)]])
def test_negative_steps_are_refused_even_where_a_neighbour_would_hide_them(given_parts):
    with pytest.raises(ConfigError, match="at least one step, got"):
        Allocation.of(given_parts)


@pytest.mark.parametrize("name", ["", "8S", "S L", "S-", "S--XL", "S*", "S/XL", "S\n"])
def test_name_that_would_break_the_text_form_is_refused(name):
    with pytest.raises(ConfigError, match="is not a denoiser name: expected a letter"):
        Segment(name, 1)


def test_a_name_may_have_hyphens_which_the_text_form_keeps_apart_from_those_between_segments():
    allocation = Allocation.of([("XL-free", 6), ("XL", 10), ("v1-2", 4)])
    assert str(allocation) == "XL-free*6-XL*10-v1-2*4"
    assert Allocation.parse(str(allocation)) == allocation


def test_from_steps_refuses_lists_of_different_length():
    with pytest.raises(ValueError, match="zip"):
        Allocation.from_steps(["S", "XL"], [1, 2, 3])


@given(shares, st.integers(1, 1000))
def test_steps_from_fractions_sum_up_and_are_within_one_step_of_exact(counts, n_steps):
    steps = list(steps_from_fractions(as_fractions(counts), n_steps).values())
    assert sum(steps) == n_steps
    assert all(abs(n - Fraction(c, sum(counts)) * n_steps) < 1 for n, c in zip(steps, counts, strict=True))


@given(shares, st.integers(1, 1000))
@example([5, 17, 27, 50], 33)  # 1 2/3, 5 2/3, 9 and 16 2/3 steps: a tie of three that floating point hides
def test_steps_from_fractions_go_to_the_largest_remainders_and_in_a_tie_to_the_noise_end(counts, n_steps):
    exact = [Fraction(c, sum(counts)) * n_steps for c in counts]
    left_over = n_steps - sum(map(floor, exact))
    first = sorted(range(len(counts)), key=lambda k: (floor(exact[k]) - exact[k], k))[:left_over]
    expected = [floor(x) + (k in first) for k, x in enumerate(exact)]
    assert list(steps_from_fractions(as_fractions(counts), n_steps).values()) == expected


def test_fraction_that_falls_between_two_steps_goes_to_the_noise_end():
    assert steps_from_fractions({"S": 0.5, "XL": 0.5}, 5) == {"S": 3, "XL": 2}


@given(st.integers(0, 200), st.integers(0, 200), st.integers(1, 1000))
def test_larger_fraction_never_gets_fewer_steps(a, b, n_steps):
    low, high = sorted((a, b))
    small, large = (steps_from_fractions({"S": n / 200, "XL": 1 - n / 200}, n_steps)["S"] for n in (low, high))
    assert small <= large


@given(allocations.filter(lambda a: len(a.segments) == len(a.steps)))
def test_fractions_of_an_allocation_give_its_steps_back(allocation):
    assert steps_from_fractions(allocation.fractions, allocation.n_steps) == allocation.steps


@pytest.mark.parametrize(
    "fractions", [{"S": 0.5}, {"S": 0.5, "XL": 0.6}, {"S": -0.1, "XL": 1.1}, {"S": float("nan"), "XL": 1.0}, {}]
)
def test_fractions_that_do_not_sum_to_one_are_refused(fractions):
    with pytest.raises(ConfigError, match=r"must lie in \[0, 1\] and sum to 1"):
        steps_from_fractions(fractions, 20)


def test_published_fractions_give_the_published_routing():
    published = PAPER["routing_100_steps"]
    for fraction, n_small in zip(published["small_fraction"], published["small_steps"], strict=True):
        allocation = Allocation.of(steps_from_fractions({"S": fraction, "XL": 1 - fraction}, 100).items())
        assert allocation.by_step == ("S",) * n_small + ("XL",) * (100 - n_small)


@pytest.mark.parametrize("n_steps", [10, 20, 50, 100])
def test_three_models_in_tenths_are_66_allocations_and_every_one_is_exact(n_steps):
    tenths = [(a, b - a, 10 - b) for a, b in combinations_with_replacement(range(11), 2)]
    found = {tuple(steps_from_fractions(as_fractions(list(t)), n_steps).values()) for t in tenths}
    assert found == {tuple(n * n_steps // 10 for n in t) for t in tenths}
    assert len(found) == PAPER["three_models"]["n_allocations"]
