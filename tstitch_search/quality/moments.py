"""Mean and covariance of more features than fit in memory, from chunks, without a loss of precision.

Chan, Golub & LeVeque (1983), "Algorithms for computing the sample variance": each chunk is centred by its own mean in
float64, and two parts are merged exactly, so that a large common offset of the features costs no digits. At d = 2048
the sums take 34 MB whatever the number of images, and a merge as much again three times.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np


@dataclass(frozen=True)
class Moments:
    """Of `n` feature rows: their mean (d,), and the sum of outer products of the centred rows (d, d); float64."""

    n: int
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> "Moments":
        """The moments of features (n, d), n >= 1, of any float dtype."""
        x = features.astype(np.float64)
        mean = x.mean(axis=0)
        x -= mean
        return cls(len(x), mean, x.T @ x)

    def merge(self, other: "Moments") -> "Moments":
        """The moments of both sets of rows together."""
        n = self.n + other.n
        shift = other.mean - self.mean
        scatter = self.scatter + other.scatter
        scatter += np.outer(shift, shift) * (self.n * other.n / n)
        return Moments(n, self.mean + shift * (other.n / n), scatter)

    @property
    def covariance(self) -> np.ndarray:
        """The unbiased covariance (d, d), as `numpy.cov`. Raises ValueError for a single row."""
        if self.n < 2:
            raise ValueError("a covariance needs at least two rows")
        return self.scatter / (self.n - 1)


def moments_of(chunks: Iterable[np.ndarray]) -> Moments:
    """The moments of all rows of at least one chunk (n_i, d), one chunk in memory at a time."""
    return reduce(Moments.merge, map(Moments.of, chunks))
