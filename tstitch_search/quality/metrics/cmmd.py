"""CMMD: squared maximum mean discrepancy between CLIP embeddings, times 1,000. Jayasumana et al., arXiv 2401.09603.

A Gaussian kernel of width 10 on embeddings of length 1, all pairs counted, an image with itself too, as in the paper's
code. It assumes no Gaussian features, and says something at a few hundred images already.
"""

import numpy as np

from tstitch_search.quality.jackknife import Statistic
from tstitch_search.quality.metrics.metric import Metric, blocks, check_n_images, real_features
from tstitch_search.quality.reference import Reference

SIGMA, SCALE = 10.0, 1000.0


def bind(reference: Reference | None) -> Statistic:
    """CMMD of embeddings (n, d), n >= 2, in float64; never below 0."""
    real = real_features("CMMD", reference, at_least=2)
    of_real = _mean_kernel(real, real)

    def cmmd(features: np.ndarray) -> float:
        check_n_images("CMMD", features, at_least=2)
        return SCALE * (_mean_kernel(features, features) + of_real - 2 * _mean_kernel(features, real))

    return cmmd


def _mean_kernel(x: np.ndarray, y: np.ndarray) -> float:
    total = sum(float(_kernel(rows, others).sum()) for rows in blocks(x) for others in blocks(y))
    return total / (len(x) * len(y))


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    squared = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * x @ y.T
    kernel: np.ndarray = np.exp(-squared / (2 * SIGMA**2))
    return kernel


CMMD = Metric("cmmd", "CMMD", "features", higher_is_better=False, relative=False, needs="features", bind=bind)
