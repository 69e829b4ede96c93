"""Standard errors by the delete-a-group jackknife: leave out one block of images at a time.

Why this and not the bootstrap: it repeats no image, so it does not move the centre of a rank-limited statistic such
as FID at small n (docs/decisions/0005-standard-errors.md). The interval is for the expected value at this n with the
reference fixed; it covers no bias.

A statistic T of blocks 1, ..., G has a part that is linear in them and one that is not: for pairs of blocks, say, with
variances V1 and V2. The jackknife's expectation is V1 + 2 V2, so that near the reference, where the distance is all
curvature, it says up to 1.5 times the true error. V2 shows in second differences (Efron & Stein, Annals of Statistics
1981), with n_k images without block k, of which there are m on average,

    Q_kl = (n T - n_k T_k - n_l T_l + n_kl T_kl) / m,      variance = jackknife - (G - 1) / (2 G) var Q.

Neighbours k, l = k + 1 tell var Q. As V1 >= 0, no more than half of the jackknife is taken off.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Protocol, runtime_checkable

import numpy as np

N_GROUPS = 20

Statistic = Callable[[np.ndarray], float]


@runtime_checkable
class KnowsItsError(Protocol):
    """A statistic that finds its values with blocks left out by itself, faster than one by one."""

    def jackknifed(self, values: np.ndarray) -> "Jackknifed":
        """The same as the function `jackknifed` with `N_GROUPS` groups."""
        ...


@dataclass(frozen=True)
class Jackknifed:
    """The value of a statistic on n images, and its values with each block of consecutive images left out, (G,).

    `second`: the second differences Q of each block and the next, (G,); none for a mean, which has no curvature.
    """

    value: float
    left_out: np.ndarray
    n_images: int
    second: np.ndarray = field(default_factory=lambda: np.empty(0))

    @property
    def se(self) -> float:
        """Standard error of `value`."""
        return float(np.sqrt(self._share * self._jackknife))

    @property
    def df(self) -> float:
        """Degrees of freedom of `se`: the jackknife's own error is larger beside what is left of it."""
        return self._share**2 * (len(self.left_out) - 1)

    @property
    def _jackknife(self) -> float:
        k = len(self.left_out)
        return float((k - 1) / k * ((self.left_out - self.left_out.mean()) ** 2).sum())

    @property
    def _share(self) -> float:
        """Of the jackknife's variance, what is the statistic's: 1/2 to 1."""
        k, whole = len(self.left_out), self._jackknife
        if not len(self.second) or whole == 0:
            return 1.0
        return max(1 - (k - 1) / (2 * k) * float(self.second.var(ddof=1)) / whole, 0.5)

    def minus(self, other: "Jackknifed") -> "Jackknifed":
        """The difference of two statistics; block i of both holds the same image seeds, so errors they share cancel.

        Raises ValueError when the numbers of images differ: an unpaired difference is another quantity.
        """
        if self.n_images != other.n_images:
            raise ValueError(f"a paired difference needs the same images: {self.n_images} against {other.n_images}")
        second = self.second - other.second
        return Jackknifed(self.value - other.value, self.left_out - other.left_out, self.n_images, second)


def jackknifed(statistic: Statistic, values: np.ndarray, n_groups: int = N_GROUPS) -> Jackknifed:
    """`statistic` on the `values` (n, ...) of n images, with what its standard error needs.

    Raises ValueError when n < `n_groups`.
    """
    if isinstance(statistic, KnowsItsError) and n_groups == N_GROUPS:
        return statistic.jackknifed(values)
    value, n, sets = statistic(values), len(values), left_out_sets(len(values), n_groups)
    return from_left_out(value, [statistic(np.delete(values, images, axis=0)) for images in sets], n)


def from_left_out(value: float, left_out: Sequence[float], n: int) -> Jackknifed:
    """From the value of n images, and those without each of `left_out_sets`."""
    g = len(left_out) // 2
    single, pairs = np.array(left_out[:g]), np.array(left_out[g:])
    left = n - np.array([last - first for first, last in blocks(n, g)])
    without = left * single
    both = (left + np.roll(left, -1) - n) * pairs
    second = (n * value - without - np.roll(without, -1) + both) * g / n
    return Jackknifed(value, evened(value, single, n), n, second)


def jackknifed_mean(values: np.ndarray, cycle: int = 1) -> Jackknifed:
    """The mean of `values` (n,), one per image, n >= 2: each image is a block, so the error is sd / sqrt(n).

    Where every `cycle` consecutive images hold each label once, that would count how labels differ, which moves no mean
    of whole cycles. Then, from `N_GROUPS` cycles on, each cycle is a block; the rest counts for the mean alone. Raises
    ValueError when n < 2.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or len(x) < 2:
        raise ValueError(f"an error needs one value for each of two images at least, got shape {x.shape}")
    size = cycle if len(x) >= N_GROUPS * cycle else 1
    sums = x[: len(x) // size * size].reshape(-1, size).sum(axis=1)
    return Jackknifed(float(x.mean()), (x.sum() - sums) / (len(x) - size), len(x))


def left_out_sets(n: int, n_groups: int = N_GROUPS) -> list[np.ndarray]:
    """The images to leave out: each block, then each with the next one. Raises ValueError when n < `n_groups`."""
    single = [np.arange(first, last) for first, last in blocks(n, n_groups)]
    return single + [np.concatenate([a, b]) for a, b in zip(single, [*single[1:], single[0]], strict=True)]


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
