"""Flow-matching text-to-image transformers in a stock `SanaPipeline` (Xie et al., arXiv 2410.10629)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import SanaPipeline
from torch import nn

from tstitch_search.config.models import SpaceConfig
from tstitch_search.errors import ConfigError
from tstitch_search.members.facts import pipeline_folder
from tstitch_search.members.loading import load_scheduler
from tstitch_search.members.text_encoders import load_text_parts
from tstitch_search.sampling.conditions import Condition, prompts_of
from tstitch_search.sampling.stitched_denoiser import StitchedDenoiser


def stitch(members: Mapping[str, Any]) -> StitchedDenoiser:
    """The members as one denoiser. Raises ConfigError when they count time in other units: the pipeline asks once."""
    scales = {name: member.config.timestep_scale for name, member in members.items()}
    if len(set(scales.values())) > 1:
        raise ConfigError(
            f"the denoisers have timestep_scale {', '.join(f'{scale:g} ({name})' for name, scale in scales.items())}, "
            "expected one for all",
            hint="do not mix Sana with Sana-Sprint",
        )
    return StitchedDenoiser(members)


def load_pipeline(space: SpaceConfig, near: Path, denoiser: StitchedDenoiser, vae: nn.Module) -> SanaPipeline:
    """The stock pipeline around `denoiser` and `vae`; scheduler, Gemma and tokenizer from `space.pipeline`."""
    folder = pipeline_folder(space, near, with_weights=True)
    scheduler = load_scheduler(folder / "scheduler", space.solver)
    parts = load_text_parts(folder, ("text_encoder", "tokenizer"), like=vae)
    pipeline = SanaPipeline(transformer=denoiser, vae=vae, scheduler=scheduler, **parts)
    pipeline.set_progress_bar_config(disable=True)
    denoiser.watch(scheduler)
    return pipeline


def sample(
    pipeline: SanaPipeline,
    conditions: Sequence[Condition],
    generators: Sequence[torch.Generator],
    n_steps: int,
    guidance_scale: float,
) -> torch.Tensor:
    """Images (n, 3, h, w) in [0, 1] of the conditions' prompts, on the pipeline's device; square, as trained for."""
    prompts, negative_prompts = prompts_of(conditions)
    size = pipeline.transformer.config.sample_size * pipeline.vae_scale_factor
    images: torch.Tensor = pipeline(
        prompts,
        negative_prompt=negative_prompts or "",
        num_inference_steps=n_steps,
        guidance_scale=guidance_scale,
        height=size,
        width=size,
        generator=list(generators),
        use_resolution_binning=False,
        output_type="pt",
    ).images
    return images
