"""From images to features, through torch-fidelity's registry of extractors, and its own FID for published values."""

from pathlib import Path
from urllib.error import URLError

import numpy as np
import torch
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY
from torch_fidelity.utils import create_feature_extractor

import tstitch_search.zoo.features  # noqa: F401  (registers fashion-cnn)
from tstitch_search.errors import ConfigError, EnvironmentProblem, MeasurementError, TStitchError
from tstitch_search.quality.reference import Reference


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """uint8 (n, 3, h, w) of float images (n, 1 or 3, h, w) in [0, 1], rounded: the one place where that happens.

    Grey images become RGB. Raises MeasurementError when a value is not finite.
    """
    if not torch.isfinite(images).all():
        raise MeasurementError("the sampled images hold values that are not finite", hint="try workers.dtype: float32")
    return images.float().clamp(0, 1).mul(255).round().to(torch.uint8).expand(-1, 3, -1, -1)


def load_extractor(name: str, weights: Path | None, device: torch.device) -> FeatureExtractorBase:
    """torch-fidelity's extractor `name` on `device`, answering with the layer that FID takes.

    Without `weights` it looks in its own place, then downloads. torch-fidelity unpickles weight files: give it only
    such as you trust. Raises ConfigError for an unknown name, EnvironmentProblem for weights that are missing or bad.
    """
    if name not in FEATURE_EXTRACTORS_REGISTRY:
        known = ", ".join(sorted(FEATURE_EXTRACTORS_REGISTRY))
        raise ConfigError(f"unknown feature extractor {name!r}, expected one of {known}")
    if weights and not weights.is_file():
        raise EnvironmentProblem(
            f"the weights of the feature extractor {name!r} are not at {weights}",
            hint="check quality.extractor_weights",
        )
    try:
        return _create(name, str(weights) if weights else None, device)
    except TStitchError:
        raise
    except URLError as error:
        file = f" ({URL_INCEPTION_V3})" if name == "inception-v3-compat" else ""
        raise EnvironmentProblem(
            f"the weights of the feature extractor {name!r} are not in {torch.hub.get_dir()}/checkpoints "
            f"and could not be downloaded: {error.reason}",
            hint=f"put the file{file} there, or give its path as quality.extractor_weights",
        ) from error
    except Exception as error:  # a damaged or foreign weights file can raise nearly anything
        raise EnvironmentProblem(
            f"the feature extractor {name!r} cannot be loaded: {type(error).__name__}: {error}",
            hint="check quality.extractor_weights, or fetch the file again",
        ) from error


def _create(name: str, weights: str | None, device: torch.device) -> FeatureExtractorBase:
    layer = FEATURE_EXTRACTORS_REGISTRY[name].get_default_feature_layer_for_metric("fid")
    cuda = device.type == "cuda"
    return create_feature_extractor(name, [layer], cuda=cuda, verbose=False, feature_extractor_weights_path=weights)


@torch.no_grad()
def extract(extractor: FeatureExtractorBase, images: torch.Tensor) -> np.ndarray:
    """Features (n, d) float32 of uint8 images (n, 3, h, w) on the extractor's device."""
    features: np.ndarray = extractor(images)[0].float().cpu().numpy()
    return features


def count_features(extractor: FeatureExtractorBase) -> int:
    """How many features the extractor gives an image."""
    device = next(extractor.parameters()).device
    return int(extract(extractor, extractor.get_dummy_input_for_compile().to(device)).shape[1])


def published_fid(mu: np.ndarray, sigma: np.ndarray, reference: Reference) -> float:
    """torch-fidelity's own FID of features with mean (d,) and covariance (d, d) to the reference, in float64."""
    ours = {"mu": np.asarray(mu, dtype=np.float64), "sigma": np.asarray(sigma, dtype=np.float64)}
    real = {"mu": reference.mu, "sigma": reference.sigma}
    return float(fid_statistics_to_metric(ours, real, verbose=False)[KEY_METRIC_FID])
