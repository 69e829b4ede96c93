"""The image features of FID in the zoo's domain: a Fashion-MNIST classifier, registered with torch-fidelity."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch_fidelity import register_feature_extractor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from tstitch_search.errors import EnvironmentProblem
from tstitch_search.zoo import FASHION_EXTRACTOR
from tstitch_search.zoo.data import N_CLASSES, RESOLUTION

NAME = FASHION_EXTRACTOR
FEATURE_DIM = 64
WEIGHTS = Path(__file__).parent / "fashion" / "features.safetensors"


def _block(c_in: int, c_out: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out), nn.ReLU())


class FashionClassifier(nn.Module):
    """Six convolutions and a linear layer: images (n, 1, 32, 32) in [-1, 1] -> features (n, 64), logits (n, 10)."""

    def __init__(self) -> None:
        super().__init__()
        widths = [(1, 32, 1), (32, 32, 2), (32, 64, 1), (64, 64, 2), (64, 128, 1), (128, FEATURE_DIM, 1)]
        self.body = nn.Sequential(*(_block(*w) for w in widths))
        self.head = nn.Linear(FEATURE_DIM, N_CLASSES)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.body(images).mean(dim=(2, 3))
        return features, self.head(features)


class FashionFeatureExtractor(FeatureExtractorBase):
    """torch-fidelity's view of the classifier: uint8 (n, 3, 32, 32) -> the pooled features (n, 64) and the logits."""

    def __init__(
        self, name: str, features_list: list[str], feature_extractor_weights_path: str | None = None, **_: object
    ):
        super().__init__(name, features_list)
        path = Path(feature_extractor_weights_path or WEIGHTS)
        if not path.exists():
            raise EnvironmentProblem(
                f"the weights of the feature extractor {NAME!r} are not at {path}",
                hint="reinstall the package, or train them with `python -m tstitch_search.zoo.train`",
            )
        self.net = FashionClassifier()
        self.net.load_state_dict(load_file(path))
        self.requires_grad_(False).eval()

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return (str(FEATURE_DIM), "logits")

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "logits" if metric == "isc" else str(FEATURE_DIM)

    @staticmethod
    def can_be_compiled() -> bool:
        return True

    @staticmethod
    def get_dummy_input_for_compile() -> torch.Tensor:
        return torch.zeros([1, 3, RESOLUTION, RESOLUTION], dtype=torch.uint8)

    def forward(self, input: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if input.dtype != torch.uint8 or tuple(input.shape[1:]) != (3, RESOLUTION, RESOLUTION):
            raise ValueError(
                f"{NAME} takes uint8 images of shape (n, 3, {RESOLUTION}, {RESOLUTION}), "
                f"got {input.dtype} of shape {tuple(input.shape)}"
            )
        grey = input.float().mean(dim=1, keepdim=True) / 127.5 - 1
        features, logits = self.net(grey)
        by_name = {str(FEATURE_DIM): features, "logits": logits}
        return tuple(by_name[name] for name in self.features_list)


register_feature_extractor(NAME, FashionFeatureExtractor)
