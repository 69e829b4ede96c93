"""What diffusers' own pipeline classes say about themselves: denoiser slots, components, arguments of a call."""

import difflib
import inspect
import re
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import diffusers

from tstitch_search.config.guidance import GUIDANCE
from tstitch_search.config.models import SpaceConfig, StudyConfig
from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.members.pipeline_parts import pipeline_name
from tstitch_search.members.weights import read_json

# What a study gives by itself; `call` names the rest.
OURS = ("prompt", "negative_prompt", "num_inference_steps", "generator", "output_type", "guidance_scale", "latents")
# How many are made of one prompt: a study has a seed for each.
OF_ONE_PROMPT = ("num_images_per_prompt", "num_videos_per_prompt")
# Classes whose images and clips begin with an image, also where their call gives it a default.
FROM_IMAGE = re.compile("ImageToVideo|ImageToImage|Img2Img|Inpaint|I2V|I2I")
# Components that guide in the pipeline's place: HunyuanImage, HunyuanVideo 1.5.
GUIDERS = ("guider", "ocr_guider")
# What pipelines call their guidance, where nothing else is known of them.
SCALES = ("guidance_scale", "distilled_guidance_scale")
# Pipelines that make one clip at a time, and why.
_PADDED = "prompts of a batch are padded, and clips attend to the padding: each would depend on its neighbours"
_ONE_MASK = "its VAE decodes one clip at a time"
ONE_AT_A_TIME = {
    "Kandinsky5T2VPipeline": _PADDED,
    "Kandinsky5I2VPipeline": _PADDED,
    "Kandinsky5T2IPipeline": _PADDED,
    "Kandinsky5I2IPipeline": _PADDED,
    "HunyuanVideo15Pipeline": _ONE_MASK,
    "HunyuanVideo15ImageToVideoPipeline": _ONE_MASK,
}
NEEDED = ("prompt", "num_inference_steps", "generator", "output_type")


def class_of(space: SpaceConfig, near: Path) -> Any:
    """The diffusers class of the space's pipeline. Raises ConfigError where diffusers has none of that name."""
    name = pipeline_name(space, near)
    if not hasattr(diffusers, name):
        known = [n for n in dir(diffusers) if n.endswith("Pipeline")]
        near_names = ", ".join(difflib.get_close_matches(name, known, n=3, cutoff=0.0))
        raise ConfigError(
            f"the pipeline of {space.name} is a {name}, which diffusers {diffusers.__version__} does not have",
            hint=f"expected for example {near_names}; a newer diffusers may know it",
        )
    return getattr(diffusers, name)


def slots_of(kind: Any, folder: Path) -> list[str]:
    """The components that denoise: `transformer` or `unet`, and `transformer_2` where the pipeline has two experts."""
    components = inspect.signature(kind.__init__).parameters
    slots = [slot for slot in ("transformer", "unet") if slot in components][:1]
    index = read_json(folder / "model_index.json", "the pipeline")
    second = (index.get("transformer_2") or (None,))[0]
    return [*slots, *(["transformer_2"] if slots and "transformer_2" in components and second else [])]


def require_drivable(space: SpaceConfig, kind: Any, inputs: Collection[str] | None = None) -> None:
    """Nothing, when a study can call the pipeline, and `call` and `inputs` name arguments that it knows.

    `inputs`: images by argument, None where what is given is not looked at. Raises ConfigError saying what is in the
    way.
    """
    components, takes = (inspect.signature(f).parameters for f in (kind.__init__, kind.__call__))
    if "transformer" not in components and "unet" not in components:
        raise _refused(kind, "has neither a transformer nor a unet")
    if missing := [part for part in ("scheduler", "vae") if part not in components]:
        raise _refused(kind, f"has no {missing[0]}")
    if missing := [name for name in NEEDED if name not in takes]:
        raise _refused(kind, f"is not called with {missing[0]}")
    controls = {"control_image", "image"} if space.controlnet else set()
    required = {n for n, p in takes.items() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD}
    required |= {"image"} & takes.keys() if FROM_IMAGE.search(kind.__name__) else set()
    given = {"self", "prompt"} | controls | space.call.keys() | set(inputs or ())
    if (missing := sorted(required - given)) and inputs is not None:
        raise ConfigError(
            f"{kind.__name__} cannot be driven: it needs {missing[0]}, and the study gives none",
            hint=f"name a folder of images as proxy_set.inputs.{missing[0]}, or a value in `call` of the space",
        )
    for name, where in [*((n, "call") for n in space.call), *((n, "proxy_set.inputs") for n in inputs or ())]:
        if name not in takes:
            close = difflib.get_close_matches(name, takes, n=1, cutoff=0.0)[0]
            hint = "it makes images, not videos" if name == "num_frames" else f"the nearest it takes is {close!r}"
            raise ConfigError(f"{where}: {kind.__name__} takes no {name!r}", hint=hint)
    if "strength" in takes and (strength := space.call.get("strength", takes["strength"].default)) != 1:
        raise ConfigError(
            f"{kind.__name__} leaves out the first steps at strength {strength}: they would cost and decide nothing",
            hint="call: {strength: 1.0}; a study divides all steps",
        )
    for name in space.call:
        if name in (*OURS, *OF_ONE_PROMPT, "true_cfg_scale"):
            raise ConfigError(f"call: {name!r} is the study's to give", hint=f"leave it out of `call`: {_place(name)}")


def scale_arguments(kind: Any) -> list[str]:
    """The arguments by which a call of the pipeline is told its guidance scale; none where only a guider has it."""
    facts = GUIDANCE.get(kind.__name__)
    names = (facts.argument,) if facts else SCALES
    return [name for name in names if name in inspect.signature(kind.__call__).parameters][:1]


def set_guiders(pipeline: Any, **settings: float) -> None:
    """Give the pipeline guiders of its own with these settings, where it has any; their others stay.

    Copies of a pipeline would share theirs, which remember the step that they are at.
    """
    for name in GUIDERS:
        if (guider := getattr(pipeline, name, None)) is not None:
            setattr(pipeline, name, guider.new(**settings))


def require_scale(kind: Any, guidance_scale: float) -> None:
    """Nothing, when the pipeline can be told this guidance scale, or 1 is asked for, which is none."""
    has_guider = any(name in inspect.signature(kind.__init__).parameters for name in GUIDERS)
    if guidance_scale != 1 and not has_guider and not scale_arguments(kind):
        raise ConfigError(
            f"guidance_scale: {kind.__name__} takes none, got {guidance_scale:g}", hint="guidance_scale: 1"
        )


def require_packages(kind: Any) -> None:
    """Nothing, when the packages are there that the pipeline cleans prompts with.

    Some classes of diffusers call ftfy without asking whether it is there. Raises EnvironmentProblem.
    """
    module = sys.modules[kind.__module__]
    code = getattr(getattr(module, "basic_clean", None), "__code__", None)
    names = code.co_names if code else ()
    if "ftfy" in names and "is_ftfy_available" not in names and not hasattr(module, "ftfy"):
        why = f"{kind.__name__} cleans prompts with ftfy, which is not here"
        raise EnvironmentProblem(why, hint="pip install ftfy")


def require_batches(kind: Any, study: StudyConfig) -> None:
    """Nothing, when the pipeline makes batches of the study's sizes as it makes their images one by one."""
    points = [(f"latency.points[{i}]", point.batch_size) for i, point in enumerate(study.latency.points)]
    sizes = {
        "workers.device_batch_size": study.workers.device_batch_size,
        "latency.batch_size": study.latency.batch_size,
    }
    for setting, size in [*sizes.items(), *points]:
        if kind.__name__ in ONE_AT_A_TIME and size is not None and size > 1:
            raise ConfigError(
                f"{setting}: got {size}, but {kind.__name__} takes 1: {ONE_AT_A_TIME[kind.__name__]}",
                hint=f"set {' and '.join(f'{name}: 1' for name in sizes)}",
            )


def _place(name: str) -> str:
    places = {"prompt": "proxy_set.prompts", "negative_prompt": "proxy_set.negative_prompt"}
    scales = {"guidance_scale", "true_cfg_scale"}
    steps = "n_steps of the search space" if name == "num_inference_steps" else "it follows from the study"
    return places.get(name, "guidance_scale of the study" if name in scales else steps)


def _refused(kind: Any, why: str) -> ConfigError:
    return ConfigError(f"{kind.__name__} cannot be driven: it {why}", hint="name another pipeline")


def arguments_of(kind: Any, folder: Path, parts: Mapping[str, Any]) -> dict[str, Any]:
    """What the class is made of: `parts`, the settings in model_index.json, None for a component that is not there."""
    index = read_json(folder / "model_index.json", "the pipeline")
    settings = {name: value for name, value in index.items() if not isinstance(value, list)}
    found = {**settings, **parts}
    wanted = [p for p in inspect.signature(kind.__init__).parameters.values() if p.name not in ("self", "kwargs")]
    return {p.name: found.get(p.name) for p in wanted if p.name in found or p.default is p.empty}
