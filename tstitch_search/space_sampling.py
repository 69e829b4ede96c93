"""Spaces too large to be enumerated: a sample that covers them, and the allocations next to a given one.

Both hold regular allocations of the space alone, without any chance: the same space gives the same sample.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise, permutations
from math import comb
from typing import Protocol

import numpy as np

from tstitch_search.allocation import Allocation

# A cut point moves by so many points of the grid at once.
SHIFTS = (1, 2, 4, 8)


class Space(Protocol):
    """What is asked of a search space here: see `SearchSpace`."""

    @property
    def denoisers(self) -> tuple[str, ...]: ...

    @property
    def orders(self) -> tuple[tuple[str, ...], ...]: ...

    @property
    def max_switches(self) -> int | None: ...

    @property
    def step_counts(self) -> tuple[int, ...]: ...

    @property
    def max_segments(self) -> int: ...

    def cuts(self, n_steps: int) -> tuple[int, ...]: ...

    def __contains__(self, allocation: object) -> bool: ...


def covering_sample(space: Space, n: int) -> list[Allocation]:
    """About `n` allocations: of every step count and sequence of members a share of its size, and at least one."""
    parts = [(n_steps, order) for n_steps in space.step_counts for order in _sequences(space, n_steps)]
    sizes = [_n_cuttings(space, n_steps, len(order)) for n_steps, order in parts]
    draw, share = np.random.default_rng(0), n / sum(sizes)
    found = dict[Allocation, None]()
    for (n_steps, order), size in zip(parts, sizes, strict=True):
        wanted = min(size, max(1, round(share * size)))
        found |= dict.fromkeys(_cut(space, n_steps, order, wanted, size, draw))
    return list(found)


def moves(space: Space, allocation: Allocation) -> Iterator[Allocation]:
    """What is one move away: a cut point shifted, a segment given to another member, split, or left out."""
    cuts = space.cuts(allocation.n_steps)
    at = {cut: i for i, cut in enumerate(cuts)}
    ends = np.cumsum([segment.n_steps for segment in allocation.segments])
    if not set(ends.tolist()) <= at.keys():
        return  # a baseline that the grid does not hold
    who, places = [s.denoiser for s in allocation.segments], [0, *(at[end] for end in ends.tolist())]
    for names, where in _changes(space.denoisers, who, places):
        if len(names) <= space.max_segments and all(a < b for a, b in pairwise(where)):
            made = Allocation.of((name, cuts[b] - cuts[a]) for name, (a, b) in zip(names, pairwise(where), strict=True))
            if made != allocation and made in space:
                yield made


def _changes(members: Sequence[str], who: list[str], places: list[int]) -> Iterator[tuple[list[str], list[int]]]:
    """Every move as names of segments and places of their ends; some are no allocations."""
    for i in range(1, len(places) - 1):
        for shift in (*SHIFTS, *(-s for s in SHIFTS)):
            yield who, [*places[:i], places[i] + shift, *places[i + 1 :]]
    for i in range(len(who)):
        yield from (([*who[:i], *who[i + 1 :]], [*places[:i], *places[i + 1 :]]) for _ in who[1:2] if i > 0)
        for name in members:
            yield [*who[:i], name, *who[i + 1 :]], places
            middle = (places[i] + places[i + 1]) // 2
            yield [*who[:i], name, *who[i:]], [*places[: i + 1], middle, *places[i + 1 :]]
            yield [*who[: i + 1], name, *who[i + 1 :]], [*places[: i + 1], middle, *places[i + 1 :]]


def _sequences(space: Space, n_steps: int) -> Iterator[tuple[str, ...]]:
    """The sequences of members that allocations of so many steps may have, shortest first."""
    for n_segments in range(1, min(space.max_segments, len(space.cuts(n_steps)) - 1) + 1):
        if space.max_switches is not None:
            yield from sequences(space.denoisers, n_segments)
        elif len(space.orders) > 1:
            yield from permutations(space.denoisers, n_segments)
        else:
            yield from combinations(space.orders[0], n_segments)


def _n_cuttings(space: Space, n_steps: int, n_segments: int) -> int:
    return comb(len(space.cuts(n_steps)) - 2, n_segments - 1)


def _cut(
    space: Space, n_steps: int, order: tuple[str, ...], n: int, size: int, draw: np.random.Generator
) -> Iterator[Allocation]:
    """`n` of the `size` ways to cut the steps among the members of `order`: all, or drawn until there are as many."""
    inner, n_cuts = space.cuts(n_steps)[1:-1], len(order) - 1
    chosen: set[tuple[int, ...]] = set()
    if n == size:
        chosen.update(combinations(inner, n_cuts))
    while len(chosen) < n:
        chosen.add(tuple(sorted(draw.choice(inner, n_cuts, replace=False).tolist())))
    for cutting in sorted(chosen):
        yield Allocation.of((name, b - a) for name, (a, b) in zip(order, pairwise((0, *cutting, n_steps)), strict=True))


def sequences(names: Sequence[str], length: int) -> Iterator[tuple[str, ...]]:
    """All sequences of so many names, neighbours differing."""
    if length == 0:
        yield ()
        return
    for before in sequences(names, length - 1):
        yield from ((*before, name) for name in names if not before or name != before[-1])
