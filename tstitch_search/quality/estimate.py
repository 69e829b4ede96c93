"""From features to numbers with errors: an allocation's FID and its paired difference to the anchor."""

from dataclasses import dataclass

import numpy as np

from tstitch_search.quality.frechet import FrechetDistance
from tstitch_search.quality.jackknife import jackknife, jackknife_difference

# One-sided 95 % quantile of the standard normal distribution.
Z_95 = 1.6449


@dataclass(frozen=True)
class QualityEstimate:
    """FID of `n_images` images with its standard error, and the paired difference to the anchor's FID."""

    fid: float
    fid_se: float
    n_images: int
    difference: float
    difference_se: float

    @property
    def difference_upper_95(self) -> float:
        """Upper end of the one-sided 95 % interval of the paired difference."""
        return self.difference + Z_95 * self.difference_se

    def is_lossless(self, margin: float) -> bool:
        """Whether the loss is shown to be below `margin` (a share of the anchor's FID).

        Not detecting a difference is not a result: the whole one-sided interval must lie below the margin.
        """
        return self.difference_upper_95 < margin * (self.fid - self.difference)


def estimate_quality(distance: FrechetDistance, features: np.ndarray, anchor: np.ndarray) -> QualityEstimate:
    """The estimate from `features` (n, d) and the anchor's features of the same images."""
    fid, fid_se = jackknife(distance, features)
    difference, difference_se = jackknife_difference(distance, features, anchor)
    return QualityEstimate(fid, fid_se, len(features), difference, difference_se)
