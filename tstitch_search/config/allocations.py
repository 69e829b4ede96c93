"""Allocations as people write them, held against the search space that they are of."""

from tstitch_search.allocation import Allocation
from tstitch_search.config.models import SpaceConfig
from tstitch_search.errors import ConfigError


def allocation_in(config: SpaceConfig, text: str) -> Allocation:
    """The allocation in `text`, once its denoisers and its number of steps are known to be the space's.

    Grid and orders do not matter here; the number of steps may be that of a baseline. Raises ConfigError.
    """
    allocation = Allocation.parse(text)
    if unknown := [name for name in allocation.steps if name not in config.names]:
        raise ConfigError(
            f"{allocation}: unknown denoiser {unknown[0]!r}, the search space has {', '.join(config.names)}"
        )
    if allocation.profile:
        return _in_profile(config, allocation)
    counts = dict.fromkeys((*config.step_counts, *config.fewer_whole_steps))
    if allocation.n_steps not in counts:
        raise ConfigError(
            f"{allocation} has {allocation.n_steps} steps, the search space has {' or '.join(map(str, counts))}",
            hint="other numbers of steps are searched with n_steps: [20, 10], or measured with fewer_steps: [10]",
        )
    return allocation


def _in_profile(config: SpaceConfig, allocation: Allocation) -> Allocation:
    """The allocation, once its profile is known to the space, with its steps and denoisers."""
    if allocation.profile not in config.profiles:
        known = f"has the profiles {', '.join(config.profiles)}" if config.profiles else "has no profiles"
        raise ConfigError(f"{allocation}: unknown profile {allocation.profile!r}, the search space {known}")
    profile = config.profiles[allocation.profile]
    if allocation.n_steps not in profile.step_counts:
        counts = " or ".join(map(str, profile.step_counts))
        raise ConfigError(f"{allocation} has {allocation.n_steps} steps, its profile has {counts}")
    if out := [name for name in allocation.steps if name not in (profile.denoisers or config.names)]:
        raise ConfigError(
            f"{allocation}: {out[0]!r} takes no part in the profile, but {', '.join(profile.denoisers or ())}"
        )
    return allocation
