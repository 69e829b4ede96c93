"""How well hyperparameters explain what was observed: log marginal likelihood and its gradient (Eq. 5.8 and 5.9)."""

import numpy as np
from scipy.linalg import cho_solve, cholesky
from scipy.linalg.lapack import dpotri
from scipy.spatial.distance import cdist

from tstitch_search.search.gaussian_process.hyperparameters import Hyperparameters
from tstitch_search.search.gaussian_process.kernel import JITTER
from tstitch_search.search.gaussian_process.observations import MEAN_SD, Observations


class Evidence:
    """The log marginal likelihood of the standardised `y`; what hangs on no hyperparameter is worked out once."""

    def __init__(self, seen: Observations):
        n, columns = len(seen.y), [seen.x[:, seen.groups == g] for g in range(seen.n_groups)]
        self._y = (seen.y - seen.centre) / seen.scale
        self._noise = seen.noise_variance / seen.scale**2
        self._squares = np.array([cdist(x, x, "sqeuclidean").ravel() for x in columns]).reshape(len(columns), n * n)
        self._linear = MEAN_SD**2 + (seen.x * seen.slope_variance) @ seen.x.T

    def __call__(self, hyper: Hyperparameters) -> tuple[float, np.ndarray]:
        """The value, and its gradient by `hyper.logs`."""
        n, diagonal = len(self._y), np.diag_indices(len(self._y))
        nearness = 1 / np.square(hyper.length_scales)
        s = np.sqrt(5 * (nearness @ self._squares)).reshape(n, n)
        decay = np.exp(-s)
        kernel = hyper.variance * ((1 + s + s * s / 3) * decay)
        kernel[diagonal] += hyper.variance * JITTER
        covariance = kernel + self._linear
        covariance[diagonal] += hyper.noise_share * self._noise
        root = cholesky(covariance, lower=True, check_finite=False)
        weights = cho_solve((root, True), self._y, check_finite=False)
        value = -0.5 * float(self._y @ weights) - float(np.log(root[diagonal]).sum()) - 0.5 * n * np.log(2 * np.pi)

        inverse, _ = dpotri(root, lower=1)  # the lower triangle, zeros above
        half = 0.5 * np.outer(weights, weights) - inverse  # against symmetric matrices, but for the diagonal
        of_diagonal = half[diagonal] + 0.5 * inverse[diagonal]
        slope = hyper.variance * 5 / 3 * (1 + s) * decay  # d kernel / d log length scale, per squared distance
        by_variance = np.vdot(half, kernel) + 0.5 * (inverse[diagonal] @ kernel[diagonal])
        by_scales = (self._squares @ (half * slope).ravel()) * nearness
        by_noise = hyper.noise_share * (of_diagonal @ self._noise)
        return value, np.array([by_variance, *by_scales, by_noise])


def log_evidence(seen: Observations, hyper: Hyperparameters) -> tuple[float, np.ndarray]:
    """The log marginal likelihood of what was observed, and its gradient by `hyper.logs`."""
    return Evidence(seen)(hyper)
