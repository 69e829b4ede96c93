"""Verdicts that hold together: Holm's step-down procedure, valid however the values depend on each other."""

from collections.abc import Hashable, Mapping
from typing import TypeVar

K = TypeVar("K", bound=Hashable)


def shown_together(p_values: Mapping[K, float], level: float = 0.05) -> set[K]:
    """Whose hypothesis is rejected, so that with probability 1 - `level` none of the rejections is wrong.

    Holm 1979: the smallest of m p-values is held against level / m, the next against level / (m - 1), until one fails.
    """
    shown: set[K] = set()
    for i, key in enumerate(sorted(p_values, key=lambda k: p_values[k])):
        if p_values[key] >= level / (len(p_values) - i):
            break
        shown.add(key)
    return shown
