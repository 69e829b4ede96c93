"""Pure functions on points (x, y), both to be minimised: who dominates, the front, its hypervolume, its knee."""

from collections.abc import Sequence
from math import isfinite

Point = tuple[float, float]


def dominates(a: Point, b: Point) -> bool:
    """True when `a` is no worse than `b` in both objectives and better in one."""
    return a[0] <= b[0] and a[1] <= b[1] and a != b


def pareto_front(points: Sequence[Point]) -> list[int]:
    """Indices of the non-dominated points, sorted by x. Of equal points the first stands for all.

    Raises ValueError on NaN or infinity: those are stopped where they arise, not here.
    """
    if not all(isfinite(x) and isfinite(y) for x, y in points):
        raise ValueError("points must be finite")
    front: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i], i)):
        if not front or points[i][1] < points[front[-1]][1]:
            front.append(i)
    return front


def hypervolume(points: Sequence[Point], reference: Point) -> float:
    """Area dominated by `points` up to the worst corner `reference`; 0 for an empty or outlying set.

    Raises ValueError on NaN or infinity among the points.
    """
    area, ceiling = 0.0, reference[1]
    for x, y in (points[i] for i in pareto_front(points)):
        if x < reference[0] and y < ceiling:
            area += (reference[0] - x) * (ceiling - y)
            ceiling = y
    return area


def knee(points: Sequence[Point]) -> int | None:
    """Index of the front point farthest below the line between the front's ends, axes scaled to [0, 1].

    None when the front has fewer than three points or none lies below the line.
    """
    front = pareto_front(points)
    if len(front) < 3:
        return None
    (x0, y0), (x1, y1) = points[front[0]], points[front[-1]]
    depth = {i: 1 - (points[i][0] - x0) / (x1 - x0) - (points[i][1] - y1) / (y0 - y1) for i in front[1:-1]}
    best = max(depth, key=lambda i: depth[i])
    return best if depth[best] > 0 else None
