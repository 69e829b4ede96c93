"""What a Gaussian process is fitted by, and what is thought of it before anything is observed."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Hyperparameters:
    """Of a kernel in units of the standardised observations: its variance and one length scale per group of columns.

    `noise_share`: the part of the stated noise variance that differs from observation to observation. What all
    observations have in common (they are made from the same random numbers) is a shift, which the mean takes up.
    """

    variance: float
    length_scales: tuple[float, ...]
    noise_share: float

    @property
    def logs(self) -> np.ndarray:
        """Logarithms (2 + number of groups,) in the order of the fields."""
        return np.log([self.variance, *self.length_scales, self.noise_share])

    @classmethod
    def of_logs(cls, logs: np.ndarray) -> "Hyperparameters":
        """The hyperparameters with these logarithms."""
        variance, *length_scales, noise_share = map(float, np.exp(logs))
        return cls(variance, tuple(length_scales), noise_share)


@dataclass(frozen=True)
class Prior:
    """Log-normal priors: median and standard deviation of the logarithm. They decide while little is observed.

    A length scale of one half says that halving a denoiser's share gives another allocation; a noise share of 0.3 that
    shared random numbers make most of the noise common.
    """

    variance: tuple[float, float] = (1.0, 1.0)
    length_scale: tuple[float, float] = (0.5, 0.7)
    noise_share: tuple[float, float] = (0.3, 1.0)

    def medians(self, n_groups: int) -> Hyperparameters:
        """The hyperparameters to start from."""
        return Hyperparameters(self.variance[0], (self.length_scale[0],) * n_groups, self.noise_share[0])

    def widths(self, n_groups: int) -> np.ndarray:
        """Standard deviations of the logarithms, in the order of the fields."""
        return np.array([self.variance[1], *[self.length_scale[1]] * n_groups, self.noise_share[1]])


PRIOR = Prior()
# Beside a trend that explains the mean little is left.
BESIDE_TREND = Prior(variance=(0.02, 2.0))
