"""Temporal consistency of clips: how differently neighbouring frames differ from how they do in the anchor's clip.

Mean over neighbours of | rms(x_t+1 - x_t) - rms(a_t+1 - a_t) | / 255: 0 for a clip that moves as much as the anchor's,
wherever; flicker and a standstill both count.
"""

import torch

from tstitch_search.errors import ConfigError


def temporal_consistency(images: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """Values (n,) in [0, 1] of uint8 clips (n, frames, 3, h, w) and the anchor's. Raises ConfigError for stills."""
    if images.shape[1] < 2:
        raise ConfigError(
            "temporal_consistency compares neighbouring frames, and the images are stills",
            hint="take it for a video pipeline, or psnr, ssim, lpips for stills",
        )
    return (_changes(images) - _changes(anchors)).abs().mean(dim=1)


def _changes(clips: torch.Tensor) -> torch.Tensor:
    return clips.float().diff(dim=1).div(255).square().mean(dim=(2, 3, 4)).sqrt()
