"""Text-to-image U-Nets in a stock `StableDiffusionXLPipeline` (Podell et al., arXiv 2307.01952): SDXL and its kin.

LCM members too: their guidance embedding is given to those that have one.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline
from torch import nn

from tstitch_search.config.models import SpaceConfig
from tstitch_search.measure.facts import pipeline_folder
from tstitch_search.measure.locate import read_json
from tstitch_search.measure.members import load_scheduler
from tstitch_search.measure.proxy_set import Condition, prompts_of
from tstitch_search.measure.stitching import StitchedDenoiser
from tstitch_search.measure.text_parts import load_text_parts

TEXT_PARTS = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")


def stitch(members: Mapping[str, nn.Module]) -> StitchedDenoiser:
    """The members as one denoiser that stands for the pipeline's `unet`."""
    return StitchedDenoiser(members)


def load_pipeline(
    space: SpaceConfig, near: Path, denoiser: StitchedDenoiser, vae: nn.Module
) -> StableDiffusionXLPipeline:
    """The stock pipeline around `denoiser` and `vae`, without a watermark."""
    folder = pipeline_folder(space, near, with_weights=True)
    scheduler = load_scheduler(folder / "scheduler", space.solver)
    index = read_json(folder / "model_index.json", "the pipeline")
    pipeline = StableDiffusionXLPipeline(
        unet=denoiser,
        vae=vae,
        scheduler=scheduler,
        force_zeros_for_empty_prompt=index.get("force_zeros_for_empty_prompt", True),
        add_watermarker=False,
        **load_text_parts(folder, TEXT_PARTS, like=vae),
    )
    pipeline.set_progress_bar_config(disable=True)
    denoiser.watch(scheduler)
    return pipeline


def sample(
    pipeline: StableDiffusionXLPipeline,
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
