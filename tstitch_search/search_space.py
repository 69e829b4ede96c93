"""Which allocations exist: a finite, ordered set, enumerated. No sampler can step outside it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations

from tstitch_search.allocation import Allocation, steps_from_fractions
from tstitch_search.config import SpaceConfig
from tstitch_search.errors import ConfigError

Order = tuple[str, ...]


@dataclass(frozen=True)
class SearchSpace:
    """All allocations whose segments follow one of `orders` and are multiples of `grid_steps` long.

    `denoisers` are listed from the noise end; the last one is the largest, the anchor of every comparison.
    Raises ConfigError when no order uses one of them: it could not be compared with.
    """

    denoisers: tuple[str, ...]
    orders: tuple[Order, ...]
    n_steps: int
    grid_steps: int

    def __post_init__(self) -> None:
        missing = [name for name in self.denoisers if not any(name in order for order in self.orders)]
        if missing:
            raise ConfigError(
                f"orders leave out {', '.join(missing)}, expected every denoiser in at least one of them",
                hint="add it to an order, or take it off the list of denoisers",
            )

    @classmethod
    def from_config(cls, config: SpaceConfig) -> "SearchSpace":
        """The space a study file describes."""
        if config.orders == "small_first":
            orders: tuple[Order, ...] = (config.names,)
        elif config.orders == "any":
            orders = tuple(permutations(config.names))
        else:
            orders = config.orders
        return cls(config.names, orders, config.n_steps, round(config.grid_steps))

    @cached_property
    def allocations(self) -> tuple[Allocation, ...]:
        """Every allocation once, in order of `orders` and then of rising steps at the noise end."""
        found = (
            Allocation.from_steps(order, [n * self.grid_steps for n in lengths])
            for order in self.orders
            for lengths in compositions(self.n_units, len(order))
        )
        return tuple(dict.fromkeys(found))

    @property
    def n_units(self) -> int:
        """Length of the trajectory in grid steps."""
        return self.n_steps // self.grid_steps

    @property
    def anchor(self) -> Allocation:
        """The largest denoiser alone."""
        return self.single(self.denoisers[-1])

    def single(self, denoiser: str) -> Allocation:
        """One denoiser alone."""
        return Allocation.of([(denoiser, self.n_steps)])

    def baselines(self) -> list[Allocation]:
        """What is always measured: every denoiser alone, and the paper's rule of 40 % small, then the largest.

        The rule is left out where the grid does not hold it (T-Stitch, section 4.1: no loss up to 40 %).
        """
        small, large = self.denoisers[0], self.denoisers[-1]
        rule = (
            Allocation.of(steps_from_fractions({small: 0.4, large: 0.6}, self.n_steps).items())
            if small != large
            else None
        )
        singles = [self.single(name) for name in self.denoisers]
        return singles + [rule] * (rule in self) if rule else singles

    def __contains__(self, allocation: object) -> bool:
        return allocation in self._index

    def __iter__(self) -> Iterator[Allocation]:
        return iter(self.allocations)

    def __len__(self) -> int:
        return len(self.allocations)

    @cached_property
    def _index(self) -> frozenset[Allocation]:
        return frozenset(self.allocations)


def compositions(total: int, n_parts: int) -> Iterator[Sequence[int]]:
    """All ways to write `total` as an ordered sum of `n_parts` integers >= 0, in lexicographic order."""
    if n_parts == 1:
        yield (total,)
        return
    for first in range(total + 1):
        for rest in compositions(total - first, n_parts - 1):
            yield (first, *rest)
