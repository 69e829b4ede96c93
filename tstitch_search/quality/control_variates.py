"""FID from few images, with the many images of a few baselines as control variates.

Image i has the same start noise and label under every allocation, so baselines z_1, ..., z_K (the single denoisers)
that are measured on N images tell how far the first n of these images lead FID astray. For an allocation with the
images x = (x_1, ..., x_n), n < N,

    log FID(x) = log FID_n(x) + sum_k w_k (log FID_N(z_k + o_k) - log FID_n(z_k + o_k))                            (1)

- w are the weights with which the baselines' features predict x: least squares over all n d centred values. They sum to
  about 1, so the bias at n images is exchanged for the bias at N, and the estimate can be compared with FID_N.
- o_k, the mean of x less the mean of the first n of z_k, moves each baseline onto x: an error of the mean counts the
  more, the farther from the reference it happens. It costs nothing, for a shift leaves covariances as they are.
- Logarithms, because the noise of FID grows with FID.

No derivative of FID and no inverse is involved, so n may be smaller than d. The choice and what else was tried:
docs/decisions/0007-control-variates.md; what it gains: benchmarks/results/fid_estimator.md.

Standard errors are for the expected FID of N images, by the jackknife: with u_g what block g of the first n images adds
to (1) through its terms at n, and v_g what it would add through those at N if there were n of them, the variance is

    (1/G) var_g (u_g + (n/N) v_g)  +  (1/G) (n/N) (1 - n/N) var_g v_g

where the second part is that of the other N - n images, as variable as the first n.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, log

import numpy as np

from tstitch_search.quality.frechet import FrechetDistance, Summary
from tstitch_search.quality.jackknife import N_GROUPS, evened

# The share of x's variance that the baselines must predict. At 1/4 the correction begins to remove more noise than it
# brings (one baseline, n much smaller than N, quadratic statistic); at 1/2 it removes a fifth of the variance.
MIN_EXPLAINED = 0.5


@dataclass(frozen=True)
class Estimate:
    """FID of an allocation at the level of `n_level` images, and how it compares with the anchor.

    `active`: the control variates are used, and the level is N. Else all is plain and the level is the allocation's own
    number of images: the baselines predict too little, or there are N images and nothing is to be corrected.
    `difference` is to the anchor's FID at the same level. `log_fid` is comparable among all estimates, active or not:
    log FID, less the log of the anchor's at the same level, plus the log of the anchor's FID_N; `log_fid_se` takes the
    last as given, and `effects` (G,) are what it consists of: the part of each block of the n images. `effective_n`: so
    many images without control variates would be as certain. `explained`: the share of the variance of the features
    that the baselines predict.
    """

    fid: float
    fid_se: float
    n_level: int
    difference: float
    difference_se: float
    log_fid: float
    log_fid_se: float
    effective_n: float
    explained: float
    active: bool
    effects: np.ndarray = field(compare=False, repr=False)


class ControlVariates:
    """Estimates of FID from the first n images of an allocation and N images of some baselines."""

    def __init__(self, distance: FrechetDistance, baselines: Mapping[str, np.ndarray], anchor: str):
        """Take features (N, d) of every baseline, the same images in the same order; `anchor` names one of them.

        Raises ValueError when they differ in shape, are not finite, or the anchor is not there.
        """
        if anchor not in baselines:
            raise ValueError(f"expected the anchor {anchor} among the baselines, got {', '.join(baselines)}")
        self._distance = distance
        self._baselines = list(baselines.values())
        self._anchor = list(baselines).index(anchor)
        for name, features in baselines.items():
            if features.shape != self._baselines[0].shape or not np.isfinite(features).all():
                raise ValueError(f"baseline {name}: expected finite features {self._baselines[0].shape}")
        self._whole = [distance.summary(features) for features in self._baselines]
        self._first: dict[int, list[list[Summary]]] = {}

    def estimate(self, features: np.ndarray) -> Estimate:
        """The estimate from `features` (n, d) of the first n images, 20 <= n <= N; a baseline's own give its FID_N.

        Raises ValueError when n or d is out of range or a value is not finite.
        """
        x = self._all_images(self._checked(features))
        n, n_all = len(x), len(self._baselines[0])
        weights, explained = self._weights(x)
        active = bool(n < n_all and explained >= MIN_EXPLAINED)
        weights = weights * active
        of_x, of_first = self._summaries(x), self._summaries_of_first(n)
        share = n / n_all

        log_fid = self._log_fid(of_x[0], of_first[0], weights)
        own = self._effect_on_estimate(of_x, of_first, weights, n)
        log_anchor, anchor = self._anchor_at_level(of_first, active, n)
        fid, fid_anchor = exp(log_fid), exp(log_anchor)
        fid_se = fid * _standard_error(own, share)
        plain_se = fid * _standard_error(self._effect_on_estimate(of_x, of_first, 0 * weights, n), share)
        return Estimate(
            fid=fid,
            fid_se=fid_se,
            n_level=n_all if active else n,
            difference=fid - fid_anchor,
            difference_se=_standard_error(fid * own - fid_anchor * anchor, share),
            log_fid=log_fid - log_anchor + self._log(self._whole[self._anchor]),
            log_fid_se=_standard_error(own - anchor, share),
            effective_n=n * (plain_se / fid_se) ** 2 if active else n,
            explained=explained,
            active=active,
            effects=(own - anchor)[0] + share * (own - anchor)[1],
        )

    def _log_fid(self, x: Summary, first: Sequence[Summary], weights: np.ndarray) -> float:
        """Equation 1, from summaries of x and of each baseline's first images."""
        total = self._log(x)
        for weight, z, whole in zip(weights, first, self._whole, strict=True):
            o = x.mean - z.mean
            total += float(weight) * (self._log(whole.moved(o)) - self._log(z.moved(o)))
        return total

    def _effect_on_estimate(
        self, of_x: Sequence[Summary], of_first: Sequence[Sequence[Summary]], weights: np.ndarray, n: int
    ) -> np.ndarray:
        """(u, v) of Equation 1: (2, G)."""
        u = _influence([self._log_fid(x, first, weights) for x, first in zip(of_x, of_first, strict=True)], n)
        v = np.zeros_like(u)
        for k, weight in enumerate(weights):
            v += weight * self._effect_at_all(of_first, k, of_x[0].mean - of_first[0][k].mean, n)
        return np.array([u, v])

    def _effect_at_all(self, of_first: Sequence[Sequence[Summary]], k: int, shift: np.ndarray, n: int) -> np.ndarray:
        """What blocks of images add to log FID_N(z_k + shift), if there were n: (G,), told by the first n images."""
        moved = [first[k].moved(shift) for first in of_first]
        ratio = self._distance.of(moved[0]) / self._distance.of(self._whole[k].moved(shift))
        return ratio * _influence([self._log(summary) for summary in moved], n)

    def _anchor_at_level(self, of_first: Sequence[Sequence[Summary]], active: bool, n: int) -> tuple[float, np.ndarray]:
        """Log of the anchor's FID at N if `active`, else at n, and its (u, v)."""
        if active:
            whole = self._whole[self._anchor]
            v = self._effect_at_all(of_first, self._anchor, np.zeros_like(whole.mean), n)
            return self._log(whole), np.array([0 * v, v])
        logs = [self._log(first[self._anchor]) for first in of_first]
        u = _influence(logs, n)
        return logs[0], np.array([u, 0 * u])

    def _weights(self, x: np.ndarray) -> tuple[np.ndarray, float]:
        """Least-squares weights (K,) of the centred x on the baselines' first images, and the variance they explain."""
        target = _centred(x)
        controls = np.array([_centred(z[: len(x)]) for z in self._baselines])
        gram, cross = controls @ controls.T, controls @ target
        weights = np.linalg.lstsq(gram, cross, rcond=None)[0]
        return weights, float(weights @ cross / max(target @ target, np.finfo(float).tiny))

    def _log(self, summary: Summary) -> float:
        return log(self._distance.of(summary))

    def _summaries(self, features: np.ndarray) -> list[Summary]:
        """Of all of the features, then without each block: G + 1."""
        return self._distance.summaries(features)

    def _summaries_of_first(self, n: int) -> list[list[Summary]]:
        """Of the first n images of every baseline, (G + 1, K); made once for every n."""
        if n not in self._first:
            of_each = [self._summaries(features[:n]) for features in self._baselines]
            self._first[n] = [list(row) for row in zip(*of_each, strict=True)]
        return self._first[n]

    def _checked(self, features: np.ndarray) -> np.ndarray:
        n_all, d = self._baselines[0].shape
        if features.ndim != 2 or features.shape[1] != d or not N_GROUPS <= len(features) <= n_all:
            raise ValueError(f"expected features of {N_GROUPS} to {n_all} images, {d} each, got {features.shape}")
        if not np.isfinite(features).all():
            raise ValueError("features are not finite")
        return features

    def _all_images(self, features: np.ndarray) -> np.ndarray:
        """`features`, or all N of a baseline whose first images they are."""
        for baseline in self._baselines:
            if np.array_equal(baseline[: len(features)], features):
                return baseline
        return features


def _centred(features: np.ndarray) -> np.ndarray:
    """The deviations of every image from the mean, one after another: (n d,) float64."""
    x = np.asarray(features, dtype=np.float64)
    deviations: np.ndarray = (x - x.mean(axis=0)).ravel()
    return deviations


def _influence(values: Sequence[float], n: int) -> np.ndarray:
    """How each of G blocks moves a statistic, (G,), from its value with all n images and those without each block."""
    return (len(values) - 2) * (values[0] - evened(values[0], np.array(values[1:]), n))


def _standard_error(effect: np.ndarray, share: float) -> float:
    """Standard error from (u, v), (2, G), where the first n images are this `share` of N."""
    u, v = effect
    variance = np.var(u + share * v, ddof=1) + share * (1 - share) * np.var(v, ddof=1)
    return float(np.sqrt(variance / len(u)))
