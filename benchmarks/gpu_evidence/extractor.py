"""Feature extractors with random weights: for what features cost, not for what they mean."""

from typing import ClassVar

import torch
from torch import nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase


class _Random(FeatureExtractorBase):
    """uint8 (n, 3, h, w) -> features (n, width), the same in every process."""

    WIDTH: ClassVar[int]
    SIZE: ClassVar[int]

    def __init__(self, name: str, features_list: list[str], **_: object):
        super().__init__(name, features_list)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.net = self._network()
            self._scale(torch.rand(16, 3, self.SIZE, self.SIZE) * 2 - 1)
        self.requires_grad_(False).eval()

    def _network(self) -> nn.Module:
        raise NotImplementedError

    def _scale(self, images: torch.Tensor) -> None:
        """One pass gives batch normalisation its statistics, so that features have a natural scale."""
        for module in self.net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        with torch.no_grad():
            self.net.train()(images)

    @classmethod
    def get_provided_features_list(cls) -> tuple[str, ...]:
        return (str(cls.WIDTH),)

    @classmethod
    def get_default_feature_layer_for_metric(cls, metric: str) -> str:
        return str(cls.WIDTH)

    @staticmethod
    def can_be_compiled() -> bool:
        return False

    @staticmethod
    def get_dummy_input_for_compile() -> torch.Tensor:
        return torch.zeros([1, 3, 32, 32], dtype=torch.uint8)

    def forward(self, input: torch.Tensor) -> tuple[torch.Tensor, ...]:
        size = (self.SIZE, self.SIZE)
        images = nn.functional.interpolate(input.float() / 127.5 - 1, size, mode="bilinear", align_corners=False)
        return (self.net(images),)


class RandomInception(_Random):
    """Inception v3 at its own resolution: 2,048 features of images of 299 x 299."""

    WIDTH, SIZE = 2048, 299

    def _network(self) -> nn.Module:
        from torchvision.models import inception_v3

        net = inception_v3(weights=None, init_weights=False, aux_logits=False)
        net.fc = nn.Identity()
        net.dropout = nn.Identity()
        return net


class RandomSmall(_Random):
    """Two convolutions: 32 features."""

    WIDTH, SIZE = 32, 32

    def _network(self) -> nn.Module:
        widths = [(3, 16), (16, 32)]
        layers = [nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU()) for a, b in widths]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
