"""From images to features and logits: torch-fidelity's extractors, the zoo's, or one of the user's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.error import URLError

import numpy as np
import torch
from torch_fidelity import register_feature_extractor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY
from torch_fidelity.utils import create_feature_extractor

import tstitch_search.measure.embeddings
import tstitch_search.zoo.features  # noqa: F401  (registers fashion-cnn)
from tstitch_search.config.models.quality import OF_TRANSFORMERS
from tstitch_search.errors import ConfigError, EnvironmentProblem, MeasurementError, TStitchError
from tstitch_search.files import require_itself
from tstitch_search.quality.metrics.own import imported
from tstitch_search.zoo import FASHION_EXTRACTOR

# The metric of torch-fidelity whose default layer an array is taken from.
_METRIC_OF = {"features": "fid", "logits": "isc"}
# Extractors whose weight files torch-fidelity does not unpickle: ours are safetensors, torch.hub fetches the others.
READ_BY_OTHERS = (FASHION_EXTRACTOR, "dinov2")


@dataclass(frozen=True)
class Extractor:
    """A network on `device` that turns uint8 images into arrays; `layers[array]` is the layer each is taken from."""

    name: str
    network: FeatureExtractorBase
    layers: Mapping[str, str]
    device: torch.device

    @property
    def takes_clips(self) -> bool:
        """Whether it is asked with whole clips (n, frames, 3, h, w): its class has `takes_clips = True`."""
        return getattr(self.network, "takes_clips", False) is True


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """uint8 (n, 3, h, w) of float images (n, 1 or 3, h, w) in [0, 1], rounded: the one place where that happens.

    Of clips (n, frames, 1 or 3, h, w) it is uint8 (n, frames, 3, h, w). Grey images become RGB. Raises MeasurementError
    for another number of channels, or when a value is not finite.
    """
    if images.ndim not in (4, 5) or images.shape[-3] not in (1, 3):
        raise MeasurementError(f"expected images of shape (n, 1 or 3, h, w), got {tuple(images.shape)}")
    if not torch.isfinite(images).all():
        raise MeasurementError("the sampled images hold values that are not finite", hint="try workers.dtype: float32")
    return images.float().clamp(0, 1).mul(255).round().to(torch.uint8).expand(*images.shape[:-3], 3, -1, -1)


def require_content(images: torch.Tensor, first: int) -> None:
    """Nothing, when no image (n, c, h, w) or clip (n, frames, c, h, w) is of one colour all over.

    `first` is the index of the first image. Raises MeasurementError otherwise: black images, as safety
    checkers and overflows leave them, poison FID.
    """
    flat = images.movedim(-3, 1).flatten(start_dim=2)
    if bare := (flat == flat[:, :, :1]).all(dim=2).all(dim=1).nonzero().flatten().tolist():
        raise MeasurementError(
            f"image {first + bare[0]} is of one colour all over, and {len(bare) - 1} more of {len(images)}",
            hint="switch off safety checkers; try workers.dtype: float32",
        )


def load_extractor(
    name: str, weights: Path | None, device: torch.device, arrays: Sequence[str] = ("features",)
) -> Extractor:
    """The extractor `name` on `device`, giving `arrays`.

    "features" is the layer that torch-fidelity takes for FID, "logits" that for the Inception score. `name` is one of
    torch-fidelity's, the zoo's, or `module:Class` of a FeatureExtractorBase that Python can import. Without `weights`
    torch-fidelity looks in its own place, then downloads. It unpickles weight files: one that holds more than tensors
    is refused. Raises ConfigError for a name or class that will not do, EnvironmentProblem for weights missing or bad.
    """
    if name not in FEATURE_EXTRACTORS_REGISTRY:
        _register(name)
    if name in OF_TRANSFORMERS:
        return _create(name, weights, device, arrays)
    if weights and not weights.is_file():
        raise EnvironmentProblem(
            f"the weights of the feature extractor {name!r} are not at {weights}",
            hint="check quality.extractor_weights",
        )
    if weights:
        require_itself(weights, f"the feature extractor {name!r}")
    if weights and ":" not in name and not name.startswith(READ_BY_OTHERS):
        _require_only_tensors(name, weights)
    try:
        return _create(name, weights, device, arrays)
    except Exception as error:  # a damaged or foreign weights file can raise nearly anything
        _explain(error, name, weights)


def _require_only_tensors(name: str, weights: Path) -> None:
    """Nothing, when unpickling the file cannot run code. Raises EnvironmentProblem for any file less plain."""
    try:
        torch.load(weights, map_location="meta", weights_only=True)
    except Exception as error:  # whatever stops the careful reader is not given to the careless one
        if "TorchScript" in str(error):  # read without pickle's freedom
            return
        raise EnvironmentProblem(
            f"the feature extractor {name!r} cannot be loaded: {weights} is damaged, or holds more than tensors, which "
            "could run code",
            hint="check quality.extractor_weights; a file of tensors only, as torch.save of a state dict writes it",
        ) from error


def _register(name: str) -> None:
    """Import the class `module:Class` and make it known to torch-fidelity, in this process."""
    if ":" not in name:
        known = ", ".join(sorted(FEATURE_EXTRACTORS_REGISTRY))
        raise ConfigError(f"unknown feature extractor {name!r}, expected one of {known}, or module:Class of your own")
    found = imported("feature extractor", name)
    if not (isinstance(found, type) and issubclass(found, FeatureExtractorBase)):
        raise ConfigError(
            f"the feature extractor {name!r} is a {type(found).__name__}, "
            "expected a subclass of torch_fidelity's FeatureExtractorBase"
        )
    register_feature_extractor(name, found)


def _create(name: str, weights: Path | None, device: torch.device, arrays: Sequence[str]) -> Extractor:
    default_layer = FEATURE_EXTRACTORS_REGISTRY[name].get_default_feature_layer_for_metric
    layers = {array: default_layer(_METRIC_OF[array]) for array in arrays}
    if "logits" in layers and layers["logits"] == default_layer("fid"):
        raise ConfigError(
            f"the feature extractor {name!r} classifies nothing, so that there is no Inception score",
            hint="leave inception_score out, or choose an extractor with logits, such as inception-v3-compat",
        )
    network = create_feature_extractor(
        name,
        list(layers.values()),
        cuda=device.type == "cuda",
        verbose=False,
        feature_extractor_weights_path=str(weights) if weights else None,
    )
    return Extractor(name, network, layers, device)


def _explain(error: Exception, name: str, weights: Path | None) -> NoReturn:
    """Raise what a user can act on for what went wrong while the extractor was made."""
    match error:
        case TStitchError():
            raise error
        case URLError():
            file = f" ({URL_INCEPTION_V3})" if name == "inception-v3-compat" else ""
            raise EnvironmentProblem(
                f"the weights of the feature extractor {name!r} are not in {torch.hub.get_dir()}/checkpoints "
                f"and could not be downloaded: {error.reason}",
                hint=f"put the file{file} there, or give its path as quality.extractor_weights",
            ) from error
        case NotImplementedError() if weights:  # torch-fidelity's DINOv2
            raise ConfigError(
                f"the feature extractor {name!r} cannot take its weights from a file",
                hint="leave out quality.extractor_weights: torch.hub finds the weights in its cache or downloads them",
            ) from error
        case _ if ":" in name and weights is None:
            raise ConfigError(
                f"the feature extractor {name!r} cannot be made: {type(error).__name__}: {error}",
                hint="its __init__ is called as torch-fidelity does it: (name, features_list, **options)",
            ) from error
        case _:
            place = f" from {weights}" if weights else ""
            raise EnvironmentProblem(
                f"the feature extractor {name!r} cannot be loaded{place}: {type(error).__name__}: {error}",
                hint="check quality.extractor_weights, or fetch the file again",
            ) from error


@torch.no_grad()
def extract(extractor: Extractor, images: torch.Tensor) -> dict[str, np.ndarray]:
    """Each of the extractor's arrays (n, d) float32 of uint8 images (n, 3, h, w), or clips, on its device.

    Raises ConfigError when the network does not answer with (n, d), MeasurementError when a value is not finite.
    """
    answers = extractor.network(images)
    if not isinstance(answers, tuple) or len(answers) != len(extractor.layers):
        raise ConfigError(
            f"the feature extractor {extractor.name!r} answers with a {type(answers).__name__}, "
            f"expected a tuple of the layers {', '.join(extractor.layers.values())}"
        )
    return {
        array: _checked(extractor, layer, answer, len(images))
        for (array, layer), answer in zip(extractor.layers.items(), answers, strict=True)
    }


def _checked(extractor: Extractor, layer: str, answer: torch.Tensor, n_images: int) -> np.ndarray:
    if answer.ndim != 2 or len(answer) != n_images:
        raise ConfigError(
            f"the feature extractor {extractor.name!r} answers {n_images} images with layer {layer!r} of shape "
            f"{tuple(answer.shape)}, expected ({n_images}, d)"
        )
    values: np.ndarray = answer.float().cpu().numpy()
    if not np.isfinite(values).all():
        raise MeasurementError(
            f"the feature extractor {extractor.name!r} gives values that are not finite in layer {layer!r}"
        )
    return values


def count_features(extractor: Extractor) -> int:
    """How many features the extractor gives an image."""
    try:
        image = extractor.network.get_dummy_input_for_compile()
    except NotImplementedError as error:
        raise ConfigError(
            f"the feature extractor {extractor.name!r} gives no example of an image",
            hint="implement get_dummy_input_for_compile: uint8 (1, 3, h, w)",
        ) from error
    return int(extract(extractor, torch.cat([image, image]).to(extractor.device))["features"].shape[1])
