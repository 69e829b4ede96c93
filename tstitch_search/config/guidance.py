"""How pipelines guide (classifier-free guidance, Ho & Salimans, arXiv 2207.12598), as far as it is known.

A pipeline predicts u + scale (c - u), some c + scale (c - u), from a conditional answer c and an unconditional one u.
How it asks for the two cannot be read from its files, so that each row of the table is proven by a test: alone, a
member without guidance makes the bits of the pipeline with guidance off, and a member of another scale the pipeline's
image at that scale.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tstitch_search.config.models import SpaceConfig
from tstitch_search.errors import ConfigError


@dataclass(frozen=True)
class Guidance:
    """`calls`: both halves in one doubled batch, or one call for each, or an input of denoisers that were distilled.

    `conditional`: which half comes first. `off`: the largest scale at which the pipeline asks for c only. `argument`:
    what the pipeline calls its scale, if it does. `added_to`: the half that scale (c - u) is added to. `plain`:
    arguments that change the formula, at the values where they do not.
    """

    calls: Literal["doubled", "two", "embedded"]
    conditional: Literal["first", "last"]
    off: float = 1.0
    argument: str = "guidance_scale"
    added_to: Literal["unconditional", "conditional"] = "unconditional"
    plain: Mapping[str, Any] = field(default_factory=lambda: {"guidance_rescale": 0.0})


GUIDANCE = {
    "DiTPipeline": Guidance("doubled", "first"),
    "ClassConditionalPipeline": Guidance("doubled", "first"),
    "StableDiffusionPipeline": Guidance("doubled", "last"),
    "StableDiffusionImg2ImgPipeline": Guidance("doubled", "last"),
    "StableDiffusionXLPipeline": Guidance("doubled", "last"),
    "StableDiffusionXLImg2ImgPipeline": Guidance("doubled", "last"),
    "StableDiffusionXLControlNetPipeline": Guidance("doubled", "last"),
    "SanaPipeline": Guidance("doubled", "last"),
    "StableDiffusion3Pipeline": Guidance("doubled", "last", plain={"skip_guidance_layers": None}),
    "PixArtSigmaPipeline": Guidance("doubled", "last"),
    "CogVideoXPipeline": Guidance("doubled", "last"),
    "LTXPipeline": Guidance("doubled", "last"),
    "ZImagePipeline": Guidance(
        "doubled",
        "first",
        off=0.0,
        added_to="conditional",
        plain={"cfg_normalization": False, "cfg_truncation": 1.0},
    ),
    "QwenImagePipeline": Guidance("two", "first", argument="true_cfg_scale"),
    "WanPipeline": Guidance("two", "first"),
    "Flux2KleinPipeline": Guidance("two", "first"),
    "Kandinsky5T2VPipeline": Guidance("two", "first"),
    "HunyuanVideo15Pipeline": Guidance("two", "first", argument=""),  # its guider has the scale
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


def require_guidance(space: SpaceConfig, pipeline: str, guidance_scale: float) -> None:
    """Nothing, when members' own guidance can be had in pipelines of this class that are called with this scale.

    Raises ConfigError where it is not known how they guide, or where they ask for no unconditional half.
    """
    own = {d.name: d.guidance_scale for d in space.denoisers if d.guidance_scale is not None}
    if not own:
        return
    guidance = guidance_of(pipeline)
    guided = [name for name, scale in own.items() if scale > guidance.off and guidance.calls != "embedded"]
    if guided and guidance_scale <= guidance.off:
        raise ConfigError(
            f"denoiser {guided[0]!r} has guidance_scale {own[guided[0]]:g}, but the study's is "
            f"{guidance_scale:g}: its pipeline would ask for no unconditional half",
            hint=f"set the study's to {own[guided[0]]:g}, and guidance_scale: 1 for the denoisers without guidance",
        )
