"""Kernel Inception distance: the squared maximum mean discrepancy to the features of real images.

Binkowski et al., arXiv 1801.01401, section 4: the unbiased U-statistic with the kernel k(x, y) = (x.y / d + 1)^3. All
pairs of images are used, not random subsets, so there is no spread of subsets. Unbiased, so it may be negative.
"""

import numpy as np

from tstitch_search.quality.jackknife import Statistic
from tstitch_search.quality.metrics.metric import Metric, blocks, check_n_images, real_features
from tstitch_search.quality.reference import Reference


def bind(reference: Reference | None) -> Statistic:
    """KID of features (n, d), n >= 2, in float64; memory beyond the features is bounded, time grows with n (n + m)."""
    real = real_features("KID", reference, at_least=2)
    real_mean = _mean_over_pairs(real)

    def kid(features: np.ndarray) -> float:
        check_n_images("KID", features, at_least=2)
        between = _kernel_sum(features, real) / (len(features) * len(real))
        return float(_mean_over_pairs(features) + real_mean - 2 * between)

    return kid


def _mean_over_pairs(x: np.ndarray) -> float:
    """The mean kernel of two different rows of `x`."""
    of_themselves = sum(float(_kernel((rows**2).sum(axis=1), x.shape[1]).sum()) for rows in blocks(x))
    return (_kernel_sum(x, x) - of_themselves) / (len(x) * (len(x) - 1))


def _kernel_sum(x: np.ndarray, y: np.ndarray) -> float:
    d = x.shape[1]
    return sum(float(_kernel(rows @ others.T, d).sum()) for rows in blocks(x) for others in blocks(y))


def _kernel(products: np.ndarray, d: int) -> np.ndarray:
    base = products / d + 1
    return base * base * base


KID = Metric("kid", "KID", "features", higher_is_better=False, relative=False, needs="features", bind=bind)
