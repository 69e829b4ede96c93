"""The largest of many values, where upper bounds are cheap and values are not.

Bounds that stay true while more becomes known need not be made anew: what has changed little is looked at first
(Minoux 1978, Accelerated greedy algorithms).
"""

from collections.abc import Callable

import numpy as np

# Values that are worked out at once.
AT_ONCE = 256
# Values that differ by less than this share are equal: rounding must not decide.
EQUAL = 1e-9


def largest(bounds: np.ndarray, values: Callable[[np.ndarray], np.ndarray]) -> int:
    """Row of the largest value, the first of equal ones; `bounds` (n,) are at least the `values` of their rows, >= 0.

    Where a value was needed it takes the bound's place. Rows with a negative bound are out of the question.
    """
    is_known, best = np.zeros(len(bounds), dtype=bool), 0.0
    while len(rows := _most_promising(np.where(is_known, -1.0, bounds), (1 - EQUAL) * best)):
        bounds[rows] = values(rows)
        is_known[rows] = True
        best = max(best, float(bounds[rows].max()))
    return int(np.argmax(np.where(is_known | (best == 0), bounds, -1.0) >= (1 - EQUAL) * best))


def _most_promising(bounds: np.ndarray, level: float) -> np.ndarray:
    """Rows of the highest bounds that are above 0 and reach `level`."""
    rows = np.flatnonzero((bounds > 0) & (bounds >= level))
    if len(rows) > AT_ONCE:
        rows = np.sort(rows[np.argpartition(-bounds[rows], AT_ONCE)[:AT_ONCE]])
    return rows
