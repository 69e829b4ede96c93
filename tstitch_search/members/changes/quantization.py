"""Quantised weights: whether they can be had here, told before anything is loaded. Imports no torch."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, NamedTuple

from tstitch_search.config import Study
from tstitch_search.config.models.quantization import QuantizationConfig
from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.machine import count_gpus


class Needs(NamedTuple):
    """What a way of quantising needs: a module, the package it is in, and whether a GPU."""

    module: str
    package: str
    gpu: bool = False


# By `quant_method` of a config.json, as diffusers' quantizers ask for it; and GGUF, which is a file of its own.
METHODS = {
    "bitsandbytes": Needs("bitsandbytes", "bitsandbytes", gpu=True),
    "torchao": Needs("torchao", "torchao"),
    "quanto": Needs("optimum", "optimum-quanto"),
    "modelopt": Needs("modelopt", "nvidia-modelopt"),
    "auto-round": Needs("auto_round", "auto-round"),
    "gguf": Needs("gguf", "'tstitch-search[gguf]'"),
}


def saved_method(config: Mapping[str, Any], owner: str) -> str | None:
    """How the weights beside this config.json are quantised; None when they are not. Raises ConfigError."""
    said = config.get("quantization_config")
    if not said:
        return None
    is_bits = isinstance(said, dict) and (said.get("load_in_4bit") or said.get("load_in_8bit"))
    method = "bitsandbytes" if is_bits else said.get("quant_method") if isinstance(said, dict) else said
    if method not in METHODS:
        raise ConfigError(
            f"{owner}: its config.json names the quantization {method!r}, expected one of {', '.join(METHODS)}",
            hint="take weights that are not quantised, or quantise them by `quantization` in the search space",
        )
    return str(method)


def require_quantization(study: Study, saved: Mapping[str, str]) -> None:
    """Nothing, when the study's quantised members can run where it runs; on a cluster its workers find out.

    `saved`: how the weights of members are quantised in their files. Raises EnvironmentProblem for a device or an
    execution that they do not run on, and for a package that is missing; ConfigError for what does not go with them.
    """
    for d in study.space.denoisers:
        method = "bitsandbytes" if d.quantization else saved.get(d.name)
        if method is None:
            continue
        owner = f"denoiser {d.name!r}: quantization {d.quantization or method}"
        if d.lora or d.dtype or (d.quantization and d.name in saved):
            other = "a LoRA" if d.lora else "a dtype of its own" if d.dtype else f"weights quantised by {saved[d.name]}"
            raise ConfigError(f"{owner} does not go with {other}", hint="leave one of the two out")
        if study.config.workers.address is None:
            _require_here(study, method, owner)


def _require_here(study: Study, method: str, owner: str) -> None:
    if METHODS[method].gpu and (study.config.workers.device == "cpu" or count_gpus() == 0):
        raise EnvironmentProblem(
            f"{owner} needs an NVIDIA GPU, and this study runs on the CPU",
            hint="run it where a GPU is, or leave out the member, or give it dtype: bfloat16 instead",
        )
    if study.config.execution.offload != "none":
        raise EnvironmentProblem(
            f"{owner} does not go with execution.offload {study.config.execution.offload}",
            hint="execution.offload: none; quantised weights are small",
        )
    require_package(METHODS[method].module, owner, METHODS[method].package)
    require_package("accelerate", owner)


def require_package(module: str, owner: str, package: str | None = None) -> None:
    """Nothing, when the module is installed, which `package` holds. Raises EnvironmentProblem."""
    if find_spec(module) is None:
        raise EnvironmentProblem(
            f"{owner} needs the package {module}, which is not installed", f"pip install {package or module}"
        )


def loading_options(quantization: QuantizationConfig | None) -> dict[str, Any]:
    """What diffusers' `from_pretrained` is told, beside the rest."""
    if quantization is None:
        return {}
    import torch  # only where it is loaded with
    from diffusers import BitsAndBytesConfig

    settings = quantization.settings
    if compute := settings.get("bnb_4bit_compute_dtype"):
        settings["bnb_4bit_compute_dtype"] = getattr(torch, compute)
    bits = {"load_in_4bit": quantization.kind == "bitsandbytes_4bit"}
    return {"quantization_config": BitsAndBytesConfig(**bits, load_in_8bit=not bits["load_in_4bit"], **settings)}
