"""The pipeline classes whose models ComfyUI's stock nodes sample, and what it makes of their noise levels."""

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """What ComfyUI does with the models of one pipeline class.

    `clips`, `clip_type`: files and kind of its text encoders. `latent`: the node of empty latents. `call`: width,
    height and frames where the study does not say them. `timestep`: what ComfyUI makes of a sigma, in our counting.
    """

    clips: tuple[str, ...]
    clip_type: str
    latent: str
    call: dict[str, int]
    timestep: Callable[[float], float]


def _nearest_timestep(sigma: float) -> float:
    """The nearest in log sigma of the 1000 levels of Stable Diffusion's schedule."""
    return float(min(range(1000), key=lambda t: abs(math.log(sigma) - _LOG_SIGMAS[t])))


def _log_sigmas() -> list[float]:
    low, high, signal, found = 0.00085**0.5, 0.012**0.5, 1.0, []
    for t in range(1000):
        signal *= 1 - (low + (high - low) * t / 999) ** 2
        found.append(0.5 * math.log((1 - signal) / signal))
    return found


_LOG_SIGMAS = _log_sigmas()
IMAGE = {"width": 1024, "height": 1024}
FAMILIES = {
    "StableDiffusionXLPipeline": Family(
        ("clip_l.safetensors", "clip_g.safetensors"), "sdxl", "EmptyLatentImage", IMAGE, _nearest_timestep
    ),
    "FluxPipeline": Family(
        ("clip_l.safetensors", "t5xxl.safetensors"), "flux", "EmptySD3LatentImage", IMAGE, lambda sigma: 1000 * sigma
    ),
    "WanPipeline": Family(
        ("umt5_xxl.safetensors",),
        "wan",
        "EmptyHunyuanLatentVideo",
        {"width": 832, "height": 480, "num_frames": 81},
        lambda sigma: 1000 * sigma,
    ),
}
