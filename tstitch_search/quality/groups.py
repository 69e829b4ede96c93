"""Metrics within groups of images, and what choosing an allocation for each group by itself would gain.

A group is an index array (m,) into the images of a stored array.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Generic, TypeVar

import numpy as np
from scipy.special import stdtrit

from tstitch_search.quality.estimate import measured
from tstitch_search.quality.jackknife import Jackknifed, Statistic
from tstitch_search.quality.metrics.metric import Kind, Metric

# With fewer images of a group an error would be a guess: of a mean, and of a set (blocks of five; see coverage.md).
FEWEST: Mapping[Kind, int] = {"image": 10, "pair": 10, "set": 100}

K = TypeVar("K")


def measured_in_groups(
    metric: Metric, statistic: Statistic, array: np.ndarray, groups: Mapping[str, np.ndarray]
) -> dict[str, Jackknifed]:
    """The metric of each group's images of `array` (n, ...); groups that are too small to say anything are left out."""
    return {
        name: measured(metric, statistic, array[images])
        for name, images in groups.items()
        if len(images) >= FEWEST[metric.kind]
    }


@dataclass(frozen=True)
class Gain(Generic[K]):
    """How much less a group loses with `better` than with `instead_of`, which is what all images together choose.

    In the metric's own unit. `low` and `high`: its interval, simultaneous with those of all that were compared.
    """

    group: str
    instead_of: K
    better: K
    gain: float
    se: float
    low: float
    high: float


def gains(
    values: Mapping[str, Mapping[K, Jackknifed]],
    choices: Iterable[tuple[K, K]],
    higher_is_better: bool,
    level: float = 0.95,
) -> list[Gain[K]]:
    """What each of `choices`, (what all images choose, what may stand in its place), would gain in each group.

    `values`: of a group, of an allocation, on the same images. Differences are paired. All intervals hold together with
    probability `level` (Bonferroni over groups and choices, Student's t).
    """
    sign = -1.0 if higher_is_better else 1.0
    paired = [
        (group, a, b, own[a].minus(own[b])) for a, b in choices for group, own in values.items() if {a, b} <= set(own)
    ]
    compared = [(group, a, b, d) for group, a, b, d in paired if d.se > 0]
    tail = (1 - level) / 2 / max(len(compared), 1)
    found = []
    for group, a, b, difference in compared:
        reach = difference.se * float(-stdtrit(difference.df, tail))
        gain = sign * difference.value
        found.append(Gain(group, a, b, gain, difference.se, gain - reach, gain + reach))
    return found


def surest(found: Iterable[Gain[K]]) -> list[Gain[K]]:
    """Of each group the gain that is the surest: the one with the highest lower end, the largest of these first."""
    best: dict[str, Gain[K]] = {}
    for gain in found:
        if gain.low > best.get(gain.group, _NONE).low:
            best[gain.group] = gain
    return sorted(best.values(), key=lambda g: -g.low)


_NONE: Gain[None] = Gain("", None, None, 0.0, 0.0, -inf, inf)
