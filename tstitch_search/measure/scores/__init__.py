"""Values per image and per pair, made on the worker that made the images: one file each, all of one shape.

A pair score is called with uint8 images (n, 3, h, w) on its device and the anchor's of the same seeds, an image score
with images and their prompts; both answer n values.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import torch

from tstitch_search.config.models import QualityConfig
from tstitch_search.errors import ConfigError, MeasurementError
from tstitch_search.measure.clip_score import clip_scores, load_clip
from tstitch_search.measure.embeddings import ClipImages, Dino
from tstitch_search.measure.scores.embedding_distance import embedding_distance
from tstitch_search.measure.scores.hps_v2 import hps_score
from tstitch_search.measure.scores.lpips import Lpips
from tstitch_search.measure.scores.perceptual import ZooPerceptual
from tstitch_search.measure.scores.pick_score import pick_score
from tstitch_search.measure.scores.psnr import psnr
from tstitch_search.measure.scores.ssim import ssim
from tstitch_search.measure.scores.temporal import temporal_consistency
from tstitch_search.quality.metrics import metric_named, of_kind
from tstitch_search.quality.metrics.own import own_class


class PairScore(Protocol):
    """How each image compares with the anchor's of the same seed."""

    def __call__(self, images: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
        """Values (n,) of uint8 images (n, 3, h, w) and the anchor's, on one device. Raises MeasurementError."""
        ...


class ImageScore(Protocol):
    """How good each image is, alone or by its prompt."""

    def __call__(self, images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor | np.ndarray:
        """Values (n,) of uint8 images (n, 3, h, w) and their prompts. Raises MeasurementError."""
        ...


Factory: TypeAlias = Callable[[QualityConfig, Path, torch.device], PairScore | ImageScore]


def _clip_score(quality: QualityConfig, near: Path, device: torch.device) -> ImageScore:
    clip = load_clip(quality.clip_model, near, device)
    return lambda images, prompts: clip_scores(clip, images, prompts)


def _dino_distance(quality: QualityConfig, near: Path, device: torch.device) -> PairScore:
    return embedding_distance(Dino(quality.dino_model, near, device))


def _clip_distance(quality: QualityConfig, near: Path, device: torch.device) -> PairScore:
    return embedding_distance(ClipImages(quality.clip_model, near, device))


FACTORIES: Mapping[str, Factory] = {
    "clip_score": _clip_score,
    "psnr": lambda *_: psnr,
    "ssim": lambda *_: ssim,
    "perceptual": lambda quality, near, device: ZooPerceptual(device),
    "lpips": lambda quality, near, device: Lpips(near / str(quality.lpips_weights), device),
    "dino_distance": _dino_distance,
    "clip_distance": _clip_distance,
    "temporal_consistency": lambda *_: temporal_consistency,
    "pick_score": lambda q, near, device: pick_score(q.pick_score_model, q.preference_processor, near, device),
    "hps_v2": lambda q, near, device: hps_score(near / str(q.hps_weights), q.preference_processor, near, device),
}
# Looked at as clips (n, frames, 3, h, w), not frame by frame.
OF_CLIPS = ("temporal_consistency",)


@dataclass(frozen=True)
class Scores:
    """The scores of one study, loaded on a worker."""

    of_images: Mapping[str, ImageScore]
    of_pairs: Mapping[str, PairScore]

    @classmethod
    def load(cls, quality: QualityConfig, near: Path, device: torch.device) -> "Scores":
        """Those that the study's metrics need; files are relative to `near`.

        Raises ConfigError or EnvironmentProblem for what cannot be loaded.
        """
        made: tuple[dict[str, ImageScore], dict[str, PairScore]] = tuple(  # type: ignore[assignment]
            {name: _load(name, quality, near, device) for name in of_kind(quality.all_metrics, kind)}
            for kind in ("image", "pair")
        )
        return cls(*made)

    @torch.no_grad()
    def of(
        self, images: torch.Tensor, prompts: Sequence[str], anchors: torch.Tensor | None, n_frames: int = 1
    ) -> dict[str, np.ndarray]:
        """Values (n,) float32 by metric of uint8 images (n, 3, h, w), or of the frames of clips, one after another.

        Raises MeasurementError, ConfigError.
        """
        values = {name: score(images, prompts) for name, score in self.of_images.items()}
        if self.of_pairs:
            if anchors is None:
                raise MeasurementError("a metric per pair needs the anchor's images, got none")
            if anchors.shape != images.shape:
                raise MeasurementError(
                    f"images of {tuple(images.shape)} cannot be held against the anchor's of {tuple(anchors.shape)}"
                )
            clips = images.unflatten(0, (-1, n_frames)), anchors.unflatten(0, (-1, n_frames))
            for name, score in self.of_pairs.items():
                is_of_clips = name in OF_CLIPS
                found = score(*clips) if is_of_clips else score(images, anchors)
                values[name] = found.repeat_interleave(n_frames) if is_of_clips else found
        return {name: _checked(name, value, len(images)) for name, value in values.items()}


def _load(name: str, quality: QualityConfig, near: Path, device: torch.device) -> PairScore | ImageScore:
    if ":" not in name:
        return FACTORIES[name](quality, near, device)
    try:
        made: PairScore | ImageScore = own_class(name)(device)
    except Exception as error:  # the user's class can raise anything
        raise ConfigError(
            f"the metric {name!r} cannot be made: {type(error).__name__}: {error}",
            hint="its __init__ is called with the torch.device alone",
        ) from error
    return made


def _checked(name: str, answer: torch.Tensor | np.ndarray, n_images: int) -> np.ndarray:
    values = answer.float().cpu().numpy() if isinstance(answer, torch.Tensor) else np.asarray(answer, dtype=np.float32)
    if values.shape != (n_images,):
        raise ConfigError(f"{metric_named(name).label} answers {n_images} images with shape {values.shape}")
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).nonzero()[0][0])
        raise MeasurementError(f"{metric_named(name).label} of image {bad} of {n_images} in its batch is not finite")
    return values
