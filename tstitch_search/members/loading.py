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
from tstitch_search.members.formats.single_file_models import load_single_file
from tstitch_search.members.formats.uvit import UViT2DModel
from tstitch_search.members.headers import is_wrapped, shapes_of
from tstitch_search.members.weights import first_line, read_json, unwrapped, weight_files

# What diffusers raises for a damaged folder or file, and where a package is missing.
NOT_LOADED = (OSError, ValueError, RuntimeError, AttributeError, KeyError, ImportError)
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
        return load_model(facts.path, device, dtype, facts.quantization, facts.variant)
    owner = f"denoiser {facts.name!r}"
    if facts.form == "single_file":
        return _of_single_file(facts, owner, device, dtype)
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
    variant: str | None = None,
    kind: Any = None,
) -> nn.Module:
    """The model in a local diffusers folder: safetensors, no gradients, in `dtype` on `device`.

    `kind`: its class; None for what its config.json names.

    Raises EnvironmentProblem when the weights are missing or do not fit the folder's config.json.
    """
    options = {"torch_dtype": dtype, "use_safetensors": True, "variant": variant, **loading_options(quantization)}
    try:
        kind = _class_of(folder, variant, kind)
        model, found = kind.from_pretrained(str(folder), output_loading_info=True, **options)
        if missing := sorted(found["missing_keys"]):
            raise ValueError(f"its weights lack {missing[0]}")
    except NOT_LOADED as error:
        raise EnvironmentProblem(
            f"cannot load the model in {folder}: {first_line(error)}",
            hint="check that its config.json and safetensors files belong together, or fetch them again",
        ) from error
    return _ready(model, device)


def _of_single_file(facts: MemberFacts, owner: str, device: torch.device, dtype: torch.dtype) -> nn.Module:
    assert facts.config is not None  # of a single file
    try:
        model = load_single_file(facts.path, facts.config, owner, dtype)
    except NOT_LOADED as error:
        raise EnvironmentProblem(
            f"{owner}: diffusers cannot load {facts.path}: {first_line(error)}",
            hint="check that the file and its `config` belong together, or fetch it again",
        ) from error
    return _ready(model, device)


def _ready(model: nn.Module, device: torch.device) -> nn.Module:
    """The model without gradients on the device; bitsandbytes has put it on the GPU."""
    model.requires_grad_(False)
    is_there = getattr(model, "is_quantized", False) and next(model.parameters()).device.type == device.type
    return model if is_there else model.to(device)


def _class_of(folder: Path, variant: str | None, kind: Any) -> Any:
    """`kind`, or the class that the folder names, of diffusers or ours; it knows tensors under a wrapper's names."""
    name = str(read_json(folder / "config.json", "the model").get("_class_name"))
    files = weight_files(folder, "the model", variant=variant)
    kind = kind or OWN_CLASSES.get(name) or getattr(diffusers, name)
    if not files[0].exists() or not is_wrapped(shapes_of(files[0], "the model")):
        return kind

    def renamed(self: Any, tensors: dict[str, torch.Tensor]) -> None:
        for key in list(tensors):
            tensors[unwrapped(key)] = tensors.pop(key)
        kind._fix_state_dict_keys_on_load(self, tensors)

    return type(kind.__name__, (kind,), {"__module__": kind.__module__, "_fix_state_dict_keys_on_load": renamed})


def load_scheduler(folder: Path, solver: str | None) -> Any:
    """The scheduler configured in `folder`, as class `solver` when given. Raises ConfigError for an unknown class."""
    return scheduler_of(read_json(folder / "scheduler_config.json", owner="the pipeline's scheduler"), solver)


def scheduler_of(config: Mapping[str, Any], solver: str | None) -> Any:
    """The scheduler of this scheduler_config.json, as class `solver` when given. Raises ConfigError for an unknown one.

    Another class does not clip what it predicts unless the configuration says so: latents have no fixed range.
    """
    kind = scheduler_class(solver or config["_class_name"])
    return kind.from_config({"clip_sample": False, **config} if solver else config)


def scheduler_class(name: str) -> Any:
    """Diffusers' scheduler of this name. Raises ConfigError for an unknown one."""
    known = [n for n in dir(diffusers) if n.endswith("Scheduler")]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.0)
        raise ConfigError(f"solver {name!r} is not a diffusers scheduler, expected for example {', '.join(near)}")
    return getattr(diffusers, name)
