"""The Fréchet distance between features and a fixed reference, in a symmetric form that is fast to repeat.

FID = |mu - mu_r|^2 + tr S + tr S_r - 2 tr (S_r^1/2 S S_r^1/2)^1/2  (Heusel et al., arXiv 1706.08500, Eq. 6).
With X the centred features, the last trace is the sum of the singular values of X S_r^1/2 / sqrt(n - 1), so the
reference is factored once and each value costs one symmetric eigenproblem of size min(n, d). So do the values with each
block of images left out, all together (`leave_out.py`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tstitch_search.quality.jackknife import N_GROUPS, Jackknifed, blocks, from_left_out, left_out_sets
from tstitch_search.quality.leave_out import lost_root_trace, without_block
from tstitch_search.quality.moments import moments_of
from tstitch_search.quality.reference import Reference

# Images whose features are held in float64 at once.
BLOCK = 4096
# Eigenvalues below this share of the largest one are rounding.
ROUNDING = 1e-16


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
        """Raises ConfigError when the reference's sigma is no covariance."""
        self._mu, self._root = reference.mu, reference.root
        self._trace = float(np.trace(reference.sigma))

    def __call__(self, features: np.ndarray) -> float:
        """FID of `features` (n, d), n >= 2, any float dtype; computed in float64."""
        return self.of(self.summary(features))

    def summary(self, features: np.ndarray) -> Summary:
        """The mean and the spread of `features` (n, d), n >= 2: the part of a value that takes time."""
        n, (mean, trace, gram) = len(features), self._sums(features)
        root_trace = float(np.sqrt(np.clip(np.linalg.eigvalsh(gram), 0, None)).sum())
        return self._summary(mean, trace, root_trace, n)

    def summaries(self, features: np.ndarray, n_blocks: int = N_GROUPS) -> list[Summary]:
        """Of all of `features` (n, d), then without each block of consecutive images: n_blocks + 1.

        About as dear as `summary` alone. Raises ValueError when n < `n_blocks`.
        """
        images = [np.arange(first, last) for first, last in blocks(len(features), n_blocks)]
        return self._without(features, images)

    def jackknifed(self, features: np.ndarray) -> Jackknifed:
        """FID of `features` (n, d) with what its error needs. Raises ValueError for less than N_GROUPS images."""
        value, *left_out = map(self.of, self._without(features, left_out_sets(len(features))))
        return from_left_out(value, left_out, len(features))

    def _without(self, features: np.ndarray, sets: Sequence[np.ndarray]) -> list[Summary]:
        """Of all of `features`, then without each of the sets of images: 1 + len(sets)."""
        n, (mean, trace, gram) = len(features), self._sums(features)
        squares, vectors = _positive(gram)
        turn = self._root @ vectors if len(gram) == features.shape[1] else None
        root_trace = float(np.sqrt(squares).sum())
        found = [self._summary(mean, trace, root_trace, n)]
        for images in sets:
            left, centred = n - len(images), features[images] - mean
            moved = centred.sum(axis=0)
            rest = trace - float((centred**2).sum() + moved @ moved / left)
            rows = vectors[images] * np.sqrt(squares) if turn is None else centred @ turn
            lost = lost_root_trace(squares, without_block(rows, left))
            found.append(self._summary(mean - moved / left, rest, root_trace - lost, left))
        return found

    def of(self, summary: Summary) -> float:
        """FID of the images that `summary` describes."""
        shift = summary.mean - self._mu
        return float(shift @ shift + summary.spread)

    def _summary(self, mean: np.ndarray, trace: float, root_trace: float, n: int) -> Summary:
        """From sums over n images: not yet divided by n - 1."""
        return Summary(mean, trace / (n - 1) + self._trace - 2 * root_trace / float(np.sqrt(n - 1)))

    def _sums(self, features: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
        """Mean (d,), trace of X^T X, and Y Y^T or Y^T Y, whichever is smaller, of the centred X and Y = X S_r^1/2."""
        n, d = features.shape
        if n < d:
            mean = features.mean(axis=0, dtype=np.float64)
            x = features - mean
            y = x @ self._root
            return mean, float((x**2).sum()), y @ y.T
        moments = moments_of(_parts(features))
        return moments.mean, float(np.trace(moments.scatter)), self._root @ moments.scatter @ self._root


def _positive(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (r,) above rounding, and their vectors."""
    values, vectors = np.linalg.eigh(gram)
    kept = values > ROUNDING * max(values[-1], np.finfo(float).tiny)
    return values[kept], vectors[:, kept]


def _parts(features: np.ndarray) -> Iterator[np.ndarray]:
    """Never all in float64, which for 50,000 images and d = 2048 would take 0.8 GB."""
    return (features[i : i + BLOCK] for i in range(0, len(features), BLOCK))
