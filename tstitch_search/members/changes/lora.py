"""LoRAs put on a member's own module; what else has its weights stays as it is."""

import copy
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from diffusers.loaders import PeftAdapterMixin
from diffusers.utils import set_weights_and_activate_adapters
from torch import nn

from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.members.changes.lora_files import LoraFile, require_no_text_encoder
from tstitch_search.members.weights import first_line

# What diffusers and peft raise for a file that is no LoRA, or one for another architecture.
NOT_FITTING = (ValueError, RuntimeError, KeyError, AttributeError, TypeError, OSError)


def add_loras(module: Any, loras: Sequence[LoraFile], pipeline: Any, slot: str, owner: str) -> None:
    """Change the module, which stands in the pipeline's `slot`, by the LoRAs, as the pipeline's own loader would.

    Files of every dialect that this loader knows will do (diffusers, PEFT, kohya, the original model's). LoRAs to be
    fused change the module's parameters, which must be its own. Raises ConfigError for one that does not fit, matches
    nothing or changes a text encoder, which members share; EnvironmentProblem when peft is not installed.
    """
    if find_spec("peft") is None:
        raise EnvironmentProblem(f"{owner}: a LoRA needs the package peft, which is not installed", "pip install peft")
    for lora in loras:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # peft finds several adapters on one module worth a word
                expected = _load(module, lora, pipeline, slot, owner)
        except NOT_FITTING as error:
            raise ConfigError(
                f"{owner}: the LoRA {lora.path} does not fit: {first_line(error)}",
                hint="take one that was trained for this denoiser's architecture",
            ) from error
        _require_matched(module, lora, expected, owner)
    dtype, device = next(module.parameters()).dtype, next(module.parameters()).device
    module.requires_grad_(False).eval().to(device=device, dtype=dtype)
    set_weights_and_activate_adapters(module, [lora.adapter for lora in loras], [lora.scale for lora in loras])
    if any(lora.fuse for lora in loras):  # of all of them, or of none
        module.fuse_lora(adapter_names=[lora.adapter for lora in loras])
        module.unload_lora()


def _load(module: Any, lora: LoraFile, pipeline: Any, slot: str, owner: str) -> list[str]:
    """Put it on the module; the layers that the file is about, as far as its keys say so."""
    place = {"weight_name": lora.path.name, "adapter_name": lora.adapter, "local_files_only": True}
    if not hasattr(pipeline, "load_lora_weights"):
        return _load_without_a_loader(module, lora, slot)
    read = type(pipeline).lora_state_dict(str(lora.path.parent), weight_name=lora.path.name, local_files_only=True)
    keys = list(read[0] if isinstance(read, tuple) else read)
    require_no_text_encoder(keys, f"{owner}: the LoRA {lora.path}")
    shell = copy.copy(pipeline)  # the loader puts it into whatever stands in the slot
    setattr(shell, slot, module)
    shell.load_lora_weights(str(lora.path.parent), **place)
    return _layers(keys, slot)


def _load_without_a_loader(module: Any, lora: LoraFile, slot: str) -> list[str]:
    """The same for pipelines without a loader (DiT, PixArt), by diffusers' loader for single models."""
    from safetensors import safe_open

    be_adaptable(module)
    with safe_open(lora.path, framework="pt") as file:
        keys = list(file.keys())
    prefix = slot if any(key.startswith(f"{slot}.") for key in keys) else None
    module.load_lora_adapter(
        str(lora.path.parent), weight_name=lora.path.name, adapter_name=lora.adapter, prefix=prefix
    )
    return _layers(keys, slot)


def be_adaptable(module: Any) -> None:
    """Give the module diffusers' methods for adapters, where its class lacks them (DiT's does)."""
    if not isinstance(module, PeftAdapterMixin):
        kind = type(module)
        module.__class__ = type(kind.__name__, (kind, PeftAdapterMixin), {"__module__": kind.__module__})


def _layers(keys: Sequence[str], slot: str) -> list[str]:
    """The layers that keys in PEFT's form name; others were renamed on the way, and are not held against the module."""
    return [key.removeprefix(f"{slot}.").partition(".lora_A")[0] for key in keys if ".lora_A" in key]


def _require_matched(module: nn.Module, lora: LoraFile, expected: Sequence[str], owner: str) -> None:
    """Nothing, when the adapter changed the module, and every layer that the file is about is there."""
    changed = {name for name, layer in module.named_modules() if lora.adapter in getattr(layer, "lora_A", {})}
    if not changed:
        raise ConfigError(
            f"{owner}: the LoRA {lora.path} matches no layer of this {type(module).__name__}",
            hint="take one that was trained for this denoiser's architecture",
        )
    if left := [name for name in expected if name not in changed]:
        raise ConfigError(
            f"{owner}: the LoRA {lora.path} is about {len(left)} layers that {type(module).__name__} does not have, "
            f"for example {left[0]}",
            hint="take one that was trained for this denoiser's architecture",
        )
