"""Fréchet Inception distance: how far mean and covariance of the features are from the reference's.

Heusel et al., arXiv 1706.08500, Eq. 6. Biased upwards by the number of images: compare at equal n only.
"""

import numpy as np

from tstitch_search.quality.frechet import FrechetDistance
from tstitch_search.quality.jackknife import Statistic
from tstitch_search.quality.metrics.metric import Metric, check_n_images, reference_for
from tstitch_search.quality.reference import Reference


def bind(reference: Reference | None) -> Statistic:
    """FID of features (n, d), n >= 2."""
    distance = FrechetDistance(reference_for("FID", reference))

    def fid(features: np.ndarray) -> float:
        check_n_images("FID", features, at_least=2)
        return distance(features)

    return fid


FID = Metric("fid", "FID", "features", higher_is_better=False, relative=True, needs="statistics", bind=bind)
