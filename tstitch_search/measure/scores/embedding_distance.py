"""How differently a network sees two images: one minus the cosine of their embeddings, DINOv2's or CLIP's."""

from collections.abc import Callable

import torch


def embedding_distance(
    embed: Callable[[torch.Tensor], torch.Tensor],
) -> Callable[..., torch.Tensor]:
    """The score per pair by the embeddings (n, d) of `embed`: distances (n,) in [0, 2]."""

    def distance(images: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
        cosine = torch.nn.functional.cosine_similarity(embed(images), embed(anchors))
        return (1 - cosine).clamp(min=0)

    return distance
