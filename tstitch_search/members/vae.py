"""What a VAE's config.json says about latents and images. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tstitch_search.errors import ConfigError
from tstitch_search.members.weights import read_json


@dataclass(frozen=True)
class VaeFacts:
    """What latents mean: they are (z - shift) * scaling, or normalised by mean and std, of `channels` channels."""

    NAMES: ClassVar = ("latent_channels", "scaling_factor", "shift_factor", "latents_mean", "latents_std")

    channels: int
    scaling: float
    shift: float
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None

    @property
    def values(self) -> tuple[object, ...]:
        """One value for each of NAMES."""
        return (self.channels, self.scaling, self.shift, self.mean, self.std)

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "VaeFacts":
        """What a VAE's config.json says; missing keys are what diffusers assumes."""
        scaling = 0.18215 if config.get("_class_name") == "AutoencoderKL" else 1.0
        mean, std = (tuple(config[key]) if config.get(key) else None for key in ("latents_mean", "latents_std"))
        shift = config.get("shift_factor") or 0.0
        return cls(latent_channels(config), config.get("scaling_factor", scaling), shift, mean, std)


def read_vae_config(folder: Path) -> dict[str, Any]:
    """The config.json of the VAE in `folder`. Raises ConfigError when it describes none."""
    config = read_json(folder / "config.json", "the pipeline's VAE")
    name = str(config.get("_class_name"))
    known = name.startswith("Autoencoder") or name == "VQModel"
    if not known or not latent_channels(config) or not _blocks_of(config):
        raise ConfigError(
            f"{folder / 'config.json'} describes a {name}, expected a VAE with latent_channels and block_out_channels",
            hint="for example an AutoencoderKL or an AutoencoderTiny",
        )
    return config


def pixels_per_latent(vae_config: Mapping[str, Any]) -> int:
    """Width and height in pixels of what one latent decodes to: each block of the VAE but one doubles the size."""
    return 2 ** (len(_blocks_of(vae_config)) - 1)


def frames_per_latent(vae_config: Mapping[str, Any]) -> int | None:
    """Frames that one latent frame stands for, after the first; None where the VAE's config.json does not say."""
    if ratio := vae_config.get("temporal_compression_ratio") or vae_config.get("scale_factor_temporal"):
        return int(ratio)
    for key in ("temperal_downsample", "spatio_temporal_scaling"):  # a doubling for each
        if key in vae_config:
            return int(2 ** sum(map(bool, vae_config[key])) * vae_config.get("patch_size_t", 1))
    return None


def latent_channels(vae_config: Mapping[str, Any]) -> int:
    """How many channels a latent has; 0 where the configuration is none of a VAE."""
    return int(vae_config.get("latent_channels") or vae_config.get("z_dim") or 0)


def _blocks_of(vae_config: Mapping[str, Any]) -> list[int]:
    return (
        vae_config.get("block_out_channels")
        or vae_config.get("dim_mult")
        or vae_config.get("encoder_block_out_channels")
        or []
    )
