"""The Fréchet distance between features and a fixed reference, in a symmetric form that is fast to repeat.

FID = |mu - mu_r|^2 + tr S + tr S_r - 2 tr (S_r^1/2 S S_r^1/2)^1/2  (Heusel et al., arXiv 1706.08500, Eq. 6).
With X the centred features, the last trace is the sum of the singular values of X S_r^1/2 / sqrt(n - 1), so the
reference is factored once and each value costs one symmetric eigenproblem of size min(n, d).
"""

from dataclasses import dataclass

import numpy as np

from tstitch_search.errors import ConfigError
from tstitch_search.quality.moments import moments_of
from tstitch_search.quality.reference import Reference

# Images whose features are held in float64 at once.
BLOCK = 4096


@dataclass(frozen=True)
class Summary:
    """All that FID needs to know of some images: their mean (d,), and the spread, which is what S adds to FID."""

    mean: np.ndarray
    spread: float

    def moved(self, shift: np.ndarray) -> "Summary":
        """The same images with `shift` (d,) added to the features of each."""
        return Summary(self.mean + shift, self.spread)


class FrechetDistance:
    """FID of feature arrays (n, d) to one reference; equal to torch-fidelity's value up to rounding."""

    def __init__(self, reference: Reference):
        self._mu = reference.mu
        self._trace = float(np.trace(reference.sigma))
        values, vectors = np.linalg.eigh(reference.sigma)
        if values[0] < -1e-3 * abs(values[-1]):
            raise ConfigError(
                f"the reference's sigma has an eigenvalue of {values[0]:.3g}: it is no covariance",
                hint="make the statistics again",
            )
        self._root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T

    def __call__(self, features: np.ndarray) -> float:
        """FID of `features` (n, d), n >= 2, any float dtype; computed in float64."""
        return self.of(self.summary(features))

    def summary(self, features: np.ndarray) -> Summary:
        """The mean and the spread of `features` (n, d), n >= 2: the part of a value that takes time."""
        if len(features) > BLOCK:
            return self._summary_of_many(features)
        x = np.asarray(features, dtype=np.float64)
        mean = x.mean(axis=0)
        centred = (x - mean) / np.sqrt(len(x) - 1)
        return Summary(mean, float((centred**2).sum() + self._trace - 2 * _nuclear_norm(centred @ self._root)))

    def _summary_of_many(self, features: np.ndarray) -> Summary:
        """The same from blocks: never all in float64, which for 50,000 images and d = 2048 would take 0.8 GB."""
        moments = moments_of(features[i : i + BLOCK] for i in range(0, len(features), BLOCK))
        values = np.linalg.eigvalsh(self._root @ moments.covariance @ self._root)
        root_trace = float(np.sqrt(np.clip(values, 0, None)).sum())
        return Summary(moments.mean, float(np.trace(moments.covariance)) + self._trace - 2 * root_trace)

    def of(self, summary: Summary) -> float:
        """FID of the images that `summary` describes."""
        shift = summary.mean - self._mu
        return float(shift @ shift + summary.spread)


def _nuclear_norm(a: np.ndarray) -> float:
    """Sum of the singular values of `a`."""
    gram = a @ a.T if a.shape[0] < a.shape[1] else a.T @ a
    return float(np.sqrt(np.clip(np.linalg.eigvalsh(gram), 0, None)).sum())
