"""Class-conditional latent denoisers in a stock `DiTPipeline` (DiT, Peebles & Xie, arXiv 2212.09748)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import DiTPipeline
from torch import nn

from tstitch_search.config.models import SpaceConfig
from tstitch_search.errors import ConfigError
from tstitch_search.members.denoiser_config import n_classes
from tstitch_search.members.loading import load_scheduler
from tstitch_search.members.pipeline_parts import pipeline_folder
from tstitch_search.sampling.conditions import Condition
from tstitch_search.sampling.dit_options import with_options
from tstitch_search.sampling.step_noise import own_step_noise
from tstitch_search.sampling.stitching.stitched_denoiser import StitchedDenoiser


def stitch(members: Mapping[str, nn.Module]) -> StitchedDenoiser:
    """The members as one denoiser that speaks DiTPipeline's language."""
    return StitchedDenoiser(members, forward)


def forward(member: Any, latents: torch.Tensor, timestep: torch.Tensor, class_labels: torch.Tensor) -> Any:
    """The member's output for latents (n, c, h, w), timestep (n,) and class labels (n,).

    The pipeline says "no label" with 1000, ImageNet's null class; the member's own follows its last class.
    """
    return member(latents, timestep=timestep, class_labels=class_labels.clamp(max=n_classes(member.config)))


def load_pipeline(space: SpaceConfig, near: Path, denoiser: StitchedDenoiser, vae: nn.Module) -> DiTPipeline:
    """The stock pipeline around `denoiser` and `vae`; scheduler from `space.pipeline`, the solver from `space.solver`.

    Raises ConfigError for an unknown solver, or one that starts from noise of another scale: DiTPipeline starts from
    unit noise whatever the solver says.
    """
    folder = pipeline_folder(space, near, with_weights=True)
    scheduler = load_scheduler(folder / "scheduler", space.solver)
    scheduler.set_timesteps(space.n_steps)
    if abs(float(scheduler.init_noise_sigma) - 1) > 1e-3:
        raise ConfigError(
            f"{type(scheduler).__name__} starts from noise of scale {float(scheduler.init_noise_sigma):.4g}, "
            "expected a solver that starts from scale 1, as DiTPipeline does",
            hint="solver: DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler or PNDMScheduler",
        )
    scheduler = with_options(space, denoiser, scheduler)
    pipeline = DiTPipeline(transformer=denoiser, vae=vae, scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    denoiser.watch(scheduler)
    return pipeline


def sample(
    pipeline: DiTPipeline,
    conditions: Sequence[Condition],
    generators: Sequence[torch.Generator],
    n_steps: int,
    guidance_scale: float,
) -> torch.Tensor:
    """Images (n, c, h, w) in [0, 1] of the conditions' class labels, on the pipeline's device."""
    # DiTPipeline gives its solver no generator, and the batch that guidance doubled.
    with own_step_noise(pipeline.scheduler, list(generators) * (2 if guidance_scale > 1 else 1)):
        images: torch.Tensor = pipeline(
            [condition.label for condition in conditions],
            guidance_scale=guidance_scale,
            generator=list(generators),
            num_inference_steps=n_steps,
            output_type="pt",
        ).images
    return images
