"""The schedulers of sampling profiles: the pipeline's own, with a profile's class and settings in place of its own."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tstitch_search.config.models import SpaceConfig
from tstitch_search.config.models.profile import ProfileConfig
from tstitch_search.errors import ConfigError
from tstitch_search.members.loading import load_scheduler, scheduler_class
from tstitch_search.members.noise_process import NoiseProcess
from tstitch_search.members.pipeline_parts import pipeline_folder
from tstitch_search.members.weights import first_line

# What diffusers' schedulers raise for settings that mean nothing to them, some only once they have timesteps.
REFUSED = (ValueError, NotImplementedError, TypeError, KeyError, AttributeError, AssertionError, RuntimeError)


def profile_scheduler(own: Any, profile: ProfileConfig) -> Any:
    """A scheduler as `Class.from_config(own.config, **settings)` makes it; another class does not clip by default.

    Raises ConfigError for an unknown class, for a setting that it does not take, and for another noise process.
    """
    name = profile.solver or type(own).__name__
    kind = scheduler_class(name)
    takes = [setting for setting in inspect.signature(kind.__init__).parameters if setting not in ("self", "kwargs")]
    if unknown := [setting for setting in profile.scheduler if setting not in takes]:
        raise ConfigError(f"{name} takes no setting {unknown[0]!r}", hint=f"it takes {', '.join(takes)}")
    config: Mapping[str, Any] = {"clip_sample": False, **own.config} if profile.solver else own.config
    try:
        made = kind.from_config(config, **profile.scheduler)
    except REFUSED as error:
        raise ConfigError(f"{name} refuses the settings: {first_line(error)}") from error
    have, want = _noise_of(made), _noise_of(own)
    if have != want:
        raise ConfigError(
            f"{name} would take the noise for {have}, and the pipeline's scheduler takes it for {want}",
            hint="a profile says where steps lie and by which solver, not what the denoisers were trained on",
        )
    return made


def _noise_of(scheduler: Any) -> NoiseProcess:
    return NoiseProcess.of({**scheduler.config, "_class_name": type(scheduler).__name__})


def require_profiles(space: SpaceConfig, near: Path) -> None:
    """Nothing, when every profile of the space has a scheduler that makes its steps. Raises ConfigError naming it."""
    if not space.profiles:
        return
    if space.learned_variance:
        raise ConfigError("profiles: got some with learned_variance, expected fixed variances", hint="leave one out")
    folder = pipeline_folder(space, near, with_weights=False) / "scheduler"
    own = load_scheduler(folder, space.solver)
    for name, profile in space.profiles.items():
        try:
            _require_steps(profile_scheduler(own, profile), profile, has_unit_noise=space.family == "dit")
        except ConfigError as error:
            raise ConfigError(f"profiles.{name}: {error.message}", error.hint) from error


def _require_steps(scheduler: Any, profile: ProfileConfig, *, has_unit_noise: bool) -> None:
    """Nothing, when the scheduler makes all numbers of steps; of scale 1 where the pipeline starts from unit noise."""
    shift = {"mu": 1.0} if scheduler.config.get("use_dynamic_shifting") else {}
    for n_steps in profile.step_counts:
        try:
            scheduler.set_timesteps(n_steps, **shift)
        except REFUSED as error:
            raise ConfigError(f"{type(scheduler).__name__} refuses {n_steps} steps: {first_line(error)}") from error
        if has_unit_noise and abs(float(scheduler.init_noise_sigma) - 1) > 1e-3:
            raise ConfigError(
                f"{type(scheduler).__name__} starts from noise of scale {float(scheduler.init_noise_sigma):.4g}, "
                "expected a solver that starts from scale 1, as DiTPipeline does",
                hint="solver: DDIMScheduler, DPMSolverMultistepScheduler or UniPCMultistepScheduler",
            )
