"""Which timestep and noise level each sampling step begins at, as the solver of a pipeline sets them."""

from pathlib import Path
from typing import Any

import torch

from tstitch_search.allocation import Allocation
from tstitch_search.config.models import SpaceConfig
from tstitch_search.errors import ConfigError
from tstitch_search.measurement import Step
from tstitch_search.members.loading import load_scheduler
from tstitch_search.members.pipeline_parts import pipeline_folder
from tstitch_search.members.profiles import profile_scheduler
from tstitch_search.members.weights import read_json
from tstitch_search.sampling.pipeline_class import class_of

# Solvers that go from one noise level to the next by Euler's rule, and remember nothing.
EULER = ("EulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler")


def timetable(space: SpaceConfig, near: Path, allocation: Allocation) -> list[Step]:
    """The sampling steps of the allocation from the noise end. Raises what loading the scheduler raises."""
    return steps_of(_scheduler(space, near, allocation), allocation.n_steps)


def steps_of(scheduler: Any, n_steps: int) -> list[Step]:
    """The steps of a scheduler whose timesteps are set.

    Where a solver has more timesteps than steps (PNDM, Heun), a step's is its first.
    """
    timesteps = [float(t) for t in scheduler.timesteps]
    firsts = [entries[0] for entries in _entries_of_steps(n_steps, len(timesteps))]
    sigmas = _sigmas(scheduler, timesteps)
    return [Step(timesteps[entry], sigmas[entry] if sigmas else None) for entry in firsts]


def calls_by_step(scheduler: Any, n_steps: int) -> list[int]:
    """How often a scheduler whose timesteps are set asks in each step: once, PNDM and Heun up to twice."""
    return [len(entries) for entries in _entries_of_steps(n_steps, len(scheduler.timesteps))]


def timesteps_by_step(space: SpaceConfig, near: Path, allocation: Allocation) -> list[tuple[float, ...]]:
    """Every timestep at which the solver asks within each step of the allocation: one, of PNDM and Heun up to two."""
    timesteps = [float(t) for t in _scheduler(space, near, allocation).timesteps]
    return [tuple(timesteps[e] for e in entries) for entries in _entries_of_steps(allocation.n_steps, len(timesteps))]


def noise_levels(space: SpaceConfig, near: Path, allocation: Allocation) -> tuple[float, ...]:
    """The sigmas between which Euler's rule goes, one more than steps, from the noise to the image.

    Raises ConfigError for a solver that does more than that: remembers earlier steps, adds noise, or takes another
    prediction than noise or velocity.
    """
    scheduler = _scheduler(space, near, allocation)
    name, config = type(scheduler).__name__, scheduler.config
    if name not in EULER:
        raise ConfigError(
            f"{name} keeps or adds more between steps than a noise level",
            hint=f"make the study with solver: {' or '.join(EULER)}",
        )
    predicts_noise = name != "EulerDiscreteScheduler" or config.prediction_type == "epsilon"
    if config.get("stochastic_sampling") or not predicts_noise:
        raise ConfigError(f"the settings of its {name} are not those of Euler's rule on a predicted noise or velocity")
    return tuple(float(sigma) for sigma in scheduler.sigmas)


def _scheduler(space: SpaceConfig, near: Path, allocation: Allocation) -> Any:
    folder, n_steps = pipeline_folder(space, near, with_weights=False), allocation.n_steps
    scheduler = load_scheduler(folder / "scheduler", space.solver)
    if allocation.profile:
        scheduler = profile_scheduler(scheduler, space.profiles[allocation.profile])
    if scheduler.config.get("use_dynamic_shifting"):
        scheduler.set_timesteps(**_shifted(space, near, folder, n_steps, scheduler.config))
    else:
        scheduler.set_timesteps(n_steps)
    return scheduler


def _shifted(space: SpaceConfig, near: Path, folder: Path, n_steps: int, config: Any) -> dict[str, Any]:
    """What FLUX gives its solver: sigmas down to 1/n, and a shift that grows with the image.

    Raises ConfigError for another pipeline: each has a rule of its own.
    """
    if (name := class_of(space, near).__name__) != "FluxPipeline":
        raise ConfigError(f"how {name} shifts timesteps with the size of the image is not known here")
    levels = len(read_json(folder / "vae" / "config.json", "the VAE")["block_out_channels"])
    token = 2**levels  # pixels on a side: what the VAE shrinks, twice
    height, width = (int(space.call.get(side) or 64 * token) for side in ("height", "width"))
    n_tokens = (height // token) * (width // token)
    slope = (config.max_shift - config.base_shift) / (config.max_image_seq_len - config.base_image_seq_len)
    mu = config.base_shift + slope * (n_tokens - config.base_image_seq_len)
    return {"sigmas": [1 - i / n_steps for i in range(n_steps)], "mu": mu}


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
