"""Which pipelines take which cache, as far as it is proven by a test: the matrix of `docs/caches.md`. Imports no torch.

A cache of diffusers needs a denoiser with hooks for it, and a pipeline that tells a step's calls apart. A pair is taken
where a test shows that the member alone makes the bits of the stock pipeline with that cache enabled.
"""

from tstitch_search.config.guidance import GUIDANCE
from tstitch_search.config.models import SpaceConfig
from tstitch_search.config.models.accelerator import CacheConfig
from tstitch_search.errors import ConfigError

KINDS = tuple(CacheConfig.model_fields)

# Pipelines whose denoiser has diffusers' hooks, and which say which call of a step they make.
HOOKED = ("FluxPipeline", "QwenImagePipeline", "WanPipeline", "CogVideoXPipeline", "LTXPipeline")

# Denoisers of the other pipelines that are known; none of them is a diffusers.CacheMixin.
WITHOUT_HOOKS = {
    "StableDiffusionPipeline": "UNet2DConditionModel",
    "StableDiffusionImg2ImgPipeline": "UNet2DConditionModel",
    "StableDiffusionXLPipeline": "UNet2DConditionModel",
    "StableDiffusionXLImg2ImgPipeline": "UNet2DConditionModel",
    "StableDiffusionXLControlNetPipeline": "UNet2DConditionModel",
    "SanaPipeline": "SanaTransformer2DModel",
    "StableDiffusion3Pipeline": "SD3Transformer2DModel",
    "PixArtSigmaPipeline": "PixArtTransformer2DModel",
    "ZImagePipeline": "ZImageTransformer2DModel",
    "DiTPipeline": "DiTTransformer2DModel",
    "ClassConditionalPipeline": "UNet2DModel",
}

# Caches whose memory does not tell a step's calls apart.
ONE_MEMORY = ("pyramid_attention_broadcast", "faster_cache")

# Pipelines whose doubled batch is one of frames, which FasterCache derives the unconditional half of.
HALVES_OF_FRAMES = ("CogVideoXPipeline",)

# Pipelines whose denoisers have layers that TaylorSeer's own patterns match.
PATTERNS_KNOWN = ("FluxPipeline", "QwenImagePipeline")

WHY_NEEDED = {
    "mag_ratios": "they are the checkpoint's own",
    "is_guidance_distilled": "the pipeline makes no doubled batch of frames",
    "cache_identifiers": "diffusers' own patterns match none of the denoiser's layers",
}


def why_not(pipeline: str, kind: str) -> str | None:
    """Why pipelines of this class do not take the cache; None where they do."""
    if pipeline in WITHOUT_HOOKS:
        return f"diffusers has no hooks for caches in its {WITHOUT_HOOKS[pipeline]}"
    if pipeline not in HOOKED:
        return f"it is not tested there, only with {', '.join(HOOKED)}"
    if kind in ONE_MEMORY and GUIDANCE[pipeline].calls == "two":
        return "its memory would mix the two calls of a step"
    return None


def needs(pipeline: str, kind: str) -> str | None:
    """What has to be said beside the cache's name in pipelines of this class that take it; None for nothing."""
    if kind == "mag_cache":
        return "mag_ratios"
    if kind == "faster_cache" and pipeline not in HALVES_OF_FRAMES:
        return "is_guidance_distilled"
    if kind == "taylorseer" and pipeline not in PATTERNS_KNOWN:
        return "cache_identifiers"
    return None


def require_caches(space: SpaceConfig, pipeline: str, guidance_scale: float) -> None:
    """Nothing, when members' caches work in pipelines of this class, called with this scale. Raises ConfigError."""
    for d in space.denoisers:
        if not isinstance(d.accelerator, CacheConfig):
            continue
        kind = d.accelerator.kind
        owner = f"denoiser {d.name!r}: {kind} does not work in {pipeline}"
        if why := why_not(pipeline, kind):
            raise ConfigError(f"{owner}: {why}", hint=_others(pipeline))
        missing = needs(pipeline, kind)
        if missing and not d.accelerator.settings.get(missing) and not d.accelerator.settings.get("use_lite_mode"):
            raise ConfigError(f"{owner} without {missing}: {WHY_NEEDED[missing]}", hint=f"give it {missing}")
        scales = [scale for scale in (d.guidance_scale, guidance_scale) if scale is not None]
        derives_half = kind == "faster_cache" and not d.accelerator.settings.get("is_guidance_distilled")
        if derives_half and min(scales) <= GUIDANCE[pipeline].off:
            raise ConfigError(
                f"{owner} at guidance_scale {min(scales):g}: there is no unconditional half to derive",
                hint="is_guidance_distilled: true reuses attention only",
            )


def _others(pipeline: str) -> str:
    able = [kind for kind in KINDS if not why_not(pipeline, kind)]
    if able:
        return f"take one of {', '.join(able)}"
    return "deepcache3 is for U-Nets, taylorseer3 for attention layers of diffusers'; see docs/caches.md"


def _in_general(pipeline: str, kind: str) -> str | None:
    denoiser = WITHOUT_HOOKS.get(pipeline, "")
    why = why_not(pipeline, kind)
    return why and why.removesuffix(denoiser) + "denoiser" * bool(denoiser)


def matrix() -> str:
    """The table in `docs/caches.md`: pipelines by caches, and below it the reasons."""
    pipelines = [name for name in GUIDANCE if name in (*HOOKED, *WITHOUT_HOOKS)]
    reasons = list(dict.fromkeys(why for p in pipelines for kind in KINDS if (why := _in_general(p, kind))))

    def cell(pipeline: str, kind: str) -> str:
        if why := _in_general(pipeline, kind):
            return f"no ({reasons.index(why) + 1})"
        needed = needs(pipeline, kind)
        return f"with `{needed}`" if needed else "yes"

    head = [f"| pipeline | {' | '.join(f'`{kind}`' for kind in KINDS)} |", "|---" * (len(KINDS) + 1) + "|"]
    rows = [f"| {p} | {' | '.join(cell(p, kind) for kind in KINDS)} |" for p in pipelines]
    return "\n".join([*head, *rows, "", *(f"{i}. {why}" for i, why in enumerate(reasons, start=1))])
