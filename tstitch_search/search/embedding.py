"""Where an allocation lies among the others: the coordinates in which quality is assumed to be smooth.

Follow the trajectory and count, for each denoiser k but the largest, the share of all steps that went to it or to an
earlier-listed one so far: D_k(t), t in (0, 1]. Two allocations are close when these curves are. The end points D_k(1)
say how the work is divided, the points on the way in which order it is done. Where denoisers only ever follow each
other as listed, the order says nothing new and the D_k(1) are the K-1 cut points, as fractions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tstitch_search.allocation import Allocation

# The curves are read at so many equal distances at most; changes of order within an eighth look alike.
MAX_POINTS = 8


@dataclass(frozen=True)
class Embedding:
    """Coordinates of allocations. `n_points`: how often each curve is read; `max_steps`: for several step counts.

    `groups` (d,) says which columns share a length scale: the points on the way of one curve do, since one more point
    is no new property; they are scaled so that a group's distance is the root mean square over its columns.
    """

    denoisers: tuple[str, ...]
    n_points: int
    max_steps: int | None = None

    @classmethod
    def for_set(cls, denoisers: tuple[str, ...], allocations: Sequence[Allocation]) -> "Embedding":
        """The coarsest embedding that tells all `allocations` apart, or the finest if none does."""
        counts = {a.n_steps for a in allocations}
        max_steps = max(counts) if len(counts) > 1 else None
        n_points = 1
        while n_points < MAX_POINTS:
            rows = cls(denoisers, n_points, max_steps).of(allocations).round(9)
            if len(np.unique(rows, axis=0)) == len(rows):
                break
            n_points *= 2
        return cls(denoisers, n_points, max_steps)

    @property
    def groups(self) -> np.ndarray:
        """Group of each column (d,): 0..K-2 the end points, then the points on the way, then the step count."""
        n_curves = len(self.denoisers) - 1
        on_the_way = [n_curves + k for k in range(n_curves) for _ in range(self.n_points - 1)]
        groups = [*range(n_curves), *on_the_way]
        return np.array([*groups, max(groups, default=-1) + 1] if self.max_steps else groups, dtype=int)

    def of(self, allocations: Sequence[Allocation]) -> np.ndarray:
        """Coordinates (n, d) of `allocations`, all in [0, 1] but the step count, which is a logarithm <= 0."""
        at = np.arange(1, self.n_points + 1) / self.n_points
        curves = self._curves(allocations, at)
        ends = curves[:, :, -1]
        n, n_curves, n_points = curves.shape
        on_the_way = curves[:, :, :-1].reshape(n, n_curves * (n_points - 1)) / np.sqrt(max(n_points - 1, 1))
        columns = [ends, on_the_way]
        if self.max_steps:
            columns.append(np.log([a.n_steps / self.max_steps for a in allocations]).reshape(n, 1))
        return np.hstack(columns)

    def _curves(self, allocations: Sequence[Allocation], at: np.ndarray) -> np.ndarray:
        """D_k(t) of each allocation (n, K-1, len(at))."""
        index = {name: k for k, name in enumerate(self.denoisers)}
        who = _padded([[index[s.denoiser] for s in a.segments] for a in allocations], len(index))
        lengths = _padded([[s.n_steps for s in a.segments] for a in allocations], 0)
        n_steps = lengths.sum(axis=1, keepdims=True)
        starts = np.cumsum(lengths, axis=1) - lengths
        curves = np.empty((len(allocations), len(index) - 1, len(at)))
        for i, t in enumerate(at):
            taken = np.clip(t * n_steps - starts, 0, lengths) / n_steps
            for k in range(len(index) - 1):
                curves[:, k, i] = np.where(who <= k, taken, 0).sum(axis=1)
        return curves


def _padded(rows: Iterable[Sequence[int]], fill: int) -> np.ndarray:
    """Rows of different lengths as one array, the short ones filled up."""
    rows = list(rows)
    longest = max(map(len, rows), default=0)
    return np.array([[*row, *[fill] * (longest - len(row))] for row in rows], dtype=int).reshape(len(rows), longest)
