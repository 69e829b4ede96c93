"""How large a search space is, without enumerating it."""

from collections.abc import Sequence
from math import comb, perm

from tstitch_search.config import SpaceConfig
from tstitch_search.errors import ConfigError

Order = tuple[str, ...]

# No study could tell the allocations of a larger space apart; and orders that are listed are always enumerated.
MAX_ALLOCATIONS, MAX_LISTED = 10_000_000, 2_000_000


def count_regular(config: SpaceConfig, n_units: int, names: Sequence[str] = ()) -> int | None:
    """How many allocations of `names`, by default all, a grid of `n_units` holds, baselines apart.

    With m segments there are C(n_units - 1, m - 1) ways to cut, times the sequences of m denoisers. None for orders
    that are listed one by one.
    """
    k = len(names or config.names)
    of_length: list[int]
    if config.max_switches is not None:
        of_length = [int(k * (k - 1) ** n_cuts) for n_cuts in range(min(config.max_switches + 1, n_units))]
    elif config.orders == "any":
        of_length = [perm(k, m) for m in range(1, k + 1)]
    elif config.orders == "small_first":
        of_length = [comb(k, m) for m in range(1, k + 1)]
    else:
        return None
    return sum(n * comb(n_units - 1, n_cuts) for n_cuts, n in enumerate(of_length))


def count_allocations(config: SpaceConfig, units: Sequence[tuple[int, Order]]) -> int | None:
    """How many regular allocations there are; None for listed orders, of which each counts for itself.

    `units`: of each number of steps the units of its grid, and who may take them. Raises ConfigError when there are too
    many.
    """
    found = [count_regular(config, n, names) for n, names in units]
    orders = () if isinstance(config.orders, str) else config.orders
    lengths = [(n, sum(name in names for name in order)) for n, names in units for order in orders]
    listed = sum(comb(n + length - 1, length - 1) for n, length in lengths if length)
    size, limit = listed + sum(n for n in found if n), MAX_LISTED if listed else MAX_ALLOCATIONS
    if size > limit:
        raise ConfigError(
            f"search space {config.name}: {'up to ' if listed else ''}{size:,} allocations, expected at most {limit:,}",
            hint="a coarser grid (0.1), fewer switches (max_switches), fewer denoisers or fewer step counts",
        )
    return None if None in found else size


def restricted(orders: Sequence[Order], names: Sequence[str]) -> tuple[Order, ...]:
    """The orders without the denoisers that are not among `names`, each once; an empty one is left out."""
    found = dict.fromkeys(tuple(name for name in order if name in names) for order in orders)
    return tuple(order for order in found if order)


def n_units_of(n_steps: int, n_units: int) -> int:
    """Grid units in a trajectory of `n_steps`: as many as in the longest one, but none without a step."""
    return min(n_steps, n_units)
