"""How well images fit their prompts, by CLIP: Hessel et al., arXiv 2104.08718, section 3, with the weight 100."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import CLIPModel, CLIPProcessor

from tstitch_search.errors import MeasurementError
from tstitch_search.measure.pretrained import load_pretrained, load_processor


@dataclass(frozen=True)
class Clip:
    """A CLIP model of transformers on `device`, with the processor that belongs to it."""

    name: str
    model: Any
    processor: Any
    device: torch.device


def load_clip(name: str, near: Path, device: torch.device, processor: str | None = None) -> Clip:
    """The CLIP model in the folder `name` relative to `near`, or else with this hub id, in float32.

    `processor`: where its processor is, when it is not beside it. Raises EnvironmentProblem when it cannot be had, or
    when its weights are not those of a CLIP model.
    """
    model = load_pretrained("CLIP model", CLIPModel, name, near)
    places = (name,) if processor is None else (name, processor)
    made = load_processor("processor of the CLIP model", CLIPProcessor, places, near)
    return Clip(name, model.to(device), made, device)


@torch.no_grad()
def clip_scores(clip: Clip, images: torch.Tensor, prompts: Sequence[str]) -> np.ndarray:
    """100 max(cos, 0) (n,) float32 of uint8 images (n, 3, h, w) and their prompts; in [0, 100].

    A prompt longer than the model reads is cut. Raises MeasurementError when a score is not finite.
    """
    scores: np.ndarray = (100 * cosines(clip, images, prompts).clamp(0, 1)).cpu().numpy()
    if not np.isfinite(scores).all():
        raise MeasurementError(f"the CLIP model {clip.name!r} gives scores that are not finite")
    return scores


@torch.no_grad()
def cosines(clip: Clip, images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
    """How well each of uint8 images (n, 3, h, w) fits its prompt: (n,) in [-1, 1]."""
    if len(images) != len(prompts):
        raise ValueError(f"each image needs its prompt: {len(images)} images against {len(prompts)} prompts")
    n_tokens = clip.model.config.text_config.max_position_embeddings
    inputs = clip.processor(
        images=list(images.cpu()),
        text=list(prompts),
        return_tensors="pt",
        padding=True,
        truncation=True,
        max_length=n_tokens,
    )
    found = clip.model(**inputs.to(clip.device))
    return torch.nn.functional.cosine_similarity(found.image_embeds, found.text_embeds)
