"""Time is known: the model is Eq. 7 with a fixed part, and it says when its assumption is contradicted."""

from dataclasses import replace
from itertools import pairwise
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tstitch_search.allocation import Allocation
from tstitch_search.latency_model import LatencyModel
from tstitch_search.measurement import Calibration

STEP_S = {"S": 0.1, "B": 0.3, "XL": 1.0}
SWITCH_S = {"S": 0.01, "B": 0.02, "XL": 0.04}


def model(**step_s: float) -> LatencyModel:
    return LatencyModel(
        Calibration(
            step_s=STEP_S | step_s,
            step_se={"S": 0.003, "B": 0.01, "XL": 0.02},
            switch_s=SWITCH_S,
            switch_se={"S": 0.001, "B": 0.002, "XL": 0.004},
            fixed_s=0.5,
            fixed_se=0.1,
            spread=0.125,
            peak_memory_mb=100.0,
            member_memory_mb={},
            weights_mb={},
            device="cpu",
            batch_size=8,
            n_repeats=5,
        )
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("S*10", 0.5 + 1 + 0.01),
        ("S*8-XL*12", 0.5 + 0.8 + 12 + 0.05),
        ("S*2-B*5-XL*3-S*1", 0.5 + 0.3 + 1.5 + 3 + 0.08),
    ],
)
def test_latency_is_the_fixed_part_the_steps_and_the_segments(text, seconds):
    assert model().latency_s(Allocation.parse(text)) == pytest.approx(seconds)


def test_a_profile_whose_solver_asks_twice_in_a_step_takes_as_many_steps_more():
    calls = {"4@heun": [2.0, 2.0, 2.0, 1.0], "4@euler": [1.0] * 4}
    latency = LatencyModel(replace(model().calibration, calls=calls))
    assert latency.latency_s(Allocation.parse("S*1-XL*3@heun")) == pytest.approx(0.5 + 0.2 + 5 + 0.05)
    assert latency.latency_s(Allocation.parse("S*1-XL*3@euler")) == pytest.approx(
        model().latency_s(Allocation.parse("S*1-XL*3"))
    )
    assert latency.latency_se(Allocation.parse("XL*4@heun")) == pytest.approx(sqrt(0.1**2 + (7 * 0.02) ** 2 + 0.004**2))


def test_weights_that_members_share_count_once():
    calibration = replace(
        model().calibration,
        member_memory_mb={"S": 11.0, "B": 90.0, "XL": 100.0},
        weights_mb={"S": 1.0, "B": 80.0, "XL": 80.0},
        weights_of={"XL": "B"},
    )
    shared, apart = LatencyModel(calibration), LatencyModel(replace(calibration, weights_of={}))
    allocation, alone = Allocation.parse("S*2-B*2-XL*2"), Allocation.parse("XL*6")
    assert (shared.extra_weights_mb(allocation, alone), apart.extra_weights_mb(allocation, alone)) == (1, 81)
    assert (shared.memory_mb(allocation), apart.memory_mb(allocation)) == (101, 181)
    assert shared.extra_weights_mb(Allocation.parse("B*6"), alone) == 0


allocations = st.lists(st.sampled_from(list(STEP_S)), min_size=1, max_size=12).map(
    lambda names: Allocation.of((name, 1) for name in names)
)


@given(allocations, allocations)
def test_time_is_linear_joining_two_trajectories_saves_one_fixed_part_and_a_switch_if_they_meet(a, b):
    joined = Allocation.of((s.denoiser, s.n_steps) for s in (*a.segments, *b.segments))
    meeting = SWITCH_S[b.by_step[0]] if a.by_step[-1] == b.by_step[0] else 0
    parts = model().latency_s(a) + model().latency_s(b) - 0.5 - meeting
    assert model().latency_s(joined) == pytest.approx(parts)


@given(allocations)
def test_every_change_of_member_costs_the_switch_to_the_one_that_comes(a):
    cheapest = Allocation.of(a.steps.items())  # the same steps with as few changes as can be
    changes = [now for before, now in pairwise(a.by_step) if now != before]
    fewest = [now for before, now in pairwise(cheapest.by_step) if now != before]
    more = sum(SWITCH_S[name] for name in changes) - sum(SWITCH_S[name] for name in fewest)
    assert model().latency_s(a) - model().latency_s(cheapest) == pytest.approx(more)


@given(allocations)
def test_a_step_more_of_a_denoiser_costs_its_step_time(a):
    last = a.by_step[-1]
    longer = Allocation.of([*((s.denoiser, s.n_steps) for s in a.segments), (last, 1)])
    assert model().latency_s(longer) - model().latency_s(a) == pytest.approx(STEP_S[last])


def test_order_of_the_segments_does_not_change_the_time():
    a, b = (model().latency_s(Allocation.parse(text)) for text in ("S*8-XL*12", "XL*12-S*8"))
    assert a == pytest.approx(b)


def test_errors_of_independent_parts_add_in_squares_and_those_of_one_denoiser_in_steps():
    error = model().latency_se(Allocation.parse("S*10-XL*4-S*10"))
    assert error == pytest.approx(sqrt(0.1**2 + (20 * 0.003) ** 2 + (4 * 0.02) ** 2 + (2 * 0.001) ** 2 + 0.004**2))


def test_a_noisy_machine_is_said_with_how_noisy_it_was():
    assert "differ by 12% (interquartile range over median), more than 10%" in (model().noise_warning or "")
    assert LatencyModel(replace(model().calibration, spread=0.1)).noise_warning is None


def test_listed_order_that_the_times_contradict_is_said_with_the_times():
    assert model().order_warning(["S", "B", "XL"]) is None
    assert model(B=0.05).order_warning(["S", "B", "XL"]) == (
        "the denoisers are listed cheap to expensive, but their measured step times are S 0.1 s, B 0.05 s, XL 1 s"
    )
