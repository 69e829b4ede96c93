"""Spaces too large to be enumerated: a sample that covers them, and the allocations next to a given one.

Both hold regular allocations of the space alone, without any chance: the same space gives the same sample.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise, permutations
from math import comb
from typing import Protocol

import numpy as np

from tstitch_search.allocation import Allocation

# A cut point moves by so many points of the grid at once.
SHIFTS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Scheme:
    """The allocations of one number of steps, by the space's own schedule (`profile` empty) or by a sampling profile.

    `denoisers` may take part, in one of `orders`, or in any sequence where a space limits switches alone; they change
    at `cuts`, the ends included.
    """

    n_steps: int
    profile: str
    denoisers: tuple[str, ...]
    orders: tuple[tuple[str, ...], ...]
    cuts: tuple[int, ...]

    @property
    def key(self) -> int | str:
        """What it is called among the others: 20, or `4@lightning`."""
        return f"{self.n_steps}@{self.profile}" if self.profile else self.n_steps

    def between(self, order: Sequence[str], cuts: Sequence[int]) -> Allocation:
        """The allocation giving `order[k]` the steps from `cuts[k]` to `cuts[k + 1]`."""
        return Allocation.of(zip(order, [b - a for a, b in pairwise(cuts)], strict=True), self.profile)


class Space(Protocol):
    """What is asked of a search space here: see `SearchSpace`."""

    @property
    def max_switches(self) -> int | None: ...

    @property
    def schemes(self) -> Sequence[Scheme]: ...

    @property
    def max_segments(self) -> int: ...

    def scheme_of(self, allocation: Allocation) -> Scheme | None: ...

    def __contains__(self, allocation: object) -> bool: ...


def covering_sample(space: Space, n: int) -> list[Allocation]:
    """About `n` allocations: of every step count and sequence of members a share of its size, and at least one."""
    parts = [(scheme, order) for scheme in space.schemes for order in _sequences(space, scheme)]
    sizes = [comb(len(scheme.cuts) - 2, len(order) - 1) for scheme, order in parts]
    draw, share = np.random.default_rng(0), n / sum(sizes)
    found = dict[Allocation, None]()
    for (scheme, order), size in zip(parts, sizes, strict=True):
        wanted = min(size, max(1, round(share * size)))
        found |= dict.fromkeys(_cut(scheme, order, wanted, size, draw))
    return list(found)


def moves(space: Space, allocation: Allocation) -> Iterator[Allocation]:
    """What is one move away: a cut point shifted, a segment given to another member, split, or left out."""
    scheme, ends = space.scheme_of(allocation), np.cumsum([segment.n_steps for segment in allocation.segments])
    if scheme is None or not set(ends.tolist()) <= set(scheme.cuts):
        return  # a baseline that the grid does not hold
    at = {cut: i for i, cut in enumerate(scheme.cuts)}
    who, places = [s.denoiser for s in allocation.segments], [0, *(at[end] for end in ends.tolist())]
    for names, where in _changes(scheme.denoisers, who, places):
        if len(names) <= space.max_segments and all(a < b for a, b in pairwise(where)):
            made = scheme.between(names, [scheme.cuts[i] for i in where])
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


def _sequences(space: Space, scheme: Scheme) -> Iterator[tuple[str, ...]]:
    """The sequences of members that allocations of the scheme may have, shortest first."""
    for n_segments in range(1, min(space.max_segments, len(scheme.cuts) - 1) + 1):
        if space.max_switches is not None:
            yield from sequences(scheme.denoisers, n_segments)
        elif len(scheme.orders) > 1:
            yield from permutations(scheme.denoisers, n_segments)
        else:
            yield from combinations(scheme.orders[0], n_segments)


def _cut(scheme: Scheme, order: tuple[str, ...], n: int, size: int, draw: np.random.Generator) -> Iterator[Allocation]:
    """`n` of the `size` ways to cut the steps among the members of `order`: all, or drawn until there are as many."""
    inner, n_cuts = scheme.cuts[1:-1], len(order) - 1
    chosen: set[tuple[int, ...]] = set()
    if n == size:
        chosen.update(combinations(inner, n_cuts))
    while len(chosen) < n:
        chosen.add(tuple(sorted(draw.choice(inner, n_cuts, replace=False).tolist())))
    for cutting in sorted(chosen):
        yield scheme.between(order, (0, *cutting, scheme.n_steps))


def sequences(names: Sequence[str], length: int) -> Iterator[tuple[str, ...]]:
    """All sequences of so many names, neighbours differing."""
    if length == 0:
        yield ()
        return
    for before in sequences(names, length - 1):
        yield from ((*before, name) for name in names if not before or name != before[-1])
