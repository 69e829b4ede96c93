"""Each image's own noise inside the solver's steps, for pipelines that give their solver no generator."""

import functools
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def own_step_noise(scheduler: Any, generators: Sequence[torch.Generator]) -> Iterator[None]:
    """Meanwhile a solver that adds noise in its steps (DDPM, LCM) draws it from each image's own generator.

    Without it the noise would come from the process-wide generator. `generators`: one per row of the batch that the
    solver sees, which is doubled where guidance is applied before it halves.
    """
    step = scheduler.step
    if "generator" in inspect.signature(step).parameters:
        scheduler.step = functools.partial(step, generator=list(generators))
    try:
        yield
    finally:
        vars(scheduler).pop("step", None)
