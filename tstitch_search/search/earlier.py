"""What an earlier study of like members says: a trend that quality may follow here, up or down, or not at all.

A Gaussian process through the earlier values gives the trend at every candidate. It is one more column of the linear
mean (`gaussian_process.fit` weighs whether it explains anything), so that another step count, prompt set or resolution
may scale and shift it, and a table that misleads costs little.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tstitch_search.allocation import Allocation
from tstitch_search.search.embedding import Embedding
from tstitch_search.search.gaussian_process import Observations, fit


@dataclass(frozen=True)
class Earlier:
    """Values of one earlier study: y (lower better), its standard error and the number of images, by allocation."""

    values: Mapping[Allocation, tuple[float, float, int]]


class Trend:
    """An earlier study's y wherever it is asked for, in standard deviations from its mean.

    Values at another number of images have another level; the level of the most images counts.
    """

    def __init__(self, earlier: Earlier, embedding: Embedding):
        """Fitted once, in the coordinates of `embedding`: of shares, since it may be about another step count."""
        self._embedding = replace(embedding, max_steps=None, profiles=())
        x, groups = self._embedding.of(list(earlier.values)), self._embedding.groups
        y, se, n = (np.array(column, dtype=float) for column in zip(*earlier.values.values(), strict=True))
        level = 1 - n.min() / n
        self._level = np.full(1 if np.ptp(level) > 0 else 0, level.max())
        if len(self._level):
            x, groups = np.column_stack([x, level]), np.append(groups, -1)
        self._process = fit(Observations(x, y, se**2, groups))

    def at(self, allocations: Sequence[Allocation]) -> np.ndarray:
        """The trend (n,) at `allocations`."""
        x = np.column_stack([self._embedding.of(allocations), np.tile(self._level, (len(allocations), 1))])
        seen = self._process.seen
        trend: np.ndarray = (self._process.mean(x) - seen.centre) / seen.scale
        return trend
