"""How well hyperparameters explain what was observed: log marginal likelihood and its gradient (Eq. 5.8 and 5.9)."""

import numpy as np
from scipy.linalg import cho_solve, cholesky
from scipy.linalg.lapack import dpotri
from scipy.spatial.distance import pdist

from tstitch_search.search.gaussian_process.hyperparameters import Hyperparameters
from tstitch_search.search.gaussian_process.kernel import JITTER
from tstitch_search.search.gaussian_process.observations import MEAN_SD, Observations


class Evidence:
    """The log marginal likelihood of the standardised `y`; what hangs on no hyperparameter is worked out once.

    Matrices are symmetric: of each only the pairs below the diagonal and the diagonal are worked with.
    """

    def __init__(self, seen: Observations):
        n, columns = len(seen.y), [seen.x[:, seen.groups == g] for g in range(seen.n_groups)]
        self._y = (seen.y - seen.centre) / seen.scale
        self._noise = seen.noise_variance / seen.scale**2
        self._squares = np.array([pdist(x, "sqeuclidean") for x in columns]).reshape(len(columns), n * (n - 1) // 2)
        self._pairs = np.triu_indices(n, k=1)  # in the order of pdist: below the diagonal where columns come first
        linear = MEAN_SD**2 + (seen.x * seen.slope_variance) @ seen.x.T
        self._linear, self._linear_diagonal = linear[self._pairs], np.diag(linear)

    def __call__(self, hyper: Hyperparameters) -> tuple[float, np.ndarray]:
        """The value, and its gradient by `hyper.logs`."""
        nearness = 1 / np.square(hyper.length_scales)
        s = np.sqrt(5 * (nearness @ self._squares))
        decay = hyper.variance * np.exp(-s)
        kernel = (1 + s + s * s / 3) * decay
        of_itself, noise = hyper.variance * (1 + JITTER), hyper.noise_share * self._noise
        weights, inverse, half_log_determinant = self._solved(kernel, of_itself + noise)
        value = -0.5 * float(self._y @ weights) - half_log_determinant - 0.5 * len(self._y) * np.log(2 * np.pi)

        first, second = self._pairs
        pull = weights[first] * weights[second] - inverse[first, second]
        on_diagonal = 0.5 * (weights * weights - np.diag(inverse))
        slope = 5 / 3 * (1 + s) * decay  # d kernel / d log length scale, per squared distance
        by_variance = pull @ kernel + of_itself * on_diagonal.sum()
        return value, np.array([by_variance, *(self._squares @ (pull * slope)) * nearness, on_diagonal @ noise])

    def _solved(self, kernel: np.ndarray, on_diagonal: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """C^-1 y, C^-1 above the diagonal, half the logarithm of C's determinant; C: kernel and linear mean."""
        covariance = np.diag(on_diagonal + self._linear_diagonal)
        covariance[self._pairs] = kernel + self._linear
        root = cholesky(covariance, check_finite=False)
        weights = cho_solve((root, False), self._y, check_finite=False)
        return weights, dpotri(root)[0], float(np.log(np.diag(root)).sum())


def log_evidence(seen: Observations, hyper: Hyperparameters) -> tuple[float, np.ndarray]:
    """The log marginal likelihood of what was observed, and its gradient by `hyper.logs`."""
    return Evidence(seen)(hyper)
