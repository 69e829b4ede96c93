"""What stands beside a denoiser in a repository, or in its own folder: VAE, scheduler, text encoders.

Read from config files only; imports no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tstitch_search.members.denoiser_config import in_channels_of
from tstitch_search.members.noise_process import NoiseProcess
from tstitch_search.members.vae import VaeFacts, latent_channels
from tstitch_search.members.weights import read_json

# What a pipeline's own denoiser may be called.
DENOISERS = ("transformer", "unet")


@dataclass(frozen=True)
class EncoderFacts:
    """A text encoder: its class, and the width and number of its layers."""

    class_name: str
    width: int
    n_layers: int

    def __str__(self) -> str:
        return f"{self.class_name} {self.width} x {self.n_layers}"

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "EncoderFacts":
        """What a text encoder's config.json says."""
        name = (config.get("architectures") or ["a text encoder"])[0]
        return cls(
            str(name),
            int(config.get("hidden_size") or config.get("d_model") or _text(config).get("hidden_size", 0)),
            int(config.get("num_hidden_layers", 0)),
        )


def _text(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a multimodal model's configuration that is about text."""
    return config.get("text_config") or {}


@dataclass(frozen=True)
class SharedFacts:
    """What stands beside a denoiser in a repository, None or empty where it is not there: VAE, scheduler, encoders.

    `latent_channels` are those of the VAE in use, which may be another than the repository's own. `in_channels`: what
    the pipeline's own denoiser takes, 0 where it is not there.
    """

    vae: VaeFacts | None = None
    noise: NoiseProcess | None = None
    encoders: tuple[EncoderFacts, ...] = ()
    latent_channels: int = 0
    in_channels: int = 0


def read_shared_facts(owner: str, *places: Path) -> SharedFacts:
    """The scheduler, VAE and text encoders in the folders `places`, of each the first one found."""
    noise = _first(owner, [place / "scheduler" / "scheduler_config.json" for place in places])
    vae = _first(owner, [place / "vae" / "config.json" for place in places])
    names = ("text_encoder", "text_encoder_2", "text_encoder_3")
    encoders = [_first(owner, [place / name / "config.json" for place in places]) for name in names]
    denoiser = _first(owner, [place / name / "config.json" for place in places for name in DENOISERS])
    return SharedFacts(
        vae=VaeFacts.of(vae) if vae and latent_channels(vae) else None,
        noise=NoiseProcess.of(noise) if noise else None,
        encoders=tuple(EncoderFacts.of(encoder) for encoder in encoders if encoder),
        in_channels=in_channels_of(denoiser or {}),
    )


def own_facts(folder: Path, owner: str) -> SharedFacts:
    """What stands in the member's folder, or beside it in its repository; a scheduler_config.json may lie in it."""
    found = read_shared_facts(owner, folder, folder.parent)
    noise = _first(owner, [folder / "scheduler_config.json"])
    return replace(found, noise=NoiseProcess.of(noise)) if noise else found


def _first(owner: str, files: list[Path]) -> dict[str, Any] | None:
    there = [file for file in files if file.exists()]
    return read_json(there[0], owner) if there else None
