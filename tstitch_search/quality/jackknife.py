"""Standard errors by the delete-a-group jackknife: leave out one block of images at a time.

Why this and not the bootstrap: it repeats no image, so it does not move the centre of a rank-limited statistic such
as FID at small n (docs/decisions/0005-standard-errors.md). It tends to overstate the error a little, never the
certainty. The interval is for the expected value at this n with the reference fixed; it covers no bias.
"""

from collections.abc import Callable, Iterator

import numpy as np

N_GROUPS = 20

Statistic = Callable[[np.ndarray], float]


def jackknife(statistic: Statistic, features: np.ndarray, n_groups: int = N_GROUPS) -> tuple[float, float]:
    """Value of `statistic` on `features` (n, d) and its standard error. Raises ValueError when n < `n_groups`."""
    return statistic(features), _standard_error(_left_out(statistic, features, n_groups))


def jackknife_difference(
    statistic: Statistic, features: np.ndarray, anchor: np.ndarray, n_groups: int = N_GROUPS
) -> tuple[float, float]:
    """`statistic(features) - statistic(anchor)` and its standard error; row i of both is the same image seed.

    Raises ValueError when the two differ in length (an unpaired difference is another quantity) or n < `n_groups`.
    """
    if len(features) != len(anchor):
        raise ValueError(f"a paired difference needs the same images: {len(features)} against {len(anchor)}")
    left_out = _left_out(statistic, features, n_groups) - _left_out(statistic, anchor, n_groups)
    return statistic(features) - statistic(anchor), _standard_error(left_out)


def without_each_block(features: np.ndarray, n_groups: int = N_GROUPS) -> Iterator[np.ndarray]:
    """`features` (n, d) without each block of consecutive images in turn. Raises ValueError when n < `n_groups`."""
    if len(features) < n_groups:
        raise ValueError(f"{n_groups} groups need at least as many images, got {len(features)}")
    for block in np.array_split(np.arange(len(features)), n_groups):
        yield np.delete(features, block, axis=0)


def _left_out(statistic: Statistic, features: np.ndarray, n_groups: int) -> np.ndarray:
    """The statistic without each block in turn: (n_groups,)."""
    return np.array([statistic(rest) for rest in without_each_block(features, n_groups)])


def _standard_error(left_out: np.ndarray) -> float:
    n = len(left_out)
    return float(np.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum()))
