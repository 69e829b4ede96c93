"""What is known about a space's members before they are loaded, and whether they fit together.

Read from config files and safetensors headers only; imports no torch, so that `plan` and the driver can check a space
before any device is touched.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tstitch_search.config.family_traits import TRAITS
from tstitch_search.config.models import DenoiserConfig, SpaceConfig, Study
from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.measure.locate import WEIGHTS, count_parameters, locate, read_json, weight_files, weights_sha256
from tstitch_search.measure.noise_schedule import NoiseProcess


@dataclass(frozen=True)
class MemberFacts:
    """A member as its files describe it, `path` being its local folder.

    `n_parameters` is None while the weights are not on this machine, `weights_sha256` unless asked for, `noise` when
    the member comes without a scheduler of its own. `n_classes` does not count the null class.
    """

    name: str
    class_name: str
    path: Path
    in_channels: int
    out_channels: int
    sample_size: int
    n_classes: int
    noise: NoiseProcess | None
    n_parameters: int | None
    weights_sha256: str | None


def check_space(
    space: SpaceConfig, near: Path, vae: Path | None = None, *, with_weights: bool = True
) -> dict[str, MemberFacts]:
    """Facts of every member by name, once it is known that they fit together; the space's paths are relative to `near`.

    `vae` is the folder of another VAE than the pipeline's own. Without `with_weights` only config files are fetched
    from the hub, and weights may be missing. Raises ConfigError when members do not fit, EnvironmentProblem when a file
    cannot be had.
    """
    folder = pipeline_folder(space, near, with_weights=with_weights)
    latent_channels = read_vae_config(vae or folder / "vae")["latent_channels"]
    scheduler = read_json(folder / "scheduler" / "scheduler_config.json", "the pipeline's scheduler")
    members = {d.name: read_member_facts(d, near, with_weights=with_weights) for d in space.denoisers}
    check_compatible(list(members.values()), latent_channels, NoiseProcess.of(scheduler), space.n_classes)
    return members


def check_compatible(members: Sequence[MemberFacts], latent_channels: int, noise: NoiseProcess, n_classes: int) -> None:
    """Nothing, when the members share latents, classes and noise process. Raises ConfigError saying both sides."""
    first = members[0]
    for member in members:
        _agree(member, "in_channels", member.in_channels, "the VAE has latent_channels", latent_channels)
        _agree(member, "sample_size", member.sample_size, f"denoiser {first.name!r} has", first.sample_size)
        _agree(member, "out_channels", member.out_channels, f"denoiser {first.name!r} has", first.out_channels)
        _agree(member, "classes", member.n_classes, "the search space has n_classes", n_classes)
        if member.noise:
            _agree(member, "noise process", member.noise, "the pipeline's scheduler has", noise)


def _agree(member: MemberFacts, what: str, value: object, other: str, expected: object) -> None:
    if value != expected:
        raise ConfigError(
            f"denoiser {member.name!r} has {what} {value}, but {other} {expected}",
            hint="choose denoisers trained in the latent space and for the noise schedule of one pipeline",
        )


def read_member_facts(
    denoiser: DenoiserConfig, near: Path, *, with_weights: bool = True, with_hash: bool = False
) -> MemberFacts:
    """What the member's files say. The hash reads every byte of the weights, so it is taken on request only.

    Raises EnvironmentProblem when a file is missing, ConfigError when config.json does not describe a denoiser.
    """
    owner = f"denoiser {denoiser.name!r}"
    folder = _member_folder(denoiser, near, with_weights=with_weights)
    config = read_json(folder / "config.json", owner)
    if missing := [key for key in ("_class_name", "in_channels", "sample_size") if config.get(key) is None]:
        raise ConfigError(f"{owner}: {folder / 'config.json'} lacks {', '.join(missing)}: it describes no denoiser")
    files = weight_files(folder, owner)
    if (absent := [file for file in files if not file.exists()]) and with_weights:
        raise EnvironmentProblem(
            f"{owner}: the weights are not at {absent[0]}",
            hint="download them as safetensors, or save them there with save_pretrained",
        )
    return MemberFacts(
        name=denoiser.name,
        class_name=config["_class_name"],
        path=folder,
        in_channels=config["in_channels"],
        out_channels=config.get("out_channels") or config["in_channels"],
        sample_size=config["sample_size"],
        n_classes=n_classes(config),
        noise=_own_noise(folder, owner),
        n_parameters=None if absent else sum(map(count_parameters, files)),
        weights_sha256=weights_sha256(files) if with_hash and not absent else None,
    )


def n_classes(config: Mapping[str, Any]) -> int:
    """How many class labels a denoiser knows; its null class ("no label") is the number after the last class.

    A DiT adds an embedding for the null class to `num_embeds_ada_norm`; of a UNet2DModel's `num_class_embeds` it is
    the last. 0 for an unconditional denoiser.
    """
    if "num_embeds_ada_norm" in config:
        return int(config["num_embeds_ada_norm"])
    return int(config.get("num_class_embeds") or 1) - 1


def pipeline_folder(space: SpaceConfig, near: Path, *, with_weights: bool = True) -> Path:
    """The local folder of what the members share, as the family's traits list it: `vae/`, `scheduler/`, ..."""
    assert space.pipeline is not None and space.family is not None  # of a study that makes images
    kinds = ["*.json", "*.txt", "*.model"]  # of models, tokenizers and solvers
    if with_weights:  # without the variants for other number formats
        kinds += [f"{stem}{end}.safetensors" for stem in (WEIGHTS, "model") for end in ("", "-*")]
    shared = TRAITS[space.family].shared
    files = ["model_index.json", *(f"{part}/{kind}" for part in shared for kind in kinds)]
    return locate(space.pipeline, near, f"the pipeline of {space.name}", files)


def shared_folders(space: SpaceConfig, pipeline: Path) -> list[Path]:
    """The folders of what the members share, in the folder of the pipeline: all but the VAE, which may be another."""
    assert space.family is not None  # of a study that makes images
    return [pipeline / part for part in TRAITS[space.family].shared if part != "vae"]


def vae_folder(study: Study) -> Path:
    """The local folder of the study's VAE: its own choice (`execution.vae`), or the pipeline's."""
    own = study.config.execution.vae
    if own is None:
        return pipeline_folder(study.space, study.space_path.parent) / "vae"
    return locate(own, study.study_path.parent, "execution.vae", ["config.json", "*.safetensors"])


def read_vae_config(folder: Path) -> dict[str, Any]:
    """The config.json of the VAE in `folder`. Raises ConfigError when it describes none."""
    config = read_json(folder / "config.json", "the pipeline's VAE")
    name = str(config.get("_class_name"))
    if not name.startswith("Autoencoder") or "latent_channels" not in config or "block_out_channels" not in config:
        raise ConfigError(
            f"{folder / 'config.json'} describes a {name}, expected a VAE with latent_channels and block_out_channels",
            hint="for example an AutoencoderKL or an AutoencoderTiny",
        )
    return config


def _member_folder(denoiser: DenoiserConfig, near: Path, *, with_weights: bool) -> Path:
    assert denoiser.weights is not None  # of a study that makes images
    prefix = f"{denoiser.subfolder}/" if denoiser.subfolder else ""
    weights = [f"{prefix}{WEIGHTS}{end}" for end in (".safetensors", "-*.safetensors", ".safetensors.index.json")]
    files = [f"{prefix}config.json", f"{prefix}scheduler*", "scheduler/*", *(weights if with_weights else [])]
    return locate(denoiser.weights, near, f"denoiser {denoiser.name!r}", files, denoiser.revision) / prefix


def _own_noise(folder: Path, owner: str) -> NoiseProcess | None:
    """The noise process of the scheduler config in, or beside, the member's folder."""
    places = (folder, folder / "scheduler", folder.parent / "scheduler")
    found = [place / "scheduler_config.json" for place in places if (place / "scheduler_config.json").exists()]
    return NoiseProcess.of(read_json(found[0], owner)) if found else None
