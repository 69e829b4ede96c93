"""Which timestep and noise level each sampling step begins at, as the solver of a pipeline sets them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tstitch_search.config.models import SpaceConfig
from tstitch_search.members.facts import pipeline_folder
from tstitch_search.members.loading import load_scheduler


@dataclass(frozen=True)
class Step:
    """The start of a sampling step: the members' time input, and the noise's standard deviation over the signal's.

    That `sigma` is None for a solver that has neither sigmas nor a variance-preserving schedule.
    """

    timestep: float
    sigma: float | None


def timetable(space: SpaceConfig, near: Path, n_steps: int) -> list[Step]:
    """The `n_steps` sampling steps from the noise end. Raises what loading the scheduler raises."""
    return steps_of(_scheduler(space, near, n_steps), n_steps)


def steps_of(scheduler: Any, n_steps: int) -> list[Step]:
    """The steps of a scheduler whose timesteps are set.

    Where a solver has more timesteps than steps (PNDM, Heun), a step's is its first.
    """
    timesteps = [float(t) for t in scheduler.timesteps]
    firsts = [entries[0] for entries in _entries_of_steps(n_steps, len(timesteps))]
    sigmas = _sigmas(scheduler, timesteps)
    return [Step(timesteps[entry], sigmas[entry] if sigmas else None) for entry in firsts]


def timesteps_by_step(space: SpaceConfig, near: Path, n_steps: int) -> list[tuple[float, ...]]:
    """Every timestep at which the solver asks within each of the `n_steps` steps: one, of PNDM and Heun up to two."""
    timesteps = [float(t) for t in _scheduler(space, near, n_steps).timesteps]
    return [tuple(timesteps[e] for e in entries) for entries in _entries_of_steps(n_steps, len(timesteps))]


def _scheduler(space: SpaceConfig, near: Path, n_steps: int) -> Any:
    folder = pipeline_folder(space, near, with_weights=False)
    scheduler = load_scheduler(folder / "scheduler", space.solver)
    scheduler.set_timesteps(n_steps)
    return scheduler


def _entries_of_steps(n_steps: int, n_entries: int) -> list[list[int]]:
    """The places in the solver's timesteps that belong to each step, as `StitchedDenoiser` counts them."""
    step_of_entry = [entry * n_steps // n_entries for entry in range(n_entries)]
    return [[entry for entry in range(n_entries) if step_of_entry[entry] == step] for step in range(n_steps)]


def _sigmas(scheduler: object, timesteps: list[float]) -> list[float] | None:
    """One for each timestep: the solver's own, or from its share of signal, sqrt((1 - a) / a)."""
    own = getattr(scheduler, "sigmas", None)
    if own is not None and len(own) >= len(timesteps):
        return [float(sigma) for sigma in own[: len(timesteps)]]
    signal = getattr(scheduler, "alphas_cumprod", None)
    if signal is None:
        return None
    return [float(torch.sqrt((1 - signal[round(t)]) / signal[round(t)])) for t in timesteps]
