"""Peak signal-to-noise ratio in dB: 10 log10(255^2 / mean squared error), over all pixels and channels of an image."""

import torch

from tstitch_search.quality.metrics.pairs import PSNR_CEILING


def psnr(images: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """PSNR (n,) of uint8 images (n, c, h, w) against the anchor's; equal images have the ceiling, not infinity."""
    error = (images.double() - anchors.double()).square().mean(dim=(1, 2, 3))
    return (10 * torch.log10(255**2 / error)).clamp(max=PSNR_CEILING)
