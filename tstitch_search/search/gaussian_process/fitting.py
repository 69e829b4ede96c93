"""The hyperparameters that fit what was observed best, and the latest fit kept."""

from dataclasses import replace
from math import sqrt

import numpy as np
from scipy.optimize import minimize

from tstitch_search.search.gaussian_process.evidence import Evidence
from tstitch_search.search.gaussian_process.hyperparameters import BESIDE_TREND, PRIOR, Hyperparameters, Prior
from tstitch_search.search.gaussian_process.observations import Observations
from tstitch_search.search.gaussian_process.process import GaussianProcess

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

    evidence = Evidence(seen)

    def loss(logs: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = evidence(Hyperparameters.of_logs(logs))
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
