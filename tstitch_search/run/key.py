"""All facts that make two measurements comparable. A run folder holds measurements of one key only."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from tstitch_search.config import Study
from tstitch_search.errors import EnvironmentProblem
from tstitch_search.measure.facts import (
    MemberFacts,
    check_space,
    pipeline_folder,
    read_member_facts,
    read_vae_config,
    vae_folder,
)
from tstitch_search.quality.reference import load_reference
from tstitch_search.zoo import FASHION_EXTRACTOR, embedded_path


@dataclass(frozen=True)
class StudyFacts:
    """What the study's files turned out to be: its members, and hashes of everything the numbers depend on."""

    members: Mapping[str, MemberFacts]
    key: Mapping[str, str]
    resolution: int

    @property
    def recipe(self) -> dict[str, str]:
        """The part of the key that features depend on, written into every feature file."""
        return {name: value for name, value in self.key.items() if not name.startswith(("latency.", "search."))}


def resolve_facts(study: Study) -> StudyFacts:
    """Check that the members fit together and hash what will be measured.

    Raises ConfigError for members that do not fit, EnvironmentProblem for files that are missing.
    """
    space, config, near = study.space, study.config, study.space_path.parent
    vae = vae_folder(study)
    check_space(space, near, vae)
    members = {d.name: read_member_facts(d, near, with_hash=True) for d in space.denoisers}
    pipeline = pipeline_folder(space, near, with_weights=True)
    key = {
        "space.denoisers": " ".join(space.names),
        "space.orders": str(space.orders),
        "space.n_steps": str(space.n_steps),
        "space.grid_steps": f"{space.grid_steps:g}",
        "space.solver": space.solver or "the pipeline's own",
        **{f"weights.{name}": facts.weights_sha256 or "unknown" for name, facts in members.items()},
        "weights.pipeline": _hash_folders(vae, pipeline / "scheduler"),
        "execution": str(config.execution),
        "guidance_scale": f"{config.guidance_scale:g}",
        "dtype": config.workers.dtype,
        "proxy_set": f"{config.proxy_set.labels} seed {config.proxy_set.seed} chunks of {config.proxy_set.chunk_size}",
        "quality.extractor": config.quality.extractor,
        "quality.extractor_weights": _extractor_hash(study),
        "quality.reference": load_reference(config.quality.reference, study.study_path.parent).sha256,
        "latency.batch_size": str(config.latency.batch_size),
        "search.sampler": f"{config.search.sampler} seed {config.sampler_seed}",
    }
    shrink = 2 ** (len(read_vae_config(vae)["block_out_channels"]) - 1)
    return StudyFacts(members, key, members[space.names[-1]].sample_size * shrink)


def _extractor_hash(study: Study) -> str:
    """Hash of the extractor's weights where we hold them; torch-fidelity's own are fixed by its version."""
    quality = study.config.quality
    if quality.extractor_weights:
        path = study.study_path.parent / quality.extractor_weights
    elif quality.extractor == FASHION_EXTRACTOR:
        path = embedded_path("zoo:fashion/features.safetensors")
    else:
        return f"torch-fidelity {version('torch-fidelity')}"
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot read the weights of the extractor {quality.extractor!r} at {path}: {error.strerror}",
            hint="correct quality.extractor_weights",
        ) from error


def _hash_folders(*folders: Path) -> str:
    """One hash of the JSON and safetensors files in the folders."""
    digest = hashlib.sha256()
    for path in sorted(p for folder in folders for p in folder.iterdir() if p.suffix in (".json", ".safetensors")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
