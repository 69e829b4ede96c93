"""A workflow of ComfyUI's stock nodes, in the form that its API takes. Readers: ComfyUI and programs that queue it.

One entry: a model per denoiser, the study's noise levels cut at the switches, and a sampler per segment that goes on
with the latents of the one before. What stock nodes cannot say is refused, and each workflow is held against their
definitions (`comfyui_nodes.json`). It has not been run in ComfyUI.
"""

import json
from pathlib import Path
from typing import Any

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study
from tstitch_search.config.models import DenoiserConfig
from tstitch_search.errors import ConfigError
from tstitch_search.lookup import LookupEntry
from tstitch_search.tasks.export.comfyui_families import FAMILIES, Family
from tstitch_search.tasks.export.comfyui_graph import Graph, Link
from tstitch_search.tasks.export.source import Source, ranges

# Arguments of a call that a workflow says, or that make no difference to it.
SAID = {"height", "width", "num_frames", "max_sequence_length"}


def as_workflow(source: Source) -> str:
    """The workflow of the one entry. Raises ConfigError when there are more, or when stock nodes cannot say it."""
    if len(source.entries) > 1:
        known = ", ".join(str(entry.allocation) for entry in source.entries)
        raise ConfigError("a workflow is of one entry, got the whole table", hint=f"--allocation, one of {known}")
    (entry,), study = source.entries, source.study
    from tstitch_search.sampling.pipeline_class import class_of

    kind = class_of(study.space, study.space_path.parent).__name__
    if kind not in FAMILIES:
        raise _refused(f"its pipeline is {kind}, known are {', '.join(FAMILIES)}")
    _require_stock(study, entry.allocation)
    graph = _sampled(Graph(), source, kind, entry)
    return json.dumps(graph.checked(), indent=2) + "\n"


def _refused(why: str, hint: str = "") -> ConfigError:
    return ConfigError(f"ComfyUI's stock nodes cannot say this entry: {why}", hint=hint)


def _require_stock(study: Study, allocation: Allocation) -> None:
    """Nothing, when its members are plain models and LoRAs and the pipeline is called with what a workflow says."""
    space = study.space
    if space.convert:
        raise _refused("convert: true, and they convert no predictions", "leave it out where members need none")
    if unknown := sorted(set(space.call) - SAID):
        raise _refused(f"the pipeline is called with {', '.join(unknown)}")
    for denoiser in space.denoisers:
        if denoiser.name not in allocation.steps:
            continue
        if denoiser.accelerator:
            raise _refused(f"{denoiser.name} has the accelerator {denoiser.accelerator}")
        file = denoiser.file or str(denoiser.weights)
        is_loaded = denoiser.format == "single_file" and file.endswith(".safetensors")
        if not (is_loaded or denoiser.format == "diffusers") or ":" in str(denoiser.weights):
            raise _refused(f"the weights of {denoiser.name} are {file}, no file that UNETLoader loads")


def _sampled(graph: Graph, source: Source, kind: str, entry: LookupEntry) -> Graph:
    """The whole workflow, from loaders to what is saved."""
    study, family, allocation = source.study, FAMILIES[kind], entry.allocation
    sigmas = _noise_levels(source, family, entry)
    rest = graph.add("ManualSigmas", sigmas=", ".join(f"{sigma:.8f}" for sigma in sigmas))
    sampler = graph.add("KSamplerSelect", sampler_name="euler")
    noise, latent = graph.add("RandomNoise", noise_seed=study.config.proxy_set.seed), _latent(graph, study, family)
    guiders = _guiders(graph, study, kind, allocation)
    for name, first, last in ranges(allocation):
        here = rest
        if last < allocation.n_steps:
            here = graph.add("SplitSigmas", f"{name} until step {last}", sigmas=rest, step=last - first)
            rest = Link(here.node, 1)
        if first:
            noise = graph.add("DisableNoise")
        parts = {"noise": noise, "guider": guiders[name], "sampler": sampler, "sigmas": here}
        latent = graph.add("SamplerCustomAdvanced", f"{name}: {last - first} steps", **parts, latent_image=latent)
    _save(graph, kind, latent)
    return graph


def _noise_levels(source: Source, family: Family, entry: LookupEntry) -> list[float]:
    """The sigmas of every step and the one after the last, once ComfyUI makes our timesteps of them."""
    from tstitch_search.sampling.timetable import noise_levels

    study, steps = source.study, source.steps(entry)
    try:
        levels = noise_levels(study.space, study.space_path.parent, entry.allocation)
    except ConfigError as error:
        raise _refused(error.message, error.hint) from error
    sigmas = [level if step.sigma is None else step.sigma for step, level in zip(steps, levels, strict=False)]
    for i, (step, sigma) in enumerate(zip(steps, sigmas, strict=True)):
        theirs = family.timestep(sigma)
        if abs(theirs - step.timestep) > 0.51:  # its timesteps of SDXL are whole numbers
            raise _refused(f"step {i} has timestep {step.timestep:g}, and of its sigma they would make {theirs:g}")
    return [*sigmas, levels[-1]]


def _conditions(graph: Graph, study: Study, kind: str) -> tuple[Link, Link | None]:
    """The study's first prompt, and what its guidance goes away from; FLUX has none."""
    family, proxy = FAMILIES[kind], study.config.proxy_set
    where = f"text encoders of {study.space.pipeline}"
    if len(family.clips) == 2:
        first, second = family.clips
        clip = graph.add("DualCLIPLoader", where, clip_name1=first, clip_name2=second, type=family.clip_type)
    else:
        clip = graph.add("CLIPLoader", where, clip_name=family.clips[0], type=family.clip_type)
    prompts = study.proxy_files.prompts or ("",)
    positive = graph.add("CLIPTextEncode", "the prompt", text=prompts[0], clip=clip)
    if kind == "FluxPipeline":
        return positive, None
    if proxy.negative_prompt is None and _zero_means_none(study):
        return positive, graph.add("ConditioningZeroOut", "no negative prompt", conditioning=positive)
    return positive, graph.add("CLIPTextEncode", "negative prompt", text=proxy.negative_prompt or "", clip=clip)


def _zero_means_none(study: Study) -> bool:
    """Whether the pipeline takes zeros where there is no negative prompt, as SDXL does, or else an empty text."""
    from tstitch_search.members.pipeline_parts import pipeline_folder
    from tstitch_search.members.weights import read_json

    folder = pipeline_folder(study.space, study.space_path.parent, with_weights=False)
    index = read_json(folder / "model_index.json", "the pipeline")
    default = study.space.family == "sdxl" or index.get("_class_name") == "StableDiffusionXLPipeline"
    return bool(index.get("force_zeros_for_empty_prompt", default))


def _latent(graph: Graph, study: Study, family: Family) -> Link:
    size: dict[str, Any] = {key: int(study.space.call.get(key) or default) for key, default in family.call.items()}
    if "num_frames" in size:
        size["length"] = size.pop("num_frames")
    return graph.add(family.latent, **size, batch_size=1)


def _model(graph: Graph, denoiser: DenoiserConfig) -> Link:
    """A denoiser's weights, and its LoRAs in their order."""
    inside = denoiser.file if denoiser.format == "single_file" else denoiser.subfolder
    place = "/".join(part for part in (denoiser.weights, inside) if part)
    at = f"{place}@{denoiser.revision}" if denoiser.revision else place
    name = Path(place).name
    file = name if name.endswith(".safetensors") else f"{denoiser.name}.safetensors"
    model = graph.add("UNETLoader", f"{denoiser.name}: {at}", unet_name=file, weight_dtype="default")
    for lora in denoiser.lora:
        file = Path(lora.file or lora.weights).name
        file = file if file.endswith(".safetensors") else f"{file}.safetensors"
        title = f"LoRA of {denoiser.name}: {lora.weights}"
        model = graph.add("LoraLoaderModelOnly", title, model=model, lora_name=file, strength_model=lora.scale)
    return model


def _guiders(graph: Graph, study: Study, kind: str, allocation: Allocation) -> dict[str, Link]:
    """Each member with its guidance: of FLUX an input of the model, else away from the negative condition."""
    positive, negative = _conditions(graph, study, kind)
    found = {}
    for denoiser in (d for d in study.space.denoisers if d.name in allocation.steps):
        model, own = _model(graph, denoiser), denoiser.guidance_scale
        scale = float(study.config.guidance_scale if own is None else own)
        if negative is None:
            guided = graph.add("FluxGuidance", conditioning=positive, guidance=scale)
            found[denoiser.name] = graph.add("BasicGuider", model=model, conditioning=guided)
        else:
            parts = {"model": model, "positive": positive, "negative": negative}
            found[denoiser.name] = graph.add("CFGGuider", denoiser.name, **parts, cfg=scale)
    return found


def _save(graph: Graph, kind: str, latent: Link) -> None:
    vae = graph.add("VAELoader", vae_name="vae.safetensors")
    images = graph.add("VAEDecode", samples=latent, vae=vae)
    if kind == "WanPipeline":
        graph.add("SaveWEBM", images=images, filename_prefix="tstitch", codec="vp9", fps=16.0, crf=32.0)
    else:
        graph.add("SaveImage", images=images, filename_prefix="tstitch")
