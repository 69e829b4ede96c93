"""Fréchet Inception distance: how far mean and covariance of the features are from the reference's.

Heusel et al., arXiv 1706.08500, Eq. 6. Biased upwards by the number of images: compare at equal n only.
"""

import numpy as np

from tstitch_search.quality.frechet import FrechetDistance, Summary
from tstitch_search.quality.jackknife import Statistic
from tstitch_search.quality.metrics.metric import Metric, check_n_images, reference_for
from tstitch_search.quality.reference import Reference


def bind(reference: Reference | None, label: str = "FID") -> Statistic:
    """FID of features (n, d), n >= 2; `label` is what refusals call it."""
    return FewCheckedDistance(reference_for(label, reference))


class FewCheckedDistance(FrechetDistance):
    """The distance that says so when it is asked about too few images."""

    def summary(self, features: np.ndarray) -> Summary:
        """As that of any distance. Raises ConfigError for less than two images."""
        check_n_images("FID", features, at_least=2)
        return super().summary(features)


FID = Metric("fid", "FID", "features", higher_is_better=False, relative=True, needs="statistics", bind=bind)
