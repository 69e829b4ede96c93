"""Whether a search space's members fit together and its pipeline, by their files alone. Imports no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from tstitch_search.config import Study
from tstitch_search.config.caches import require_caches
from tstitch_search.config.guidance import guidance_of, require_guidance
from tstitch_search.config.models import SpaceConfig
from tstitch_search.errors import ConfigError
from tstitch_search.members.changes.lora_files import lora_files, require_fitting_lora
from tstitch_search.members.changes.quantization import require_quantization
from tstitch_search.members.compatibility import (
    Finding,
    against_member,
    against_pipeline,
    guidance_embedding,
)
from tstitch_search.members.facts import MemberFacts, read_member_facts
from tstitch_search.members.headers import count_parameters
from tstitch_search.members.noise_process import NoiseProcess
from tstitch_search.members.pipeline_parts import controlnet_folder, pipeline_folder, pipeline_name
from tstitch_search.members.positions import beyond
from tstitch_search.members.shared_facts import SharedFacts, read_shared_facts
from tstitch_search.members.step_placement import own_placement, placement
from tstitch_search.members.vae import frames_per_latent, latent_channels, pixels_per_latent, read_vae_config
from tstitch_search.members.weights import ENCODER_WEIGHTS, WEIGHTS, is_of_hub, read_json

if TYPE_CHECKING:
    from tstitch_search.sampling.stitching.calls import ForwardAdapter


@dataclass(frozen=True)
class SpaceFacts:
    """The members of a space by name, from the noise end, and what they share."""

    members: Mapping[str, MemberFacts]
    shared: SharedFacts

    def with_pipeline(self, name: str, n_classes: int | None) -> list[Finding]:
        """One member held against the pipeline."""
        return against_pipeline(self.members[name], self.shared, n_classes)

    def between(self) -> dict[tuple[str, str], list[Finding]]:
        """Each later member held against each earlier one, by (earlier, later)."""
        pairs = combinations(self.members.values(), 2)
        return {(first.name, member.name): against_member(member, first) for first, member in pairs}


def read_space_facts(
    space: SpaceConfig, near: Path, vae: Path | None = None, *, with_weights: bool = True
) -> SpaceFacts:
    """What the files of the space say; its paths are relative to `near`.

    `vae` is the folder of another VAE than the pipeline's own. Without `with_weights` only config files are fetched
    from the hub, and weights may be missing. Raises EnvironmentProblem when a file cannot be had.
    """
    folder = pipeline_folder(space, near, with_weights=with_weights)
    channels = latent_channels(read_vae_config(vae or folder / "vae"))
    read_json(folder / "scheduler" / "scheduler_config.json", "the pipeline's scheduler")  # it has to be there
    shared = replace(read_shared_facts("the pipeline", folder), latent_channels=channels)
    controlnet = controlnet_folder(space, near, with_weights=with_weights) if space.controlnet else None
    _require_shared_weights(vae or folder / "vae", folder, controlnet, with_weights=with_weights)
    members = {d.name: read_member_facts(d, near, with_weights=with_weights) for d in space.denoisers}
    for denoiser in space.denoisers:
        if with_weights or all((near / lora.weights).exists() for lora in denoiser.lora):
            for lora in lora_files(denoiser, near):
                require_fitting_lora(lora, members[denoiser.name])
    return SpaceFacts(members, shared)


def _require_shared_weights(vae: Path, pipeline: Path, controlnet: Path | None, *, with_weights: bool) -> None:
    """Nothing, when the weights of all that members share are whole. Raises EnvironmentProblem otherwise."""
    parts = [(vae, "the VAE", WEIGHTS), *([(controlnet, "the ControlNet", WEIGHTS)] if controlnet else [])]
    encoders = sorted(pipeline.glob("text_encoder*/"))
    parts += [(folder, f"the pipeline's {folder.name}", ENCODER_WEIGHTS) for folder in encoders]
    for folder, owner, stem in parts:
        count_parameters(folder, owner, required=with_weights or not is_of_hub(folder), stem=stem)


def check_space(space: SpaceConfig, near: Path, vae: Path | None = None, *, with_weights: bool = True) -> SpaceFacts:
    """The same, once it is known that they fit together. Raises ConfigError saying both sides when they do not."""
    facts = read_space_facts(space, near, vae, with_weights=with_weights)
    require_fitting(all_findings(space, facts), convert=space.convert)
    return facts


def all_findings(space: SpaceConfig, facts: SpaceFacts) -> list[Finding]:
    """Everything held against something: members against the pipeline, against each other, and the guidance."""
    n_classes = n_classes_of(space)
    with_pipeline = [finding for name in facts.members for finding in facts.with_pipeline(name, n_classes)]
    between = [finding for found in facts.between().values() for finding in found]
    return [*with_pipeline, *between, *guidance_embedding(list(facts.members.values()))]


def require_pipeline(study: Study) -> None:
    """Nothing, when the study can drive its pipeline. Raises ConfigError in one line that says why not."""
    space, near = study.space, study.space_path.parent
    _require_profiles(space, near)
    if "labels" in space.traits.takes:
        return
    from tstitch_search.sampling import pipeline_class  # loads diffusers
    from tstitch_search.sampling.frames import require_frames
    from tstitch_search.sampling.published_boundary import require_published_boundary

    kind = pipeline_class.class_of(space, near)
    pipeline_class.require_drivable(space, kind, [name for name, _ in study.proxy_files.inputs])
    pipeline_class.require_scale(kind, study.config.guidance_scale)
    pipeline_class.require_packages(kind)
    pipeline_class.require_batches(kind, study.config)
    require_published_boundary(space, near)
    require_frames(space, near)


def _require_profiles(space: SpaceConfig, near: Path) -> None:
    if space.profiles:
        from tstitch_search.members.profiles import require_profiles  # loads diffusers

        require_profiles(space, near)


def require_answers(study: Study, members: Mapping[str, MemberFacts]) -> None:
    """Nothing, when the pipeline has a meaning for its members' guidance and caches. Raises ConfigError otherwise.

    Raises EnvironmentProblem for quantised weights that cannot be had here.
    """
    space, guidance_scale = study.space, study.config.guidance_scale
    pipeline = pipeline_name(space, study.space_path.parent)
    require_guidance(space, pipeline, guidance_scale)
    _require_guidance_inputs(space, pipeline, guidance_scale, members)
    _require_positions(space, study.space_path.parent, members)
    require_caches(space, pipeline, guidance_scale)
    require_quantization(study, {name: m.saved_method for name, m in members.items() if m.saved_method})
    if study.config.execution.offload == "group":
        from tstitch_search.members.execution import require_groups  # loads diffusers

        require_groups({name: m.class_name for name, m in members.items()})


def require_single_files(members: Mapping[str, MemberFacts]) -> None:
    """Nothing, when members in one file, as far as they are here, are what their configurations say.

    Raises ConfigError; so does loading them.
    """
    for name, member in members.items():
        if member.form == "single_file" and member.config and member.path.exists():
            from tstitch_search.members.formats.single_file_models import require_fitting_file  # loads diffusers

            require_fitting_file(member.path, member.config, f"denoiser {name!r}")


def _require_positions(space: SpaceConfig, near: Path, members: Mapping[str, MemberFacts]) -> None:
    """Nothing, when `call` asks no member for positions that it does not know. Raises ConfigError with both numbers."""
    if not space.call:
        return
    vae = read_json(pipeline_folder(space, near, with_weights=False) / "vae" / "config.json", "the pipeline's VAE")
    sizes = pixels_per_latent(vae), frames_per_latent(vae)
    for name, member in members.items():
        config = member.place / "config.json"
        why = beyond(read_json(config, f"denoiser {name!r}"), space.call, *sizes) if config.is_file() else None
        if why:
            raise ConfigError(f"denoiser {name!r} {why}", hint="ask for less in `call`, or leave the denoiser out")


def step_remarks(space: SpaceConfig, near: Path, members: Mapping[str, MemberFacts]) -> list[str]:
    """Of each member that was published with a scheduler whose steps lie elsewhere than the pipeline's: both."""
    folder = pipeline_folder(space, near, with_weights=False) / "scheduler"
    here = placement(read_json(folder / "scheduler_config.json", "the pipeline's scheduler"))
    found = {name: own_placement(member.place, f"denoiser {name!r}") for name, member in members.items()}
    return [
        f"denoiser {name!r} was published with {there}, and is asked where the pipeline's scheduler puts steps: {here}"
        for name, there in found.items()
        if here and there and there != here
    ]


def _require_guidance_inputs(
    space: SpaceConfig, pipeline: str, guidance_scale: float, members: Mapping[str, MemberFacts]
) -> None:
    """Nothing, when denoisers that are told their guidance as an input have one."""
    for d in space.denoisers:
        has_own = d.guidance_scale is not None and d.guidance_scale != guidance_scale
        if has_own and guidance_of(pipeline).calls == "embedded" and members[d.name].guidance_embedding is None:
            raise ConfigError(
                f"denoiser {d.name!r} has guidance_scale {d.guidance_scale:g}, which means nothing to it: {pipeline} "
                "gives guidance as an input, which this denoiser does not take",
                hint="leave guidance_scale out of the denoisers",
            )


def n_classes_of(space: SpaceConfig) -> int | None:
    """How many classes the space's members have to know, None for a family without any."""
    return space.n_classes if "labels" in space.traits.takes else None


def require_fitting(findings: Sequence[Finding], *, convert: bool) -> None:
    """Nothing, when nothing is refused, and what is convertible may be converted. Raises ConfigError otherwise."""
    if refused := [finding for finding in findings if finding.verdict == "refused"]:
        raise ConfigError(
            str(refused[0]),
            hint="choose denoisers trained in the latent space and for the noise schedule of one pipeline",
        )
    if (convertible := [f for f in findings if f.verdict == "convertible"]) and not convert:
        raise ConfigError(
            str(convertible[0]), hint="set `convert: true` in the search space, or choose other denoisers"
        )


def converted_members(facts: SpaceFacts) -> dict[str, NoiseProcess]:
    """The noise process of each member that was trained for another than the pipeline's solver expects."""
    known = {name: member.own.noise for name, member in facts.members.items()}
    return {name: have for name, have in known.items() if have and facts.shared.noise and have != facts.shared.noise}


def conversions(facts: SpaceFacts) -> dict[str, "ForwardAdapter"]:
    """How those members answer."""
    from tstitch_search.sampling.stitching.conversion import conversion_of  # loads torch

    want = facts.shared.noise
    return {name: conversion_of(have, want) for name, have in converted_members(facts).items() if want}
