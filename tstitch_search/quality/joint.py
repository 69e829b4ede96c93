"""Verdicts and intervals that hold together, however the values depend on each other: Holm and Bonferroni."""

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

from scipy.special import stdtrit

K = TypeVar("K", bound=Hashable)


def errors_together(df: Sequence[float], level: float = 0.95) -> float:
    """So many standard errors to either side make intervals that hold together with probability `level`.

    One for each of `df`, degrees of freedom of its standard error; Student's t with the least of them. Not max-t over
    the shared blocks: 20 of these know the correlations of a table's entries too roughly.
    """
    return float(-stdtrit(min(df), (1 - level) / 2 / len(df)))


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
