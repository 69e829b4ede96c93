"""What a few noisy measurements say about every allocation: Gaussian process regression, exact, algorithm 2.1."""

from copy import copy

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular

from tstitch_search.search.gaussian_process.hyperparameters import Hyperparameters
from tstitch_search.search.gaussian_process.kernel import JITTER, Kernel
from tstitch_search.search.gaussian_process.observations import Observations

# Rows of a large set that are worked on at once: they stay in the processor's cache.
BLOCK = 256
# So many observations bound what is unknown.
SOME = 64


class GaussianProcess:
    """The posterior given observations and hyperparameters; mean and variance are of `y` without its noise.

    `widening` >= 1 multiplies standard deviations, for hyperparameters that were fitted to few observations.
    """

    def __init__(self, seen: Observations, hyper: Hyperparameters, widening: float = 1.0):
        self.seen, self.hyper, self.widening = seen, hyper, widening
        self._kernel = Kernel(hyper, seen.groups, seen.slope_variance)
        covariance = self._kernel(seen.x, seen.x) + np.diag(self._added(seen.noise_variance))
        self._root = cholesky(covariance, lower=True)
        self._weights = cho_solve((self._root, True), (seen.y - seen.centre) / seen.scale)

    def posterior(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (n,) of y at the rows of `x` (n, d)."""
        return self._moments(x, slice(None), self._root)

    def bounds(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean (n,) of y at the rows of `x` (n, d), and what its standard deviation is at most: far less work.

        The latter is what some of the observations leave unknown.
        """
        n = len(self._root)
        some = np.unique(np.linspace(0, n - 1, min(n, SOME)).round().astype(int))
        x_some = self.seen.x[some]
        covariance = self._kernel(x_some, x_some) + np.diag(self._added(self.seen.noise_variance[some]))
        return self._moments(x, some, cholesky(covariance, lower=True))

    def _moments(self, x: np.ndarray, rows_seen: slice | np.ndarray, root: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean given all observations, standard deviation given those at `rows_seen`, whose covariance has `root`."""
        mean, variance = np.empty(len(x)), np.empty(len(x))
        for i in range(0, len(x), BLOCK):
            rows = x[i : i + BLOCK]
            near = self._kernel.near(self.seen.x, rows)
            mean[i : i + BLOCK] = self._mean(near, rows)
            between = near[rows_seen] + self._kernel.linear(self.seen.x[rows_seen], rows)
            explained = solve_triangular(root, between, lower=True, check_finite=False)
            variance[i : i + BLOCK] = self._kernel.variance(rows) - np.einsum("ij,ij->j", explained, explained)
        sd = self.widening * self.seen.scale * np.sqrt(np.clip(variance, 0, None))
        return self.seen.centre + self.seen.scale * mean, sd

    def mean(self, x: np.ndarray) -> np.ndarray:
        """The mean (n,) alone, which takes far less time."""
        seen, blocks = self.seen.x, (x[i : i + BLOCK] for i in range(0, len(x), BLOCK))
        found = [self._mean(self._kernel.near(seen, rows), rows) for rows in blocks]
        mean: np.ndarray = self.seen.centre + self.seen.scale * np.concatenate([*found, np.empty(0)])
        return mean

    def _mean(self, near: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The standardised mean (m,) at `rows` (m, d), which are `near` (n, m) what was observed."""
        mean: np.ndarray = self._weights @ near + self._kernel.linear_sum(self._weights, self.seen.x, rows)
        return mean

    def covariance(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Posterior covariance (n, m) between y at the rows of `a` (n, d) and of `b` (m, d)."""
        explained_a, explained_b = (
            solve_triangular(self._root, self._kernel(self.seen.x, rows), lower=True) for rows in (a, b)
        )
        scale = self.widening * self.seen.scale
        covariance: np.ndarray = scale**2 * (self._kernel(a, b) - explained_a.T @ explained_b)
        return covariance

    def believing(self, x: np.ndarray, noise_variance: float) -> "GaussianProcess":
        """The posterior once `x` (m, d) are observed to be what is expected of them (kriging believer).

        The mean stays as it is everywhere; the variance shrinks as it will. The root gets m more rows, the weights m
        zeros, since nothing is left to explain.
        """
        if not len(x):
            return self
        n, m = len(self._root), len(x)
        noise = np.full(m, noise_variance)
        believer = copy(self)
        believer.seen = self.seen.with_more(x, self.mean(x), noise)
        below = solve_triangular(self._root, self._kernel(self.seen.x, x), lower=True, check_finite=False)
        left = self._kernel(x, x) + np.diag(self._added(noise)) - below.T @ below
        believer._root = np.zeros((n + m, n + m), order="F")
        believer._root[:n, :n], believer._root[n:, :n] = self._root, below.T
        believer._root[n:, n:] = cholesky(left, lower=True)
        believer._weights = np.append(self._weights, np.zeros(m))
        return believer

    def _added(self, noise_variance: np.ndarray) -> np.ndarray:
        """What is added to the diagonal (n,) for noise of that variance in the unit of y."""
        added: np.ndarray = self.hyper.noise_share * noise_variance / self.seen.scale**2
        return added + JITTER * self.hyper.variance
