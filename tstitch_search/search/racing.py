"""What to spend the next chunks of images on: more for an allocation, a first one for another, or nothing.

A pure function of what is known; `gains.py` says what chunks are worth. The race ends when none is worth it.

Several decisions may be asked for at once. They are those that would be taken one by one while no answer comes, at
little more than the price of one.

Qualities must be comparable whatever their number of images (docs/decisions/0007-control-variates.md).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tstitch_search.allocation import Allocation
from tstitch_search.pareto import hypervolume
from tstitch_search.search.gains import Known, Measured, MoreGains, NewGains, points_of
from tstitch_search.search.posterior import Candidates, History, QualityScale, spread_out

__all__ = ["Action", "Measured", "MoreImages", "NewAllocation", "RaceRule", "RaceState", "Stop", "next_actions"]


@dataclass(frozen=True)
class RaceState:
    """All that is known: estimates, the allocations of which a chunk is under way, and the ones that failed."""

    measured: tuple[Measured, ...] = ()
    under_way: tuple[Allocation, ...] = ()
    failed: tuple[Allocation, ...] = ()


@dataclass(frozen=True)
class RaceRule:
    """No allocation gets more than `max_chunks`; the race ends when a chunk adds less than `tolerance` to the front.

    At most `max_allocations` are measured at all, None for no limit.
    """

    max_chunks: int
    tolerance: float
    max_allocations: int | None = None

    def allows_another(self, n_asked: int) -> bool:
        """Whether one more allocation may be measured."""
        return self.max_allocations is None or n_asked < self.max_allocations


@dataclass(frozen=True)
class MoreImages:
    """One more chunk for an allocation that has some."""

    allocation: Allocation


@dataclass(frozen=True)
class NewAllocation:
    """The first chunk of an allocation."""

    allocation: Allocation


@dataclass(frozen=True)
class Stop:
    """No chunk is worth it: the best is expected to raise the hypervolume by this share."""

    expected_gain: float


Action = MoreImages | NewAllocation | Stop


def next_action(candidates: Candidates, state: RaceState, scale: QualityScale, rule: RaceRule) -> Action:
    """The chunk with the highest expected gain per second, or Stop."""
    return next(next_actions(candidates, state, scale, rule))


def next_actions(candidates: Candidates, state: RaceState, scale: QualityScale, rule: RaceRule) -> Iterator[Action]:
    """The next decision and those after it while no answer comes, up to a Stop; take as many as are wanted.

    Baselines get their first chunk first. While those are under way, new allocations are spread out. Chunks under way
    are believed to turn out as expected.
    """
    history, known = History(state.measured, state.under_way, state.failed), {m.allocation for m in state.measured}
    first = [a for a in candidates.baselines if a not in history.asked]
    yield from map(NewAllocation, first)
    history = History(state.measured, (*state.under_way, *first), state.failed)
    if any(a in history.under_way and a not in known for a in candidates.baselines):
        yield from _spread(candidates, history, rule)
    else:
        yield from _best_chunks(candidates, state.measured, history, scale, rule)


def _spread(candidates: Candidates, history: History, rule: RaceRule) -> Iterator[Action]:
    """New allocations, each as far as can be from what was asked for before."""
    for n_asked, row in enumerate(spread_out(candidates, history), start=len(history.asked)):
        if not rule.allows_another(n_asked):
            break
        yield NewAllocation(candidates.allocations[row])
    yield Stop(0.0)


def _best_chunks(
    candidates: Candidates, measured: Sequence[Measured], history: History, scale: QualityScale, rule: RaceRule
) -> Iterator[Action]:
    """The choices once every baseline has an estimate."""
    known, n_asked = Known.of(candidates, measured, scale), len(history.asked)
    new = NewGains(candidates, known, history, rule.max_chunks)
    more = MoreGains(known, new.level, history, rule.max_chunks)
    area = hypervolume(points_of(new.level), known.corner)
    while True:
        if not rule.allows_another(n_asked):
            new.rule_out_all()
        row, i = new.best(), more.best()
        if max(new.gain[row], more.gain[i]) <= rule.tolerance * area:
            best = max(new.largest_gain(), float(more.gain.max()))
            if best <= rule.tolerance * area:
                yield Stop(best / area if area > 0 else 0.0)
                return
        if new.per_second[row] > more.per_second[i]:
            chosen: NewAllocation | MoreImages = NewAllocation(candidates.allocations[row])
            new.take(row)
            n_asked += 1
        else:
            chosen = MoreImages(measured[i].allocation)
            more.take(i)
        yield chosen
        new.believe(chosen.allocation)
