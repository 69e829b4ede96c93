"""Where an allocation lies among the others: the coordinates in which quality is assumed to be smooth.

A member is a point u (`positions.py`). Follow the trajectory and integrate: D(t) is the integral of u(member at s)
over s from 0 to t, t in (0, 1]. Two allocations are close when these curves are. The end points D(1) say how the work
is divided, the points on the way in which order it is done.

Where nothing is known of the members but their order, member k of K is the point with K-1 coordinates, of which the
first k are 0 and the others 1. D_j(t) is then the share of all steps so far that went to one of the first j members;
where members only ever follow each other as listed, D(1) are the K-1 cut points, as fractions.

A step count is one more coordinate, and so is each sampling profile: 1 for its allocations, 0 for all others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tstitch_search.allocation import Allocation

# The curves are read at so many equal distances at most; changes of order within an eighth look alike.
MAX_POINTS = 8
# And at so many at least, where the end points alone predict badly: measured positions, or more than three members.
# docs/decisions/0013-members-are-points.md has the errors.
MIN_POINTS, FEW_MEMBERS = 4, 3

Positions = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Embedding:
    """Coordinates of allocations of members at `positions`, each (q,).

    `n_points`: how often each curve is read; `max_steps`: for several step counts. `groups` (d,) says which columns
    share a length scale: the points on the way of one curve do, since one more point is no new property; they are
    scaled so that a group's distance is the root mean square over its columns. `profiles`: those that have a column.
    """

    positions: Positions
    n_points: int
    max_steps: int | None = None
    profiles: tuple[str, ...] = ()

    @classmethod
    def for_set(
        cls, denoisers: Sequence[str], allocations: Sequence[Allocation], positions: Positions | None = None
    ) -> "Embedding":
        """The coarsest embedding that tells all `allocations` apart, or the finest if none does."""
        counts = {a.n_steps for a in allocations}
        max_steps = max(counts) if len(counts) > 1 else None
        profiles = tuple(sorted({a.profile for a in allocations if a.profile}))
        n_points = MIN_POINTS if positions or len(denoisers) > FEW_MEMBERS else 1
        positions = positions or positions_in_order(denoisers)
        while n_points < MAX_POINTS:
            rows = cls(positions, n_points, max_steps, profiles).of(allocations).round(9)
            if len(np.unique(rows, axis=0)) == len(rows):
                break
            n_points *= 2
        return cls(positions, n_points, max_steps, profiles)

    @property
    def groups(self) -> np.ndarray:
        """Group of each column (d,): the q end points, then the points on the way, the step count, the profiles."""
        n_curves = self._points.shape[1]
        on_the_way = [n_curves + k for k in range(n_curves) for _ in range(self.n_points - 1)]
        groups = [*range(n_curves), *on_the_way]
        first = max(groups, default=-1) + 1
        return np.array([*groups, *range(first, first + bool(self.max_steps) + len(self.profiles))], dtype=int)

    def of(self, allocations: Sequence[Allocation]) -> np.ndarray:
        """Coordinates (n, d) of `allocations`; the step count's is a logarithm <= 0."""
        curves = self._curves(allocations, np.arange(1, self.n_points + 1) / self.n_points)
        n, n_curves, n_points = curves.shape
        on_the_way = curves[:, :, :-1].reshape(n, n_curves * (n_points - 1)) / np.sqrt(max(n_points - 1, 1))
        columns = [curves[:, :, -1], on_the_way]
        if self.max_steps:
            columns.append(np.log([a.n_steps / self.max_steps for a in allocations]).reshape(n, 1))
        columns += [np.array([[float(a.profile == name)] for a in allocations]).reshape(n, 1) for name in self.profiles]
        return np.hstack(columns)

    @property
    def _points(self) -> np.ndarray:
        """The members' positions (K, q)."""
        return np.array([*self.positions.values()], dtype=float).reshape(len(self.positions), -1)

    def _curves(self, allocations: Sequence[Allocation], at: np.ndarray) -> np.ndarray:
        """D(t) of each allocation (n, q, len(at))."""
        index = {name: k for k, name in enumerate(self.positions)}
        points = np.vstack([self._points, np.zeros((1, self._points.shape[1]))])  # the last one fills short rows
        who = _padded([[index[s.denoiser] for s in a.segments] for a in allocations], len(index))
        lengths = _padded([[s.n_steps for s in a.segments] for a in allocations], 0)
        n_steps = lengths.sum(axis=1, keepdims=True)
        starts = np.cumsum(lengths, axis=1) - lengths
        curves = np.empty((len(allocations), points.shape[1], len(at)))
        for i, t in enumerate(at):
            taken = np.clip(t * n_steps - starts, 0, lengths) / n_steps
            curves[:, :, i] = (taken[:, :, None] * points[who]).sum(axis=1)
        return curves


def positions_in_order(denoisers: Sequence[str]) -> Positions:
    """The points of members of which nothing is known but their order."""
    n_curves = len(denoisers) - 1
    return {name: tuple(float(k <= j) for j in range(n_curves)) for k, name in enumerate(denoisers)}


def _padded(rows: Sequence[Sequence[int]], fill: int) -> np.ndarray:
    """Rows of different lengths as one array, the short ones filled up."""
    longest = max(map(len, rows), default=0)
    return np.array([[*row, *[fill] * (longest - len(row))] for row in rows], dtype=int).reshape(len(rows), longest)
