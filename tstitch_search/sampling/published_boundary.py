"""Where a pipeline with two experts (Wan 2.2) changes from one to the other by itself, as a baseline of its study."""

from pathlib import Path
from typing import Any

from tstitch_search.allocation import Allocation
from tstitch_search.config.models import SpaceConfig
from tstitch_search.errors import ConfigError
from tstitch_search.members.loading import load_scheduler
from tstitch_search.members.pipeline_parts import pipeline_folder
from tstitch_search.members.weights import read_json


def require_published_boundary(space: SpaceConfig, near: Path) -> None:
    """Nothing, when `published_boundary` gives each expert the steps that the pipeline's boundary_ratio gives it.

    Raises ConfigError saying how many these are, or that the pipeline has no boundary.
    """
    if space.published_boundary is None:
        return
    folder = pipeline_folder(space, near, with_weights=False)
    ratio = read_json(folder / "model_index.json", "the pipeline").get("boundary_ratio")
    if not isinstance(ratio, int | float):
        raise ConfigError(
            f"published_boundary: got {space.published_boundary}, but the pipeline has no boundary_ratio",
            hint="leave it out; it is about pipelines with transformer and transformer_2",
        )
    given = Allocation.parse(space.published_boundary)
    n_early = early_steps(load_scheduler(folder / "scheduler", space.solver), ratio, space.n_steps)
    if given.segments[0].n_steps != n_early and n_early < space.n_steps:
        first, second = (segment.denoiser for segment in given.segments)
        raise ConfigError(
            f"published_boundary: got {given}, but boundary_ratio {ratio:g} gives the first expert {n_early} of "
            f"{space.n_steps} steps",
            hint=f"published_boundary: {first}*{n_early}-{second}*{space.n_steps - n_early}" if n_early else "",
        )


def early_steps(scheduler: Any, ratio: float, n_steps: int) -> int:
    """At how many of its timesteps the pipeline asks `transformer`: those not below the boundary."""
    scheduler.set_timesteps(n_steps)
    return int((scheduler.timesteps >= ratio * scheduler.config.num_train_timesteps).sum())
