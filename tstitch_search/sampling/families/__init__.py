"""How a study drives a pipeline: any pipeline of diffusers for prompts, and two class-conditional families.

What is known of them without torch is in `config/family_traits.py`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from tstitch_search.config.family_traits import FamilyName
from tstitch_search.config.models import SpaceConfig
from tstitch_search.sampling.conditions import Condition
from tstitch_search.sampling.stitching.stitched_denoiser import StitchedDenoiser


class Family(Protocol):
    """What an adapter offers."""

    def stitch(self, members: Mapping[str, nn.Module]) -> StitchedDenoiser:
        """The members as one denoiser for the family's pipelines."""
        ...

    def load_pipeline(self, space: SpaceConfig, near: Path, denoiser: StitchedDenoiser, vae: nn.Module) -> Any:
        """A stock diffusers pipeline around `denoiser`, watched by it; the space's paths are relative to `near`.

        Further parts that the members share (text encoders, tokenizers) are loaded here, in the place and number format
        of `vae`.
        """
        ...

    def sample(
        self,
        pipeline: Any,
        conditions: Sequence[Condition],
        generators: Sequence[torch.Generator],
        n_steps: int,
        guidance_scale: float,
    ) -> torch.Tensor:
        """Images (n, c, h, w) or clips (n, frames, c, h, w) in [0, 1] on the device.

        Image i depends on its own condition and generator only.
        """
        ...


def family_of(space: SpaceConfig) -> Family:
    """The adapter of the space's pipeline."""
    return adapter(space.family)


def adapter(name: FamilyName | None) -> Family:
    """The adapter of the family, without one that of any pipeline; only that one is imported."""
    match name:
        case "dit":
            from tstitch_search.sampling.families import dit

            return dit
        case "ldm":
            from tstitch_search.sampling.families import ldm

            return ldm
        case _:
            from tstitch_search.sampling.families import diffusers_pipeline

            return diffusers_pipeline
