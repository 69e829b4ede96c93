"""How well images fit their prompts, by CLIP: Hessel et al., arXiv 2104.08718, section 3, with the weight 100."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import CLIPModel, CLIPProcessor

from tstitch_search.errors import EnvironmentProblem, MeasurementError
from tstitch_search.members.weights import first_line


@dataclass(frozen=True)
class Clip:
    """A CLIP model of transformers on `device`, with the processor that belongs to it."""

    name: str
    model: Any
    processor: Any
    device: torch.device


def load_clip(name: str, near: Path, device: torch.device) -> Clip:
    """The CLIP model in the folder `name` relative to `near`, or else with this hub id, in float32.

    Raises EnvironmentProblem when it cannot be had, or when its weights are not those of a CLIP model.
    """
    source = str(near / name) if (near / name).is_dir() else name
    try:
        model, report = CLIPModel.from_pretrained(source, output_loading_info=True)
        processor = CLIPProcessor.from_pretrained(source)
    except Exception as error:  # transformers raises nearly anything for a damaged or foreign folder
        raise EnvironmentProblem(
            f"the CLIP model {name!r} can be loaded neither from the folder {near / name} nor from the hub: "
            f"{type(error).__name__}: {first_line(error)}",
            hint="give a hub id such as openai/clip-vit-large-patch14, or a folder made by save_pretrained",
        ) from error
    if missing := sorted(report["missing_keys"]):
        raise EnvironmentProblem(
            f"the CLIP model {name!r} has no weights for {missing[0]} and {len(missing) - 1} others",
            hint="check that it is a CLIP model of transformers, with image and text encoder",
        )
    return Clip(name, model.float().requires_grad_(False).eval().to(device), processor, device)


@torch.no_grad()
def clip_scores(clip: Clip, images: torch.Tensor, prompts: Sequence[str]) -> np.ndarray:
    """100 max(cos, 0) (n,) float32 of uint8 images (n, 3, h, w) and their prompts; in [0, 100].

    A prompt longer than the model reads is cut. Raises MeasurementError when a score is not finite.
    """
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
    cosines = torch.nn.functional.cosine_similarity(found.image_embeds, found.text_embeds)
    scores: np.ndarray = (100 * cosines.clamp(0, 1)).cpu().numpy()
    if not np.isfinite(scores).all():
        raise MeasurementError(f"the CLIP model {clip.name!r} gives scores that are not finite")
    return scores
