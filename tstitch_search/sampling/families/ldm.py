"""Class-conditional latent U-Nets in a pipeline of our own (LDM and T-Stitch's LDM-S; Rombach et al., 2112.10752)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from tstitch_search.config.models import SpaceConfig
from tstitch_search.members.formats.class_conditional import ClassConditionalPipeline
from tstitch_search.members.loading import load_scheduler
from tstitch_search.members.pipeline_parts import pipeline_folder
from tstitch_search.sampling.conditions import Condition
from tstitch_search.sampling.stitching.stitched_denoiser import StitchedDenoiser


def stitch(members: Mapping[str, nn.Module]) -> StitchedDenoiser:
    """The members as one denoiser; each embeds labels, and their absence, in its own way."""
    return StitchedDenoiser(members)


def load_pipeline(
    space: SpaceConfig, near: Path, denoiser: StitchedDenoiser, vae: nn.Module
) -> ClassConditionalPipeline:
    """The class-conditional pipeline around `denoiser` and `vae`, scheduler from `space.pipeline`."""
    folder = pipeline_folder(space, near, with_weights=True)
    scheduler = load_scheduler(folder / "scheduler", space.solver)
    pipeline = ClassConditionalPipeline(unet=denoiser, vae=vae, scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    denoiser.watch(scheduler)
    return pipeline


def sample(
    pipeline: ClassConditionalPipeline,
    conditions: Sequence[Condition],
    generators: Sequence[torch.Generator],
    n_steps: int,
    guidance_scale: float,
) -> torch.Tensor:
    """Images (n, c, h, w) in [0, 1] of the conditions' class labels, on the pipeline's device."""
    images: torch.Tensor = pipeline(
        [condition.label for condition in conditions],
        guidance_scale=guidance_scale,
        generator=list(generators),
        num_inference_steps=n_steps,
        output_type="pt",
    ).images
    return images
