"""Any diffusers pipeline for prompts around the stitched denoiser: its class comes from `model_index.json`.

Nothing here knows a model family. Denoiser slots are found by looking, arguments by the pipeline's signature, and what
the space says in `call` is given as it is.
"""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from tstitch_search.config.models import SpaceConfig
from tstitch_search.errors import ConfigError
from tstitch_search.members.loading import load_model, load_scheduler
from tstitch_search.members.pipeline_parts import controlnet_folder, pipeline_folder, shared_parts
from tstitch_search.members.text_encoders import load_parts
from tstitch_search.sampling.conditions import Condition, prompts_of
from tstitch_search.sampling.encoded_prompts import EncodedPrompts
from tstitch_search.sampling.pipeline_class import (
    arguments_of,
    class_of,
    require_drivable,
    scale_arguments,
    set_guiders,
    slots_of,
)
from tstitch_search.sampling.stitching.stitched_denoiser import StitchedDenoiser

# A safety checker would blacken images and a watermark change them.
SWITCHED_OFF = {"add_watermarker": False, "requires_safety_checker": False}


def stitch(members: Mapping[str, Any]) -> StitchedDenoiser:
    """The members as one denoiser. Raises ConfigError when they count time in other units: the pipeline asks once."""
    scales = {name: getattr(member, "config", {}).get("timestep_scale", 1.0) for name, member in members.items()}
    if len(set(scales.values())) > 1:
        raise ConfigError(
            f"the denoisers have timestep_scale {', '.join(f'{scale:g} ({name})' for name, scale in scales.items())}, "
            "expected one for all",
            hint="do not mix Sana with Sana-Sprint",
        )
    return StitchedDenoiser(members)


def load_pipeline(space: SpaceConfig, near: Path, denoiser: StitchedDenoiser, vae: nn.Module) -> Any:
    """The pipeline that `space.pipeline` names, the denoiser in each of its slots; its prompts can be encoded once.

    Raises ConfigError for a pipeline that cannot be driven, and for a member that does not fit the ControlNet.
    """
    folder, kind = pipeline_folder(space, near, with_weights=True), class_of(space, near)
    require_drivable(space, kind)
    parts = load_parts(folder, [name for name in shared_parts(folder) if name not in ("vae", "scheduler")], like=vae)
    parts |= {"vae": vae, "scheduler": load_scheduler(folder / "scheduler", space.solver)}
    parts |= dict.fromkeys(slots_of(kind, folder), denoiser)
    if space.controlnet is not None:
        like = next(vae.parameters())
        parts["controlnet"] = load_model(controlnet_folder(space, near), like.device, like.dtype)
        _require_same_blocks(denoiser, parts["controlnet"])
    pipeline = kind(**arguments_of(kind, folder, {**parts, **SWITCHED_OFF}))
    pipeline.set_progress_bar_config(disable=True)
    denoiser.defaults = dict(space.call)
    denoiser.watch(pipeline.scheduler)
    if hasattr(pipeline, "encode_prompt"):
        encoders = [name for name in parts if name.startswith("text_encoder")]
        pipeline.encode_prompt = EncodedPrompts(pipeline, lambda: load_parts(folder, encoders, like=vae))
    return pipeline


def sample(
    pipeline: Any,
    conditions: Sequence[Condition],
    generators: Sequence[torch.Generator],
    n_steps: int,
    guidance_scale: float,
) -> torch.Tensor:
    """Images (n, 3, h, w), or clips (n, frames, 3, h, w), in [0, 1] of the conditions, on the pipeline's device."""
    prompts, negative_prompts = prompts_of(conditions)
    set_guiders(pipeline, guidance_scale=guidance_scale)
    made = pipeline(
        prompt=prompts,
        **_arguments(pipeline, conditions, negative_prompts, guidance_scale),
        num_inference_steps=n_steps,
        generator=list(generators),
        output_type="pt",
    )
    images: torch.Tensor = made[0]  # `images` of some pipelines, `frames` of others
    return images


def _arguments(
    pipeline: Any, conditions: Sequence[Condition], negative_prompts: list[str] | None, guidance_scale: float
) -> dict[str, Any]:
    """Guidance under the pipeline's name for it, negative prompts, control images, and the space's own arguments.

    Where images are cut to trained sizes ("resolution binning"), they are made as large as the denoiser was trained
    for. A true guidance scale counts only beside a negative prompt, so that an empty one stands for none.
    """
    takes = _takes(pipeline)
    given: dict[str, Any] = {name: guidance_scale for name in scale_arguments(type(pipeline))}
    if "negative_prompt" in takes and (negative_prompts or "true_cfg_scale" in given):
        given["negative_prompt"] = negative_prompts or [" "] * len(conditions)
    if "use_resolution_binning" in takes:
        side = _side(pipeline)
        given |= {"use_resolution_binning": False, **({"height": side, "width": side} if side else {})}
    if conditions[0].control_image is not None:
        argument = "control_image" if "control_image" in takes else "image"
        given[argument] = [_control_image(condition, _side(pipeline)) for condition in conditions]
    given |= _inputs(conditions)
    return {**given, **getattr(_denoiser(pipeline), "defaults", {})}


def _inputs(conditions: Sequence[Condition]) -> dict[str, Any]:
    """Images by argument: a list of one for each condition, or the image itself where there is one condition.

    Image-to-video pipelines take one image only: device_batch_size: 1.
    """
    by_name = {name: [dict(c.inputs)[name] for c in conditions] for name, _ in conditions[0].inputs}
    images = {name: [_opened(path) for path in paths] for name, paths in by_name.items()}
    return {name: opened[0] if len(opened) == 1 else opened for name, opened in images.items()}


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def _takes(pipeline: Any) -> frozenset[str]:
    """The names of what the pipeline may be called with."""
    return frozenset(inspect.signature(type(pipeline).__call__).parameters)


def _side(pipeline: Any) -> int | None:
    """Width and height in pixels that the denoiser was trained for, None where it does not say."""
    size = _denoiser(pipeline).config.get("sample_size")
    return None if size is None else size * pipeline.vae_scale_factor


def _denoiser(pipeline: Any) -> Any:
    return pipeline.components.get("transformer") or pipeline.unet


def _control_image(condition: Condition, side: int | None) -> Image.Image:
    assert condition.control_image is not None
    with Image.open(condition.control_image) as image:
        whole = image.convert("RGB")
        return whole.resize((side, side), Image.Resampling.LANCZOS) if side else whole


def _require_same_blocks(denoiser: StitchedDenoiser, controlnet: nn.Module) -> None:
    expected = _blocks(controlnet)
    for name, member in zip(denoiser.names, denoiser.members, strict=True):
        if (found := _blocks(member)) != expected:
            raise ConfigError(
                f"denoiser {name!r} has blocks of {found}, but the ControlNet, which adds to them, {expected}",
                hint="leave it out, or take a ControlNet made for it",
            )


def _blocks(model: Any) -> str:
    config = model.config
    if "block_out_channels" not in config:  # a transformer's: what it adds has the denoiser's width
        return f"{config.get('num_attention_heads')} heads of {config.get('attention_head_dim')}"
    return f"{list(config.block_out_channels)} channels and {config.layers_per_block} layers"
