"""LPIPS 0.1 with AlexNet: Zhang et al., arXiv 1801.03924. Weights come from a file; nothing is downloaded.

With the same weights it gives the values of lpips 0.1.4 (`tests/measure/test_scores.py`, to a relative 1e-5).
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torchvision.models import alexnet

from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.measure.scores.layers import layer_distance

# After which modules of AlexNet's features the five layers end, and what the smallest image is.
ENDS, SMALLEST = (1, 4, 7, 9, 11), 35
HINT = "make it once: torch.save(lpips.LPIPS(net='alex').state_dict(), 'lpips_alex.pth'), with pip install lpips"


class Lpips:
    """Distance >= 0; 0 for equal images."""

    def __init__(self, weights: Path, device: torch.device):
        """Load the file that `lpips.LPIPS(net="alex").state_dict()` was saved to.

        Raises EnvironmentProblem when it is missing, damaged, or of something else.
        """
        state = _read(weights)
        features = {
            f"{name.split('.')[2]}.{name.split('.')[3]}": tensor
            for name, tensor in state.items()
            if name.startswith("net.slice")
        }
        net = alexnet().features
        try:
            net.load_state_dict(features)
            self._heads = [state[f"lin{i}.model.1.weight"].flatten().to(device) for i in range(len(ENDS))]
        except (KeyError, RuntimeError) as error:
            raise EnvironmentProblem(f"{weights} does not hold LPIPS with AlexNet: {error}", hint=HINT) from error
        self._net: nn.Module = net.requires_grad_(False).eval().to(device)
        self._shift = torch.tensor([-0.030, -0.088, -0.188], device=device)[None, :, None, None]
        self._scale = torch.tensor([0.458, 0.448, 0.450], device=device)[None, :, None, None]

    def __call__(self, images: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
        """Distances (n,) of uint8 images (n, 3, h, w). Raises ConfigError for images smaller than its layers see."""
        if min(images.shape[-2:]) < SMALLEST:
            raise ConfigError(
                f"LPIPS needs images of {SMALLEST} pixels at least, got {tuple(images.shape[-2:])}",
                hint="take perceptual (of the embedded family), ssim or psnr",
            )
        return layer_distance(self._layers(images), self._layers(anchors), self._heads)

    def _layers(self, images: torch.Tensor) -> list[torch.Tensor]:
        x, found = (images.float() / 127.5 - 1 - self._shift) / self._scale, []
        for i, module in enumerate(self._net.children()):
            x = module(x).clone()  # the next ReLU works in place
            if i in ENDS:
                found.append(x)
        return found


def _read(weights: Path) -> dict[str, torch.Tensor]:
    if not weights.is_file():
        raise EnvironmentProblem(
            f"the weights of LPIPS are not at {weights}; without them psnr and ssim still work", hint=HINT
        )
    try:
        if weights.suffix == ".safetensors":
            return load_file(weights)
        state: dict[str, torch.Tensor] = torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise nearly anything
        raise EnvironmentProblem(f"the weights of LPIPS at {weights} cannot be read: {error}", hint=HINT) from error
    return state
