"""How an allocation is written as Optuna parameters, with ranges that never depend on another parameter.

Two forms. `CutPoints` is for people and for samplers of our own: the step indices where the denoiser changes.
`StickBreaking` is for stock samplers, which draw every parameter on its own: the first segment's length, then shares
of what is left, so that every draw is an allocation (constraints or sorted cut points waste draws or fold the space).

Both have further parameters where the space asks for them: `order`, one of several, or `who_k`, the denoiser of segment
k, where any sequence goes; `n_steps`, one of several step counts, `4@lightning` where a sampling profile has them;
`baseline`, one of those that neither grid nor orders hold, whose other parameters are then those of the regular
allocation most like it. A denoiser that takes no part in the profile drawn beside it is passed over.
"""

from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Protocol

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from tstitch_search.allocation import Allocation
from tstitch_search.search_space import SearchSpace, between
from tstitch_search.space_sampling import Scheme
from tstitch_search.space_size import Order, restricted

Params = dict[str, Any]

BASELINE = "baseline"
# The baseline parameter of every allocation that is regular.
REGULAR = "none"


class Encoding(Protocol):
    """A two-way map between a space's allocations and Optuna parameters; `decode(encode(a)) == a`."""

    @property
    def distributions(self) -> dict[str, BaseDistribution]: ...

    def encode(self, allocation: Allocation) -> Params: ...

    def decode(self, params: Params) -> Allocation: ...


@dataclass(frozen=True)
class CutPoints:
    """`cut_1 <= ... <= cut_{K-1}`: first step of each segment after the first, for empty ones at the end `n_steps`."""

    space: SearchSpace

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        step = self.space.grid_steps if len(self.space.schemes) == 1 else 1
        cuts = {name: IntDistribution(0, self.space.n_steps, step=step) for name in self._names}
        return {**_choices(self.space), **cuts}

    @property
    def _names(self) -> list[str]:
        return [f"cut_{k}" for k in range(1, self.space.max_segments)]

    def encode(self, allocation: Allocation) -> Params:
        regular = _regular(self.space, allocation)
        order, lengths = _lengths(self.space, regular)
        cuts = [*accumulate(lengths[:-1]), *[regular.n_steps] * len(self._names)]
        return {**_choice(self.space, allocation, order), **dict(zip(self._names, cuts, strict=False))}

    def decode(self, params: Params) -> Allocation:
        if chosen := _chosen_baseline(params):
            return chosen
        order, scheme = _order(self.space, params), _scheme(self.space, params)
        return scheme.between(order, [0, *(params[name] for name in self._names[: len(order) - 1]), scheme.n_steps])


@dataclass(frozen=True)
class StickBreaking:
    """`steps_1`: length of the first segment; `share_k` in [0, 1]: part of the remaining steps that segment k takes.

    Where there are several step counts, `share_1` in place of `steps_1`, whose range would depend on the count.
    """

    space: SearchSpace

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        names = [f"share_{k}" for k in range(1, self.space.max_segments)]
        shares: dict[str, BaseDistribution] = {name: FloatDistribution(0, 1) for name in names}
        if shares and len(self.space.schemes) == 1:
            del shares["share_1"]
            shares = {"steps_1": IntDistribution(0, self.space.n_steps, step=self.space.grid_steps), **shares}
        return {**_choices(self.space), **shares}

    def encode(self, allocation: Allocation) -> Params:
        regular = _regular(self.space, allocation)
        order, lengths = _lengths(self.space, regular)
        cuts = self.space.cuts(regular.n_steps)
        at = [cuts.index(cut) for cut in accumulate(lengths)]  # in units of the grid
        params = {**dict.fromkeys(self.distributions, 0.0), **_choice(self.space, allocation, order)}
        if "steps_1" in params:
            params["steps_1"] = lengths[0]
        for k, (before, here) in enumerate(zip([0, *at], at[:-1], strict=False), start=1):
            if f"share_{k}" in params:
                left = at[-1] - before
                params[f"share_{k}"] = (here - before) / left if left else 0.0
        return params

    def decode(self, params: Params) -> Allocation:
        if chosen := _chosen_baseline(params):
            return chosen
        order, scheme = _order(self.space, params), _scheme(self.space, params)
        cuts = scheme.cuts
        at = [0]
        for k in range(1, len(order)):
            left = len(cuts) - 1 - at[-1]
            first = "steps_1" in params and k == 1
            at.append(at[-1] + (cuts.index(params["steps_1"]) if first else round(params[f"share_{k}"] * left)))
        return scheme.between(order, [*(cuts[i] for i in at), cuts[-1]])


def _lengths(space: SearchSpace, allocation: Allocation) -> tuple[Order, list[int]]:
    """The first order that can express the allocation, and the length of each of its segments (zeros included)."""
    order = space.order_of(allocation)
    if order is None:
        raise ValueError(f"{allocation} follows none of the orders of the space")
    lengths, segments = [], list(allocation.segments)
    for name in order:
        fits = segments and segments[0].denoiser == name
        lengths.append(segments.pop(0).n_steps if fits else 0)
    return order, lengths


def _regular(space: SearchSpace, allocation: Allocation) -> Allocation:
    """The allocation itself, or for a baseline that is not regular the one with the most similar shares."""
    if allocation not in space.extras:
        return allocation
    cuts = space.cuts(space.n_steps)
    shares = accumulate(allocation.fractions.get(name, 0.0) for name in space.denoisers)
    nearest = [min(cuts, key=lambda cut: abs(cut - share * space.n_steps)) for share in shares]
    similar = between(space.denoisers, [0, *nearest])
    return similar if space.order_of(similar) is not None else space.largest


def _choices(space: SearchSpace) -> dict[str, BaseDistribution]:
    """The parameters that are one of a list."""
    choices: dict[str, BaseDistribution] = {}
    if space.extras:
        choices[BASELINE] = CategoricalDistribution([REGULAR, *map(str, space.extras)])
    if len(space.schemes) > 1:
        choices["n_steps"] = CategoricalDistribution([scheme.key for scheme in space.schemes])
    if space.max_switches is not None:
        for k in range(1, space.max_segments + 1):
            choices[f"who_{k}"] = CategoricalDistribution(space.denoisers)
    elif len(space.orders) > 1:
        choices["order"] = CategoricalDistribution(["-".join(order) for order in space.orders])
    return choices


def _choice(space: SearchSpace, allocation: Allocation, order: Order) -> Params:
    """Their values for an allocation of this order; segments that are not there belong to the last one's denoiser."""
    regular = allocation not in space.extras
    scheme = (space.scheme_of(allocation) if regular else None) or space.schemes[0]
    if scheme.profile:  # the first order of the space that is this one without who takes no part
        order = next((o for o in space.orders if restricted([o], scheme.denoisers) == (order,)), order)
    values: Params = {
        BASELINE: REGULAR if regular else str(allocation),
        "n_steps": scheme.key,
        "order": "-".join(order),
        **{f"who_{k}": (*order, *order[-1:] * space.max_segments)[k - 1] for k in range(1, space.max_segments + 1)},
    }
    return {name: values[name] for name in _choices(space)}


def _chosen_baseline(params: Params) -> Allocation | None:
    chosen = params.get(BASELINE, REGULAR)
    return None if chosen == REGULAR else Allocation.parse(chosen)


def _scheme(space: SearchSpace, params: Params) -> Scheme:
    return next((scheme for scheme in space.schemes if scheme.key == params.get("n_steps")), space.schemes[0])


def _order(space: SearchSpace, params: Params) -> Order:
    """Who takes the segments, as far as they take part in the scheme that was drawn; if none does, its last."""
    members = _scheme(space, params).denoisers
    if space.max_switches is not None:
        drawn = tuple(params[f"who_{k}"] for k in range(1, space.max_segments + 1))
    else:
        drawn = next((order for order in space.orders if "-".join(order) == params.get("order")), space.orders[0])
    return next(iter(restricted([drawn], members)), members[-1:])
