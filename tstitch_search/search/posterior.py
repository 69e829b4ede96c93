"""What is expected of every candidate, given what was told so far: pure functions of numbers, without optuna.

Time is known from the calibration, so that only quality is uncertain: one Gaussian process for it, on the whole finite
set, and the expected hypervolume improvement in closed form.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from math import exp, inf, log
from typing import Literal

import numpy as np

from tstitch_search.allocation import Allocation
from tstitch_search.pareto import Point, hypervolume, pareto_front
from tstitch_search.search.acquisition import expected_hypervolume_improvement
from tstitch_search.search.earlier import Earlier, Trend
from tstitch_search.search.embedding import Embedding, Positions
from tstitch_search.search.gaussian_process import GaussianProcess, Observations, fit
from tstitch_search.search.gaussian_process.hyperparameters import Prior
from tstitch_search.search.largest import largest

# The worst corner that still counts: this much above the longest candidate, and above the worst baseline on the front
# of them, the latter as a share of that front's range. So the ends of the front count too.
MARGIN = 0.1


@dataclass(frozen=True)
class QualityScale:
    """How a metric becomes y, lower better, in which errors are alike: the logarithm of a ratio metric such as FID."""

    relative: bool
    direction: Literal["minimize", "maximize"]

    @property
    def sign(self) -> int:
        """1 when lower values are better, else -1."""
        return 1 if self.direction == "minimize" else -1

    def y(self, value: float, se: float) -> tuple[float, float]:
        """The y of a value, and its standard error. Raises ValueError when a ratio metric is not positive."""
        if not self.relative:
            return self.sign * value, se
        if value <= 0:
            raise ValueError(f"a metric compared as a ratio must be positive, got {value}")
        return self.sign * log(value), se / value

    def value(self, y: float, sd: float) -> tuple[float, float]:
        """The metric and its standard deviation, to first order."""
        if not self.relative:
            return self.sign * y, sd
        value = exp(self.sign * y)
        return value, value * sd


@dataclass(frozen=True)
class Told:
    """One answer: seconds, quality and its standard error."""

    allocation: Allocation
    latency_s: float
    quality: float
    quality_se: float


@dataclass(frozen=True)
class History:
    """All that was asked, oldest first: answered, under way, and given up."""

    told: tuple[Told, ...] = ()
    under_way: tuple[Allocation, ...] = ()
    failed: tuple[Allocation, ...] = ()

    @property
    def asked(self) -> frozenset[Allocation]:
        """Every allocation that needs no question any more."""
        return frozenset([*(t.allocation for t in self.told), *self.under_way, *self.failed])


class Candidates:
    """What is known of every candidate before anything is measured: its time and its coordinates."""

    def __init__(
        self,
        allocations: Sequence[Allocation],
        baselines: Sequence[Allocation],
        latency_s: Mapping[Allocation, float],
        denoisers: tuple[str, ...],
        positions: Positions | None = None,
        earlier: Sequence[Earlier] = (),
    ):
        """`earlier`: studies of like members, whose qualities may be a trend of these."""
        self.allocations, self.baselines = tuple(allocations), tuple(baselines)
        self._rows = {a: i for i, a in enumerate(self.allocations)}
        self.seconds_of = latency_s
        self.latency_s = np.array([latency_s[a] for a in self.allocations])
        self.embedding = Embedding.for_set(denoisers, self.allocations, positions)
        self._trends = [Trend(found, self.embedding) for found in earlier]
        self.groups = np.append(self.embedding.groups, [-1] * len(self._trends)).astype(int)
        self.x = self.at(self.allocations)

    def at(self, allocations: Sequence[Allocation]) -> np.ndarray:
        """Coordinates (n, d) of allocations, candidates or not: where they lie, then what earlier studies say."""
        if not allocations:
            return np.empty((0, len(self.groups)))
        return np.column_stack([self.embedding.of(allocations), *(trend.at(allocations) for trend in self._trends)])

    def with_more(self, allocations: Sequence[Allocation]) -> "Candidates":
        """These candidates and further ones behind them; what is known of these is not worked out again."""
        fresh = [a for a in dict.fromkeys(allocations) if a not in self._rows]
        if not fresh:
            return self
        made = copy(self)
        made.allocations = (*self.allocations, *fresh)
        made._rows = {**self._rows, **{a: i for i, a in enumerate(fresh, start=len(self.allocations))}}
        made.latency_s = np.append(self.latency_s, [self.seconds_of[a] for a in fresh])
        made.x = np.vstack([self.x, self.at(fresh)])
        return made

    def unasked(self, history: History) -> np.ndarray:
        """Which candidates were not asked for (n,)."""
        unasked = np.ones(len(self.allocations), dtype=bool)
        unasked[[self._rows[a] for a in history.asked if a in self._rows]] = False
        return unasked


@dataclass(frozen=True)
class Posterior:
    """Predicted y of every candidate (n,) and its `ehvi`, 0 where asked; `hypervolume` of what is known and expected.

    y is on the metric's own scale (`QualityScale`), the hypervolume's unit is seconds times that.
    """

    mean: np.ndarray
    sd: np.ndarray
    ehvi: np.ndarray
    hypervolume: float

    @property
    def expected_gain(self) -> float:
        """The largest expected improvement as a share of the hypervolume so far; infinite while there is none."""
        return float(self.ehvi.max(initial=0)) / self.hypervolume if self.hypervolume > 0 else inf


def posterior(candidates: Candidates, history: History, scale: QualityScale) -> Posterior | None:
    """What to expect of the candidates, or None until every baseline is answered.

    Trials under way are believed to turn out as expected, so that the next question is not the same once more.
    """
    waiting = [a for a in candidates.baselines if a not in history.asked or a in history.under_way]
    if waiting or not history.told:
        return None
    told, embed = history.told, candidates.at
    seen = observations(candidates, told, scale)
    x, under_way = seen.x, embed(history.under_way)
    process = fit(seen).believing(under_way, float(seen.noise_variance.mean()))
    mean, sd = process.posterior(candidates.x)
    seconds = [*(t.latency_s for t in told), *(candidates.seconds_of[a] for a in history.under_way)]
    front = np.column_stack([seconds, process.posterior(np.vstack([x, under_way]))[0]])
    corner = reference_point(candidates, told, seen.y)
    ehvi = expected_hypervolume_improvement(candidates.latency_s, mean, sd, front, corner)
    points = [(float(s), float(q)) for s, q in front]
    return Posterior(mean, sd, np.where(candidates.unasked(history), ehvi, 0.0), hypervolume(points, corner))


def observations(candidates: Candidates, told: Sequence[Told], scale: QualityScale) -> Observations:
    """The answers as a Gaussian process takes them."""
    y, y_se = np.array([scale.y(t.quality, t.quality_se) for t in told]).T
    x = candidates.at([t.allocation for t in told])
    return Observations(x, y, y_se**2, candidates.groups)


def reference_point(candidates: Candidates, told: Sequence[Told], y: np.ndarray) -> Point:
    """The worst corner: fixed once the baselines are answered, whatever else is found later.

    A baseline that another one beats does not count: nothing as bad as that will be on the front.
    """
    all_points = [(t.latency_s, float(value)) for t, value in zip(told, y, strict=True)]
    of_baselines = [p for t, p in zip(told, all_points, strict=True) if t.allocation in candidates.baselines]
    points = of_baselines or all_points
    first = np.array([points[i][1] for i in pareto_front(points)])
    worst = float(first.max() + MARGIN * np.ptp(first))
    return (1 + MARGIN) * float(candidates.latency_s.max()), worst


def spread_out(candidates: Candidates, history: History) -> Iterator[int]:
    """Rows of the candidates that were not asked for, that first which those before say least about.

    Whatever the answers turn out to be: the prior decides.
    """
    asked = candidates.at(sorted(history.asked))
    seen = Observations(asked, np.zeros(len(asked)), np.zeros(len(asked)), candidates.groups)
    process = GaussianProcess(seen, Prior().medians(seen.n_groups))
    unknown = np.where(candidates.unasked(history), process.bounds(candidates.x)[1], -1.0)
    while unknown.max() >= 0:
        row = largest(unknown, partial(_sd, process, candidates.x))
        yield row
        unknown[row] = -1.0
        process = process.believing(candidates.x[[row]], 0.0)


def _sd(process: GaussianProcess, x: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return process.posterior(x[rows])[1]
