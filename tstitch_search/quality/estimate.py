"""From jackknifed values to numbers with errors: an allocation's quality and its paired difference to the anchor's."""

from dataclasses import dataclass
from math import copysign, inf

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from tstitch_search.lookup.objective import SHARES
from tstitch_search.quality.jackknife import Jackknifed, Statistic, jackknifed, jackknifed_mean
from tstitch_search.quality.metrics.metric import Metric


@dataclass(frozen=True)
class QualityEstimate:
    """A metric's value on `n_images` images with its standard error, and its paired difference to the anchor's.

    The anchor is the allocation that all others are compared with, usually the largest denoiser alone. `difference` is
    value minus the anchor's value, in the metric's own direction. `df`: degrees of freedom of `difference_se`, `own_df`
    of `se`.
    """

    value: float
    se: float
    n_images: int
    difference: float
    difference_se: float
    higher_is_better: bool = False
    df: float = inf
    own_df: float = inf

    @property
    def loss(self) -> float:
        """How much worse than the anchor, in the metric's units; negative when better."""
        return -self.difference if self.higher_is_better else self.difference

    @property
    def relative_loss(self) -> float:
        """The loss as a share of the anchor's value (of its absolute value: KID may be negative)."""
        anchor = abs(self.value - self.difference)
        return self.loss / anchor if anchor else copysign(inf, self.loss) if self.loss else 0.0

    @property
    def loss_upper_95(self) -> float:
        """Upper end of the one-sided 95 % interval of the loss."""
        return self.loss + self.half_width(0.9)

    def half_width(self, level: float, n_together: int = 1) -> float:
        """Of the two-sided interval of the difference, by Student's t.

        With `n_together` it holds together with as many others, whatever they have in common (Bonferroni).
        """
        tail = (1 - level) / 2 / n_together
        return self.difference_se * float(-ndtri(tail) if self.df == inf else -stdtrit(self.df, tail))

    def p_of_loss(self, margin: float) -> float:
        """One-sided p-value of a loss of `margin` or more, in the metric's own unit; 1 where there is no error.

        Of Student's t: where several verdicts hold together the tails decide, and blocks know their spread roughly.
        """
        if self.difference_se == 0:
            return 1.0
        away = (self.loss - margin) / self.difference_se
        return float(ndtr(away) if self.df == inf else stdtr(self.df, away))

    def in_units(self, share: float) -> float:
        """A share of the anchor's value, in the metric's own unit; -inf where that value is not above zero."""
        anchor = self.value - self.difference
        return share * anchor if anchor > 0 else -inf

    def is_lossless(self, margin: float) -> bool:
        """Whether the loss is shown to be below `margin` (a share of the anchor's value).

        Not detecting a difference is not a result: the whole one-sided interval must lie below the margin. Of an
        anchor whose value is not above zero (KID may be so) there are no shares, and nothing is lossless.
        """
        return self.loss_upper_95 < self.in_units(margin)

    @property
    def differs(self) -> bool:
        """Whether the two-sided 90 % interval of the difference leaves out zero."""
        return abs(self.difference) > self.half_width(0.9)


def measured(metric: Metric, statistic: Statistic, array: np.ndarray, cycle: int = 1) -> Jackknifed:
    """The metric on a stored array (n, ...), with the error that fits its kind: of a mean, or by blocks of images.

    `cycle`: so many consecutive images hold every label once. Raises ValueError for too few images.
    """
    return jackknifed(statistic, array) if metric.kind == "set" else jackknifed_mean(array, cycle)


def quantiles(metric: Metric, array: np.ndarray) -> dict[str, float]:
    """Of values per image or per pair (n,) the 5 %, 50 % and 95 % quantiles, by that share; none of a set."""
    if metric.kind == "set":
        return {}
    return {share: float(np.quantile(array.astype(np.float64), float(share))) for share in SHARES}


def estimate(own: Jackknifed, anchor: Jackknifed, metric: Metric) -> QualityEstimate:
    """The estimate from a metric's values on an allocation's images and on the anchor's images of the same seeds.

    Raises ValueError when the numbers of images differ.
    """
    paired = own.minus(anchor)
    return QualityEstimate(
        own.value, own.se, own.n_images, paired.value, paired.se, metric.higher_is_better, paired.df, own.df
    )
