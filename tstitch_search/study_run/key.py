"""All facts that make two measurements comparable. A run folder holds measurements of one key only."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tstitch_search.allocation import Allocation
from tstitch_search.config import SpaceConfig, Study
from tstitch_search.errors import ConfigError
from tstitch_search.measure.recorded.measurer import Record, open_record
from tstitch_search.members.changes.lora_files import loras_identity
from tstitch_search.members.facts import MemberFacts, read_member_facts
from tstitch_search.members.pipeline_parts import vae_folder
from tstitch_search.members.vae import pixels_per_latent, read_vae_config
from tstitch_search.quality.sources import ReferenceSource, open_source
from tstitch_search.sampling.space_check import check_space, converted_members, require_answers
from tstitch_search.search_space import SearchSpace
from tstitch_search.study_run.preparation.hashes import extractor_hash, hash_files, pipeline_sha256, score_facts
from tstitch_search.study_run.preparation.warm_start import warm_start_facts

# How the seed of an image follows from the study's: see sampling/conditions.py.
SEED_SCHEME = "numpy SeedSequence(seed, spawn_key=(0 search | 1 confirm, image))"


@dataclass(frozen=True)
class StudyFacts:
    """What the study's files turned out to be: its members, and hashes of everything the numbers depend on.

    `resolution` is the width and height of its images in pixels. A study of a `record` has neither members nor images.
    """

    members: Mapping[str, MemberFacts]
    key: Mapping[str, str]
    resolution: int | None
    reference: ReferenceSource
    record: Record | None = None

    @property
    def recipe(self) -> dict[str, str]:
        """What features depend on, written into every feature file: that part of the key, their layer, their seeds."""
        facts = {name: value for name, value in self.key.items() if not name.startswith(("latency.", "search."))}
        return {**facts, "layer": "the extractor's own for FID", "seed_scheme": SEED_SCHEME}

    def measurable(self, space: SearchSpace) -> tuple[Allocation, ...]:
        """The allocations of the space that can be measured: all, or those that were recorded."""
        return tuple(a for a in space if self.record is None or a in self.record.table.rows)


def resolve_facts(study: Study) -> StudyFacts:
    """Check that the members fit together, or the record, and hash what will be measured.

    Raises ConfigError for members that do not fit, EnvironmentProblem for files that are missing.
    """
    return _facts_of_models(study) if study.config.measure.recorded is None else _facts_of_record(study)


def facts_as_asked(facts: StudyFacts, study: Study) -> StudyFacts:
    """The facts of the same files for `study`, which asks for another solver or guidance; nothing is read again."""
    return replace(facts, key={**facts.key, **_asked(study)})


def _facts_of_record(study: Study) -> StudyFacts:
    record = open_record(study)
    reference = ReferenceSource("the record", "recorded", record.images.reference, images=None)
    proxy_set = study.config.proxy_set
    key = {**_asked(study), **record.key, "proxy_set": f"seed {proxy_set.seed} chunks of {proxy_set.chunk_size}"}
    return StudyFacts({}, key, None, reference, record)


def _facts_of_models(study: Study) -> StudyFacts:
    space, config, near = study.space, study.config, study.space_path.parent
    vae = vae_folder(study)
    converted = converted_members(check_space(space, near, vae))
    members = {d.name: read_member_facts(d, near, with_hash=True) for d in space.denoisers}
    require_answers(study, members)
    resolution = _resolution(space, members[space.names[-1]].sample_size, pixels_per_latent(read_vae_config(vae)))
    reference = open_source(config.quality.reference, study.study_path.parent, resolution)
    key = {
        **_asked(study),
        **{f"weights.{name}": facts.weights_sha256 or "unknown" for name, facts in members.items()},
        **{f"accelerator.{d.name}": str(d.accelerator) for d in space.denoisers if d.accelerator},
        **_batches(study),
        **{f"dtype.{d.name}": d.dtype for d in space.denoisers if d.dtype},
        **{f"quantization.{d.name}": str(d.quantization) for d in space.denoisers if d.quantization},
        **{f"lora.{d.name}": loras for d in space.denoisers if (loras := loras_identity(d, near))},
        **{f"guidance.{d.name}": f"{d.guidance_scale:g}" for d in space.denoisers if d.guidance_scale is not None},
        **{f"noise.{name}": str(members[name].own.noise) for name in converted},
        "weights.pipeline": pipeline_sha256(study),
        **_proxy_facts(study),
        "quality.extractor": config.quality.extractor,
        "quality.extractor_weights": extractor_hash(study),
        **score_facts(study),
        "quality.reference": reference.sha256,
    }
    return StudyFacts(members, key, resolution, reference)


def _asked(study: Study) -> dict[str, str]:
    """What the study's own words decide, without a file."""
    space, config, anchor = study.space, study.config, SearchSpace.of_study(study).compared_with
    return {
        "space.denoisers": " ".join(space.names),
        "space.orders": str(space.orders),
        "space.n_steps": str(space.n_steps),
        **_asked_beyond_one_count(space),
        "space.grid_steps": f"{space.grid_steps:g}",
        "space.solver": space.solver or "the pipeline's own",
        **{f"space.profiles.{name}": str(profile) for name, profile in sorted(space.profiles.items())},
        **{f"space.call.{name}": str(value) for name, value in sorted(space.call.items())},
        **({"space.guided_channels": str(space.guided_channels)} if space.guided_channels else {}),
        **({"space.learned_variance": "true"} if space.learned_variance else {}),
        "execution": str(config.execution),
        "guidance_scale": f"{config.guidance_scale:g}",
        "dtype": config.workers.dtype,
        "quality.objective": config.quality.objective,
        **({} if anchor is None else {"quality.anchor": str(anchor)}),
        "quality.features_dtype": config.quality.features_dtype,
        **({"quality.control_images": str(config.quality.control_images)} if config.quality.control_images else {}),
        "latency.batch_size": str(config.latency.batch_size),
        "search.sampler": f"{config.search.sampler} seed {config.sampler_seed}",
        **warm_start_facts(study),
    }


def _resolution(space: SpaceConfig, sample_size: int | None, pixels_per_latent: int) -> int:
    """Of the images, in pixels. Raises ConfigError where neither the space nor the denoiser says it."""
    asked = space.call.get("height")
    if isinstance(asked, int):
        return asked
    if sample_size is None:
        raise ConfigError(
            "the denoisers do not say how large their images are", hint="say it: call: {height: 1024, width: 1024}"
        )
    return sample_size * pixels_per_latent


def _batches(study: Study) -> dict[str, str]:
    """Where a cache decides by the whole batch, images depend on what they are made beside."""
    if not any(d.decides_by_batch for d in study.space.denoisers):
        return {}
    return {"accelerator.device_batch_size": str(study.config.workers.device_batch_size)}


def _asked_beyond_one_count(space: SpaceConfig) -> dict[str, str]:
    """Further step counts, switches and baselines, where the study's space names any."""
    facts = {
        "space.fewer_counts": " ".join(map(str, space.step_counts[1:])),
        "space.max_switches": "" if space.max_switches is None else str(space.max_switches),
        "space.fewer_steps": "" if space.fewer_steps is None else " ".join(map(str, space.fewer_whole_steps)) or "none",
        "space.baselines": " ".join(space.baselines),
        "space.published_boundary": space.published_boundary or "",
    }
    return {name: value for name, value in facts.items() if value}


def _proxy_facts(study: Study) -> dict[str, str]:
    """What the images are made from. With files, where the confirmation set begins in them decides its images too."""
    config, files = study.config.proxy_set, study.proxy_files
    n_images = files.n_search + study.config.confirm.n_images
    labels = config.labels if files.labels is None else "given"
    facts = {"proxy_set": f"{labels} seed {config.seed} chunks of {config.chunk_size}"}
    facts |= {f"proxy_set.{key}": sha256 for key, sha256 in files.sha256}
    if config.prompt_column is not None:
        facts["proxy_set.prompt_column"] = config.prompt_column
    if config.negative_prompt is not None:
        facts["proxy_set.negative_prompt"] = config.negative_prompt
    if files.control_images:
        facts["proxy_set.control_images"] = hash_files(files.control_images[:n_images])
    facts |= {f"proxy_set.inputs.{name}": hash_files(paths[:n_images]) for name, paths in files.inputs}
    if files.sha256 or files.control_images or files.inputs:
        facts["proxy_set.n_search"] = str(files.n_search)
    return facts
