"""Denoisers in one file as models, by diffusers' own `from_single_file`; what it would leave out is refused before."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES
from safetensors.torch import load_file
from torch import nn

from tstitch_search.errors import ConfigError
from tstitch_search.members.formats.single_file import denoiser_tensors, is_gguf
from tstitch_search.members.weights import first_line, read_json, unwrapped

Shapes = Mapping[str, tuple[int, ...]]


def load_single_file(file: Path, config: Path, owner: str, dtype: torch.dtype) -> nn.Module:
    """The model of the folder `config`'s config.json with the weights in the file, in `dtype` on the CPU.

    Those of a GGUF file stay quantised, and their arithmetic is in `dtype`. Raises ConfigError when they do not fit.
    """
    require_fitting_file(file, config, owner)
    kind = getattr(diffusers, _class_name(config, owner))
    if is_gguf(file):
        quantised = {"quantization_config": diffusers.GGUFQuantizationConfig(compute_dtype=dtype)}
        model: nn.Module = kind.from_single_file(str(file), config=str(config), torch_dtype=dtype, **quantised)
        return model
    tensors = {unwrapped(name): tensor for name, tensor in load_file(file).items()}
    of_denoiser = {name: tensors[name] for name in denoiser_tensors(file, owner)}
    model = kind.from_single_file(of_denoiser, config=str(config), torch_dtype=dtype)
    return model


def require_fitting_file(file: Path, config: Path, owner: str) -> None:
    """Nothing, when the file holds exactly the weights of the model that `config` describes, by names and shapes.

    diffusers leaves tensors out that it does not know, and those empty that it does not find. Raises ConfigError
    naming the first such tensor, and for a class that diffusers loads from folders only.
    """
    name = _class_name(config, owner)
    kind: Any = getattr(diffusers, name, None)
    known = [c for c in SINGLE_FILE_LOADABLE_CLASSES if kind and issubclass(kind, getattr(diffusers, c))]
    if not known:
        raise ConfigError(
            f"{owner}: diffusers loads no {name} from one file",
            hint="load it with the code it is from, and save it once with save_pretrained",
        )
    there = {name: tensor.shape for name, tensor in denoiser_tensors(file, owner).items()}
    settings = read_json(config / "config.json", owner)
    try:
        wanted, found = _shapes(kind, known[0], settings, there)
    except Exception as error:  # of whatever type a conversion stumbles
        raise _no_such_model(file, config, name, owner, f"{first_line(error)} ({type(error).__name__})") from error
    ignored = kind._keys_to_ignore_on_load_unexpected or []
    if lacking := sorted(wanted.keys() - found.keys()):
        raise _no_such_model(file, config, name, owner, f"it holds no {lacking[0]}")
    if further := sorted(n for n in found.keys() - wanted.keys() if not any(part in n for part in ignored)):
        raise _no_such_model(file, config, name, owner, f"it holds {further[0]}, which that model has not")
    if other := next((n for n in wanted if found[n] != wanted[n]), None):
        raise _no_such_model(file, config, name, owner, f"its {other} is {found[other]}, expected {wanted[other]}")


def _shapes(kind: Any, name: str, settings: dict[str, Any], there: Shapes) -> tuple[Shapes, Shapes]:
    """Of the model and of what diffusers makes of the file's tensors, by name; nothing is allocated."""
    with torch.device("meta"):
        wanted = {key: tuple(value.shape) for key, value in kind.from_config(settings).state_dict().items()}
        tensors = {key: torch.empty(shape) for key, shape in there.items()}
        if tensors.keys() != wanted.keys():
            tensors = SINGLE_FILE_LOADABLE_CLASSES[name]["checkpoint_mapping_fn"](config=settings, checkpoint=tensors)
    return wanted, {key: tuple(value.shape) for key, value in tensors.items()}


def _class_name(config: Path, owner: str) -> str:
    return str(read_json(config / "config.json", owner).get("_class_name"))


def _no_such_model(file: Path, config: Path, name: str, owner: str, why: str) -> ConfigError:
    return ConfigError(
        f"{owner}: {file} is not the {name} that {config / 'config.json'} describes: {why}",
        hint="name a repository or folder with the model's own configuration: `config: OWNER/NAME`",
    )
