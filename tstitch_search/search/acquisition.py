"""How much an allocation is expected to add to the front, when its time is known and only its quality is not.

With one objective known, expected hypervolume improvement needs no two-dimensional integral: the front's level is a
staircase over time, and over each of its steps the gain is the classic expected improvement below that level. So

    EHVI(a) = sum_j (width of step j to the right of t(a)) * EI(level_j; mean(a), sd(a)),
    EI(L; m, s) = (L - m) Phi(z) + s phi(z),  z = (L - m) / s        (Jones et al. 1998, Eq. 15)

Both objectives are to be minimised; the reference point is the worst corner that still counts.
"""

import numpy as np
from scipy.special import ndtr

from tstitch_search.pareto import Point

# Candidates that are worked on at once: they stay in the processor's cache.
BLOCK = 256
# Beyond so many standard deviations floating point knows no tail.
CERTAIN = 40.0


def expected_hypervolume_improvement(
    latency_s: np.ndarray, mean: np.ndarray, sd: np.ndarray, front: np.ndarray, reference: Point
) -> np.ndarray:
    """EHVI (n,) >= 0 of n candidates with known `latency_s` and Gaussian quality (`mean`, `sd` >= 0), lower better.

    `front` (m, 2): (latency_s, quality) of points taken as known, in any order, dominated ones allowed.
    """
    edges, levels = _staircase(front, reference)
    left, right, level = edges[:-1, None], edges[1:, None], levels[:, None]
    gains = np.zeros(len(latency_s))
    for i in range(0, len(latency_s), BLOCK):
        rows = slice(i, i + BLOCK)
        width = np.clip(right - np.maximum(left, latency_s[rows]), 0, None)  # (steps, block)
        reached = width.any(axis=1)
        gain = expected_improvement(level[reached], mean[rows], sd[rows])
        gains[rows] = (width[reached] * gain).sum(axis=0)
    return gains


def expected_improvement(level: np.ndarray | float, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """How far N(`mean`, `sd`^2) is expected to lie below `level`, counting only what does; >= 0, broadcast."""
    below = level - mean
    z = np.divide(below, sd, out=np.where(below > 0, CERTAIN, -CERTAIN), where=sd > 1e-100).clip(-CERTAIN, CERTAIN)
    density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    gain: np.ndarray = np.clip(below * ndtr(z) + sd * density, 0, None)
    return gain


def _staircase(front: np.ndarray, reference: Point) -> tuple[np.ndarray, np.ndarray]:
    """Edges (j + 2,) on the time axis up to the reference point, and the best quality so far between them (j + 1,)."""
    steps = [(-np.inf, reference[1])]
    for x, y in sorted(map(tuple, front)):
        if x < reference[0] and y < steps[-1][1]:
            steps.append((x, y))
    edges, levels = np.array(steps).T
    return np.append(edges, reference[0]), levels
