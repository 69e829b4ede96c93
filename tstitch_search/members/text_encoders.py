"""The further parts that a pipeline's members share: text encoders, tokenizers, image encoders."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import transformers
from torch import nn

from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.members.loading import load_model
from tstitch_search.members.weights import first_line, read_json


def load_parts(folder: Path, names: Sequence[str], like: nn.Module) -> dict[str, Any]:
    """The parts `names` of the diffusers pipeline in `folder`, modules in the place and number format of `like`.

    Their classes are those of transformers or diffusers that model_index.json names; safetensors only, and no code of
    the repository's own. Raises ConfigError for another class, EnvironmentProblem for a part that cannot be loaded.
    """
    index = read_json(folder / "model_index.json", "the pipeline")
    kind = next(like.parameters())
    parts = {}
    for name in names:
        if (index.get(name) or [None])[0] == "diffusers":
            parts[name] = load_model(folder / name, kind.device, kind.dtype)
            continue
        parts[name] = _load(folder, name, index)
        if isinstance(parts[name], nn.Module):
            parts[name].requires_grad_(False).eval().to(device=kind.device, dtype=kind.dtype)
    return parts


def _load(folder: Path, name: str, index: dict[str, Any]) -> Any:
    library, class_name = (*(index.get(name) or ()), None, None)[:2]
    if library != "transformers" or not hasattr(transformers, str(class_name)):
        raise ConfigError(
            f"{folder / 'model_index.json'}: {name} is {library}.{class_name}, expected a class of transformers",
            hint="name the pipeline of the family that the study asks for",
        )
    kind = getattr(transformers, str(class_name))
    weights = {"use_safetensors": True} if issubclass(kind, transformers.PreTrainedModel) else {}
    try:
        return kind.from_pretrained(str(folder / name), **weights)
    except Exception as error:  # transformers raises nearly anything for a damaged folder
        raise EnvironmentProblem(
            f"the pipeline's {name} cannot be loaded from {folder / name}: {first_line(error)}",
            hint="fetch the folder again, with safetensors weights",
        ) from error
