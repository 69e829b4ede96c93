"""What is kept of images: features and logits of the study's extractor, and values per image and per pair."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from tstitch_search.config import Study
from tstitch_search.config.models.quality import OF_TRANSFORMERS
from tstitch_search.errors import ConfigError
from tstitch_search.measure.datasets import batches_of
from tstitch_search.measure.features import count_features, extract, load_extractor
from tstitch_search.measure.scores import Scores
from tstitch_search.measurement import Chunk
from tstitch_search.quality.metrics import arrays_for, of_kind
from tstitch_search.real_images import RealImages
from tstitch_search.sampling.conditions import ProxySet


class KeptArrays:
    """The networks that look at a study's images."""

    def __init__(self, study: Study, device: torch.device):
        """Load them. Raises EnvironmentProblem for weights that are missing, ConfigError for others."""
        quality, near = study.config.quality, study.study_path.parent
        self._proxy_set, self._device = ProxySet.of_study(study), device
        given = quality.extractor_weights
        is_file = given is not None and (quality.extractor not in OF_TRANSFORMERS or (near / given).exists())
        weights = near / str(given) if is_file else None if given is None else Path(given)
        arrays = arrays_for(quality.all_metrics)
        extracted = [name for name in arrays if name not in of_kind(quality.all_metrics, "image", "pair")]
        self._extractor = load_extractor(quality.extractor, weights, device, extracted)
        self._scores = Scores.load(quality, near, device)

    def n_features(self) -> int:
        """How many features the extractor has for an image."""
        return count_features(self._extractor)

    def of(self, images: torch.Tensor, chunk: Chunk, anchors: torch.Tensor | None) -> dict[str, np.ndarray]:
        """Of uint8 images (n, 3, h, w) of the chunk, by name; `anchors` are the anchor's of the same seeds.

        Of a clip (frames, 3, h, w) it is the mean over its frames, or what the extractor says of the clip as a whole,
        where its class has `takes_clips = True`.
        """
        prompts = [condition.prompt or "" for condition in self._proxy_set.conditions_of(chunk)]
        if images.ndim == 4:
            return extract(self._extractor, images) | self._scores.of(images, prompts, anchors, 1)
        n_frames, frames = images.shape[1], images.flatten(0, 1)
        prompts = [prompt for prompt in prompts for _ in range(n_frames)]
        anchors = None if anchors is None else anchors.flatten(0, 1)
        scores = self._scores.of(frames, prompts, anchors, n_frames)
        if self._extractor.takes_clips:
            return extract(self._extractor, images) | _over_frames(scores, n_frames)
        return _over_frames(extract(self._extractor, frames) | scores, n_frames)

    def of_reference(self, images: RealImages, batch_size: int) -> np.ndarray:
        """Features (n, d) of real images. Raises ConfigError for an extractor of clips."""
        if self._extractor.takes_clips:
            raise ConfigError(
                f"the feature extractor {self._extractor.name!r} takes clips, and quality.reference is of images",
                hint="quality.reference: an .npz with mu and sigma of the features of real clips",
            )
        batches = batches_of(images, batch_size)
        tensors = (torch.from_numpy(batch.copy()).permute(0, 3, 1, 2).to(self._device) for batch in batches)
        return np.concatenate([extract(self._extractor, images)["features"] for images in tensors])


def _over_frames(arrays: Mapping[str, np.ndarray], n_frames: int) -> dict[str, np.ndarray]:
    """Means over the frames of each clip."""
    return {name: values.reshape(-1, n_frames, *values.shape[1:]).mean(axis=1) for name, values in arrays.items()}
