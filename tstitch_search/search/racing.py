"""What to spend the next chunk of images on: one more for an allocation under way, a first one for another, or nothing.

A pure function of what is known. k chunks more for an allocation move its quality from m to m', and before they are
made m' is normal around m (knowledge gradient) with variance

    tau^2 = s^4 / (s^2 + v / k)    for a new one,   s^2: what the model does not know of it, v: noise of a chunk
    tau^2 = v / n - v / (n + k)    for one with n chunks

What they are worth is the expected growth of the front of what was measured, as m' replaces m. One chunk alone can be
worth nothing where several are worth much: its noise hides what it says. So k is 1 or all that an allocation may have,
whichever is worth more per chunk (Frazier and Powell 2010, Paradoxes in learning, section 5: KG(*)), and the race ends
when neither is worth it. A new allocation is
not on the front yet, so all it brings counts. For one that was measured, only changes of mind count: that is next to
nothing for what is clearly on the front or clearly off it, so images go where the front is in doubt.

Allocations are compared on the same images, so v is the noise of a difference: between the allocation and the one of
the front that it would have to beat or to yield to, taken to keep pace. Effects on the neighbours are left out.

Qualities must be comparable whatever their number of images (docs/decisions/0007-control-variates.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tstitch_search.allocation import Allocation
from tstitch_search.pareto import Point, hypervolume, pareto_front
from tstitch_search.search.acquisition import expected_hypervolume_improvement
from tstitch_search.search.gaussian_process import fit
from tstitch_search.search.posterior import (
    Candidates,
    History,
    QualityScale,
    Told,
    observations,
    reference_point,
    spread_out,
)


@dataclass(frozen=True)
class Measured(Told):
    """An allocation's estimate from all its chunks so far, `n_chunks` >= 1 of equal size.

    `effects` (G,): what each block of the first chunk's images contributes to the error; empty if not known. Those of
    two allocations tell how much of their errors they share, because their images share their seeds.
    """

    n_chunks: int
    effects: tuple[float, ...] = ()


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
    """The chunk with the highest expected gain per second, or Stop; baselines get their first chunk first.

    While those are under way, new allocations are spread out. Chunks under way are believed to turn out as expected.
    """
    history = History(state.measured, state.under_way, state.failed)
    if baseline := next((a for a in candidates.baselines if a not in history.asked), None):
        return NewAllocation(baseline)
    if any(a in state.under_way and a not in _names(state.measured) for a in candidates.baselines):
        unasked = candidates.unasked(history).any() and rule.allows_another(len(history.asked))
        return NewAllocation(candidates.allocations[spread_out(candidates, history)]) if unasked else Stop(0.0)
    return _best_chunk(candidates, state, history, scale, rule)


def _best_chunk(
    candidates: Candidates, state: RaceState, history: History, scale: QualityScale, rule: RaceRule
) -> Action:
    """The choice once every baseline has an estimate."""
    seen = observations(candidates, state.measured, scale)
    chunk_variance = seen.noise_variance * [m.n_chunks for m in state.measured]
    process = fit(seen).believing(candidates.at(state.under_way), float(chunk_variance.mean()))
    corner = reference_point(candidates, state.measured, seen.y)
    front = np.column_stack([[m.latency_s for m in state.measured], process.posterior(seen.x)[0]])

    doubt = _chunk_variance_of_differences(state.measured, seen.noise_variance, front)
    mean, sd = process.posterior(candidates.x)
    level = front
    if process.seen.follows_trends:  # what earlier studies tell as surely as a measurement here needs none
        sure = sd <= process.widening * float(np.median(np.sqrt(seen.noise_variance)))
        level = np.vstack([front, np.column_stack([candidates.latency_s, mean])[sure]])
    may_be_new = candidates.unasked(history) & rule.allows_another(len(history.asked))
    n_chunks = np.array([m.n_chunks for m in state.measured])
    open_ = [m.n_chunks < rule.max_chunks and m.allocation not in state.under_way for m in state.measured]
    gains_new, gains_more = [], []  # (gain, chunks it takes) for one chunk and for all
    for k in dict.fromkeys((1, rule.max_chunks)):
        tau = sd**2 / np.sqrt(sd**2 + float(np.median(doubt)) / k)
        gain = expected_hypervolume_improvement(candidates.latency_s, mean, tau, level, corner)
        gains_new.append((np.where(may_be_new, gain, 0.0), np.full(len(mean), k)))
        more = np.clip(np.minimum(k, rule.max_chunks - n_chunks), 1, None)
        tau = np.sqrt(doubt / n_chunks - doubt / (n_chunks + more))
        gain = np.array([_worth_of_more(i, tau[i], level, corner) for i in range(len(front))])
        gains_more.append((np.where(open_, gain, 0.0), more))

    area, best = hypervolume(_points(level), corner), max(float(g.max()) for g, _ in [*gains_new, *gains_more])
    if best <= rule.tolerance * area:
        return Stop(best / area if area > 0 else 0.0)
    per_second_new = np.max([g / k for g, k in gains_new], axis=0) / candidates.latency_s
    per_second_more = np.max([g / k for g, k in gains_more], axis=0) / front[:, 0]
    if per_second_new.max() > per_second_more.max():
        return NewAllocation(candidates.allocations[int(per_second_new.argmax())])
    return MoreImages(state.measured[int(per_second_more.argmax())].allocation)


def _chunk_variance_of_differences(measured: Sequence[Measured], variance: np.ndarray, front: np.ndarray) -> np.ndarray:
    """Variance (m,) that one chunk's noise gives to each allocation's difference to the one it competes with.

    That is the other point of the front that is nearest in time. Both have the same images, so most of the noise is
    common and goes; that of one without `effects`, which has many more images, does not count.
    """
    chunk = variance * [m.n_chunks for m in measured]
    of_difference = chunk.copy()
    for i, r in enumerate(_nearest_in_time(front)):
        a, b = measured[i].effects, measured[r].effects
        if a and b:
            shared = float(np.corrcoef(a, b)[0, 1]) if np.std(a) and np.std(b) else 0.0
            of_difference[i] = max(chunk[i] + chunk[r] - 2 * shared * np.sqrt(chunk[i] * chunk[r]), 0.0)
    return of_difference


def _nearest_in_time(front: np.ndarray) -> list[int]:
    """For each point the other point of the front that is nearest in time; itself when there is no other."""
    times, best = np.log(front[:, 0]), pareto_front(_points(front))
    others = [[j for j in best if j != i] or [i] for i in range(len(front))]
    return [min(js, key=lambda j: abs(times[j] - times[i])) for i, js in enumerate(others)]


def _worth_of_more(i: int, tau: float, front: np.ndarray, corner: Point) -> float:
    """Expected growth of the hypervolume when the quality of point i moves by a normal step of size `tau`; >= 0."""
    others = np.delete(front, i, axis=0)
    with_any = expected_hypervolume_improvement(front[[i], 0], front[[i], 1], np.array([tau]), others, corner)[0]
    as_it_is = hypervolume(_points(front), corner) - hypervolume(_points(others), corner)
    return max(float(with_any) - as_it_is, 0.0)


def _points(front: np.ndarray) -> list[Point]:
    return [(float(x), float(y)) for x, y in front]


def _names(measured: Sequence[Measured]) -> set[Allocation]:
    return {m.allocation for m in measured}
