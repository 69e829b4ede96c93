"""What a few noisy measurements say about every allocation: Gaussian process regression on a finite set, exact.

Rasmussen and Williams, Gaussian Processes for Machine Learning (2006): algorithm 2.1 (posterior, evidence), Eq. 4.17
(Matern 5/2), Eq. 5.9 (gradient of the evidence), section 2.7 (a linear mean with a broad prior on its coefficients,
which is a linear term in the kernel). Every observation has a noise variance of its own.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from math import sqrt

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

from tstitch_search.search.hyperparameters import BESIDE_TREND, PRIOR, Hyperparameters, Prior

# Prior standard deviation of the mean's constant and slopes, in standard deviations of what was observed.
MEAN_SD = 3.0
# That of the other slopes, where a trend is taken to explain the mean.
BESIDE_TREND_SD = 0.3
# Added to the diagonal, as a share of the kernel's amplitude, so that equal inputs leave the matrix invertible.
JITTER = 1e-8
# Rows of a large set that are worked on at once: they stay in the processor's cache.
BLOCK = 128


@dataclass(frozen=True)
class Observations:
    """What was observed: `x` (n, d), `y` (n,), `noise_variance` (n,) >= 0; `groups` (d,) numbers the length scales.

    Group -1 is a trend, of which the mean alone may make use; it does where `follows_trends`.
    """

    x: np.ndarray
    y: np.ndarray
    noise_variance: np.ndarray
    groups: np.ndarray
    follows_trends: bool = False

    @cached_property
    def centre(self) -> float:
        """The mean of `y`: where the standardised observations have zero."""
        return float(self.y.mean())

    @cached_property
    def scale(self) -> float:
        """The standard deviation of `y`, or 1 where nothing varies."""
        return float(self.y.std()) or 1.0

    @cached_property
    def near(self) -> np.ndarray:
        """The columns (d,) by which inputs are near or far: all but trends."""
        return self.groups >= 0

    @cached_property
    def slope_variance(self) -> np.ndarray:
        """Prior variance (d,) of the mean's slope along every column."""
        follows = np.where(self.near, BESIDE_TREND_SD, MEAN_SD)
        alone = np.where(self.near, MEAN_SD, 0.0)
        variance: np.ndarray = (follows if self.follows_trends else alone) ** 2
        return variance

    @property
    def n_groups(self) -> int:
        """How many length scales there are."""
        return int(self.groups.max(initial=-1)) + 1


class GaussianProcess:
    """The posterior given observations and hyperparameters; mean and variance are of `y` without its noise.

    `widening` >= 1 multiplies standard deviations, for hyperparameters that were fitted to few observations.
    """

    def __init__(self, seen: Observations, hyper: Hyperparameters, widening: float = 1.0):
        self.seen, self.hyper, self.widening = seen, hyper, widening
        noise = hyper.noise_share * seen.noise_variance / seen.scale**2
        covariance = self._prior(seen.x, seen.x) + np.diag(noise + JITTER * hyper.variance)
        self._root = cholesky(covariance, lower=True)
        self._weights = cho_solve((self._root, True), (seen.y - seen.centre) / seen.scale)

    def posterior(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (n,) of y at the rows of `x` (n, d)."""
        mean, variance = np.empty(len(x)), np.empty(len(x))
        for i in range(0, len(x), BLOCK):
            rows = x[i : i + BLOCK]
            between = self._prior(self.seen.x, rows)
            explained = solve_triangular(self._root, between, lower=True, check_finite=False)
            mean[i : i + BLOCK] = self._weights @ between
            variance[i : i + BLOCK] = self._prior_variance(rows) - np.einsum("ij,ij->j", explained, explained)
        sd = self.widening * self.seen.scale * np.sqrt(np.clip(variance, 0, None))
        return self.seen.centre + self.seen.scale * mean, sd

    def mean(self, x: np.ndarray) -> np.ndarray:
        """The mean (n,) alone, which takes far less time."""
        blocks = [self._weights @ self._prior(self.seen.x, x[i : i + BLOCK]) for i in range(0, len(x), BLOCK)]
        mean: np.ndarray = self.seen.centre + self.seen.scale * np.concatenate([*blocks, np.empty(0)])
        return mean

    def covariance(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Posterior covariance (n, m) between y at the rows of `a` (n, d) and of `b` (m, d)."""
        explained_a, explained_b = (
            solve_triangular(self._root, self._prior(self.seen.x, rows), lower=True) for rows in (a, b)
        )
        scale = self.widening * self.seen.scale
        covariance: np.ndarray = scale**2 * (self._prior(a, b) - explained_a.T @ explained_b)
        return covariance

    def believing(self, x: np.ndarray, noise_variance: float) -> "GaussianProcess":
        """The posterior once `x` (m, d) are observed to be what is expected of them (kriging believer).

        The mean stays as it is everywhere; the variance shrinks as it will.
        """
        if not len(x):
            return self
        seen = self.seen
        mean, _ = self.posterior(x)
        more = Observations(
            np.vstack([seen.x, x]),
            np.concatenate([seen.y, mean]),
            np.concatenate([seen.noise_variance, np.full(len(x), noise_variance)]),
            seen.groups,
            seen.follows_trends,
        )
        more.__dict__.update(centre=seen.centre, scale=seen.scale)
        return GaussianProcess(more, self.hyper, self.widening)

    def _prior(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        seen, near = self.seen, self.seen.near
        scales = np.array(self.hyper.length_scales)[seen.groups[near]]
        covariance: np.ndarray = self.hyper.variance * matern_52(cdist(a[:, near] / scales, b[:, near] / scales))
        covariance += linear_mean(a, b, seen.slope_variance)
        return covariance

    def _prior_variance(self, x: np.ndarray) -> np.ndarray:
        variance: np.ndarray = self.hyper.variance + MEAN_SD**2 + (x * x) @ self.seen.slope_variance
        return variance


def matern_52(r: np.ndarray) -> np.ndarray:
    """Matern 5/2 correlation at scaled distances `r` >= 0 (Eq. 4.17)."""
    s = np.sqrt(5) * r
    correlation: np.ndarray = (1 + s + s * s / 3) * np.exp(-s)
    return correlation


def linear_mean(a: np.ndarray, b: np.ndarray, slope_variance: np.ndarray) -> np.ndarray:
    """Prior covariance of a constant plus slopes along every column, of that variance (d,)."""
    covariance: np.ndarray = MEAN_SD**2 + (a * slope_variance) @ b.T
    return covariance


# The latest fit: one decision asks for it more than once.
_LATEST: dict[tuple[tuple[bytes, ...], Prior], GaussianProcess] = {}


def fit(seen: Observations, prior: Prior = PRIOR) -> GaussianProcess:
    """The Gaussian process whose hyperparameters have the highest posterior density; no randomness.

    Started from the prior's medians and from both sides of them, so that one poor valley is not all that is seen. With
    trends, the better of two: one whose mean follows them, and one that knows nothing of them.
    """
    arrays = tuple(a.tobytes() for a in (seen.x, seen.y, seen.noise_variance, seen.groups))
    if (arrays, prior) not in _LATEST:
        fits = [_fit(seen, prior)]
        if not seen.near.all():
            fits.append(_fit(replace(seen, follows_trends=True), BESIDE_TREND))
        _LATEST.clear()
        _LATEST[arrays, prior] = min(fits, key=lambda found: found[0])[1]
    return _LATEST[arrays, prior]


def forget_fits() -> None:
    """Forget the latest fit, so that the next one takes its time."""
    _LATEST.clear()


def _fit(seen: Observations, prior: Prior) -> tuple[float, GaussianProcess]:
    """The best hyperparameters of one kind of mean, and minus the logarithm of their density."""
    start, width = prior.medians(seen.n_groups).logs, prior.widths(seen.n_groups)

    def loss(logs: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = log_evidence(seen, Hyperparameters.of_logs(logs))
        away = (logs - start) / width
        return -value + 0.5 * float(away @ away), -gradient + away / width

    bounds = list(zip(start - 4 * width, start + 4 * width, strict=True))
    bounds[-1] = (bounds[-1][0], 0.0)  # the noise is at most what was stated
    shorter = np.array([0, *[-1] * seen.n_groups, 0]) * width
    found = [
        minimize(loss, start + shift, jac=True, method="L-BFGS-B", bounds=bounds)
        for shift in (0 * shorter, shorter, -shorter)
    ]
    best = min(found, key=lambda result: float(result.fun))
    return float(best.fun), GaussianProcess(seen, Hyperparameters.of_logs(best.x), widening_of(seen))


def widening_of(seen: Observations) -> float:
    """sqrt(n / (n - p)) for p fitted hyperparameters, at most 2: what taking them for known leaves out."""
    n, p = len(seen.y), seen.n_groups + 2
    return min(2.0, sqrt(n / max(n - p, 1)))


def log_evidence(seen: Observations, hyper: Hyperparameters) -> tuple[float, np.ndarray]:
    """Log marginal likelihood of the standardised `y`, and its gradient by `hyper.logs` (Eq. 5.8 and 5.9)."""
    y, n = (seen.y - seen.centre) / seen.scale, len(seen.y)
    noise = hyper.noise_share * seen.noise_variance / seen.scale**2
    squares = [
        cdist(seen.x[:, seen.groups == g], seen.x[:, seen.groups == g], "sqeuclidean") / scale**2
        for g, scale in enumerate(hyper.length_scales)
    ]
    s = np.sqrt(5 * sum(squares, start=np.zeros((n, n))))
    kernel = hyper.variance * ((1 + s + s * s / 3) * np.exp(-s) + JITTER * np.eye(n))
    root = cholesky(kernel + linear_mean(seen.x, seen.x, seen.slope_variance) + np.diag(noise), lower=True)
    weights = cho_solve((root, True), y)
    value = -0.5 * float(y @ weights) - float(np.log(np.diag(root)).sum()) - 0.5 * n * np.log(2 * np.pi)
    slope = hyper.variance * 5 / 3 * (1 + s) * np.exp(-s)  # d kernel / d log length scale, per squared distance
    by_logs = [kernel, *(slope * square for square in squares), np.diag(noise)]
    outer = np.outer(weights, weights) - cho_solve((root, True), np.eye(n))
    return value, np.array([0.5 * float((outer * d).sum()) for d in by_logs])
