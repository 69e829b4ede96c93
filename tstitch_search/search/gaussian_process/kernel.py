"""How alike y is at two inputs before anything is observed: Matern 5/2 (Eq. 4.17) beside a linear mean (section 2.7).

The mean's coefficients have a broad normal prior, which is a linear term in the kernel.
"""

import numpy as np

from tstitch_search.search.gaussian_process.hyperparameters import Hyperparameters
from tstitch_search.search.gaussian_process.observations import MEAN_SD

# Added to the diagonal, as a share of the kernel's amplitude, so that equal inputs leave the matrix invertible.
JITTER = 1e-8


class Kernel:
    """The prior covariance under some hyperparameters, in standard deviations of what was observed."""

    def __init__(self, hyper: Hyperparameters, groups: np.ndarray, slope_variance: np.ndarray):
        """`groups` (d,): the length scale of each column, -1 for none; `slope_variance` (d,) of the linear mean."""
        self._variance, self._slope_variance = hyper.variance, slope_variance
        scales = np.append(hyper.length_scales, np.inf)  # the last one, for -1
        self._shrink = np.sqrt(5) / scales[groups]

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Covariance (n, m) between the rows of `a` (n, d) and of `b` (m, d)."""
        covariance: np.ndarray = self.near(a, b) + self.linear(a, b)
        return covariance

    def near(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The part (n, m) that hangs on distance.

        Distances by one product of matrices: to rounding, those of `scipy.spatial.distance.cdist`, in less time.
        """
        p, q = a * self._shrink, b * self._shrink
        left = np.column_stack([-2 * p, (p * p).sum(axis=1), np.ones(len(p))])
        right = np.column_stack([q, np.ones(len(q)), (q * q).sum(axis=1)])
        squares = left @ right.T
        covariance = matern_52(np.maximum(squares, 0.0, out=squares))
        covariance *= self._variance
        return covariance

    def linear(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The part (n, m) of the linear mean."""
        covariance: np.ndarray = (a * self._slope_variance) @ b.T
        covariance += MEAN_SD**2
        return covariance

    def linear_sum(self, weights: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """`weights @ linear(a, b)` (m,), without the matrix."""
        total: np.ndarray = MEAN_SD**2 * weights.sum() + b @ (self._slope_variance * (weights @ a))
        return total

    def variance(self, x: np.ndarray) -> np.ndarray:
        """Covariance (n,) of each row of `x` (n, d) with itself."""
        variance: np.ndarray = self._variance + MEAN_SD**2 + (x * x) @ self._slope_variance
        return variance


def matern_52(five_squares: np.ndarray) -> np.ndarray:
    """Correlation at scaled distances r >= 0, given 5 r^2."""
    s = np.sqrt(five_squares)
    correlation: np.ndarray = five_squares / 3
    correlation += s
    correlation += 1
    np.negative(s, out=s)
    correlation *= np.exp(s, out=s)
    return correlation
