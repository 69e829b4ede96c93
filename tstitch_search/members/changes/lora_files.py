"""Where the LoRAs of a member are, found before anything is loaded. Imports no torch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tstitch_search.config.models import DenoiserConfig
from tstitch_search.errors import ConfigError
from tstitch_search.members.facts import MemberFacts
from tstitch_search.members.headers import shapes_of
from tstitch_search.members.weights import locate_file, unwrapped, weight_files, weights_sha256


@dataclass(frozen=True)
class LoraFile:
    """A LoRA (Hu et al., arXiv 2106.09685) as a file, the name of its adapter and its weight in the sum.

    `fuse`: it becomes part of the weights, and takes no memory of its own.
    """

    path: Path
    adapter: str
    scale: float
    fuse: bool = False

    @property
    def size_mb(self) -> float:
        """On disk, in MB (10^6 bytes)."""
        return self.path.stat().st_size / 1e6

    @property
    def identity(self) -> str:
        """What a measurement depends on; reads every byte."""
        return f"{weights_sha256([self.path])} times {self.scale:g}{' fused' * self.fuse}"


def lora_files(denoiser: DenoiserConfig, near: Path) -> tuple[LoraFile, ...]:
    """The files of the denoiser's LoRAs; paths are relative to `near`. Raises EnvironmentProblem for one not there."""
    return tuple(
        LoraFile(
            locate_file(lora.weights, lora.file, near, f"denoiser {denoiser.name!r}, LoRA {i}", lora.revision),
            lora.adapter or f"lora_{i}",
            lora.scale,
            lora.fuse,
        )
        for i, lora in enumerate(denoiser.lora)
    )


def loras_identity(denoiser: DenoiserConfig, near: Path) -> str | None:
    """What a measurement depends on of the denoiser's LoRAs; None without any. Reads every byte of them."""
    return " + ".join(lora.identity for lora in lora_files(denoiser, near)) or None


def require_fitting_lora(lora: LoraFile, member: MemberFacts) -> None:
    """Nothing, when the LoRA's layers are the member's, as far as both files say so in the same words.

    Keys of other dialects than diffusers' and PEFT's are for the loader to judge. Raises ConfigError.
    """
    owner, base = f"denoiser {member.name!r}: the LoRA {lora.path}", dict[str, Sequence[int]]()
    shapes = shapes_of(lora.path, owner)
    require_no_text_encoder(shapes, owner)
    slot, other = ("unet", "transformer") if "UNet" in member.class_name else ("transformer", "unet")
    if all(key.startswith(f"{other}.") for key in shapes):
        raise ConfigError(
            f"{owner} is about a {other}, and this denoiser is a {slot}",
            hint="take one that was trained for this denoiser's architecture",
        )
    files = weight_files(member.path, owner, variant=member.variant) if member.form == "diffusers" else []
    if not files or not all(file.exists() for file in files):
        return
    for file in files:
        base |= {unwrapped(name): shape for name, shape in shapes_of(file, owner).items()}
    for key, shape in shapes.items():
        layer, is_first, _ = key.partition(".lora_A.")
        own = base.get(f"{_without_slot(layer)}.weight")
        if is_first and (own is None or shape[1] != own[1]):
            there = (
                "which this denoiser does not have" if own is None else f"which takes {own[1]} values, not {shape[1]}"
            )
            raise ConfigError(
                f"{owner} is about the layer {layer}, {there}",
                hint="take one that was trained for this denoiser's architecture",
            )


def require_no_text_encoder(keys: Iterable[str], owner: str) -> None:
    """Nothing, when none of the keys is about a text encoder. Raises ConfigError."""
    if any(key.startswith(("text_encoder", "lora_te")) for key in keys):
        raise ConfigError(
            f"{owner} changes a text encoder too, which all members share",
            hint="save it without that part: keep the keys that begin with unet or transformer",
        )


def _without_slot(layer: str) -> str:
    return layer.removeprefix("unet.").removeprefix("transformer.")
