"""Which allocations exist: a finite, ordered set, enumerated unless it is very large. No sampler can step outside it.

A little over 250 lines: telling what is in a space must stay beside enumerating it, to agree with it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, combinations_with_replacement, pairwise, permutations

from tstitch_search.allocation import Allocation
from tstitch_search.baselines import PAPER_RULE, PUBLISHED_BOUNDARY, baselines
from tstitch_search.config import SpaceConfig, Study, allocation_in
from tstitch_search.config.models.denoiser import NO_GUIDANCE
from tstitch_search.errors import ConfigError
from tstitch_search.space_sampling import Scheme, covering_sample
from tstitch_search.space_sampling import sequences as sequences
from tstitch_search.space_size import Order, count_allocations, n_units_of, restricted

# A sampling profile: its name, its numbers of steps, the largest first, and the denoisers that may take part.
Profile = tuple[str, tuple[int, ...], tuple[str, ...]]

# A larger space is not enumerated: the search looks at so large a sample of it, and next to the front that it believes.
MAX_ENUMERATED, SAMPLE = 200_000, 12_000


@dataclass(frozen=True)
class SearchSpace:
    """All allocations that follow one of `orders` and change the denoiser at a point of the grid, and the baselines.

    `denoisers` are listed from the noise end, the last one is the largest. `compared_with`: the anchor of every
    comparison, where it is not the largest alone. `grid_steps` divides `n_steps`. `fewer_counts`: further numbers of
    steps, each below `n_steps`; their grid has the same shares, rounded to whole steps. `max_switches`: instead of
    `orders`, any sequence of denoisers with so many changes at most. `fewer_steps`, `rules`, `twins`, `boundary`:
    baselines beside the denoisers alone and the paper's rule (baselines.py). `n_regular`: how many allocations grid and
    orders hold, where that is known without enumerating them. `profiles`: allocations of each too, by the same orders.

    Raises ConfigError when no order uses one of the denoisers: it could not be compared with.
    """

    denoisers: tuple[str, ...]
    orders: tuple[Order, ...]
    n_steps: int
    grid_steps: int
    fewer_counts: tuple[int, ...] = ()
    max_switches: int | None = None
    fewer_steps: tuple[int, ...] = ()
    rules: tuple[str, ...] = ()
    twins: tuple[tuple[str, str], ...] = ()
    compared_with: Allocation | None = None
    n_regular: int | None = None
    boundary: Allocation | None = None
    profiles: tuple[Profile, ...] = ()

    def __post_init__(self) -> None:
        missing = [name for name in self.denoisers if not any(name in order for order in self.orders)]
        if missing and self.max_switches is None:
            raise ConfigError(
                f"orders leave out {', '.join(missing)}, expected every denoiser in at least one of them",
                hint="add it to an order, or take it off the list of denoisers",
            )

    @classmethod
    def from_config(cls, config: SpaceConfig) -> "SearchSpace":
        """The space a study file describes. Raises ConfigError when it is too large."""
        counts, grid_steps = config.step_counts, round(config.grid_steps)
        profiles = tuple((name, p.step_counts, p.denoisers or config.names) for name, p in config.profiles.items())
        sizes = [(n, config.names) for n in counts] + [(n, names) for _, of, names in profiles for n in of]
        n_regular = count_allocations(config, [(n_units_of(n, counts[0] // grid_steps), names) for n, names in sizes])
        if config.max_switches is not None:
            orders: tuple[Order, ...] = ()
        elif config.orders == "any":
            orders = tuple(permutations(config.names))
        else:
            orders = (config.names,) if config.orders == "small_first" else config.orders
        return cls(
            config.names,
            orders,
            counts[0],
            grid_steps,
            fewer_counts=counts[1:],
            max_switches=config.max_switches,
            fewer_steps=config.fewer_whole_steps,
            rules=config.baselines,
            twins=tuple(config.twins.items()),
            n_regular=n_regular,
            boundary=Allocation.parse(config.published_boundary) if config.published_boundary else None,
            profiles=tuple((name, of, tuple(d for d in config.names if d in names)) for name, of, names in profiles),
        )

    @classmethod
    def of_study(cls, study: Study) -> "SearchSpace":
        """The space of a study, with the anchor that it names. Raises ConfigError for an anchor that is not in it."""
        space, text = cls.from_config(study.space), study.config.quality.anchor
        if text is None:
            return space
        try:
            anchor = allocation_in(study.space, text)
        except ConfigError as error:
            raise ConfigError(f"quality.anchor: {error.message}", error.hint) from error
        if anchor not in space:
            raise ConfigError(
                f"quality.anchor: {anchor} is not in the search space {study.space.name}, expected one of its "
                f"{len(space)} allocations or baselines",
                hint="change denoisers at points of the grid and in one of the orders, or widen the space",
            )
        return replace(space, compared_with=None if anchor == space.anchor else anchor)

    @cached_property
    def allocations(self) -> tuple[Allocation, ...]:
        """Every allocation once: most steps first, then in the order of `orders` and of rising steps at the noise end.

        Baselines that the grid or the orders do not hold come last. Of a space that is not enumerated a sample.
        """
        if not self.is_enumerated:
            return tuple(dict.fromkeys([*self.controls(), *self.baselines(), *covering_sample(self, SAMPLE)]))
        found = dict.fromkeys(a for scheme in self.schemes for a in self._of(scheme))
        return tuple(dict.fromkeys([*found, *self.baselines()]))

    @property
    def is_enumerated(self) -> bool:
        """Whether `allocations` are all of the space."""
        return self.n_regular is None or self.n_regular <= MAX_ENUMERATED

    def _of(self, scheme: Scheme) -> Iterator[Allocation]:
        """The allocations of the scheme; where several orders hold one, it is there several times."""
        cuts = scheme.cuts
        if self.max_switches is not None:
            for n_cuts in range(min(self.max_switches + 1, len(cuts) - 1)):
                for order in sequences(scheme.denoisers, n_cuts + 1):
                    for inner in combinations(cuts[1:-1], n_cuts):
                        yield scheme.between(order, (0, *inner, scheme.n_steps))
        for order in scheme.orders:
            for inner in combinations_with_replacement(cuts, len(order) - 1):
                yield scheme.between(order, (0, *inner, scheme.n_steps))

    @property
    def step_counts(self) -> tuple[int, ...]:
        """The numbers of steps that are searched outside profiles, the largest first."""
        return (self.n_steps, *self.fewer_counts)

    @cached_property
    def schemes(self) -> tuple[Scheme, ...]:
        """What an allocation may be: of the space's own numbers of steps, the largest first, then of its profiles."""
        own = [Scheme(n, "", self.denoisers, self.orders, self.cuts(n)) for n in self.step_counts]
        further = [
            Scheme(n, name, members, restricted(self.orders, members), self.cuts(n))
            for name, counts, members in self.profiles
            for n in counts
        ]
        return (*own, *further)

    def scheme_of(self, allocation: Allocation) -> Scheme | None:
        """The one with the allocation's number of steps and profile, or None."""
        wanted = allocation.n_steps, allocation.profile
        return next((scheme for scheme in self.schemes if (scheme.n_steps, scheme.profile) == wanted), None)

    @property
    def max_segments(self) -> int:
        """An allocation has so many segments at most, a baseline apart."""
        return self.max_switches + 1 if self.max_switches is not None else max(map(len, self.orders))

    def cuts(self, n_steps: int) -> tuple[int, ...]:
        """Where the denoiser may change in a trajectory of `n_steps`, its ends included.

        The shares of the grid, rounded to whole steps, a tie up: so the noise end gets it, as in allocation.py. With
        fewer steps than the grid has points, every step is one.
        """
        n_units = n_units_of(n_steps, self.n_steps // self.grid_steps)
        return tuple((2 * k * n_steps + n_units) // (2 * n_units) for k in range(n_units + 1))

    @property
    def anchor(self) -> Allocation:
        """What all are held against: the allocation that the study names, or the largest denoiser alone."""
        return self.compared_with or self.largest

    @property
    def largest(self) -> Allocation:
        """The largest denoiser alone."""
        return self.single(self.denoisers[-1])

    def single(self, denoiser: str) -> Allocation:
        """One denoiser alone."""
        return Allocation.of([(denoiser, self.n_steps)])

    @cached_property
    def baseline_names(self) -> dict[Allocation, str]:
        """What is always measured, with a short name for each, such as `XL, 10 steps`.

        Where the number of steps is searched, the fastest of all allocations too: it is the end of the front. Of each
        profile its members alone.
        """
        free = next((name for name, what in self.twins if what == NO_GUIDANCE), None)
        named = baselines(self.denoisers, self.n_steps, self.fewer_steps, self.rules, dict(self.twins), free)
        if self.fewer_counts:
            fewest, first = min(self.fewer_counts), self.denoisers[0]
            named.setdefault(Allocation.of([(first, fewest)]), f"{first}, {fewest} steps")
        if self.boundary:
            named.setdefault(self.boundary, PUBLISHED_BOUNDARY)
        for profile, counts, members in self.profiles:
            alone = {Allocation.of([(name, counts[0])], profile): f"{name}, {profile}" for name in members}
            named |= {allocation: name for allocation, name in alone.items() if allocation not in named}
        named.setdefault(self.anchor, "anchor")
        return named

    def baselines(self) -> list[Allocation]:
        """What is always measured, whether the grid and the orders hold it or not."""
        return list(self.baseline_names)

    def controls(self) -> list[Allocation]:
        """Whose images make good control variates: each denoiser alone, neighbours half and half, and the anchor.

        Halves are rounded to the grid, and left out where no order of the space allows them.
        """
        cut = min(self.cuts(self.n_steps), key=lambda c: abs(2 * c - self.n_steps))
        pairs = [pair for a, b in pairwise(self.denoisers) for pair in ((a, b), (b, a))]
        halves = [between(pair, (0, cut, self.n_steps)) for pair in pairs]
        regular = [a for a in halves if self._is_regular(a)]
        return list(dict.fromkeys([*map(self.single, self.denoisers), *regular, self.anchor]))

    @property
    def further_baselines(self) -> list[Allocation]:
        """All but the denoisers alone and the paper's rule: the largest with fewer steps, and other rules."""
        alone = [self.single(name) for name in self.denoisers]
        return [a for a, name in self.baseline_names.items() if a not in alone and name != PAPER_RULE]

    @cached_property
    def extras(self) -> tuple[Allocation, ...]:
        """The baselines that neither grid nor orders hold."""
        return tuple(a for a in self.baselines() if not self._is_regular(a))

    def order_of(self, allocation: Allocation) -> Order | None:
        """The first order of its scheme that the allocation follows, or None."""
        names, scheme = [segment.denoiser for segment in allocation.segments], self.scheme_of(allocation)
        if scheme is None:
            return None
        if self.max_switches is not None:
            known = set(names) <= set(scheme.denoisers)
            return tuple(names) if known and len(names) <= self.max_segments else None
        return next((order for order in scheme.orders if follows(names, order)), None)

    def _is_regular(self, allocation: Allocation) -> bool:
        """Whether the allocation has a scheme, cuts and an order of the space."""
        scheme = self.scheme_of(allocation)
        if scheme is None or self.order_of(allocation) is None:
            return False
        ends = [sum(s.n_steps for s in allocation.segments[: i + 1]) for i in range(len(allocation.segments))]
        return set(ends) <= set(scheme.cuts)

    def __contains__(self, allocation: object) -> bool:
        if not isinstance(allocation, Allocation):
            return False
        return allocation in self.baseline_names or self._is_regular(allocation)

    def __iter__(self) -> Iterator[Allocation]:
        return iter(self.allocations)

    def __len__(self) -> int:
        """How many allocations exist, enumerated or not."""
        if self.is_enumerated or self.n_regular is None:
            return len(self.allocations)
        return self.n_regular + len(self.extras)


def between(order: Order, cuts: Sequence[int]) -> Allocation:
    """The allocation, outside profiles, giving `order[k]` the steps from `cuts[k]` to `cuts[k + 1]`."""
    return Allocation.of(zip(order, [b - a for a, b in pairwise(cuts)], strict=True))


def follows(names: Sequence[str], order: Order) -> bool:
    """Whether `names` is what is left of `order` when some of it is left out."""
    rest = iter(order)
    return all(name in rest for name in names)
