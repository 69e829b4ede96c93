"""Standard errors by the delete-a-group jackknife: leave out one block of images at a time.

Why this and not the bootstrap: it repeats no image, so it does not move the centre of a rank-limited statistic such
as FID at small n (docs/decisions/0005-standard-errors.md). It tends to overstate the error a little, never the
certainty. The interval is for the expected value at this n with the reference fixed; it covers no bias.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol, runtime_checkable

import numpy as np

N_GROUPS = 20

Statistic = Callable[[np.ndarray], float]


@runtime_checkable
class KnowsItsError(Protocol):
    """A statistic that finds its values with each block left out by itself, faster than one by one."""

    def jackknifed(self, values: np.ndarray) -> "Jackknifed":
        """The same as the function `jackknifed` with `N_GROUPS` groups."""
        ...


@dataclass(frozen=True)
class Jackknifed:
    """The value of a statistic on n images, and its values with each block of consecutive images left out."""

    value: float
    left_out: np.ndarray
    n_images: int

    @property
    def se(self) -> float:
        """Standard error of `value`."""
        k = len(self.left_out)
        return float(np.sqrt((k - 1) / k * ((self.left_out - self.left_out.mean()) ** 2).sum()))

    @property
    def df(self) -> int:
        """Degrees of freedom of `se`."""
        return len(self.left_out) - 1

    def minus(self, other: "Jackknifed") -> "Jackknifed":
        """The difference of two statistics; block i of both holds the same image seeds, so errors they share cancel.

        Raises ValueError when the numbers of images differ: an unpaired difference is another quantity.
        """
        if self.n_images != other.n_images:
            raise ValueError(f"a paired difference needs the same images: {self.n_images} against {other.n_images}")
        return Jackknifed(self.value - other.value, self.left_out - other.left_out, self.n_images)


def jackknifed(statistic: Statistic, values: np.ndarray, n_groups: int = N_GROUPS) -> Jackknifed:
    """`statistic` on the `values` (n, ...) of n images, with what its standard error needs.

    Raises ValueError when n < `n_groups`.
    """
    if isinstance(statistic, KnowsItsError) and n_groups == N_GROUPS:
        return statistic.jackknifed(values)
    value, n = statistic(values), len(values)
    left_out = np.array([statistic(rest) for rest in without_each_block(values, n_groups)])
    return Jackknifed(value, evened(value, left_out, n), n)


def jackknifed_mean(values: np.ndarray) -> Jackknifed:
    """The mean of `values` (n,), one per image, n >= 2: each image is a block, so the error is sd / sqrt(n).

    Raises ValueError when n < 2.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or len(x) < 2:
        raise ValueError(f"an error needs one value for each of two images at least, got shape {x.shape}")
    return Jackknifed(float(x.mean()), (x.sum() - x) / (len(x) - 1), len(x))


def without_each_block(values: np.ndarray, n_groups: int = N_GROUPS) -> Iterator[np.ndarray]:
    """`values` (n, ...) without each block of consecutive images in turn. Raises ValueError when n < `n_groups`."""
    for first, last in blocks(len(values), n_groups):
        yield np.delete(values, slice(first, last), axis=0)


def evened(value: float, left_out: np.ndarray, n: int) -> np.ndarray:
    """What `left_out` (G,) would be if all blocks of the n images were of one size.

    Leaving out m images changes the value by m / (n - m) of what they are worth; without this, blocks of 12 and 13
    images would count the bias of FID as noise. Busing, Meijer & van der Leeden (1999).
    """
    sizes = np.array([last - first for first, last in blocks(n, len(left_out))])
    even = n / len(left_out)
    evened_out: np.ndarray = value - (value - left_out) * (even / (n - even)) / (sizes / (n - sizes))
    return evened_out


def blocks(n: int, n_groups: int = N_GROUPS) -> list[tuple[int, int]]:
    """First and end of each block of n consecutive images. Raises ValueError when n < `n_groups`."""
    if n < n_groups:
        raise ValueError(f"{n_groups} groups need at least as many images, got {n}")
    sizes = [n // n_groups + (i < n % n_groups) for i in range(n_groups)]
    ends = list(accumulate(sizes))
    return list(zip([0, *ends], ends, strict=False))
