"""Class-conditional latent denoisers in a stock `DiTPipeline` (DiT, Peebles & Xie, arXiv 2212.09748)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, DiTPipeline
from diffusers.configuration_utils import FrozenDict
from torch import nn

from tstitch_search.config.models import SpaceConfig
from tstitch_search.errors import ConfigError
from tstitch_search.measure.asking import Ask, Translation, changed
from tstitch_search.measure.facts import n_classes, pipeline_folder
from tstitch_search.measure.members import load_scheduler
from tstitch_search.measure.proxy_set import Condition
from tstitch_search.measure.step_noise import own_step_noise
from tstitch_search.measure.stitching import StitchedDenoiser

# What DiTPipeline calls "no label".
NULL_LABEL = 1000


def stitch(members: Mapping[str, nn.Module]) -> StitchedDenoiser:
    """The members as one denoiser that speaks DiTPipeline's language."""
    return StitchedDenoiser(members, ask)


def ask(member: Any, latents: torch.Tensor, timestep: torch.Tensor, class_labels: torch.Tensor) -> Any:
    """The member's output for latents (n, c, h, w), timestep (n,) and class labels (n,).

    The pipeline says "no label" with NULL_LABEL, ImageNet's null class; the member's own follows its last class.
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
    if space.learned_variance:
        scheduler = _with_learned_variance(scheduler, denoiser)
    if space.guided_channels:
        for name in denoiser.names:
            denoiser.translate(name, _guiding(space.guided_channels))
    pipeline = DiTPipeline(transformer=denoiser, vae=vae, scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    denoiser.watch(scheduler)
    return pipeline


def _with_learned_variance(scheduler: Any, denoiser: StitchedDenoiser) -> Any:
    """The scheduler, to be given the denoisers' variances too, which DiTPipeline otherwise drops.

    It drops them where its denoiser's configuration has twice as many output channels as latent channels.
    """
    config = denoiser.config
    if not isinstance(scheduler, DDPMScheduler) or config.out_channels != 2 * config.in_channels:
        raise ConfigError(
            f"learned_variance: got {type(scheduler).__name__} and a largest denoiser of {config.out_channels} output "
            f"channels, expected DDPMScheduler and {2 * config.in_channels} channels, of which half are variances",
            hint="solver: DDPMScheduler, or learned_variance: false",
        )
    denoiser.config = FrozenDict({**config, "out_channels": 1})
    return DDPMScheduler.from_config(scheduler.config, variance_type="learned_range")


def _guiding(n_guided: int) -> Translation:
    """Guidance that moves the first `n_guided` latent channels only, as DiT's released code does.

    The pipeline guides all: u + scale (c - u). With u = c a channel stays what it is with the label.
    """

    def translation(ask: Ask) -> Ask:
        def guided(member: Any, latents: torch.Tensor, timestep: torch.Tensor, class_labels: torch.Tensor) -> Any:
            unlabelled, n_channels = (class_labels == NULL_LABEL)[:, None, None, None], latents.shape[1]

            def copy_rest(prediction: torch.Tensor) -> torch.Tensor:
                labelled = prediction.roll(len(prediction) // 2, dims=0)
                mixed = torch.where(unlabelled, labelled, prediction)
                parts = prediction[:, :n_guided], mixed[:, n_guided:n_channels], prediction[:, n_channels:]
                return torch.cat(parts, dim=1)

            return changed(ask(member, latents, timestep, class_labels), copy_rest)

        return guided

    return translation


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
