"""What ComfyUI's stock nodes make of a workflow, by their rules: who answers a step, at which sigma, how guided."""

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any


@dataclass(frozen=True)
class Step:
    """One step of a sampler node: model file, LoRAs with their strength, guidance, sigma before and after."""

    model: str
    loras: tuple[tuple[str, float], ...]
    guidance: float
    sigma: float
    next_sigma: float
    fresh_noise: bool


def steps_of(workflow: dict[str, Any]) -> list[Step]:
    """The steps from the noise to what is decoded."""
    (decode,) = (node for node in workflow.values() if node["class_type"] == "VAEDecode")
    segments, node = [], workflow[decode["inputs"]["samples"][0]]
    while node["class_type"] == "SamplerCustomAdvanced":
        segments.insert(0, node["inputs"])
        assert node["inputs"]["latent_image"][1] == 0  # with its noise: output 1 is the image it expects
        node = workflow[node["inputs"]["latent_image"][0]]
    assert node["class_type"].startswith("Empty")
    return [step for inputs in segments for step in _steps(workflow, inputs)]


def _steps(workflow: dict[str, Any], inputs: dict[str, Any]) -> list[Step]:
    guider = workflow[inputs["guider"][0]]
    model, loras = workflow[guider["inputs"]["model"][0]], []
    while model["class_type"] == "LoraLoaderModelOnly":
        loras.insert(0, (model["inputs"]["lora_name"], model["inputs"]["strength_model"]))
        model = workflow[model["inputs"]["model"][0]]
    if guider["class_type"] == "BasicGuider":
        guidance = workflow[guider["inputs"]["conditioning"][0]]["inputs"]["guidance"]
    else:
        guidance = guider["inputs"]["cfg"]
    assert workflow[inputs["sampler"][0]]["inputs"] == {"sampler_name": "euler"}
    fresh = workflow[inputs["noise"][0]]["class_type"] == "RandomNoise"
    sigmas = sigmas_of(workflow, *inputs["sigmas"])
    name = model["inputs"]["unet_name"]
    pairs = pairwise(sigmas)
    return [Step(name, tuple(loras), guidance, a, b, fresh and i == 0) for i, (a, b) in enumerate(pairs)]


def sigmas_of(workflow: dict[str, Any], name: str, output: int) -> list[float]:
    node = workflow[name]
    if node["class_type"] == "ManualSigmas":  # finds its numbers by this pattern, which knows no exponents
        return [float(text) for text in re.findall(r"[-+]?(?:\d*\.*\d+)", node["inputs"]["sigmas"])]
    assert node["class_type"] == "SplitSigmas"
    whole, step = sigmas_of(workflow, *node["inputs"]["sigmas"]), node["inputs"]["step"]
    return whole[: step + 1] if output == 0 else whole[step:]
