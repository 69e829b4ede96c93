"""A perceptual distance for the embedded family's pictures of 32 pixels: the layers of its own classifier.

LPIPS without learned weights ("baseline" in its paper), averaged over the classifier's six blocks. It has not been held
against people's judgement; it orders what the classifier sees, and needs no download.
"""

import torch
from safetensors.torch import load_file

from tstitch_search.errors import ConfigError
from tstitch_search.measure.scores.layers import layer_distance
from tstitch_search.zoo.data import RESOLUTION
from tstitch_search.zoo.features import WEIGHTS, FashionClassifier


class ZooPerceptual:
    """Distance in [0, 4]; 0 for equal images."""

    def __init__(self, device: torch.device):
        """Load the classifier onto `device`."""
        self._net = FashionClassifier()
        self._net.load_state_dict(load_file(WEIGHTS))
        self._net.requires_grad_(False).eval().to(device)

    def __call__(self, images: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
        """Distances (n,) of uint8 images (n, 3, 32, 32). Raises ConfigError for another size."""
        if tuple(images.shape[1:]) != (3, RESOLUTION, RESOLUTION):
            raise ConfigError(
                f"perceptual looks at images of {RESOLUTION} x {RESOLUTION}, got {tuple(images.shape[-2:])}",
                hint="take lpips, ssim or psnr",
            )
        layers = self._layers(images), self._layers(anchors)
        return layer_distance(*layers, [None] * len(layers[0])) / len(layers[0])

    def _layers(self, images: torch.Tensor) -> list[torch.Tensor]:
        x, found = images.float().mean(dim=1, keepdim=True) / 127.5 - 1, []
        for block in self._net.body:
            x = block(x)
            found.append(x)
        return found
