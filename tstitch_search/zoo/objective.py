"""What denoisers are trained on: latents of real images, noised to drawn timesteps, with their class labels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from tstitch_search.zoo.trainer import Loss


@dataclass(frozen=True)
class Process:
    """x_t = alpha_t x_0 + sigma_t eps, and what a denoiser shall say of it.

    `alpha` and `sigma`: (T,) by training timestep. `target`: of (x_0, eps, alpha, sigma), what is to be predicted.
    """

    alpha: torch.Tensor
    sigma: torch.Tensor
    target: Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class LabelledLatents:
    """Latents as the autoencoder gives them, (n, 2c, h, w) = scaled (mean, std), with labels (n,) int64.

    With the probability `dropout` a label is replaced by `null_class`, so that guidance works.
    """

    moments: torch.Tensor
    labels: torch.Tensor
    null_class: int
    dropout: float = 0.1


@torch.no_grad()
def latent_moments(vae: Any, images: torch.Tensor) -> torch.Tensor:
    """Scaled mean and standard deviation of the latents of images (n, c, h, w) in [-1, 1]: (n, 2c, h, w) float16.

    A VQModel has latents without a spread: their standard deviation is zero.
    """
    encoded = vae.encode(images)
    if hasattr(encoded, "latent_dist"):
        mean, std = encoded.latent_dist.mean, encoded.latent_dist.std
    else:
        mean, std = encoded.latents, torch.zeros_like(encoded.latents)
    return (torch.cat([mean, std], dim=1) * vae.config.scaling_factor).half().cpu()


def denoising_loss(data: LabelledLatents, process: Process, timesteps: torch.Tensor, device: str) -> Loss:
    """The simple loss (Ho et al., arXiv 2006.11239, eq. 14): mean squared error of what the process wants predicted.

    `timesteps` (m,) int64: the training timesteps to draw from, each as likely as any other. Output channels beyond the
    latents' (a learned variance) have no part in it.
    """

    def loss(net: Any, indices: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        mean, std = data.moments[indices].float().chunk(2, dim=1)
        clean = mean + std * torch.randn(mean.shape, generator=generator)
        noise = torch.randn(clean.shape, generator=generator)
        t = timesteps[torch.randint(len(timesteps), (len(clean),), generator=generator)]
        dropped = torch.rand(len(clean), generator=generator) < data.dropout
        y = torch.where(dropped, data.null_class, data.labels[indices])
        alpha, sigma = (share[t].reshape(-1, 1, 1, 1) for share in (process.alpha, process.sigma))
        noisy, target = alpha * clean + sigma * noise, process.target(clean, noise, alpha, sigma)
        predicted = net(noisy.to(device), timestep=t.to(device), class_labels=y.to(device)).sample
        return functional.mse_loss(predicted[:, : clean.shape[1]], target.to(device))

    return loss
