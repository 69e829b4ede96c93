"""SDXL's U-Nets under a ControlNet (Zhang et al., arXiv 2302.05543), in a stock `StableDiffusionXLControlNetPipeline`.

The ControlNet is asked at every step, whoever's turn it is; what it adds fits members of its own block widths only.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionXLControlNetPipeline
from PIL import Image
from torch import nn

from tstitch_search.config.models import SpaceConfig
from tstitch_search.errors import ConfigError
from tstitch_search.members.facts import controlnet_folder, pipeline_folder
from tstitch_search.members.loading import load_model, load_scheduler
from tstitch_search.members.text_encoders import load_text_parts
from tstitch_search.members.weights import read_json
from tstitch_search.sampling.conditions import Condition, prompts_of
from tstitch_search.sampling.families.sdxl import TEXT_PARTS
from tstitch_search.sampling.families.stable_diffusion import stitch as stitch
from tstitch_search.sampling.stitched_denoiser import StitchedDenoiser


def load_pipeline(
    space: SpaceConfig, near: Path, denoiser: StitchedDenoiser, vae: nn.Module
) -> StableDiffusionXLControlNetPipeline:
    """The stock pipeline around `denoiser`, `vae` and the space's ControlNet, without a watermark.

    Raises ConfigError for a member whose blocks are not as wide as the ControlNet's.
    """
    folder = pipeline_folder(space, near, with_weights=True)
    scheduler = load_scheduler(folder / "scheduler", space.solver)
    kind = next(vae.parameters())
    controlnet = load_model(controlnet_folder(space, near), kind.device, kind.dtype)
    _require_same_blocks(denoiser, controlnet)
    index = read_json(folder / "model_index.json", "the pipeline")
    pipeline = StableDiffusionXLControlNetPipeline(
        unet=denoiser,
        vae=vae,
        controlnet=controlnet,
        scheduler=scheduler,
        force_zeros_for_empty_prompt=index.get("force_zeros_for_empty_prompt", True),
        add_watermarker=False,
        **load_text_parts(folder, TEXT_PARTS, like=vae),
    )
    pipeline.set_progress_bar_config(disable=True)
    denoiser.watch(scheduler)
    return pipeline


def sample(
    pipeline: StableDiffusionXLControlNetPipeline,
    conditions: Sequence[Condition],
    generators: Sequence[torch.Generator],
    n_steps: int,
    guidance_scale: float,
) -> torch.Tensor:
    """Images (n, 3, h, w) in [0, 1] of the conditions' prompts and control images, on the pipeline's device."""
    prompts, negative_prompts = prompts_of(conditions)
    side = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    images: torch.Tensor = pipeline(
        prompts,
        negative_prompt=negative_prompts,
        image=[_control_image(condition, side) for condition in conditions],
        num_inference_steps=n_steps,
        guidance_scale=guidance_scale,
        generator=list(generators),
        output_type="pt",
    ).images
    return images


def _control_image(condition: Condition, side: int) -> Image.Image:
    assert condition.control_image is not None  # the family needs them
    with Image.open(condition.control_image) as image:
        return image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)


def _require_same_blocks(denoiser: StitchedDenoiser, controlnet: nn.Module) -> None:
    expected = _blocks(controlnet)
    for name, member in zip(denoiser.names, denoiser.members, strict=True):
        if (found := _blocks(member)) != expected:
            raise ConfigError(
                f"denoiser {name!r} has blocks of {found}, but the ControlNet, which adds to them, {expected}",
                hint="leave it out, or take a ControlNet made for it",
            )


def _blocks(model: Any) -> str:
    return f"{list(model.config.block_out_channels)} channels and {model.config.layers_per_block} layers"
