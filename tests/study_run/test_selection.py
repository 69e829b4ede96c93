"""What is confirmed: the single denoisers, the anchor always, and the front spread over time."""

from itertools import pairwise
from math import log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from study_run.synthetic import calibration

from tstitch_search.allocation import Allocation
from tstitch_search.config.models import ConfirmConfig, FocusConfig
from tstitch_search.latency_model import LatencyModel
from tstitch_search.pareto import pareto_front
from tstitch_search.quality.estimate import QualityEstimate
from tstitch_search.search_space import SearchSpace
from tstitch_search.study_run.selection import select_for_confirmation

LATENCY = LatencyModel(calibration())
SPACE = SearchSpace(("S", "B", "XL"), (("S", "B", "XL"),), 10, 1)
SINGLES = {SPACE.single(name) for name in SPACE.denoisers}
ANCHOR_FID = 10.0

fids = st.lists(st.floats(5, 50), min_size=len(SPACE), max_size=len(SPACE)).map(
    lambda v: dict(zip(SPACE, v, strict=True))
)


def estimates(fid_of: dict[Allocation, float]) -> dict[Allocation, QualityEstimate]:
    """Estimates with these FIDs; the anchor's is 10."""
    known = fid_of | {SPACE.anchor: ANCHOR_FID}
    return {a: QualityEstimate(fid, 0.5, 100, fid - ANCHOR_FID, 0.5) for a, fid in known.items()}


def falling(allocation: Allocation) -> float:
    """The slower the better, the anchor best of all: every time is on the front."""
    return ANCHOR_FID + 10 * log(LATENCY.latency_s(SPACE.anchor) / LATENCY.latency_s(allocation))


def select(fid_of: dict[Allocation, float], max_entries: int, max_fid_loss: float | None = None) -> list[Allocation]:
    return select_for_confirmation(
        estimates(fid_of),
        LATENCY,
        SPACE,
        ConfirmConfig(max_entries=max_entries),
        FocusConfig(max_fid_loss=max_fid_loss),
    )


def front_of(fid_of: dict[Allocation, float]) -> set[Allocation]:
    among = list(estimates(fid_of).items())
    return {among[i][0] for i in pareto_front([(LATENCY.latency_s(a), q.value) for a, q in among])}


@settings(max_examples=30)
@given(fids, st.integers(1, 20))
def test_selection_is_singles_and_front_each_once_by_time_and_never_too_many(fid_of, max_entries):
    chosen = select(fid_of, max_entries)
    named = SINGLES | (set(SPACE.baselines()) & set(fid_of))
    assert len(chosen) == len(set(chosen)) <= max_entries
    assert set(chosen) <= front_of(fid_of) | named
    if max_entries >= len(front_of(fid_of) | named):
        assert set(chosen) >= front_of(fid_of) | SINGLES
    assert SPACE.anchor in chosen
    assert chosen == sorted(chosen, key=LATENCY.latency_s)
    if max_entries >= len(SINGLES):
        assert set(chosen) >= SINGLES


def test_with_room_for_all_the_whole_front_is_chosen():
    fid_of = {a: falling(a) for a in SPACE}
    assert set(select(fid_of, max_entries=100)) == front_of(fid_of) | SINGLES


@pytest.mark.parametrize(("max_entries", "names"), [(1, ["XL"]), (2, ["B", "XL"]), (3, ["S", "B", "XL"])])
def test_the_largest_denoisers_are_kept_when_there_is_room_for_few(max_entries, names):
    assert select({a: falling(a) for a in SPACE}, max_entries) == [SPACE.single(name) for name in names]


def test_front_is_spread_evenly_over_log_time():
    chosen = select({a: falling(a) for a in SPACE}, max_entries=9)
    times = [log(LATENCY.latency_s(a)) for a in chosen]
    gaps = [b - a for a, b in pairwise(times)]
    assert max(gaps) < 2 * (times[-1] - times[0]) / len(gaps)


def test_next_entry_is_the_one_farthest_in_log_time_from_those_chosen():
    fid_of = {Allocation.parse(text): 10.0 for text in ("S*10", "B*10", "XL*10")}
    fid_of |= {SPACE.single("S"): 30.0, SPACE.single("B"): 20.0}
    near, far = Allocation.parse("S*8-B*2"), Allocation.parse("B*6-XL*4")  # 1.6 s and 6 s, beside 1.2, 3.2 and 10.2 s
    fid_of |= {near: 25.0, far: 15.0}
    assert far in select(fid_of, max_entries=4)
    assert near not in select(fid_of, max_entries=4)


def test_loss_beyond_the_focus_is_left_out_single_denoisers_included():
    inside, outside = Allocation.parse("S*2-XL*8"), Allocation.parse("S*5-XL*5")
    fid_of = {SPACE.single("S"): 30.0, SPACE.single("B"): 20.0, outside: 10.6, inside: 10.5}
    assert select(fid_of, max_entries=10) == [*fid_of, SPACE.anchor]
    assert select(fid_of, max_entries=10, max_fid_loss=0.05) == [inside, SPACE.anchor]


def test_anchor_is_chosen_even_where_it_is_beaten_or_outside_every_budget():
    better = Allocation.parse("S*2-XL*8")
    assert select({better: 9.0}, max_entries=10, max_fid_loss=0.0) == [better, SPACE.anchor]
    assert select({better: 9.0}, max_entries=1) == [SPACE.anchor]


def test_single_denoiser_that_could_not_be_measured_is_not_chosen():
    assert select({SPACE.single("S"): 30.0}, max_entries=10) == [SPACE.single("S"), SPACE.anchor]
