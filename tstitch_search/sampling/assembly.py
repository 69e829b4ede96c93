"""A study's stitched pipeline: members loaded, laid out as the study asks, each asked in its own terms."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.utils import logging as diffusers_logging
from huggingface_hub.utils.tqdm import disable_progress_bars
from torch import nn
from transformers.utils import logging as transformers_logging

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study
from tstitch_search.config.caches import require_caches
from tstitch_search.config.models import SpaceConfig
from tstitch_search.config.models.accelerator import CacheConfig
from tstitch_search.members.changes.accelerators import accelerate
from tstitch_search.members.changes.lora import add_loras
from tstitch_search.members.changes.lora_files import lora_files
from tstitch_search.members.changes.twins import twin_of
from tstitch_search.members.execution import home_of_members, offload_of, prepare, require_working
from tstitch_search.members.facts import weights_of
from tstitch_search.members.loading import load_members, load_model
from tstitch_search.members.pipeline_parts import vae_folder
from tstitch_search.members.profiles import profile_scheduler
from tstitch_search.sampling.encoded_prompts import EncodedPrompts
from tstitch_search.sampling.families import Family, family_of
from tstitch_search.sampling.space_check import check_space, conversions, require_pipeline
from tstitch_search.sampling.stitching.guidance import guide
from tstitch_search.sampling.stitching.instances import Instance
from tstitch_search.sampling.stitching.number_formats import in_own_formats
from tstitch_search.sampling.stitching.stitched_denoiser import StitchedDenoiser
from tstitch_search.sampling.stitching.trajectory import NOW


@dataclass(frozen=True)
class Assembly:
    """A stock pipeline with the stitched denoiser in it.

    `load_s`: seconds each member took, `weights_mb`: on disk, `weights_of`: whose weights a member shares.
    `schedulers`: the pipeline's own, under an empty name, and those of the space's profiles.
    """

    family: Family
    pipeline: Any
    denoiser: StitchedDenoiser
    load_s: Mapping[str, float]
    weights_mb: Mapping[str, float]
    weights_of: Mapping[str, str]
    schedulers: Mapping[str, Any]

    def turn_to(self, allocation: Allocation) -> None:
        """Make the next images with the allocation: who takes which step, and where the steps lie."""
        self.denoiser.set_allocation(allocation)
        self.pipeline.scheduler = self.schedulers[allocation.profile]

    @property
    def prompts(self) -> EncodedPrompts | None:
        """What encodes the pipeline's prompts; None where there are none."""
        found = getattr(self.pipeline, "encode_prompt", None)
        return found if isinstance(found, EncodedPrompts) else None

    @property
    def shared_parts(self) -> list[nn.Module]:
        """What of the pipeline is not the members' own: the VAE and, where there are any, text encoders."""
        parts = self.pipeline.components.values()
        return [part for part in parts if isinstance(part, nn.Module) and part is not self.denoiser]


def assemble(study: Study, device: torch.device) -> Assembly:
    """The pipeline of `study` with every member of its space on `device`, or in main memory under offload.

    Raises ConfigError for parts that do not fit together, EnvironmentProblem for parts that are missing.
    """
    be_quiet()
    space, options, dtype = study.space, study.config.execution, getattr(torch, study.config.workers.dtype)
    require_working(options, device, dtype)
    near, vae_at, family = study.space_path.parent, vae_folder(study), family_of(study.space)
    require_pipeline(study)
    facts = check_space(space, near, vae_at)
    members, load_s = load_members(facts.members, home_of_members(options, device), dtype)
    denoiser = family.stitch(members)
    in_own_formats(space, denoiser, dtype)
    vae = load_model(vae_at, device, dtype)
    prepare(members.values(), vae, options)
    pipeline = family.load_pipeline(space, near, denoiser, vae)
    sizes = {name: member.size_mb or 0.0 for name, member in facts.members.items()}
    for d in space.denoisers:
        if loras := lora_files(d, near):
            owner = f"denoiser {d.name!r}"
            add_loras(members[d.name], loras, pipeline, slot_of(pipeline, denoiser), owner)
            sizes[d.name] += sum(lora.size_mb for lora in loras if not lora.fuse)
    accelerated(space, denoiser, pipeline, study.config.guidance_scale)
    denoiser.offload = offload_of(members.values(), options, device)
    for name, adapter in conversions(facts).items():
        denoiser.adapt(name, adapter)
    guide(space, denoiser, pipeline, study.config.guidance_scale)
    schedulers = _schedulers(space, denoiser, pipeline.scheduler)
    return Assembly(family, pipeline, denoiser, load_s, sizes, weights_of(facts.members), schedulers)


def _schedulers(space: SpaceConfig, denoiser: StitchedDenoiser, own: Any) -> dict[str, Any]:
    """The pipeline's own scheduler and those of the profiles, all followed by the denoiser."""
    made = {name: profile_scheduler(own, profile) for name, profile in space.profiles.items()}
    for name, scheduler in made.items():
        denoiser.watch(scheduler, profile=name)
    return {"": own, **made}


def accelerated(space: SpaceConfig, denoiser: StitchedDenoiser, pipeline: Any, guidance_scale: float) -> None:
    """Accelerate the denoiser's members in place as the space says; one that runs twice at once is made once more.

    Raises ConfigError for a cache that does not work in this pipeline, called with this scale.
    """
    require_caches(space, type(pipeline).__name__, guidance_scale)
    for d in space.denoisers:
        if d.accelerator and d.name in denoiser.names:
            plain, member = twin_of(denoiser.member(d.name)), denoiser.member(d.name)
            owner = f"denoiser {d.name!r}"
            denoiser.at_turn[d.name] = accelerate(member, d.accelerator, owner, NOW.get)
            denoiser.more[d.name] = functools.partial(_accelerated, plain, d.accelerator, owner)


def _accelerated(plain: nn.Module, accelerator: str | CacheConfig, owner: str) -> Instance:
    module = twin_of(plain)
    return Instance(module, accelerate(module, accelerator, owner, NOW.get))


def slot_of(pipeline: Any, denoiser: StitchedDenoiser) -> str:
    """The pipeline's component that the denoiser is."""
    return next(name for name, part in pipeline.components.items() if part is denoiser)


def be_quiet() -> None:
    """Keep progress bars and notices of diffusers, transformers and the hub out of the workers' output."""
    for logging in (diffusers_logging, transformers_logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()
    disable_progress_bars()
