"""Stitching in production: a stock pipeline that is loaded already, and an entry of a lookup table."""

import copy
import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline
from torch import nn

from tstitch_search.allocation import Allocation
from tstitch_search.config.family_traits import TRAITS, FamilyName
from tstitch_search.errors import ConfigError
from tstitch_search.lookup import Candidate, LookupTable
from tstitch_search.members.changes.accelerators import KINDS
from tstitch_search.members.changes.lora import add_loras
from tstitch_search.members.changes.lora_files import lora_files
from tstitch_search.members.denoiser_config import conditioning_width
from tstitch_search.members.loading import scheduler_of
from tstitch_search.members.noise_process import NoiseProcess
from tstitch_search.members.profiles import profile_scheduler
from tstitch_search.sampling.assembly import accelerated
from tstitch_search.sampling.deployment.member_settings import MemberSettings
from tstitch_search.sampling.deployment.stitched_pipeline import make_stitched
from tstitch_search.sampling.dit_options import with_options
from tstitch_search.sampling.families import adapter, family_of
from tstitch_search.sampling.pipeline_class import scale_arguments, set_guiders
from tstitch_search.sampling.stitching.conversion import conversion_of
from tstitch_search.sampling.stitching.guidance import guide
from tstitch_search.sampling.stitching.number_formats import in_own_formats
from tstitch_search.sampling.stitching.stitched_denoiser import StitchedDenoiser
from tstitch_search.sampling.stitching.trajectory import watch_of

# Names by which a table's denoisers say that they are accelerated: XL+deepcache3.
ACCELERATED = re.compile(rf"\+({'|'.join(KINDS)})[0-9.]+$")

# The slot of a second expert (Wan 2.2): the allocation decides there too, whatever the pipeline's boundary is.
SECOND = "transformer_2"

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
    table: LookupTable | None = None,
) -> DiffusionPipeline:
    """The same `pipeline`, whose images are made as `entry` says from now on: one of a lookup table, or `S*8-XL*12`.

    `members`: loaded denoisers by the entry's names, as diffusers loads them; those that the entry does not use may be
    left out. `table`: where the entry is from. With it the members answer as they did in its study: converted to the
    pipeline's noise process, accelerated, guided, and with the table's solver; members that need none of it may do
    without. A later call without `members` switches to another entry of the same ones; nothing is loaded again.

    The pipeline takes the entry's number of steps by default, with a `table` also its study's guidance scale, and gets
    a copy of its scheduler that goes by the entry; of an entry with a sampling profile that profile's, until another
    entry puts its own back.
    So `stitch(copy.copy(pipeline), entry)` makes a pipeline for one request: it shares the members and changes nothing
    for the others. A pipeline serves one call at a time. One with `enable_model_cpu_offload` keeps it. Raises
    ConfigError for a pipeline without a denoiser, for a member of another family and for names that are not there.
    """
    allocation = _allocation_of(entry)
    slot = _slot_of(pipeline)
    if members is None:
        denoiser = getattr(pipeline, slot)
    else:
        _require_modules(members)
        settings = MemberSettings.of(table) if table else None
        if settings:
            settings.require_same(members)
        needed = _checked(allocation, settings.members(members) if settings else members, settings)
        denoiser = _as_studied(pipeline, needed, settings, given=members) if settings else _plainly(pipeline, needed)
    if not isinstance(denoiser, StitchedDenoiser):
        raise ConfigError(
            f"the pipeline's {slot} is a {type(denoiser).__name__}: nothing is stitched yet",
            hint='give the denoisers by name: stitch(pipeline, entry, members={"S": ..., "XL": ...})',
        )
    pipeline.scheduler = _scheduler_for(allocation, own_scheduler(pipeline), denoiser)
    for each in (slot, SECOND):
        if getattr(pipeline, each, None) is not None:
            setattr(pipeline, each, denoiser)
    set_guiders(pipeline)
    make_stitched(pipeline)
    if members is not None and getattr(pipeline, "_all_hooks", None):  # they are those of the denoiser before
        pipeline.enable_model_cpu_offload(device=pipeline._offload_device)
    return pipeline


def _allocation_of(entry: Candidate | Allocation | str | None) -> Allocation:
    if entry is None:
        raise ConfigError(
            "there is no entry to stitch: got None, which stands for nothing that satisfied the limits",
            hint="ask the table with a larger budget or a weaker limit, or take table.entries[0], the fastest",
        )
    if isinstance(entry, str):
        return Allocation.parse(entry)
    return entry if isinstance(entry, Allocation) else entry.allocation


def own_scheduler(pipeline: DiffusionPipeline) -> Any:
    """The pipeline's scheduler, or where one of a sampling profile stands in its place, that one's predecessor."""
    watch = watch_of(pipeline.scheduler)
    return watch.instead_of if watch and watch.profile else pipeline.scheduler


def _scheduler_for(allocation: Allocation, own: Any, denoiser: StitchedDenoiser) -> Any:
    """A copy of its own, or a scheduler of the allocation's profile, which goes by the allocation from now on.

    Raises ConfigError for a profile that is not known.
    """
    if not allocation.profile:
        scheduler = copy.deepcopy(own)
        denoiser.watch(scheduler, allocation)
        return scheduler
    if allocation.profile not in denoiser.profiles:
        raise ConfigError(
            f"{allocation}: the profile {allocation.profile!r} is not known here",
            hint="give the table that the entry is from: stitch(pipeline, entry, members, table=table)",
        )
    scheduler = profile_scheduler(own, denoiser.profiles[allocation.profile])
    denoiser.watch(scheduler, allocation, allocation.profile, instead_of=own)
    return scheduler


def _slot_of(pipeline: DiffusionPipeline) -> str:
    """The component that denoises. Raises ConfigError when there is none that is known."""
    slots = [slot for slot in ("transformer", "unet") if getattr(pipeline, slot, None) is not None]
    if not slots:
        raise ConfigError(
            f"{type(pipeline).__name__} has neither a transformer nor a unet, but {', '.join(pipeline.components)}",
            hint="give a loaded diffusers pipeline that generates images",
        )
    return slots[0]


def _require_modules(members: Mapping[str, object]) -> None:
    for name, member in members.items():
        if not isinstance(member, nn.Module):
            kind = type(member).__name__
            raise ConfigError(f"the denoiser {name!r} is a {kind}, expected a torch module", hint="load it first")


def _checked(
    allocation: Allocation, members: Mapping[str, nn.Module], settings: MemberSettings | None
) -> Mapping[str, nn.Module]:
    """The members, once they are known to be those of the allocation, and of one family."""
    if missing := [name for name in allocation.steps if name not in members]:
        alike = settings.of_the_same_weights(missing[0]) if settings else []
        wanted = " or ".join(map(repr, [missing[0], *alike]))
        raise ConfigError(f"{allocation} needs the denoiser {wanted}, got {', '.join(members) or 'none'}")
    first, *others = members
    for name in others:
        for key, read in SHARED.items():
            ours, theirs = (read(getattr(members[n], "config", {})) for n in (first, name))
            if ours != theirs:
                raise ConfigError(
                    f"denoisers {first!r} and {name!r} are of different families: {key} is {ours} and {theirs}",
                    hint="`tstitch-search check` says which denoisers fit together",
                )
    return members


def _plainly(pipeline: DiffusionPipeline, members: Mapping[str, nn.Module]) -> StitchedDenoiser:
    """The members as one denoiser for this kind of pipeline, none of them converted or accelerated."""
    for name, member in members.items():
        if ACCELERATED.search(name) and not getattr(member, "is_stateful", False):
            raise ConfigError(
                f"the denoiser {name!r} is not accelerated yet",
                hint="give the table that the entry is from: stitch(pipeline, entry, members, table=table)",
            )
    return adapter((_families_of(pipeline) or [None])[0]).stitch(members)


def _as_studied(
    pipeline: DiffusionPipeline,
    members: Mapping[str, nn.Module],
    settings: MemberSettings,
    given: Mapping[str, nn.Module],
) -> StitchedDenoiser:
    """The members as one denoiser that answers this pipeline as in the study; its solver is the study's from now on.

    A member that was `given` under its own name has its LoRAs already.
    """
    space = settings.space
    if space.family and (families := _families_of(pipeline)) and space.family not in families:
        raise ConfigError(
            f"the table is about denoisers of the family {space.family!r}, got a {type(pipeline).__name__}",
            hint="load the pipeline that the table names as its `pipeline`",
        )
    scheduler = own_scheduler(pipeline)
    if space.solver:
        scheduler = scheduler_of(_as_configured(scheduler), space.solver)
    want = NoiseProcess.of({"_class_name": type(scheduler).__name__, **scheduler.config})
    converted = settings.converted(members, want)
    denoiser = family_of(space).stitch(members)
    denoiser.profiles = space.profiles
    in_own_formats(space, denoiser, pipeline.vae.dtype)
    pipeline.scheduler = with_options(space, denoiser, scheduler)
    for name, have in converted.items():
        denoiser.adapt(name, conversion_of(have, want))
    for d in space.denoisers:
        if d.name in members and d.name not in given and (loras := lora_files(d, Path())):
            add_loras(members[d.name], loras, pipeline, _slot_of(pipeline), f"denoiser {d.name!r}")
    accelerated(space, denoiser, pipeline, settings.guidance_scale)
    guide(space, denoiser, pipeline, settings.guidance_scale)
    set_guiders(pipeline, guidance_scale=settings.guidance_scale)
    scale = dict.fromkeys(scale_arguments(type(pipeline)), settings.guidance_scale)
    denoiser.defaults = {**space.call, **scale}
    return denoiser


def _families_of(pipeline: DiffusionPipeline) -> list[FamilyName | None]:
    """The families whose pipelines are of this class; none for a class that is not known."""
    return [name for name, traits in TRAITS.items() if type(pipeline).__name__ in traits.pipelines]


def _as_configured(scheduler: Any) -> dict[str, Any]:
    """The scheduler's configuration without the defaults of its class, which another class has its own for."""
    config = dict(scheduler.config)
    unset, defaults = config.pop("_use_default_values", ()), inspect.signature(type(scheduler).__init__).parameters
    return {key: value for key, value in config.items() if key not in unset or value != defaults[key].default}
