"""The further parts that a pipeline's members share: text encoders, tokenizers, guiders, audio."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
import transformers
from diffusers.guiders import BaseGuidance
from torch import nn

from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.members.loading import load_model
from tstitch_search.members.weights import first_line, read_json


def load_parts(folder: Path, names: Sequence[str], like: nn.Module) -> dict[str, Any]:
    """The parts `names` of the diffusers pipeline in `folder`, modules in the place and number format of `like`.

    Their classes are those of transformers or diffusers that model_index.json names, also such as belong to one kind of
    pipeline; safetensors only, and no code of the repository's own. Raises ConfigError for another class,
    EnvironmentProblem for a part that cannot be loaded.
    """
    index = read_json(folder / "model_index.json", "the pipeline")
    kind = next(like.parameters())
    parts = {}
    for name in names:
        own = _of_diffusers(*(*(index.get(name) or ()), None, None)[:2])
        if own and issubclass(own, BaseGuidance):
            parts[name] = own.from_pretrained(str(folder / name))
            continue
        if own:
            parts[name] = load_model(folder / name, kind.device, kind.dtype, kind=own)
            continue
        parts[name] = _load(folder, name, index)
        if isinstance(parts[name], nn.Module):
            parts[name].requires_grad_(False).eval().to(device=kind.device, dtype=kind.dtype)
    return parts


def _of_diffusers(library: str | None, class_name: str | None) -> Any:
    """The class of diffusers itself, or of the pipelines that `library` names (LTX-2's vocoder); None for no such."""
    place = diffusers if library == "diffusers" else getattr(diffusers.pipelines, str(library), None)
    return getattr(place, str(class_name), None)


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
