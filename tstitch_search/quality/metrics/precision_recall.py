"""Precision and recall: the share of images that look real, and the share of real images that are covered.

Kynkäänniemi et al., arXiv 1904.06991, Eq. 1-3: a set covers the balls around its members, each as wide as the
distance to the member's third nearest neighbour within the set.
"""

import numpy as np

from tstitch_search.quality.jackknife import Statistic
from tstitch_search.quality.metrics.metric import Metric, blocks, check_n_images, real_features
from tstitch_search.quality.reference import Reference

N_NEIGHBOURS = 3


def bind_precision(reference: Reference | None) -> Statistic:
    """The share of features (n, d), n > 3, that lie in the balls of the real ones, whose radii are computed once."""
    real = real_features("precision", reference, at_least=N_NEIGHBOURS + 1)
    real_radii = _squared_radii(real)

    def precision(features: np.ndarray) -> float:
        check_n_images("precision", features, at_least=N_NEIGHBOURS + 1)
        return _covered_share(features, real, real_radii)

    return precision


def bind_recall(reference: Reference | None) -> Statistic:
    """The share of real features that lie in the balls of features (n, d), n > 3."""
    real = real_features("recall", reference, at_least=N_NEIGHBOURS + 1)

    def recall(features: np.ndarray) -> float:
        check_n_images("recall", features, at_least=N_NEIGHBOURS + 1)
        return _covered_share(real, features, _squared_radii(features))

    return recall


def _covered_share(x: np.ndarray, centres: np.ndarray, squared_radii: np.ndarray) -> float:
    """The share of rows of `x` that lie in at least one ball."""
    n_covered = sum(int((_squared_distances(rows, centres) <= squared_radii).any(axis=1).sum()) for rows in blocks(x))
    return n_covered / len(x)


def _squared_radii(x: np.ndarray) -> np.ndarray:
    """Squared distance (n,) of each row of `x` to its third nearest neighbour, itself not counted."""
    radii: list[np.ndarray] = []
    for rows in blocks(x):
        squared = _squared_distances(rows, x)
        i = np.arange(len(rows))
        squared[i, sum(map(len, radii)) + i] = 0  # to itself: rounding would leave a little more
        squared.partition(N_NEIGHBOURS, axis=1)
        radii.append(squared[:, N_NEIGHBOURS].copy())
    return np.concatenate(radii)


def _squared_distances(rows: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Squared distances (rows, n) in float64, through the matrix product."""
    squared: np.ndarray = np.concatenate(
        [(others**2).sum(axis=1) - 2 * rows @ others.T for others in blocks(x)], axis=1
    )
    squared += (rows**2).sum(axis=1)[:, None]
    np.maximum(squared, 0, out=squared)
    return squared


PRECISION = Metric(
    "precision", "precision", "features", higher_is_better=True, relative=False, needs="features", bind=bind_precision
)
RECALL = Metric(
    "recall", "recall", "features", higher_is_better=True, relative=False, needs="features", bind=bind_recall
)
