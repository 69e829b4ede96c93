"""Looks planned in advance: how small a p-value must be at each of them, so that all together err rarely enough.

Alpha spending of Lan & DeMets (Biometrika 70, 1983) with the function of theirs that resembles O'Brien & Fleming's
boundaries: hardly anything is spent early, so that the last look is almost as sharp as a single one. The
thresholds come from the recursive integration of Armitage, McPherson & Rowe (JRSS A 132, 1969).
"""

from functools import lru_cache
from math import ceil, inf, sqrt

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

# How many looks a plan has, and how surely a loss that is as small as it seems shall be shown.
N_LOOKS, POWER = 4, 0.9
# Points of the density between two looks, and how far it is followed, in standard deviations.
N_POINTS, REACH = 1001, 8.0


def spent(level: float, share: float) -> float:
    """How much of the one-sided error `level` is spent once `share`, in (0, 1], of the images are there."""
    return float(2 * ndtr(ndtri(level / 2) / sqrt(share)))


@lru_cache
def thresholds(level: float, shares: tuple[float, ...]) -> tuple[float, ...]:
    """The one-sided p-value below which each look rejects; `shares` of the images, rising, the last one 1.

    With probability at most `level` any look rejects a true hypothesis.
    """
    found: list[float] = []
    points, density, before = np.zeros(1), np.ones(1), 0.0  # of the Brownian motion that has not crossed yet
    for share in shares:
        step = sqrt(share - before)
        to_spend = spent(level, share) - (spent(level, before) if before else 0.0)
        bound = brentq(_beyond, 0.0, 10 * REACH, (points, density, step, to_spend))
        found.append(float(ndtr(-bound / sqrt(share))))
        new = np.linspace(-REACH * sqrt(share), bound, N_POINTS)
        weights = np.full(N_POINTS, new[1] - new[0])
        weights[[0, -1]] /= 2
        apart = (new[:, None] - points) / step
        density = weights * (np.exp(-(apart**2) / 2) @ density) / (step * sqrt(2 * np.pi))
        points, before = new, share
    return tuple(found)


def _beyond(bound: float, points: np.ndarray, density: np.ndarray, step: float, to_spend: float) -> float:
    """How much more than `to_spend` of the density is above `bound` one step of that standard deviation later."""
    return float(density @ ndtr((points - bound) / step)) - to_spend


def images_needed(loss: float, se: float, n_images: int, margin: float, level: float) -> float:
    """How many images would show, with probability `POWER`, that the loss is below the margin, were it as it seems.

    `se` is its standard error with `n_images`. Infinite where it seems to be no smaller.
    """
    room = margin - loss
    return n_images * float((ndtri(1 - level) + ndtri(POWER)) * se / room) ** 2 if room > 0 else inf


def planned_looks(n_needed: float, step: int, n_most: int) -> tuple[int, ...]:
    """Numbers of images to look at: multiples of `step`, equally far apart up to `n_needed`, at most `n_most`.

    Empty where `n_most` is too little for one.
    """
    each = ceil(n_needed / N_LOOKS / step) * step
    ends = (min(i * each, n_most // step * step) for i in range(1, N_LOOKS + 1))
    return tuple(n for n in dict.fromkeys(ends) if n)
