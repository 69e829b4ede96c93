"""Chunks of images go where they change the front, and one by one they go further than in full."""

from dataclasses import replace
from itertools import islice
from math import exp, sqrt

import numpy as np
import pytest
from search.studies import MANY, fid, latency_s

from tstitch_search.allocation import Allocation
from tstitch_search.search.gaussian_process import fit
from tstitch_search.search.posterior import Candidates, History, QualityScale, observations, posterior
from tstitch_search.search.racing import (
    Measured,
    MoreImages,
    NewAllocation,
    RaceRule,
    RaceState,
    Stop,
    next_action,
    next_actions,
)

LATENCIES = {a: latency_s(a) for a in MANY}
CANDIDATES = Candidates(MANY.allocations, MANY.baselines(), LATENCIES, MANY.denoisers)
LOG_FID = {a: float(np.log(fid(a))) for a in MANY}
FID = QualityScale(relative=True, direction="minimize")
RULE = RaceRule(max_chunks=8, tolerance=1e-4)
NOISE = 0.3  # of log FID from one chunk


def measured(allocation: Allocation, log_fid: float, n_chunks: int, noise: float = NOISE) -> Measured:
    value = exp(log_fid)
    return Measured(allocation, latency_s(allocation), value, value * noise / sqrt(n_chunks), n_chunks)


def truly(allocations: list[Allocation], n_chunks: int, noise: float = NOISE) -> tuple[Measured, ...]:
    return tuple(measured(a, LOG_FID[a], n_chunks, noise) for a in allocations)


def test_every_baseline_gets_a_chunk_first_then_questions_are_spread_until_they_are_answered():
    state, asked = RaceState(), []
    for _ in range(6):
        action = next_action(CANDIDATES, state, FID, RULE)
        assert isinstance(action, NewAllocation)
        asked.append(action.allocation)
        state = RaceState(under_way=tuple(asked))
    assert asked[:4] == MANY.baselines()
    assert len(set(asked)) == 6


def test_with_little_measured_it_looks_further():
    action = next_action(CANDIDATES, RaceState(truly(MANY.baselines(), 8, noise=0.01)), FID, RULE)
    assert isinstance(action, NewAllocation)


def test_with_everything_measured_it_looks_closer_and_never_beyond_the_limit():
    rng = np.random.default_rng(0)
    spread = [a for i, a in enumerate(MANY.allocations) if i % 5 == 0 or a in MANY.baselines()]
    full, rough = spread[::2], spread[1::2]
    state = RaceState(
        measured=tuple(measured(a, LOG_FID[a] + NOISE * rng.normal(), 8 if a in full else 1) for a in spread),
        failed=tuple(a for a in MANY if a not in spread),
    )
    action = next_action(CANDIDATES, state, FID, RaceRule(8, 0.0))
    assert isinstance(action, MoreImages)
    assert action.allocation in rough


def test_a_chunk_goes_to_a_close_call_and_not_to_a_clear_loser():
    """Two of nearly the same time and quality, and one far above the front; nothing else is left to try."""
    slow, fast, loser = (Allocation.parse(text) for text in ("S*10-XL*10", "S*10-B*1-XL*9", "S*19-XL*1"))
    known = truly(MANY.baselines(), 8, noise=0.01)
    doubtful = (measured(slow, 4.50, 1), measured(fast, 4.52, 1), measured(loser, 9.0, 1))
    asked = {m.allocation for m in (*known, *doubtful)}
    state = RaceState((*known, *doubtful), failed=tuple(a for a in MANY if a not in asked))
    action = next_action(CANDIDATES, state, FID, RaceRule(8, 0.0))
    assert isinstance(action, MoreImages)
    assert action.allocation in (slow, fast)


def test_no_second_chunk_while_one_is_under_way():
    state = RaceState(truly(list(MANY.allocations[::8]) + MANY.baselines()[1:], 1))
    first = next_action(CANDIDATES, state, FID, RULE)
    assert not isinstance(first, Stop)
    second = next_action(CANDIDATES, RaceState(state.measured, (first.allocation,)), FID, RULE)
    assert not isinstance(second, Stop)
    assert second.allocation != first.allocation


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("answered", [True, False], ids=["by the model", "while baselines are under way"])
def test_decisions_taken_at_once_are_those_taken_one_by_one(seed: int, answered: bool) -> None:
    """As long as no answer comes: each believes that those before turn out as expected."""
    rng = np.random.default_rng(seed)
    known = [*MANY.baselines(), *(MANY.allocations[i] for i in rng.choice(231, 12, replace=False))]
    noisy = tuple(
        measured(a, LOG_FID[a] + 0.1 * rng.normal(), int(rng.integers(1, 4)), 0.1) for a in dict.fromkeys(known)
    )
    state = RaceState(noisy, (MANY.allocations[40],)) if answered else RaceState(under_way=tuple(MANY.baselines()[:2]))
    at_once = list(islice(next_actions(CANDIDATES, state, FID, RULE), 12))
    for action in at_once:
        assert next_action(CANDIDATES, state, FID, RULE) == action
        assert not isinstance(action, Stop)
        state = replace(state, under_way=(*state.under_way, action.allocation))
    assert len({action.allocation for action in at_once if not isinstance(action, Stop)}) == 12


def test_decisions_taken_at_once_keep_to_the_limit_of_allocations() -> None:
    state, rule = RaceState(truly(MANY.baselines(), 8)), RaceRule(8, 0.0, max_allocations=len(MANY.baselines()) + 3)
    *actions, last = next_actions(CANDIDATES, state, FID, rule)
    assert len(actions) == 3
    assert isinstance(last, Stop)


def test_it_stops_when_no_chunk_is_worth_it_and_says_what_it_would_have_been():
    everything = RaceState(truly(list(MANY.allocations), 8, noise=0.001))
    assert next_action(CANDIDATES, everything, FID, RULE) == Stop(0.0)
    action = next_action(CANDIDATES, RaceState(truly(MANY.baselines(), 1)), FID, RaceRule(8, 10.0))
    assert isinstance(action, Stop)
    assert 0 < action.expected_gain < 10


def regret(known: tuple[Measured, ...]) -> float:
    """How much worse in true log FID the deployed allocation is than the best, averaged over time budgets."""
    seen = observations(CANDIDATES, known, FID)
    believed = dict(zip((m.allocation for m in known), fit(seen).posterior(seen.x)[0], strict=True))
    budgets = np.quantile(list(LATENCIES.values()), np.linspace(0.02, 1, 50))
    lost = []
    for budget in budgets:
        affordable = [a for a in believed if latency_s(a) <= budget]
        deployed = min(affordable, key=lambda a: float(believed[a]))
        lost.append(LOG_FID[deployed] - min(LOG_FID[a] for a in MANY if latency_s(a) <= budget))
    return float(np.mean(lost))


def race(seed: int, seconds: float, chunks_at_once: int) -> float:
    """The regret after so many seconds of chunks, given out one by one or `chunks_at_once` to each allocation."""
    rng, sums, spent = np.random.default_rng(seed), {}, 0.0
    while spent < seconds:
        known = tuple(measured(a, total / n, n) for a, (total, n) in sums.items())
        allocation = chosen(known, one_by_one=chunks_at_once == 1)
        total, n = sums.get(allocation, (0.0, 0))
        noise = NOISE * sqrt(chunks_at_once) * rng.normal()
        sums[allocation] = (total + chunks_at_once * LOG_FID[allocation] + noise, n + chunks_at_once)
        spent += chunks_at_once * latency_s(allocation)
    return regret(tuple(measured(a, total / n, n) for a, (total, n) in sums.items()))


def chosen(known: tuple[Measured, ...], one_by_one: bool) -> Allocation:
    if one_by_one:
        action = next_action(CANDIDATES, RaceState(known), FID, RaceRule(8, 0.0))
        assert not isinstance(action, Stop)
        return action.allocation
    expected = posterior(CANDIDATES, History(known), FID)
    if expected is None:
        return MANY.baselines()[len(known)]
    return MANY.allocations[int(np.argmax(expected.ehvi / CANDIDATES.latency_s))]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_same_seconds_one_chunk_at_a_time_leave_a_better_table(seed):
    assert race(seed, 6000, chunks_at_once=1) < 0.7 * race(seed, 6000, chunks_at_once=8)


def test_where_one_noisy_chunk_says_little_several_are_worth_much_more():
    """With much more noise in a chunk than the model does not know, one chunk hardly moves what is believed."""
    state = RaceState(truly([*MANY.baselines(), *list(MANY)[5:30:6]], 1, noise=1.0))
    gains = []
    for max_chunks in (1, 64):
        stop = next_action(CANDIDATES, state, FID, RaceRule(max_chunks, tolerance=1e9))
        assert isinstance(stop, Stop)
        gains.append(stop.expected_gain)
    assert gains[1] > 2 * gains[0] > 0


def test_a_front_without_area_ends_the_race():
    alike = tuple(measured(a, 0.0, 8, noise=1e-9) for a in MANY)
    assert next_action(CANDIDATES, RaceState(alike), FID, RULE) == Stop(0.0)
