"""Where the LoRAs of a member are, found before anything is loaded. Imports no torch."""

from dataclasses import dataclass
from pathlib import Path

from tstitch_search.config.models import DenoiserConfig, LoraConfig
from tstitch_search.errors import EnvironmentProblem
from tstitch_search.members.weights import locate, weights_sha256


@dataclass(frozen=True)
class LoraFile:
    """A LoRA (Hu et al., arXiv 2106.09685) as a file, the name of its adapter and its weight in the sum."""

    path: Path
    adapter: str
    scale: float

    @property
    def size_mb(self) -> float:
        """On disk, in MB (10^6 bytes)."""
        return self.path.stat().st_size / 1e6

    @property
    def identity(self) -> str:
        """What a measurement depends on; reads every byte."""
        return f"{weights_sha256([self.path])} times {self.scale:g}"


def lora_files(denoiser: DenoiserConfig, near: Path) -> tuple[LoraFile, ...]:
    """The files of the denoiser's LoRAs; paths are relative to `near`. Raises EnvironmentProblem for one not there."""
    return tuple(
        LoraFile(_file(lora, near, f"denoiser {denoiser.name!r}, LoRA {i}"), lora.adapter or f"lora_{i}", lora.scale)
        for i, lora in enumerate(denoiser.lora)
    )


def _file(lora: LoraConfig, near: Path, owner: str) -> Path:
    if (near / lora.weights).is_file():
        return near / lora.weights
    folder = locate(lora.weights, near, owner, [lora.file or "*.safetensors"], lora.revision)
    found = sorted(folder.glob(lora.file or "*.safetensors"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise EnvironmentProblem(
            f"{owner}: expected one safetensors file in {folder}, found {names}",
            hint="name one of them: {weights: FOLDER, file: NAME.safetensors}",
        )
    return found[0]
