"""Loading members and the parts they share: diffusers folders in, modules ready to answer out."""

import difflib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.configuration_utils import FrozenDict
from torch import nn

from tstitch_search.config.models.quantization import QuantizationConfig
from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.members.changes.quantization import loading_options
from tstitch_search.members.changes.twins import twin_of
from tstitch_search.members.custom import call, read_custom_config
from tstitch_search.members.facts import MemberFacts, weights_of
from tstitch_search.members.formats.checkpoint_models import load_checkpoint
from tstitch_search.members.formats.class_conditional import ClassConditionalUNet
from tstitch_search.members.formats.uvit import UViT2DModel
from tstitch_search.members.weights import first_line, read_json

# Denoisers that diffusers has no class for.
OWN_CLASSES = {"UViT2DModel": UViT2DModel, "ClassConditionalUNet": ClassConditionalUNet}


def load_members(
    members: Mapping[str, MemberFacts], device: torch.device, dtype: torch.dtype
) -> tuple[dict[str, nn.Module], dict[str, float]]:
    """Every member on the device, and the seconds each took to load; those of the same weights share them."""
    modules: dict[str, nn.Module] = {}
    seconds: dict[str, float] = {}
    shared = weights_of(members)
    for name, facts in members.items():
        started = time.perf_counter()
        modules[name] = twin_of(modules[shared[name]]) if name in shared else load_member(facts, device, dtype)
        seconds[name] = time.perf_counter() - started
    return modules, seconds


def load_member(facts: MemberFacts, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """The member, no gradients, in its own or else in `dtype`, on `device`.

    Raises EnvironmentProblem or ConfigError when it is damaged.
    """
    dtype = getattr(torch, facts.dtype) if facts.dtype else dtype
    if facts.form == "diffusers":
        return load_model(facts.path, device, dtype, facts.quantization)
    owner = f"denoiser {facts.name!r}"
    model: Any = call(facts.weights, owner) if facts.form == "custom" else load_checkpoint(facts.path, facts.form)
    if not isinstance(model, nn.Module):
        raise ConfigError(f"{owner}: {facts.weights} returned a {type(model).__name__}, expected a torch module")
    model = model.requires_grad_(False).eval().to(device=device, dtype=dtype)
    if not hasattr(model, "config"):  # what pipelines read from a denoiser
        model.config, model.dtype = FrozenDict(read_custom_config(facts.path, owner)), dtype
    return model


def load_model(
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    quantization: QuantizationConfig | None = None,
    kind: Any = None,
) -> nn.Module:
    """The model in a local diffusers folder: safetensors, no gradients, in `dtype` on `device`.

    `kind`: its class; None for what its config.json names.

    Raises EnvironmentProblem when the weights are missing or do not fit the folder's config.json.
    """
    name = str(read_json(folder / "config.json", "the model").get("_class_name"))
    kind = kind or OWN_CLASSES.get(name, diffusers.AutoModel)
    options = loading_options(quantization)
    try:
        model: nn.Module = kind.from_pretrained(str(folder), torch_dtype=dtype, use_safetensors=True, **options)
    except (OSError, ValueError, RuntimeError, AttributeError) as error:  # what diffusers raises for a damaged folder
        raise EnvironmentProblem(
            f"cannot load the model in {folder}: {first_line(error)}",
            hint="check that its config.json and safetensors files belong together, or fetch them again",
        ) from error
    model.requires_grad_(False)
    return model if quantization else model.to(device)  # bitsandbytes has put it on the GPU


def load_scheduler(folder: Path, solver: str | None) -> Any:
    """The scheduler configured in `folder`, as class `solver` when given. Raises ConfigError for an unknown class."""
    return scheduler_of(read_json(folder / "scheduler_config.json", owner="the pipeline's scheduler"), solver)


def scheduler_of(config: Mapping[str, Any], solver: str | None) -> Any:
    """The scheduler of this scheduler_config.json, as class `solver` when given. Raises ConfigError for an unknown one.

    Another class does not clip what it predicts unless the configuration says so: latents have no fixed range.
    """
    name = solver or config["_class_name"]
    known = [n for n in dir(diffusers) if n.endswith("Scheduler")]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.0)
        raise ConfigError(f"solver {name!r} is not a diffusers scheduler, expected for example {', '.join(near)}")
    return getattr(diffusers, name).from_config({"clip_sample": False, **config} if solver else config)
