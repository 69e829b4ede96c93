"""What is known of each model family without loading anything: `sampling/families/NAME.py` is its adapter."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

FamilyName: TypeAlias = Literal["dit", "ldm", "stable_diffusion", "sdxl", "sdxl_controlnet", "sana"]


@dataclass(frozen=True)
class FamilyTraits:
    """`slot`: the pipeline's component that the denoisers stand for. `shared`: folders of what they share.

    `takes`: the keys of `proxy_set` that its images are made from; `needs`: those among them it cannot do without.
    `pipelines`: the diffusers classes it drives.
    """

    slot: Literal["transformer", "unet"]
    shared: tuple[str, ...]
    takes: tuple[str, ...]
    needs: tuple[str, ...] = ()
    pipelines: tuple[str, ...] = ()


TRAITS: dict[FamilyName, FamilyTraits] = {
    "dit": FamilyTraits("transformer", ("vae", "scheduler"), takes=("labels",), pipelines=("DiTPipeline",)),
    "ldm": FamilyTraits("unet", ("vae", "scheduler"), takes=("labels",), pipelines=("ClassConditionalPipeline",)),
    "stable_diffusion": FamilyTraits(
        "unet",
        ("vae", "scheduler", "text_encoder", "tokenizer"),
        takes=("prompts", "negative_prompt"),
        needs=("prompts",),
        pipelines=("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline"),
    ),
    "sdxl": FamilyTraits(
        "unet",
        ("vae", "scheduler", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"),
        takes=("prompts", "negative_prompt"),
        needs=("prompts",),
        pipelines=("StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline"),
    ),
    "sdxl_controlnet": FamilyTraits(
        "unet",
        ("vae", "scheduler", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"),
        takes=("prompts", "negative_prompt", "control_images"),
        needs=("prompts", "control_images"),
        pipelines=("StableDiffusionXLControlNetPipeline",),
    ),
    "sana": FamilyTraits(
        "transformer",
        ("vae", "scheduler", "text_encoder", "tokenizer"),
        takes=("prompts", "negative_prompt"),
        needs=("prompts",),
        pipelines=("SanaPipeline",),
    ),
}
