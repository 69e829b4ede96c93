"""What is known about a space's members before they are loaded, and whether they fit together.

Read from config files and safetensors headers only; imports no torch, so that `plan` and the driver can check a space
before any device is touched.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from tstitch_search.config.models import DenoiserConfig
from tstitch_search.config.models.quantization import QuantizationConfig
from tstitch_search.errors import ConfigError
from tstitch_search.members.changes.quantization import saved_method
from tstitch_search.members.custom import is_custom, read_custom_config, source_of
from tstitch_search.members.denoiser_config import (
    added_conditioning_of,
    conditioning_width,
    in_channels_of,
    n_classes,
    prepared_of,
    side_of,
)
from tstitch_search.members.formats.checkpoints import NOISE, CheckpointFormat, read_checkpoint
from tstitch_search.members.formats.single_file import denoiser_tensors, is_gguf
from tstitch_search.members.headers import count_parameters
from tstitch_search.members.noise_process import NoiseProcess
from tstitch_search.members.shared_facts import SharedFacts, own_facts
from tstitch_search.members.weights import (
    config_folder,
    is_of_hub,
    locate_file,
    member_folder,
    read_json,
    weight_files,
    weights_sha256,
)


@dataclass(frozen=True)
class MemberFacts:
    """A member as its files describe it, `path` being its local folder.

    `n_parameters` is None while the weights are not on this machine, `weights_sha256` unless asked for. `own`: what
    stands beside it in its own repository. `n_classes` does not count the null class. `conditioning_width`: of the
    embeddings it attends to; `added_conditioning`: what else it takes; `guidance_embedding`: its width. None: without.
    `timestep_scale`: what it multiplies its time with. `form`: what `path` is, a diffusers folder, a checkpoint file of
    that format, or the source of a `custom` member. `variant`: which weights of the folder; `config`: the folder that
    describes a single file. `size_mb`: of its weights on disk, in MB (10^6 bytes), None where they are not.
    `saved_method`: how they are quantised there, and then `n_parameters` of a folder counts what is stored.
    `copies`: what makes its weights another copy of those files: a `dtype` or `quantization` of its own, a fused LoRA.
    `prepared`: what its pipeline asks the largest member for and hands to all.
    """

    name: str
    class_name: str
    path: Path
    in_channels: int
    out_channels: int
    sample_size: int | None
    n_classes: int
    conditioning_width: int | None
    added_conditioning: str | None
    guidance_embedding: int | None
    own: SharedFacts
    n_parameters: int | None
    weights_sha256: str | None
    form: Literal["diffusers", "single_file", "custom"] | CheckpointFormat = "diffusers"
    variant: str | None = None
    config: Path | None = None
    size_mb: float | None = None
    saved_method: str | None = None
    timestep_scale: float = 1.0
    weights: str = ""
    copies: str = ""
    dtype: str | None = None
    quantization: QuantizationConfig | None = None
    prepared: Mapping[str, object] = field(default_factory=dict)

    @property
    def place(self) -> Path:
        """Where its config.json is, and beside it what it was trained with: the folder, of a single file that given."""
        return self.config or self.path

    def same_weights(self, other: "MemberFacts") -> bool:
        """Whether both are the same weights in memory. A custom member's are its own affair: they differ."""
        ours, theirs = ((m.path, m.form, m.variant, m.copies) for m in (self, other))
        return self.form != "custom" and not self.copies.startswith("fused") and ours == theirs


def weights_of(members: Mapping[str, MemberFacts]) -> dict[str, str]:
    """For each member that is made of the files of an earlier one: the name of the first of these."""
    first = {name: next(o for o in members if o == name or members[o].same_weights(members[name])) for name in members}
    return {name: other for name, other in first.items() if name != other}


def read_member_facts(
    denoiser: DenoiserConfig, near: Path, *, with_weights: bool = True, with_hash: bool = False
) -> MemberFacts:
    """What the member's files say. The hash reads every byte of the weights, so it is taken on request only.

    Weights in a folder of this machine must be there; those on the hub too, `with_weights`. Raises EnvironmentProblem
    when a file is missing or damaged, ConfigError when config.json does not describe a denoiser.
    """
    assert denoiser.weights is not None  # of a study that makes images
    owner = f"denoiser {denoiser.name!r}"
    if is_custom(denoiser.weights):
        return _custom_facts(denoiser, owner, with_hash)
    if denoiser.format == "single_file":
        return _single_file_facts(denoiser, near, owner, with_weights, with_hash)
    if denoiser.format != "diffusers":
        return _checkpoint_facts(denoiser, near / denoiser.weights, denoiser.format, with_hash)
    folder, variant = member_folder(denoiser, near, with_weights=with_weights), denoiser.variant
    config = read_json(folder / "config.json", owner)
    required = with_weights or not is_of_hub(folder)
    n_parameters = count_parameters(folder, owner, required=required, variant=variant)
    facts = replace(_facts_of(denoiser, folder, config, own_facts(folder, owner)), n_parameters=n_parameters)
    facts = replace(facts, variant=variant, saved_method=saved_method(config, owner))
    return (
        facts if n_parameters is None else _with_files(facts, weight_files(folder, owner, variant=variant), with_hash)
    )


def _with_files(facts: MemberFacts, files: list[Path], with_hash: bool) -> MemberFacts:
    """The facts with what the files, which are there, weigh, and their hash where it is asked for."""
    sha256 = weights_sha256(files) if with_hash else None
    return replace(facts, size_mb=sum(file.stat().st_size for file in files) / 1e6, weights_sha256=sha256)


def _single_file_facts(
    denoiser: DenoiserConfig, near: Path, owner: str, with_weights: bool, with_hash: bool
) -> MemberFacts:
    """Facts of a file that holds a denoiser, maybe beside the rest of a pipeline, which does not count."""
    file = locate_file(str(denoiser.weights), denoiser.file, near, owner, denoiser.revision, fetch=with_weights)
    folder = config_folder(denoiser, near, owner)
    facts = _facts_of(denoiser, file, read_json(folder / "config.json", owner), own_facts(folder, owner))
    facts = replace(facts, form="single_file", config=folder, saved_method="gguf" if is_gguf(file) else None)
    if not file.exists():
        return facts
    tensors = denoiser_tensors(file, owner).values()
    facts = replace(_with_files(facts, [file], with_hash), n_parameters=sum(t.n_values for t in tensors))
    return replace(facts, size_mb=sum(t.n_bytes for t in tensors) / 1e6)


def _checkpoint_facts(denoiser: DenoiserConfig, file: Path, form: CheckpointFormat, with_hash: bool) -> MemberFacts:
    found = read_checkpoint(file, form)
    facts = _facts_of(denoiser, file, {"_class_name": found.class_name, **found.config}, SharedFacts(noise=NOISE[form]))
    return replace(_with_files(facts, [file], with_hash), n_parameters=found.n_parameters, form=form)


def _custom_facts(denoiser: DenoiserConfig, owner: str, with_hash: bool) -> MemberFacts:
    """Facts of a `module:function`; what is hashed is the module's source, the weights being its own affair."""
    source = source_of(str(denoiser.weights), owner)
    config = {"_class_name": denoiser.weights, **read_custom_config(source, owner)}
    noise = NoiseProcess.of(config["scheduler"]) if "scheduler" in config else None
    facts = _facts_of(denoiser, source, config, SharedFacts(noise=noise))
    return replace(_with_files(facts, [source], with_hash), form="custom")


def _facts_of(denoiser: DenoiserConfig, path: Path, config: Mapping[str, Any], own: SharedFacts) -> MemberFacts:
    """What a denoiser's configuration says. Raises ConfigError when it describes none."""
    in_channels = in_channels_of(config)
    known = {"_class_name": config.get("_class_name"), "in_channels": in_channels or None}
    if missing := [key for key, value in known.items() if value is None]:
        where = path / "config.json" if path.is_dir() else path
        raise ConfigError(f"denoiser {denoiser.name!r}: {where} lacks {', '.join(missing)}: it describes no denoiser")
    return MemberFacts(
        name=denoiser.name,
        class_name=config["_class_name"],
        path=path,
        in_channels=in_channels,
        out_channels=config.get("out_channels") or config.get("out_visual_dim") or in_channels,
        sample_size=side_of(config.get("sample_size")),
        n_classes=n_classes(config),
        conditioning_width=conditioning_width(config),
        added_conditioning=added_conditioning_of(config),
        guidance_embedding=config.get("time_cond_proj_dim") or int(bool(config.get("guidance_embeds"))) or None,
        own=own,
        n_parameters=None,
        weights_sha256=None,
        weights=denoiser.weights or "",
        timestep_scale=float(config.get("timestep_scale") or 1.0),
        copies=denoiser.copies,
        dtype=denoiser.dtype,
        quantization=denoiser.quantization,
        prepared=prepared_of(config),
    )
