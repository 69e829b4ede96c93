"""Which timestep and noise level each sampling step begins at, as the solver of a pipeline sets them."""

from dataclasses import dataclass
from pathlib import Path

import torch

from tstitch_search.config.models import SpaceConfig
from tstitch_search.measure.facts import pipeline_folder
from tstitch_search.measure.members import load_scheduler


@dataclass(frozen=True)
class Step:
    """The start of a sampling step: the members' time input, and the noise's standard deviation over the signal's.

    That `sigma` is None for a solver that has neither sigmas nor a variance-preserving schedule.
    """

    timestep: float
    sigma: float | None


def timetable(space: SpaceConfig, near: Path, n_steps: int) -> list[Step]:
    """The `n_steps` sampling steps from the noise end. Raises what loading the scheduler raises.

    Where a solver has more timesteps than steps (PNDM, Heun), a step's is its first.
    """
    folder = pipeline_folder(space, near, with_weights=False)
    scheduler = load_scheduler(folder / "scheduler", space.solver)
    scheduler.set_timesteps(n_steps)
    timesteps = [float(t) for t in scheduler.timesteps]
    step_of_entry = [entry * n_steps // len(timesteps) for entry in range(len(timesteps))]
    firsts = [step_of_entry.index(step) for step in range(n_steps)]
    sigmas = _sigmas(scheduler, timesteps)
    return [Step(timesteps[entry], sigmas[entry] if sigmas else None) for entry in firsts]


def _sigmas(scheduler: object, timesteps: list[float]) -> list[float] | None:
    """One for each timestep: the solver's own, or from its share of signal, sqrt((1 - a) / a)."""
    own = getattr(scheduler, "sigmas", None)
    if own is not None and len(own) >= len(timesteps):
        return [float(sigma) for sigma in own[: len(timesteps)]]
    signal = getattr(scheduler, "alphas_cumprod", None)
    if signal is None:
        return None
    return [float(torch.sqrt((1 - signal[round(t)]) / signal[round(t)])) for t in timesteps]
