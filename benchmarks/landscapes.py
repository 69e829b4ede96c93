"""Landscapes that search methods are judged on: every allocation's time, its images' features, and its true FID.

A recorded landscape holds real features of every allocation (benchmarks/make_landscape.py). A refined one has
thousands of allocations in between: image i of such an allocation is image i of one of the recorded allocations around
it, chosen with weights linear in the cut points and one random number per image. So its FID goes smoothly from one
recorded allocation to the next, and allocations share noise because their images share seeds, as recorded.
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import log
from pathlib import Path

import numpy as np

from tstitch_search.allocation import Allocation
from tstitch_search.pareto import Point, hypervolume, pareto_front
from tstitch_search.quality.frechet import FrechetDistance
from tstitch_search.quality.reference import load_reference
from tstitch_search.search.posterior import Candidates
from tstitch_search.search_space import SearchSpace, between

LABEL_CYCLE = 10  # any ten images in a row hold every label once
N_BUDGETS = 400
N_ENUMERATED = 3000  # images of every allocation, when all are enumerated


@dataclass(frozen=True, eq=False)
class Landscape:
    """All that can be measured. `features(a, rows)`: those images' features (n, d). Costs are in units of `whole`."""

    name: str
    space: SearchSpace
    latency_s: dict[Allocation, float]
    n_images: int
    distance: FrechetDistance
    features: Callable[[Allocation, np.ndarray], np.ndarray]
    truth: dict[Allocation, float]

    @property
    def singles(self) -> list[Allocation]:
        """The denoisers alone."""
        return [self.space.single(name) for name in self.space.denoisers]

    @property
    def controls(self) -> list[Allocation]:
        """The allocations whose images serve as control variates."""
        return [a for a in self.space.controls() if a in self.latency_s]

    @cached_property
    def coarse(self) -> list[Allocation]:
        """The grid of 0.1."""
        tenth = self.space.n_steps // 10
        return [a for a in self.latency_s if all(s.n_steps % tenth == 0 for s in a.segments)]

    @cached_property
    def whole(self) -> float:
        """What enumerating the grid of 0.1 costs, every allocation on 3,000 images."""
        return N_ENUMERATED * sum(self.latency_s[a] for a in self.coarse)

    @cached_property
    def candidates(self) -> Candidates:
        """What a search knows before it measures."""
        allocations = tuple(self.latency_s)
        baselines = [a for a in dict.fromkeys([*self.controls, *self.space.baselines()]) if a in self.latency_s]
        return Candidates(allocations, baselines, self.latency_s, self.space.denoisers)

    def order(self, seed: int) -> np.ndarray:
        """All images in an order of this seed; any ten in a row hold every label once."""
        cycles = np.random.default_rng(seed).permutation(self.n_images // LABEL_CYCLE)
        return (cycles[:, None] * LABEL_CYCLE + np.arange(LABEL_CYCLE)).ravel()

    def cost(self, n_made: dict[Allocation, int]) -> float:
        """Of making so many images of each, as a share of `whole`."""
        return sum(n * self.latency_s[a] for a, n in n_made.items()) / self.whole

    @cached_property
    def _budgets(self) -> tuple[np.ndarray, np.ndarray]:
        """Time budgets from the fastest allocation to the largest denoiser, and the best log FID within each."""
        every = sorted(self.truth, key=lambda a: self.latency_s[a])
        times = np.array([self.latency_s[a] for a in every])
        best = np.minimum.accumulate([log(self.truth[a]) for a in every])
        budgets = np.linspace(times[0], self.latency_s[self.space.anchor], N_BUDGETS)
        return budgets, best[np.searchsorted(times, budgets, side="right") - 1]

    def front(self, estimates: dict[Allocation, float]) -> list[Allocation]:
        """The table that a method's estimates lead to."""
        named = list(estimates)
        return [named[i] for i in pareto_front([(self.latency_s[a], v) for a, v in estimates.items()])]

    def regret(self, estimates: dict[Allocation, float]) -> float:
        """Mean excess of the true log FID of what the table deploys, over the budgets.

        A budget that no entry meets costs as much as the worst allocation.
        """
        front = self.front(estimates)
        budgets, best = self._budgets
        at = np.searchsorted([self.latency_s[a] for a in front], budgets, side="right") - 1
        chosen = np.array([log(self.truth[a]) for a in front])
        deployed = np.where(at >= 0, chosen[np.maximum(at, 0)], max(map(log, self.truth.values())))
        return float((deployed - best).mean())

    @cached_property
    def reference_point(self) -> Point:
        """Time of the largest denoiser, log FID of the worst denoiser alone."""
        return self.latency_s[self.space.anchor], max(log(self.truth[a]) for a in self.singles)

    def hypervolume(self, estimates: dict[Allocation, float] | None = None) -> float:
        """Of the table at its true values, as a share of the best there is; with None the latter, in s x log FID."""
        best = hypervolume([(self.latency_s[a], log(v)) for a, v in self.truth.items()], self.reference_point)
        if estimates is None:
            return best
        points = [(self.latency_s[a], log(self.truth[a])) for a in self.front(estimates)]
        return hypervolume(points, self.reference_point) / best


def recorded(folder: Path, times: Path, name: str) -> Landscape:
    """The landscape of a folder of features and a table of times, in the format that `measure.recorded` reads."""
    with times.open() as stream:
        latency_s = {Allocation.parse(r["allocation"]): float(r["latency_s"]) for r in csv.DictReader(stream)}
    features = {a: np.load(folder / f"{a.file_name}.npy") for a in latency_s}
    distance = FrechetDistance(load_reference("reference.npz", folder))
    anchor = max(latency_s, key=lambda a: latency_s[a] if len(a.segments) == 1 else 0.0)
    singles = [a for a in latency_s if len(a.segments) == 1]
    names = tuple(a.segments[0].denoiser for a in sorted(singles, key=lambda a: latency_s[a]))
    grid = min(n for a in features for n in a.steps.values())
    return Landscape(
        name,
        SearchSpace(names, (names,), anchor.n_steps, grid),
        latency_s,
        len(features[anchor]),
        distance,
        lambda a, rows: features[a][rows],
        {a: distance(x) for a, x in features.items()},
    )


def refined(land: Landscape, n_steps: int, cache: Path) -> Landscape:
    """The landscape at single steps of `n_steps`, between the allocations of `land`; true FIDs are kept in `cache`."""
    space = SearchSpace(land.space.denoisers, land.space.orders, n_steps, 1)
    mixtures = {a: _between(a, land.space) for a in space}
    latency_s = {a: sum(w * land.latency_s[b] for b, w in mix) for a, mix in mixtures.items()}
    chance = np.random.default_rng(2402_14167).random(land.n_images)

    def features(a: Allocation, rows: np.ndarray) -> np.ndarray:
        corners, weights = zip(*mixtures[a], strict=True)
        chosen = np.searchsorted(np.cumsum(weights)[:-1], chance[rows], side="right")
        of_each = [land.features(b, rows) for b in corners]
        return np.choose(chosen[:, None], of_each) if len(of_each) > 1 else of_each[0]

    name = f"{land.name}, refined to {len(space):,}"
    kept = cache / f"truth_{len(land.latency_s)}_{len(space)}_{land.n_images}.npy"
    if not kept.exists():
        every = np.arange(land.n_images)
        np.save(kept, [land.distance(features(a, every)) for a in space])
    truth = dict(zip(space, map(float, np.load(kept)), strict=True))
    return Landscape(name, space, latency_s, land.n_images, land.distance, features, truth)


def _between(allocation: Allocation, coarse: SearchSpace) -> list[tuple[Allocation, float]]:
    """The coarse allocations around this one with their weights (Freudenthal's triangulation of the cut points)."""
    shares = [allocation.fractions.get(name, 0.0) for name in coarse.denoisers[:-1]]
    cuts = np.cumsum(shares) * coarse.n_steps / coarse.grid_steps
    corner = np.floor(cuts + 1e-9)
    rest = np.clip(cuts - corner, 0, 1).round(9)
    order = np.argsort(
        -rest[::-1], kind="stable"
    )  # of equal rests the later cut moves first, so that cuts stay in order
    order = len(rest) - 1 - order
    corners, levels = [corner.copy()], [1.0, *rest[order], 0.0]
    for k in order:
        corner[k] += 1
        corners.append(corner.copy())
    weights = -np.diff(levels)
    return [(_of_cuts(c, coarse), float(w)) for c, w in zip(corners, weights, strict=True) if w > 0]


def _of_cuts(cuts: np.ndarray, space: SearchSpace) -> Allocation:
    ends = [0, *(int(c) * space.grid_steps for c in cuts), space.n_steps]
    return between(space.denoisers, ends)
