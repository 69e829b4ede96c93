"""Whether a cache skips anything, seen in what its member's layers really take in, whatever the mechanism."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from tstitch_search.allocation import Allocation
from tstitch_search.errors import ConfigError
from tstitch_search.measure.latency import RunBatch


def require_skipping(member: nn.Module, name: str, n_steps: int, run: RunBatch) -> None:
    """Nothing, when some step of a whole trajectory of the member asks less of its layers than the first one does.

    Raises ConfigError otherwise: such a member is the plain one under another name, and slower.
    """
    by_step: list[set[int]] = []
    with _counted(member) as calls:

        def step_done(_: int) -> None:
            by_step.append(set(calls))
            calls.clear()

        run(Allocation.of([(name, n_steps)]), step_done)
    _, first, *later = by_step  # what comes before the first step is empty
    if all(step == first for step in later):
        raise ConfigError(
            f"denoiser {name!r}: its cache skips nothing in a whole trajectory of {n_steps} steps",
            hint="let it skip more (a larger threshold or interval, a wider range of timesteps), or leave it out",
        )


@contextmanager
def _counted(member: nn.Module) -> Iterator[list[int]]:
    """Meanwhile each call of the member adds one for each call of a layer, and the values that it took in."""
    calls: list[int] = []

    def called(*_: Any) -> None:
        calls.append(0)

    def took(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        calls[-1] += 1 + sum(x.numel() for x in inputs if isinstance(x, torch.Tensor))

    layers = [layer for layer in member.modules() if not list(layer.children())]
    hooks = [member.register_forward_pre_hook(called), *(layer.register_forward_pre_hook(took) for layer in layers)]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()
