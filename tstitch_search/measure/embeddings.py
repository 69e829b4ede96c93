"""What DINOv2 and CLIP see in an image: for the distances per pair, and as extractors of CMMD and FD-DINOv2.

Images are resized to a square by bicubic interpolation, as the papers' own code does: DINOv2 to 224 (Stein et al.,
arXiv 2306.04675), CLIP to its own size, 336 for CMMD (Jayasumana et al., arXiv 2401.09603).
"""

from pathlib import Path
from typing import Any

import torch
from torch_fidelity import register_feature_extractor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from transformers import AutoModel, CLIPModel

from tstitch_search.config.models.quality import OF_TRANSFORMERS
from tstitch_search.measure.pretrained import load_pretrained, squared

DINO_SIZE = 224
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OPENAI = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


class Dino:
    """The class token of a DINO or DINOv2 model: (n, d) of uint8 images (n, 3, h, w)."""

    def __init__(self, name: str, near: Path, device: torch.device):
        """Load it. Raises EnvironmentProblem."""
        self._model = load_pretrained("DINO model", AutoModel, name, near).to(device)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self._model(squared(images, DINO_SIZE, *IMAGENET)).last_hidden_state[:, 0]
        return found


class ClipImages:
    """CLIP's embedding of an image, of length 1: (n, d) of uint8 images (n, 3, h, w)."""

    def __init__(self, name: str, near: Path, device: torch.device):
        """Load it, and let go of its text encoder. Raises EnvironmentProblem."""
        self._model = load_pretrained("CLIP model", CLIPModel, name, near)
        del self._model.text_model
        self._model.to(device)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        size = self._model.config.vision_config.image_size
        found = self._model.get_image_features(pixel_values=squared(images, size, *OPENAI))
        return torch.nn.functional.normalize(getattr(found, "pooler_output", found))  # a tensor before transformers 5


class _OfTransformers(FeatureExtractorBase):
    """An extractor of torch-fidelity's kind; its weights are a folder or a hub id."""

    made: Any
    default: str

    def __init__(
        self, name: str, features_list: list[str], feature_extractor_weights_path: str | None = None, **_: Any
    ):
        super().__init__(name, features_list)
        self._device = torch.device("cpu")
        self._embed = self.made(feature_extractor_weights_path or self.default, Path(), self._device)

    def cuda(self, device: Any = None) -> "_OfTransformers":
        """Move it, for torch-fidelity asks so."""
        self._embed._model.cuda(device)
        return self

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (self._embed(images),)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return ("embedding",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "embedding"

    @staticmethod
    def get_dummy_input_for_compile() -> torch.Tensor:
        return (torch.rand([1, 3, 64, 64]) * 255).to(torch.uint8)


class DinoExtractor(_OfTransformers):
    """`extractor: dinov2`: the class token of DINOv2 ViT-L/14."""

    made, default = Dino, OF_TRANSFORMERS["dinov2"]


class ClipExtractor(_OfTransformers):
    """`extractor: clip`: the embeddings of CLIP ViT-L/14 at 336 pixels."""

    made, default = ClipImages, OF_TRANSFORMERS["clip"]


register_feature_extractor("dinov2", DinoExtractor)
register_feature_extractor("clip", ClipExtractor)
