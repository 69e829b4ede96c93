"""Text-to-image U-Nets in a stock `StableDiffusionPipeline` (Rombach et al., arXiv 2112.10752): SD 1.x and its kin."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from torch import nn

from tstitch_search.config.models import SpaceConfig
from tstitch_search.members.facts import pipeline_folder
from tstitch_search.members.loading import load_scheduler
from tstitch_search.members.text_encoders import load_text_parts
from tstitch_search.sampling.conditions import Condition, prompts_of
from tstitch_search.sampling.stitched_denoiser import StitchedDenoiser


def stitch(members: Mapping[str, nn.Module]) -> StitchedDenoiser:
    """The members as one denoiser that stands for the pipeline's `unet`."""
    return StitchedDenoiser(members)


def load_pipeline(
    space: SpaceConfig, near: Path, denoiser: StitchedDenoiser, vae: nn.Module
) -> StableDiffusionPipeline:
    """The stock pipeline around `denoiser` and `vae`, without a safety checker, which would blacken images."""
    folder = pipeline_folder(space, near, with_weights=True)
    scheduler = load_scheduler(folder / "scheduler", space.solver)
    pipeline = StableDiffusionPipeline(
        unet=denoiser,
        vae=vae,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        **load_text_parts(folder, ("text_encoder", "tokenizer"), like=vae),
    )
    pipeline.set_progress_bar_config(disable=True)
    denoiser.watch(scheduler)
    return pipeline


def sample(
    pipeline: StableDiffusionPipeline,
    conditions: Sequence[Condition],
    generators: Sequence[torch.Generator],
    n_steps: int,
    guidance_scale: float,
) -> torch.Tensor:
    """Images (n, 3, h, w) in [0, 1] of the conditions' prompts, on the pipeline's device."""
    prompts, negative_prompts = prompts_of(conditions)
    images: torch.Tensor = pipeline(
        prompts,
        negative_prompt=negative_prompts,
        num_inference_steps=n_steps,
        guidance_scale=guidance_scale,
        generator=list(generators),
        output_type="pt",
    ).images
    return images
