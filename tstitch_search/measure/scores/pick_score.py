"""PickScore: what people preferred among images of one prompt. Kirstain et al., arXiv 2305.01569, Eq. 1.

The model is a CLIP of transformers: the score is its temperature times the cosine of image and prompt, about 20.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from tstitch_search.measure.clip_score import cosines, load_clip


def pick_score(name: str, processor: str, near: Path, device: torch.device) -> Callable[..., torch.Tensor]:
    """The score per image by the model `name`, a folder or hub id. Raises EnvironmentProblem."""
    clip = load_clip(name, near, device, processor)
    scale = clip.model.logit_scale.exp()

    def score(images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        found: torch.Tensor = scale * cosines(clip, images, prompts)
        return found

    return score
