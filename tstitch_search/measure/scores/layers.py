"""What LPIPS and its like share: how far two images are apart in the layers of a network."""

from collections.abc import Sequence

import torch

EPS = 1e-10


def layer_distance(
    of_images: Sequence[torch.Tensor], of_anchors: Sequence[torch.Tensor], weights: Sequence[torch.Tensor | None]
) -> torch.Tensor:
    """Zhang et al., arXiv 1801.03924, Eq. 1: distance (n,), >= 0, from activations (n, c, h, w) of each layer.

    Each activation is scaled to length 1 over its channels; squared differences are summed over channels, with weights
    (c,) or without, averaged over positions, and added over the layers.
    """
    total = torch.zeros(len(of_images[0]), device=of_images[0].device)
    for x, y, weight in zip(of_images, of_anchors, weights, strict=True):
        squared = (_unit(x) - _unit(y)).square()
        scaled = squared if weight is None else squared * weight[None, :, None, None]
        total = total + scaled.sum(dim=1).mean(dim=(1, 2))
    return total


def _unit(x: torch.Tensor) -> torch.Tensor:
    return x / (x.square().sum(dim=1, keepdim=True).sqrt() + EPS)
