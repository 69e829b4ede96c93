"""One file per model family. It says only what differs from family to family, in the shape of `Family`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from tstitch_search.config.models import SpaceConfig
from tstitch_search.errors import ConfigError
from tstitch_search.measure.families import dit
from tstitch_search.measure.stitching import StitchedDenoiser


class Family(Protocol):
    """What a family's module offers."""

    def stitch(self, members: Mapping[str, nn.Module]) -> StitchedDenoiser:
        """The members as one denoiser for the family's pipeline."""
        ...

    def load_pipeline(self, space: SpaceConfig, near: Path, denoiser: StitchedDenoiser, vae: nn.Module) -> Any:
        """A stock diffusers pipeline around `denoiser`, watched by it; the space's paths are relative to `near`."""
        ...

    def sample(
        self,
        pipeline: Any,
        conditions: Sequence[int],
        generators: Sequence[torch.Generator],
        n_steps: int,
        guidance_scale: float,
    ) -> torch.Tensor:
        """Images (n, c, h, w) in [0, 1] on the device; image i depends on its own condition and generator only."""
        ...


FAMILIES: dict[str, Family] = {"dit": dit}


def family_of(space: SpaceConfig) -> Family:
    """The adapter of the space's model family."""
    if space.family not in FAMILIES:
        raise ConfigError(f"unknown family {space.family!r}, expected one of {', '.join(FAMILIES)}")
    return FAMILIES[space.family]
