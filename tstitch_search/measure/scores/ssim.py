"""Structural similarity, Wang et al. 2004: means, variances and covariance in a Gaussian window of 11 x 11, sigma 1.5.

Without padding, per channel, then the mean; biased variances, K1 = 0.01, K2 = 0.03, as in the paper.
"""

import torch

from tstitch_search.errors import ConfigError

WINDOW, SIGMA = 11, 1.5
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def ssim(images: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """SSIM (n,) in [-1, 1] of uint8 images (n, c, h, w) against the anchor's.

    Raises ConfigError for images smaller than the window.
    """
    if min(images.shape[-2:]) < WINDOW:
        raise ConfigError(
            f"SSIM looks through a window of {WINDOW} x {WINDOW} pixels, the images have {tuple(images.shape[-2:])}",
            hint="take psnr, or larger images",
        )
    x, y = images.double(), anchors.double()
    mean_x, mean_y = _blurred(x), _blurred(y)
    var_x, var_y = _blurred(x * x) - mean_x**2, _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    structure = (2 * covariance + C2) / (var_x + var_y + C2)
    return (luminance * structure).mean(dim=(1, 2, 3))


def _blurred(x: torch.Tensor) -> torch.Tensor:
    offsets = torch.arange(WINDOW, dtype=x.dtype, device=x.device) - WINDOW // 2
    line = torch.exp(-(offsets**2) / (2 * SIGMA**2))
    line = line / line.sum()
    flat = x.flatten(0, 1)[:, None]
    rows = torch.nn.functional.conv2d(flat, line[None, None, None, :])
    return torch.nn.functional.conv2d(rows, line[None, None, :, None])[:, 0].unflatten(0, x.shape[:2])
