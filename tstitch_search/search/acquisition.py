"""How much an allocation is expected to add to the front, when its time is known and only its quality is not.

With one objective known, expected hypervolume improvement needs no two-dimensional integral: the front's level is a
staircase over time, and over each of its steps the gain is the classic expected improvement below that level. So

    EHVI(a) = sum_j (width of step j to the right of t(a)) * EI(level_j; mean(a), sd(a)),
    EI(L; m, s) = (L - m) Phi(z) + s phi(z),  z = (L - m) / s        (Jones et al. 1998, Eq. 15)

Both objectives are to be minimised; the reference point is the worst corner that still counts.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from tstitch_search.pareto import Point

# Candidates that are worked on at once: they stay in the processor's cache.
BLOCK = 256
# So many blocks are near each other in time.
BLOCKS = 16
# Beyond so many standard deviations floating point knows no tail, and beyond so many a gain is lost in rounding.
CERTAIN, NEGLIGIBLE = 40.0, 9.0


@dataclass(frozen=True, eq=False)
class Staircase:
    """The best quality within every time up to `edges[-1]`: `levels` (j,), falling, between `edges` (j + 1,)."""

    edges: np.ndarray
    levels: np.ndarray

    @classmethod
    def of(cls, points: np.ndarray, reference: Point) -> "Staircase":
        """Of points (m, 2) in any order, dominated ones allowed; the reference's quality holds before the first."""
        return cls.beginning(reference[1], points[np.lexsort((points[:, 1], points[:, 0]))], reference[0])

    @classmethod
    def beginning(cls, level: float, points: np.ndarray, end: float) -> "Staircase":
        """From `level` down, by points (m, 2) in the order of time."""
        x, y = points[:, 0], points[:, 1]
        before = np.minimum.accumulate(np.append(level, y))[:-1]
        is_step = (y < before) & (x < end)
        edges, levels = np.append(-np.inf, x[is_step]), np.append(level, y[is_step])
        return cls(np.append(edges, end), levels)

    def growth(self, latency_s: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
        """Expected growth (n,) >= 0 of the area below by candidates with known time and Gaussian quality."""
        gains, lowest = np.zeros(len(latency_s)), mean - NEGLIGIBLE * sd
        for rows in _alike(latency_s, lowest):
            t, m, s = latency_s[rows], mean[rows], sd[rows]
            first = np.searchsorted(self.edges, t.min(), side="right") - 1
            last = len(self.levels) - np.searchsorted(self.levels[::-1], lowest[rows].min())
            steps = slice(first, max(last, first))
            left, right, level = self.edges[:-1][steps], self.edges[1:][steps], self.levels[steps]
            width = np.clip(right[:, None] - np.maximum(left[:, None], t), 0, None)  # (steps, block)
            gains[rows] = np.einsum("ij,ij->j", width, expected_improvement(level[:, None], m, s))
        return gains


def _alike(latency_s: np.ndarray, lowest: np.ndarray) -> Iterator[np.ndarray]:
    """All candidates in blocks near in time, and within those in quality: so that few steps concern a block."""
    order = np.argsort(latency_s, kind="stable")
    for i in range(0, len(order), BLOCKS * BLOCK):
        near = order[i : i + BLOCKS * BLOCK]
        near = near[np.argsort(lowest[near], kind="stable")]
        yield from (near[j : j + BLOCK] for j in range(0, len(near), BLOCK))


def expected_hypervolume_improvement(
    latency_s: np.ndarray, mean: np.ndarray, sd: np.ndarray, front: np.ndarray, reference: Point
) -> np.ndarray:
    """EHVI (n,) >= 0 of n candidates with known `latency_s` and Gaussian quality (`mean`, `sd` >= 0), lower better.

    `front` (m, 2): (latency_s, quality) of points taken as known, in any order, dominated ones allowed.
    """
    return Staircase.of(front, reference).growth(latency_s, mean, sd)


def expected_growth_by_moving(front: np.ndarray, sd: np.ndarray, reference: Point) -> np.ndarray:
    """Expected growth (k,) >= 0 of the area when the quality of one of the first k points moves by a normal step.

    `front` (m, 2) as above, m >= k = len(`sd`). Without a point that others dominate the front is as it is with it.
    """
    k = len(sd)
    growth = Staircase.of(front, reference).growth(front[:k, 0], front[:k, 1], sd)
    for i, others in _without_each(front, reference):
        if i < k:
            x, y = front[i]
            share = np.clip(others.edges[1:] - np.maximum(others.edges[:-1], x), 0, None)
            lost = float(share @ np.clip(others.levels - y, 0, None))
            growth[i] = max(float(others.growth(front[[i], 0], front[[i], 1], sd[[i]])[0]) - lost, 0.0)
    return growth


def _without_each(front: np.ndarray, reference: Point) -> Iterator[tuple[int, Staircase]]:
    """For each point that makes a step: the staircase without it, from that point's time on.

    Until the next step begins, points that it hid count.
    """
    order = np.lexsort((front[:, 1], front[:, 0]))
    x, y = front[order].T
    before = np.minimum.accumulate(np.append(reference[1], y))[:-1]
    steps = np.flatnonzero((y < before) & (x < reference[0]))
    for n, at in enumerate(steps):
        hidden = front[order[at + 1 : steps[n + 1] if n + 1 < len(steps) else None]]
        later = front[order[steps[n + 1 :]]]
        yield int(order[at]), Staircase.beginning(before[at], np.vstack([hidden, later]), reference[0])


def expected_improvement(level: np.ndarray | float, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """How far N(`mean`, `sd`^2) is expected to lie below `level`, counting only what does; >= 0, broadcast."""
    below = level - mean
    z = np.clip(below / np.maximum(sd, 1e-100), -CERTAIN, CERTAIN)
    density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    gain: np.ndarray = np.maximum(below * ndtr(z) + sd * density, 0.0)
    return gain
