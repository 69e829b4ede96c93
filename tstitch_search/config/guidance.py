"""How pipelines guide (classifier-free guidance, Ho & Salimans, arXiv 2207.12598), as far as it is known.

A pipeline predicts u + scale (c - u) from a conditional answer c and an unconditional one u. How it asks for the two
cannot be read from its files, so that each row of the table is proven by a test: alone, a member without guidance makes
the bits of the pipeline with guidance off, and a member of another scale the pipeline's image at that scale.
"""

from dataclasses import dataclass
from typing import Literal

from tstitch_search.errors import ConfigError


@dataclass(frozen=True)
class Guidance:
    """`calls`: both halves in one doubled batch, or one call for each, or an input of denoisers that were distilled.

    `conditional`: which half comes first. `off`: the largest scale at which the pipeline asks for c only. `argument`:
    what the pipeline calls its scale.
    """

    calls: Literal["doubled", "two", "embedded"]
    conditional: Literal["first", "last"]
    off: float = 1.0
    argument: str = "guidance_scale"


GUIDANCE = {
    "DiTPipeline": Guidance("doubled", "first"),
    "ClassConditionalPipeline": Guidance("doubled", "first"),
    "StableDiffusionPipeline": Guidance("doubled", "last"),
    "StableDiffusionImg2ImgPipeline": Guidance("doubled", "last"),
    "StableDiffusionXLPipeline": Guidance("doubled", "last"),
    "StableDiffusionXLImg2ImgPipeline": Guidance("doubled", "last"),
    "StableDiffusionXLControlNetPipeline": Guidance("doubled", "last"),
    "SanaPipeline": Guidance("doubled", "last"),
    "StableDiffusion3Pipeline": Guidance("doubled", "last"),
    "PixArtSigmaPipeline": Guidance("doubled", "last"),
    "CogVideoXPipeline": Guidance("doubled", "last"),
    "QwenImagePipeline": Guidance("two", "first", argument="true_cfg_scale"),
    "WanPipeline": Guidance("two", "first"),
    "FluxPipeline": Guidance("embedded", "first"),
}


def guidance_of(pipeline: str) -> Guidance:
    """How pipelines of this class guide. Raises ConfigError where it is not known."""
    if pipeline not in GUIDANCE:
        raise ConfigError(
            f"members of their own guidance_scale: how {pipeline} guides is not known",
            hint=f"leave guidance_scale out of the denoisers; it is known of {', '.join(GUIDANCE)}",
        )
    return GUIDANCE[pipeline]
