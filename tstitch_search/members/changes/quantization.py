"""Quantised weights: whether they can be had here, told before anything is loaded. Imports no torch."""

from importlib.util import find_spec
from typing import Any

from tstitch_search.config import Study
from tstitch_search.config.models.quantization import QuantizationConfig
from tstitch_search.errors import EnvironmentProblem
from tstitch_search.machine import count_gpus


def require_quantization(study: Study) -> None:
    """Nothing, when the study's quantised members can run where it runs; on a cluster its workers find out.

    Raises EnvironmentProblem for a device or an execution that they do not run on, and for a package that is missing.
    """
    quantised = [d for d in study.space.denoisers if d.quantization]
    if not quantised or study.config.workers.address is not None:
        return
    owner = f"denoiser {quantised[0].name!r}: quantization {quantised[0].quantization}"
    if study.config.workers.device == "cpu" or count_gpus() == 0:
        raise EnvironmentProblem(
            f"{owner} needs an NVIDIA GPU, and this study runs on the CPU",
            hint="run it where a GPU is, or leave out the member, or give it dtype: bfloat16 instead",
        )
    if study.config.execution.offload != "none":
        raise EnvironmentProblem(
            f"{owner} does not go with execution.offload {study.config.execution.offload}",
            hint="execution.offload: none; quantised weights are small",
        )
    require_package("bitsandbytes", owner)


def require_package(name: str, owner: str) -> None:
    """Nothing, when the package is installed. Raises EnvironmentProblem."""
    if find_spec(name) is None:
        raise EnvironmentProblem(f"{owner} needs the package {name}, which is not installed", f"pip install {name}")


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
