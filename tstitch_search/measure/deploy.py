"""Stitching in production: a stock pipeline that is loaded already, and an entry of a lookup table."""

from collections.abc import Callable, Mapping
from typing import Any

from diffusers import DiffusionPipeline
from torch import nn

from tstitch_search.allocation import Allocation
from tstitch_search.config.family_traits import TRAITS
from tstitch_search.errors import ConfigError
from tstitch_search.lookup import Candidate
from tstitch_search.measure.facts import conditioning_width
from tstitch_search.measure.families import adapter
from tstitch_search.measure.stitching import StitchedDenoiser

# What members must have in common for one pipeline to speak to all of them, as far as their configurations say it.
SHARED: dict[str, Callable[[Mapping[str, Any]], object]] = {
    "in_channels": lambda config: config.get("in_channels"),
    "conditioning width": conditioning_width,
    "addition_embed_type": lambda config: config.get("addition_embed_type"),
}


def stitch(
    pipeline: DiffusionPipeline,
    entry: Candidate | Allocation | str,
    members: Mapping[str, nn.Module] | None = None,
) -> DiffusionPipeline:
    """The same `pipeline`, whose next images are made as `entry` says: one of a lookup table, or `S*8-XL*12`.

    `members`: loaded denoisers by the entry's names, as diffusers loads them; those that the entry does not use may be
    left out. A later call without `members` switches to another entry of the same ones; nothing is loaded again. Call
    the pipeline with as many steps as the entry has. Offload hooks (`enable_model_cpu_offload`) come after. Raises
    ConfigError for a pipeline without a denoiser, for a member of another family and for names that are not there.
    """
    allocation = _allocation_of(entry)
    slot = _slot_of(pipeline)
    denoiser = getattr(pipeline, slot) if members is None else _stitched(pipeline, allocation, members)
    if not isinstance(denoiser, StitchedDenoiser):
        raise ConfigError(
            f"the pipeline's {slot} is a {type(denoiser).__name__}: nothing is stitched yet",
            hint='give the denoisers by name: stitch(pipeline, entry, members={"S": ..., "XL": ...})',
        )
    denoiser.set_allocation(allocation)
    denoiser.watch(pipeline.scheduler)  # again, for it may be another one by now
    setattr(pipeline, slot, denoiser)
    return pipeline


def _allocation_of(entry: Candidate | Allocation | str) -> Allocation:
    if isinstance(entry, str):
        return Allocation.parse(entry)
    return entry if isinstance(entry, Allocation) else entry.allocation


def _slot_of(pipeline: DiffusionPipeline) -> str:
    """The component that denoises. Raises ConfigError when there is none that is known."""
    slots = [slot for slot in ("transformer", "unet") if getattr(pipeline, slot, None) is not None]
    if not slots:
        raise ConfigError(
            f"{type(pipeline).__name__} has neither a transformer nor a unet, but {', '.join(pipeline.components)}",
            hint="give a loaded diffusers pipeline that generates images",
        )
    return slots[0]


def _stitched(
    pipeline: DiffusionPipeline, allocation: Allocation, members: Mapping[str, nn.Module]
) -> StitchedDenoiser:
    """The members as one denoiser for this kind of pipeline, once they are known to be of one family."""
    if missing := [name for name in allocation.steps if name not in members]:
        raise ConfigError(f"{allocation} needs the denoiser {missing[0]!r}, got {', '.join(members) or 'none'}")
    first, *others = members
    for name in others:
        for key, read in SHARED.items():
            ours, theirs = (read(getattr(members[n], "config", {})) for n in (first, name))
            if ours != theirs:
                raise ConfigError(
                    f"denoisers {first!r} and {name!r} are of different families: {key} is {ours} and {theirs}",
                    hint="`tstitch-search check` says which denoisers fit together",
                )
    kind = type(pipeline).__name__
    found = [name for name, traits in TRAITS.items() if kind in traits.pipelines]
    return adapter(found[0]).stitch(members) if found else StitchedDenoiser(members)
