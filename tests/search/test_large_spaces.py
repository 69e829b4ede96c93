"""Ten million allocations: a sample that covers them, candidates next to the front that is believed, decisions."""

from itertools import pairwise
from math import log

import numpy as np
import pytest
from search.studies import fid, latency_s

from tstitch_search.allocation import Allocation
from tstitch_search.config.models import SpaceConfig
from tstitch_search.pareto import pareto_front
from tstitch_search.search.posterior import Candidates, QualityScale, Told
from tstitch_search.search.proposals import near_front
from tstitch_search.search.racing import Measured, MoreImages, NewAllocation, RaceRule, RaceState, Stop, next_action
from tstitch_search.search_space import SearchSpace
from tstitch_search.space_sampling import covering_sample, moves

SIX = SearchSpace.from_config(
    SpaceConfig.model_validate(
        {
            "name": "six",
            "family": "dit",
            "pipeline": ".",
            "denoisers": [{"name": name, "weights": name} for name in "ABCDEF"],
            "n_steps": 44,
            "grid": 1,
            "orders": "any",
            "max_switches": 3,
        }
    )
)
THREE = SearchSpace(("S", "B", "XL"), (), 40, 1, max_switches=4)
SCALE = QualityScale(True, "minimize")


def test_a_space_of_nearly_ten_million_is_neither_refused_nor_enumerated() -> None:
    assert not SIX.is_enumerated
    assert 9_000_000 < len(SIX) <= 10_000_000
    assert len(SIX.allocations) < 20_000
    assert set(SIX.controls()) | set(SIX.baselines()) <= set(SIX.allocations)
    assert all(a in SIX for a in SIX.allocations)


def test_the_sample_holds_every_sequence_and_is_the_same_each_time() -> None:
    sample = covering_sample(THREE, 2000)
    assert sample == covering_sample(THREE, 2000)
    assert len(set(sample)) == len(sample)
    assert 1500 < len(sample) < 2500
    sequences = {tuple(s.denoiser for s in a.segments) for a in sample}
    assert len(sequences) == sum(3 * 2**m for m in range(5))


@pytest.mark.parametrize(
    "space",
    [
        SearchSpace(("S", "B", "XL"), (("S", "B", "XL"),), 12, 2),
        SearchSpace(("S", "XL"), (), 8, 2, fewer_counts=(4,), max_switches=2),
        SearchSpace(("S", "XL"), (("S", "XL"), ("XL", "S")), 6, 1),
        SearchSpace(("S", "XL"), (), 8, 2, max_switches=2, profiles=(("fast", (4, 2), ("S", "XL")),)),
    ],
)
def test_a_sample_as_large_as_the_space_is_the_space_and_moves_lead_everywhere(space: SearchSpace) -> None:
    everything = {a for a in space.allocations if a not in space.extras}
    assert set(covering_sample(space, 100_000)) == everything
    of_most_steps = {a for a in everything if a.n_steps == space.n_steps}
    reached, new = {space.anchor}, [space.anchor]
    while new:
        new = [m for a in new for m in moves(space, a) if m not in reached]
        reached.update(new)
    assert reached == of_most_steps
    assert all(any(a != b for a, b in pairwise([m, space.anchor])) for m in moves(space, space.anchor))


def test_moves_stay_within_a_profile_and_its_members() -> None:
    space = SearchSpace(("S", "B", "XL"), (), 8, 1, max_switches=2, profiles=(("fast", (4,), ("S", "XL")),))
    found = set(moves(space, Allocation.parse("S*2-XL*2@fast")))
    assert {"S*1-XL*3@fast", "S*3-XL*1@fast", "S*4@fast", "XL*4@fast"} <= set(map(str, found)) <= set(map(str, space))
    assert all(a.profile == "fast" and "B" not in a.steps for a in found)


def candidates(space: SearchSpace, allocations: list[Allocation]) -> Candidates:
    class Seconds(dict[Allocation, float]):
        def __missing__(self, allocation: Allocation) -> float:
            return latency_s(allocation)

    first = list(dict.fromkeys([*space.controls(), *space.baselines()]))
    return Candidates(list(dict.fromkeys([*first, *allocations])), first, Seconds(), space.denoisers)


def test_further_candidates_lie_where_they_would_have_lain_from_the_start() -> None:
    sample = covering_sample(THREE, 400)
    few, all_at_once = candidates(THREE, sample[::2]), candidates(THREE, sample)
    grown = few.with_more(sample)
    rows = {a: i for i, a in enumerate(grown.allocations)}
    order = [rows[a] for a in all_at_once.allocations]
    np.testing.assert_allclose(grown.x[order], all_at_once.x)
    np.testing.assert_array_equal(grown.latency_s[order], all_at_once.latency_s)
    assert few.with_more(few.allocations) is few


def test_a_race_in_a_space_that_is_only_sampled_finds_a_front_that_the_sample_does_not_hold() -> None:
    """Every allocation of the best front of a sample ten times as large is beaten or matched, in the mean."""
    known, measured = candidates(THREE, covering_sample(THREE, 300)), dict[Allocation, Measured]()
    for _ in range(45):
        given = near_front(known, list(measured.values()), SCALE, lambda a: moves(THREE, a))
        action = next_action(given, RaceState(tuple(measured.values())), SCALE, RaceRule(1, 0.0))
        if isinstance(action, Stop):
            break
        assert isinstance(action, (NewAllocation, MoreImages))
        a = action.allocation
        measured[a] = Measured(a, latency_s(a), fid(a), 0.001 * fid(a), 1)
    budgets = np.geomspace(60, 380, 30)

    def best(found: list[Allocation]) -> np.ndarray:
        return np.array([min(log(fid(a)) for a in found if latency_s(a) <= t) for t in budgets])

    sample, dense = list(known.allocations), [*known.baselines, *covering_sample(THREE, 3000)]
    assert len(measured) < 50
    assert best(list(measured)).mean() < best(sample).mean()
    assert best(list(measured)).mean() < best(dense).mean() + 0.01


def test_the_same_answers_give_the_same_candidates() -> None:
    known = candidates(THREE, covering_sample(THREE, 300))
    told = [Told(a, latency_s(a), fid(a), 0.01 * fid(a)) for a in [*known.baselines, *known.allocations[::30]]]
    once, again = (near_front(known, told, SCALE, lambda a: moves(THREE, a)) for _ in range(2))
    assert once.allocations == again.allocations
    assert len(once.allocations) > len(known.allocations)
    front = pareto_front([(t.latency_s, t.quality) for t in told])
    assert len(front) > 2
