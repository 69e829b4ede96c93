"""How an allocation is written as Optuna parameters, with ranges that never depend on another parameter.

Two forms. `CutPoints` is for people and for samplers of our own: the step indices where the denoiser changes.
`StickBreaking` is for stock samplers, which draw every parameter on its own: the first segment's length, then shares
of what is left, so that every draw is an allocation (constraints or sorted cut points waste draws or fold the space).
"""

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Protocol

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from tstitch_search.allocation import Allocation
from tstitch_search.search_space import Order, SearchSpace

Params = dict[str, Any]


class Encoding(Protocol):
    """A two-way map between a space's allocations and Optuna parameters; `decode(encode(a)) == a`."""

    @property
    def distributions(self) -> dict[str, BaseDistribution]: ...

    def encode(self, allocation: Allocation) -> Params: ...

    def decode(self, params: Params) -> Allocation: ...


@dataclass(frozen=True)
class CutPoints:
    """`cut_1 <= ... <= cut_{K-1}`: first step of each denoiser after the first; with several orders also `order`."""

    space: SearchSpace

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        n_cuts = max(map(len, self.space.orders)) - 1
        cuts = {
            f"cut_{k + 1}": IntDistribution(0, self.space.n_steps, step=self.space.grid_steps) for k in range(n_cuts)
        }
        return {**_order_distribution(self.space), **cuts}

    def encode(self, allocation: Allocation) -> Params:
        order, lengths = _lengths(self.space, allocation)
        cuts = list(accumulate(lengths))
        names = [name for name in self.distributions if name != "order"]
        padded = [*cuts[:-1], *[self.space.n_steps] * len(names)]
        return {**_order_param(self.space, order), **dict(zip(names, padded, strict=False))}

    def decode(self, params: Params) -> Allocation:
        order = _order(self.space, params)
        cuts = [0, *(params[f"cut_{k}"] for k in range(1, len(order))), self.space.n_steps]
        return Allocation.from_steps(order, [b - a for a, b in pairwise(cuts)])


@dataclass(frozen=True)
class StickBreaking:
    """`steps_1`: length of the first segment; `share_k` in [0, 1]: part of the remaining steps that segment k takes."""

    space: SearchSpace

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        n_shares = max(map(len, self.space.orders)) - 2
        first = {"steps_1": IntDistribution(0, self.space.n_steps, step=self.space.grid_steps)} if n_shares >= 0 else {}
        return {
            **_order_distribution(self.space),
            **first,
            **{f"share_{k + 2}": FloatDistribution(0, 1) for k in range(n_shares)},
        }

    def encode(self, allocation: Allocation) -> Params:
        order, lengths = _lengths(self.space, allocation)
        params = dict.fromkeys(self.distributions, 0.0) | _order_param(self.space, order)
        if "steps_1" in params:
            params["steps_1"] = lengths[0]
        left = self.space.n_steps - lengths[0]
        for k, length in enumerate(lengths[1:-1], start=2):
            params[f"share_{k}"] = length / left if left else 0.0
            left -= length
        return params

    def decode(self, params: Params) -> Allocation:
        order, grid = _order(self.space, params), self.space.grid_steps
        lengths = [params["steps_1"]] if len(order) > 1 else []
        for k in range(2, len(order)):
            left = (self.space.n_steps - sum(lengths)) // grid
            lengths.append(grid * round(params[f"share_{k}"] * left))
        return Allocation.from_steps(order, [*lengths, self.space.n_steps - sum(lengths)])


def _lengths(space: SearchSpace, allocation: Allocation) -> tuple[Order, list[int]]:
    """The first order that can express the allocation, and the length of each of its segments (zeros included)."""
    for order in space.orders:
        lengths, segments = [], list(allocation.segments)
        for name in order:
            fits = segments and segments[0].denoiser == name
            lengths.append(segments.pop(0).n_steps if fits else 0)
        if not segments:
            return order, lengths
    raise ValueError(f"{allocation} follows none of the orders of the space")


def _order_distribution(space: SearchSpace) -> dict[str, BaseDistribution]:
    if len(space.orders) == 1:
        return {}
    return {"order": CategoricalDistribution(["-".join(order) for order in space.orders])}


def _order_param(space: SearchSpace, order: Order) -> Params:
    return {"order": "-".join(order)} if len(space.orders) > 1 else {}


def _order(space: SearchSpace, params: Params) -> Order:
    return tuple(params["order"].split("-")) if "order" in params else space.orders[0]
