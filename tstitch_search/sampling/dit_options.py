"""Options of a DiT space that change how its members answer: in a study, and where its lookup table is deployed."""

from typing import Any

import torch
from diffusers import DDPMScheduler
from diffusers.configuration_utils import FrozenDict

from tstitch_search.config.models import SpaceConfig
from tstitch_search.errors import ConfigError
from tstitch_search.sampling.stitching.calls import Forward, ForwardAdapter, changed
from tstitch_search.sampling.stitching.stitched_denoiser import StitchedDenoiser

# What DiTPipeline calls "no label".
NULL_LABEL = 1000


def with_options(space: SpaceConfig, denoiser: StitchedDenoiser, scheduler: Any) -> Any:
    """The scheduler to use, once the members answer as `guided_channels` and `learned_variance` of `space` say.

    A space without these keys changes nothing. Raises ConfigError for variances that there are not.
    """
    if space.learned_variance:
        scheduler = _with_learned_variance(scheduler, denoiser)
    if space.guided_channels:
        for name in denoiser.names:
            denoiser.adapt(name, _guiding(space.guided_channels))
    return scheduler


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


def _guiding(n_guided: int) -> ForwardAdapter:
    """Guidance that moves the first `n_guided` latent channels only, as DiT's released code does.

    The pipeline guides all: u + scale (c - u). With u = c a channel stays what it is with the label.
    """

    def adapter(forward: Forward) -> Forward:
        def guided(member: Any, latents: torch.Tensor, timestep: torch.Tensor, class_labels: torch.Tensor) -> Any:
            unlabelled, n_channels = (class_labels == NULL_LABEL)[:, None, None, None], latents.shape[1]

            def copy_rest(prediction: torch.Tensor) -> torch.Tensor:
                labelled = prediction.roll(len(prediction) // 2, dims=0)
                mixed = torch.where(unlabelled, labelled, prediction)
                parts = prediction[:, :n_guided], mixed[:, n_guided:n_channels], prediction[:, n_channels:]
                return torch.cat(parts, dim=1)

            return changed(forward(member, latents, timestep, class_labels), copy_rest)

        return guided

    return adapter
