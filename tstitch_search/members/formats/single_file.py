"""Denoisers in one file, .safetensors or .gguf, as diffusers' `from_single_file` takes them: what their headers say.

Imports no torch. The models that they become are in `single_file_models.py`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from tstitch_search.errors import EnvironmentProblem
from tstitch_search.members.changes.quantization import METHODS, require_package
from tstitch_search.members.headers import AGAIN, shapes_of
from tstitch_search.members.weights import unwrapped

# Of the checkpoint of a whole pipeline what is the denoiser; text encoders and VAE stand beside it.
DENOISER = "model.diffusion_model."


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file: its shape once it is no longer quantised, and the bytes it takes there."""

    shape: tuple[int, ...]
    n_bytes: int

    @property
    def n_values(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)


def denoiser_tensors(file: Path, owner: str) -> Mapping[str, StoredTensor]:
    """The tensors of the denoiser in the file by name, without those that stand beside it.

    Raises EnvironmentProblem for a file that is cut off, or none of its kind, and where gguf is not installed.
    """
    found = _of_gguf(file, owner) if is_gguf(file) else _of_safetensors(file, owner)
    tensors = {unwrapped(name): tensor for name, tensor in found.items()}
    return {name: tensor for name, tensor in tensors.items() if name.startswith(DENOISER)} or tensors


def is_gguf(file: Path) -> bool:
    """Whether the file is one of quantised weights as llama.cpp's tools write it."""
    return file.suffix == ".gguf"


def _of_safetensors(file: Path, owner: str) -> dict[str, StoredTensor]:
    shapes = shapes_of(file, owner)
    with file.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    offsets = {name: header[name]["data_offsets"] for name in shapes}
    return {name: StoredTensor(tuple(shape), offsets[name][1] - offsets[name][0]) for name, shape in shapes.items()}


def _of_gguf(file: Path, owner: str) -> dict[str, StoredTensor]:
    require_package("gguf", owner, METHODS["gguf"].package)
    from gguf import GGUFReader  # of an extra

    try:
        tensors = GGUFReader(file).tensors
    except Exception as error:  # whatever numpy raises for bytes that are not there
        raise EnvironmentProblem(f"{owner}: {file} is damaged or cut off, or no GGUF file: {error}", AGAIN) from error
    # its shapes count from the innermost axis
    return {t.name: StoredTensor(tuple(int(n) for n in reversed(t.shape)), int(t.n_bytes)) for t in tensors}
