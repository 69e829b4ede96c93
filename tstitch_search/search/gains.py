"""What chunks of images are worth, given all that is known: of a new allocation, and of one that was measured.

k chunks more for an allocation move its quality from m to m', and before they are made m' is normal around m (knowledge
gradient) with variance

    tau^2 = s^4 / (s^2 + v / k)    for a new one,   s^2: what the model does not know of it, v: noise of a chunk
    tau^2 = v / n - v / (n + k)    for one with n chunks

What they are worth is the expected growth of the front of what was measured, as m' replaces m. One chunk alone can be
worth nothing where several are worth much: its noise hides what it says. So k is 1 or all that an allocation may have,
whichever is worth more per chunk (Frazier and Powell 2010, Paradoxes in learning, section 5: KG(*)). A new allocation
is not on the front yet, so all it brings counts. For one that was measured, only changes of mind count: that is next to
nothing for what is clearly on the front or clearly off it, so images go where the front is in doubt.

Allocations are compared on the same images, so v is the noise of a difference: between the allocation and the one of
the front that it would have to beat or to yield to, taken to keep pace. Effects on the neighbours are left out.

Chunks under way are believed to turn out as expected: means stay and uncertainty shrinks, so that what was worked out
for one decision bounds what can come of the next one, until an answer is there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tstitch_search.allocation import Allocation
from tstitch_search.pareto import Point, pareto_front
from tstitch_search.search.acquisition import expected_growth_by_moving, expected_hypervolume_improvement
from tstitch_search.search.gaussian_process import GaussianProcess, fit
from tstitch_search.search.largest import largest
from tstitch_search.search.posterior import (
    Candidates,
    History,
    QualityScale,
    Told,
    observations,
    reference_point,
)


@dataclass(frozen=True)
class Measured(Told):
    """An allocation's estimate from all its chunks so far, `n_chunks` >= 1 of equal size.

    `effects` (G,): what each block of the first chunk's images contributes to the error; empty if not known. Those of
    two allocations tell how much of their errors they share, because their images share their seeds.
    """

    n_chunks: int
    effects: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Known:
    """What was measured, as all gains are held against it, until the next answer.

    `process` says what is believed of every allocation, `front` (m, 2) what the measured ones are: seconds and y.
    `chunk_variance`: of an observation by one chunk's noise; `doubt` (m,): of a difference.
    """

    measured: Sequence[Measured]
    process: GaussianProcess
    front: np.ndarray
    corner: Point
    chunk_variance: float
    doubt: np.ndarray

    @classmethod
    def of(cls, candidates: Candidates, measured: Sequence[Measured], scale: QualityScale) -> "Known":
        """The model fitted to the measured allocations."""
        seen = observations(candidates, measured, scale)
        process = fit(seen)
        front = np.column_stack([[m.latency_s for m in measured], process.mean(seen.x)])
        chunk = seen.noise_variance * [m.n_chunks for m in measured]
        corner = reference_point(candidates, measured, seen.y)
        doubt = _chunk_variance_of_differences(measured, chunk, front)
        return cls(measured, process, front, corner, float(chunk.mean()), doubt)


class NewGains:
    """Gains of candidates that were not asked for. As more is believed they shrink: each bounds later ones."""

    def __init__(self, candidates: Candidates, known: Known, history: History, max_chunks: int):
        self._candidates, self._known, self._chunks = candidates, known, dict.fromkeys((1, max_chunks))
        self._process = known.process.believing(candidates.at(history.under_way), known.chunk_variance)
        self.level = known.front
        if known.process.seen.follows_trends:
            self._mean, sd = self._process.posterior(candidates.x)
            self.level = np.vstack([known.front, self._told_by_trends(sd)])
        else:
            self._mean, sd = self._process.bounds(candidates.x)
        self.gain, self.per_second = self._of(np.arange(len(sd)), sd)
        self._rule_out(np.flatnonzero(~candidates.unasked(history)))

    def best(self) -> int:
        """Row of the candidate whose chunks gain most per second; its `gain` and `per_second` are exact."""
        return largest(self.per_second, lambda rows: self._worked_out(rows)[1])

    def largest_gain(self) -> float:
        """The largest gain of any candidate, whatever it takes; negative where none is left."""
        return float(self.gain[largest(self.gain, lambda rows: self._worked_out(rows)[0])])

    def take(self, row: int) -> None:
        """This one is asked for."""
        self._rule_out(np.array([row]))

    def rule_out_all(self) -> None:
        """No other may be asked for."""
        self._rule_out(np.arange(len(self.gain)))

    def believe(self, allocation: Allocation) -> None:
        """A chunk of it is under way."""
        self._process = self._process.believing(self._candidates.at([allocation]), self._known.chunk_variance)

    def _rule_out(self, rows: np.ndarray) -> None:
        self.gain[rows] = self.per_second[rows] = -1.0

    def _worked_out(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both kinds of gain (n,) of the rows, which take the place of their bounds."""
        found = self._of(rows, self._process.posterior(self._candidates.x[rows])[1])
        self.gain[rows], self.per_second[rows] = found
        return found

    def _of(self, rows: np.ndarray, sd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gain and gain per second (n,) where this much is unknown of the rows."""
        seconds, mean = self._candidates.latency_s[rows], self._mean[rows]
        of_each = {}
        for k in self._chunks:
            tau = sd**2 / np.sqrt(sd**2 + float(np.median(self._known.doubt)) / k)
            of_each[k] = expected_hypervolume_improvement(seconds, mean, tau, self.level, self._known.corner)
        per_chunk = np.max([gain / k for k, gain in of_each.items()], axis=0)
        return np.max([*of_each.values()], axis=0), per_chunk / seconds

    def _told_by_trends(self, sd: np.ndarray) -> np.ndarray:
        """What earlier studies tell as surely as a measurement here needs none (n, 2): seconds and y."""
        seen = self._process.seen
        sure = sd <= self._process.widening * float(np.median(np.sqrt(seen.noise_variance)))
        told: np.ndarray = np.column_stack([self._candidates.latency_s, self._mean])[sure]
        return told


class MoreGains:
    """Gains (m,) of further chunks of what was measured; 0 where there are none to be had."""

    def __init__(self, known: Known, level: np.ndarray, history: History, max_chunks: int):
        n = np.array([m.n_chunks for m in known.measured])
        under_way = set(history.under_way)
        is_open = [m.n_chunks < max_chunks and m.allocation not in under_way for m in known.measured]
        self.gain, self.per_second = np.zeros(len(n)), np.zeros(len(n))
        for k in dict.fromkeys((1, max_chunks)):
            more = np.clip(np.minimum(k, max_chunks - n), 1, None)
            tau = np.sqrt(known.doubt / n - known.doubt / (n + more))
            gain = np.where(is_open, expected_growth_by_moving(level, tau, known.corner), 0.0)
            self.gain = np.maximum(self.gain, gain)
            self.per_second = np.maximum(self.per_second, gain / more / known.front[:, 0])

    def best(self) -> int:
        """Which of them gains most per second."""
        return int(self.per_second.argmax())

    def take(self, i: int) -> None:
        """This one is asked for."""
        self.gain[i] = self.per_second[i] = 0.0


def _chunk_variance_of_differences(measured: Sequence[Measured], chunk: np.ndarray, front: np.ndarray) -> np.ndarray:
    """Variance (m,) that one chunk's noise gives to each allocation's difference to the one it competes with.

    That is the other point of the front that is nearest in time. Both have the same images, so most of the noise is
    common and goes; that of one without `effects`, which has many more images, does not count.
    """
    of_difference = chunk.copy()
    for i, r in enumerate(_nearest_in_time(front)):
        a, b = measured[i].effects, measured[r].effects
        if a and b:
            shared = float(np.corrcoef(a, b)[0, 1]) if np.std(a) and np.std(b) else 0.0
            of_difference[i] = max(chunk[i] + chunk[r] - 2 * shared * np.sqrt(chunk[i] * chunk[r]), 0.0)
    return of_difference


def _nearest_in_time(front: np.ndarray) -> list[int]:
    """For each point the other point of the front that is nearest in time; itself when there is no other."""
    times, best = np.log(front[:, 0]), pareto_front(points_of(front))
    others = [[j for j in best if j != i] or [i] for i in range(len(front))]
    return [min(js, key=lambda j: abs(times[j] - times[i])) for i, js in enumerate(others)]


def points_of(front: np.ndarray) -> list[Point]:
    """Rows (m, 2) as points."""
    return [(float(x), float(y)) for x, y in front]
