"""Where members lie among each other, from how alike their predictions are.

One checkpoint with and without guidance, or with and without a LoRA, are neighbours. Classical multidimensional scaling
(Torgerson 1952) finds points whose distances are the measured ones.
"""

from collections.abc import Sequence

import numpy as np

# Coordinates are kept in so many digits: the last bits of a device must not change a decision.
DIGITS = 3


def positions_of(names: Sequence[str], distances: np.ndarray) -> dict[str, tuple[float, ...]]:
    """A point (K-1,) for each of K members, from their distances (K, K) >= 0; the longest axis has length 1.

    Members that are all alike lie in one place: all points are 0.
    """
    n = len(names)
    centring = np.eye(n) - 1 / n
    variances, axes = np.linalg.eigh(-0.5 * centring @ distances**2 @ centring)
    order = np.argsort(-variances)[: n - 1]
    axes = axes[:, order] * np.sign(axes[np.abs(axes[:, order]).argmax(axis=0), order])  # a sign is no property
    points = axes * np.sqrt(np.clip(variances[order], 0, None))
    longest = float(np.ptp(points, axis=0).max(initial=0.0))
    points = (points / longest if longest > 0 else np.zeros_like(points)).round(DIGITS)
    return dict(zip(names, map(tuple, points.tolist()), strict=True))
