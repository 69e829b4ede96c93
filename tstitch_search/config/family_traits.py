"""What is known of a space's pipeline without loading anything.

Class-conditional families have an adapter each, `sampling/families/NAME.py`; every other pipeline is driven by
`sampling/families/diffusers_pipeline.py`. The names of text-to-image families are short for a pipeline class.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

FamilyName: TypeAlias = Literal["dit", "ldm", "stable_diffusion", "sdxl", "sdxl_controlnet", "sana"]


@dataclass(frozen=True)
class FamilyTraits:
    """`shared`: folders of what the members share; empty: those that the pipeline's `model_index.json` names.

    `takes`: the keys of `proxy_set` that its images are made from; `needs`: those among them it cannot do without.
    `pipelines`: the diffusers classes it drives, the first one in studies; empty: what `model_index.json` names.
    """

    takes: tuple[str, ...]
    shared: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    pipelines: tuple[str, ...] = ()


PROMPTS, CONTROL = ("prompts", "negative_prompt"), ("prompts", "negative_prompt", "control_images")

TRAITS: dict[FamilyName, FamilyTraits] = {
    "dit": FamilyTraits(("labels",), ("vae", "scheduler"), pipelines=("DiTPipeline",)),
    "ldm": FamilyTraits(("labels",), ("vae", "scheduler"), pipelines=("ClassConditionalPipeline",)),
    "stable_diffusion": FamilyTraits(
        PROMPTS, needs=PROMPTS[:1], pipelines=("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline")
    ),
    "sdxl": FamilyTraits(
        PROMPTS, needs=PROMPTS[:1], pipelines=("StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline")
    ),
    "sdxl_controlnet": FamilyTraits(
        CONTROL, needs=("prompts", "control_images"), pipelines=("StableDiffusionXLControlNetPipeline",)
    ),
    "sana": FamilyTraits(PROMPTS, needs=PROMPTS[:1], pipelines=("SanaPipeline",)),
}


def traits_of(family: FamilyName | None, *, controlnet: bool) -> FamilyTraits:
    """The family's traits, or without one those of any text-to-image pipeline."""
    if family is not None:
        return TRAITS[family]
    takes = CONTROL if controlnet else PROMPTS
    return FamilyTraits(takes, needs=tuple(key for key in takes if key != "negative_prompt"))
