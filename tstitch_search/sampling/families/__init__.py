"""One file per model family. It says only what differs from family to family, in the shape of `Family`.

What is known of a family without torch is in `config/family_traits.py`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from tstitch_search.config.family_traits import TRAITS, FamilyName
from tstitch_search.config.models import SpaceConfig
from tstitch_search.errors import ConfigError
from tstitch_search.sampling.conditions import Condition
from tstitch_search.sampling.stitched_denoiser import StitchedDenoiser


class Family(Protocol):
    """What a family's module offers."""

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
        """Images (n, c, h, w) in [0, 1] on the device; image i depends on its own condition and generator only."""
        ...


def family_of(space: SpaceConfig) -> Family:
    """The adapter of the space's model family."""
    if space.family not in TRAITS:
        raise ConfigError(f"unknown family {space.family!r}, expected one of {', '.join(TRAITS)}")
    return adapter(space.family)


def adapter(name: FamilyName) -> Family:
    """The adapter of the family; only that one is imported."""
    match name:
        case "dit":
            from tstitch_search.sampling.families import dit

            return dit
        case "ldm":
            from tstitch_search.sampling.families import ldm

            return ldm
        case "stable_diffusion":
            from tstitch_search.sampling.families import stable_diffusion

            return stable_diffusion
        case "sdxl":
            from tstitch_search.sampling.families import sdxl

            return sdxl
        case "sdxl_controlnet":
            from tstitch_search.sampling.families import sdxl_controlnet

            return sdxl_controlnet
        case "sana":
            from tstitch_search.sampling.families import sana

            return sana
