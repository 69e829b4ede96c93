"""diffusers' own caches on a member, by its hooks: what they remember belongs to one turn of one trajectory.

Their answers are diffusers' to the bit, where a stock pipeline can have the cache at all (`config/caches.py`). Beside
forgetting, a turn that begins late tells them so: MagCache goes by the place in the whole trajectory.
"""

import functools
import math
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from diffusers import CacheMixin
from diffusers.hooks import (
    FasterCacheConfig,
    FirstBlockCacheConfig,
    HookRegistry,
    MagCacheConfig,
    PyramidAttentionBroadcastConfig,
    TaylorSeerCacheConfig,
    apply_faster_cache,
    apply_first_block_cache,
    apply_mag_cache,
    apply_pyramid_attention_broadcast,
    apply_taylorseer_cache,
)
from diffusers.hooks.mag_cache import MagCacheState
from torch import nn

from tstitch_search.config.models.accelerator import CacheConfig
from tstitch_search.errors import ConfigError


class Place(Protocol):
    """Where a trajectory is: the present one of its timesteps, how many there are, and its value."""

    entry: Any
    n_entries: Any
    timestep: Any


# Makes a member forget what it remembers of earlier steps.
Forget: TypeAlias = Callable[[], None]
# Where the trajectory that asks is; None outside any.
Where: TypeAlias = Callable[[], Any]
# Which of a step's calls a pipeline is making, as it names them: what is remembered of one is not for another.
CALL: ContextVar[str] = ContextVar("call", default="all")

# Of each kind: diffusers' settings, and what puts their hooks on a module.
HOOKS: dict[str, tuple[Callable[..., Any], Callable[[Any, Any], None]]] = {
    "first_block": (FirstBlockCacheConfig, apply_first_block_cache),
    "mag_cache": (MagCacheConfig, apply_mag_cache),
    "pyramid_attention_broadcast": (PyramidAttentionBroadcastConfig, apply_pyramid_attention_broadcast),
    "faster_cache": (FasterCacheConfig, apply_faster_cache),
    "taylorseer": (TaylorSeerCacheConfig, apply_taylorseer_cache),
}


def add_cache(member: Any, cache: CacheConfig, owner: str, where: Where) -> Forget:
    """Put the cache on the member; what is returned has to be called at each of its turns.

    Raises ConfigError for a denoiser without hooks for it, and where its settings match no layer.
    """
    if not isinstance(member, CacheMixin):
        raise ConfigError(
            f"{owner}: diffusers has no hooks for caches in a {type(member).__name__}",
            hint="deepcache3 is for U-Nets, taylorseer3 for attention layers of diffusers'; see docs/caches.md",
        )
    settings, turn = dict(cache.settings), _Turn(where)
    if cache.kind in ("pyramid_attention_broadcast", "faster_cache"):
        settings["current_timestep_callback"] = turn.timestep
    if "taylor_factors_dtype" in settings:
        settings["taylor_factors_dtype"] = getattr(torch, settings["taylor_factors_dtype"])
    make, apply = HOOKS[cache.kind]
    if cache.kind == "mag_cache":
        make = functools.partial(make, num_inference_steps=len(settings["mag_ratios"]))
    apply(member, make(**settings))
    if not any(hasattr(hook, "new_forward") for hook in _hooks(member)):
        raise ConfigError(
            f"{owner}: the settings of {cache.kind} match no layer of this {type(member).__name__}",
            hint="give identifiers: regular expressions of names as in its named_modules()",
        )
    return functools.partial(_begin, remembering(member), turn, settings)


def remembering(member: Any) -> Any:
    """The member with hooks that keep a step's calls apart, and do without prefix reuse; changed in place."""
    plain = member.forward

    @functools.wraps(plain)
    def in_context(*inputs: Any, **named_inputs: Any) -> Any:
        with CacheMixin.cache_context(member, CALL.get()):
            return plain(*inputs, **named_inputs)

    member.forward = in_context
    member.is_stateful = True
    return member


def forget(member: nn.Module) -> None:
    """What the member's hooks remember is gone."""
    HookRegistry.check_if_exists_or_initialize(member).reset_stateful_hooks()


@dataclass
class _Turn:
    """Where the member's present turn began."""

    where: Where
    began: int = 0

    def timestep(self) -> Any:
        """The present one, which skipping goes by; at a turn's first step there is nothing to reuse yet."""
        place: Place = self.where()
        return math.inf if place.entry == self.began else place.timestep


def _begin(member: nn.Module, turn: _Turn, settings: dict[str, Any]) -> None:
    """Forget, and note where in the trajectory the turn begins."""
    forget(member)
    if turn.where() is None:
        return
    place: Place = turn.where()
    turn.began = place.entry
    if "mag_ratios" not in settings:
        return
    config = MagCacheConfig(**settings, num_inference_steps=place.n_entries)
    for hook in _hooks(member):
        hook.config = config
        hook.state_manager._state_cls = functools.partial(_mag_state, place.entry)


def _mag_state(entry: int) -> MagCacheState:
    """The state of a turn that begins at this place of the trajectory."""
    state = MagCacheState()
    state.step_index = entry
    return state


def _hooks(member: nn.Module) -> Iterator[Any]:
    for module in member.modules():
        registry: HookRegistry | None = getattr(module, "_diffusers_hook", None)
        yield from registry.hooks.values() if registry else ()
