"""What was observed, as a Gaussian process takes it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

# Prior standard deviation of the mean's constant and slopes, in standard deviations of what was observed.
MEAN_SD = 3.0
# That of the other slopes, where a trend is taken to explain the mean.
BESIDE_TREND_SD = 0.3


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

    def with_more(self, x: np.ndarray, y: np.ndarray, noise_variance: np.ndarray) -> "Observations":
        """These and further ones (m,), standardised as these are."""
        more = Observations(
            np.vstack([self.x, x]),
            np.concatenate([self.y, y]),
            np.concatenate([self.noise_variance, noise_variance]),
            self.groups,
            self.follows_trends,
        )
        more.__dict__.update(centre=self.centre, scale=self.scale)
        return more
