"""A member of a study trained on with the timesteps that an entry of its table leaves it (paper, appendix A.12)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study, allocation_in
from tstitch_search.errors import ConfigError
from tstitch_search.lookup import LookupTable
from tstitch_search.members.facts import MemberFacts, read_member_facts
from tstitch_search.members.pipeline_parts import vae_folder
from tstitch_search.members.vae import pixels_per_latent, read_vae_config
from tstitch_search.members.weights import weight_files, weights_sha256
from tstitch_search.probes.intervals import in_terms_of, in_words, intervals_of, n_timesteps
from tstitch_search.probes.labelled_images import open_labelled
from tstitch_search.progress import Progress
from tstitch_search.sampling.space_check import check_space
from tstitch_search.tasks.finetuned_folder import WORK, open_finetuned, publish
from tstitch_search.tasks.tables.from_table import study_from_table

if TYPE_CHECKING:
    from tstitch_search.probes.finetuning import Training

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Wanted:
    """Which member is trained, on what and how long; `save_every`: iterations from one checkpoint to the next."""

    member: str
    data: str
    n_iterations: int
    batch_size: int
    learning_rate: float
    seed: int
    save_every: int = 500

    def __post_init__(self) -> None:
        for name in ("n_iterations", "batch_size", "save_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if not 0 < self.learning_rate <= 1:
            raise ConfigError(f"learning_rate: expected above 0 and at most 1, got {self.learning_rate:g}")
        if not 0 <= self.seed < 2**31:
            raise ConfigError(f"seed: expected 0 to {2**31 - 1}, got {self.seed}")


@dataclass(frozen=True)
class Finetuned:
    """The folder of a member that was trained on, and its record as `finetune.json` holds it.

    `is_new` is False when it had been finished before.
    """

    folder: Path
    record: Mapping[str, Any]
    is_new: bool


def finetune(
    path: Path,
    allocation: Allocation,
    wanted: Wanted,
    output: Path,
    progress: Progress,
    other_study: Path | None = None,
    settings: Sequence[str] = (),
) -> Finetuned:
    """Train a member on the timesteps that an allocation of the table at `path` leaves it, and save it in `output`.

    The same call goes on from the last checkpoint; once finished it trains nothing. All is checked before anything is
    trained. Raises ConfigError for an allocation that the table does not hold, a member that has no step in it, a
    family that is not class-conditional, images without labels, or an `output` that holds something else.
    """
    table = LookupTable.read(path)
    _require_measured(table, path, allocation)
    study = study_from_table(path, table, other_study, settings)
    training = training_of(study, allocation, wanted)
    if note := _other_weights(table, training.member):
        progress.note(note)
    made_with = _settings(training, allocation, wanted)
    if (record := open_finetuned(output, made_with)) is not None:
        return Finetuned(output, record, is_new=False)
    record = {
        "schema_version": SCHEMA_VERSION,
        "settings": made_with,
        "table": str(path),
        "study": table.study,
        "n_images": len(training.images.labels),
        "training": _train(training, study, output / WORK, wanted.save_every, progress),
    }
    publish(output, record)
    return Finetuned(output, record, is_new=True)


def _require_measured(table: LookupTable, path: Path, allocation: Allocation) -> None:
    if allocation not in (candidate.allocation for candidate in (*table.entries, *table.candidates)):
        entries = ", ".join(str(entry.allocation) for entry in table.entries)
        raise ConfigError(f"{path} holds no {allocation}", hint=f"its front is {entries}")


def training_of(study: Study, allocation: Allocation, wanted: Wanted) -> "Training":
    """What `wanted` means for the study's member: its files, timesteps and images, all found. Raises ConfigError."""
    from tstitch_search.probes.finetuning import Training, process_of
    from tstitch_search.sampling.timetable import timesteps_by_step
    from tstitch_search.zoo.trainer import Recipe

    _require_classes(study)
    allocation_in(study.space, str(allocation))
    if wanted.member not in allocation.steps:
        raise ConfigError(
            f"{allocation} gives no step to {wanted.member!r}", hint=f"--member {' or '.join(allocation.steps)}"
        )
    near, vae = study.space_path.parent, vae_folder(study)
    shared = check_space(study.space, near, vae).shared
    (denoiser,) = (d for d in study.space.denoisers if d.name == wanted.member)
    member = read_member_facts(denoiser, near, with_hash=True)
    _require_folder(member)
    noise = member.own.noise or shared.noise
    assert noise is not None  # of the pipeline, which has a scheduler
    assert shared.noise is not None
    process_of(noise)
    asked = in_terms_of(noise, shared.noise, timesteps_by_step(study.space, near, allocation))
    assert member.sample_size is not None  # of class-conditional families
    resolution = pixels_per_latent(read_vae_config(vae)) * member.sample_size
    return Training(
        member=member,
        noise=noise,
        intervals=tuple(intervals_of(wanted.member, allocation, asked, n_timesteps(noise))),
        vae=vae,
        images=open_labelled(wanted.data, resolution, member.n_classes),
        recipe=Recipe(wanted.n_iterations, wanted.batch_size, wanted.learning_rate, weight_decay=0.0),
        seed=wanted.seed,
    )


def _require_classes(study: Study) -> None:
    family = study.space.family
    if "labels" not in study.space.traits.takes:
        raise ConfigError(
            f"members of the family {family!r} are told what to draw by prompts: fine-tuning them is not supported yet",
            hint="class-conditional families only: dit, ldm",
        )


def _require_folder(member: MemberFacts) -> None:
    """A member that can be saved as what it is: a diffusers folder, or a class of ours that becomes one."""
    if quantised := member.quantization or member.saved_method:
        raise ConfigError(
            f"denoiser {member.name!r} has quantised weights ({quantised}), which cannot be trained on",
            hint="fine-tune the weights that were quantised",
        )
    if member.form not in ("diffusers", "uvit"):
        raise ConfigError(
            f"denoiser {member.name!r} is of the form {member.form!r}, which cannot be saved as a diffusers folder",
            hint="train it with its own code on the timesteps that `export` lists, or take a diffusers folder",
        )


def _other_weights(table: LookupTable, member: MemberFacts) -> str | None:
    """A sentence when the member here is not that of the table."""
    recorded = {d.get("name"): d.get("sha256") for d in table.provenance.get("denoisers", ())}
    if recorded.get(member.name) == member.weights_sha256:
        return None
    return f"denoiser {member.name!r} has other weights here than those that the table was made with"


def _settings(training: "Training", allocation: Allocation, wanted: Wanted) -> dict[str, Any]:
    """Everything that the trained weights depend on."""
    vae = weights_sha256(weight_files(training.vae, "the VAE"))
    return {
        "member": wanted.member,
        "weights": training.member.weights,
        "weights_sha256": training.member.weights_sha256,
        "allocation": str(allocation),
        "timesteps": [list(interval) for interval in training.intervals],
        "noise": asdict(training.noise),
        "vae_sha256": vae,
        "data": wanted.data,
        "data_sha256": training.images.sha256(),
        "n_iterations": wanted.n_iterations,
        "batch_size": wanted.batch_size,
        "learning_rate": wanted.learning_rate,
        "seed": wanted.seed,
    }


def _train(training: "Training", study: Study, work: Path, save_every: int, progress: Progress) -> dict[str, Any]:
    from tstitch_search.members.device import resolve_device
    from tstitch_search.probes.finetuning import train

    name, n_images = training.member.name, len(training.images.labels)
    progress.stage("encoding the training images")

    def trained(step: int, loss: float, seconds_left: float) -> None:
        at = f"iteration {step} of {training.recipe.n_steps}, loss {loss:.4f}, {seconds_left:.0f} s left"
        progress.stage(f"fine-tuning {name} on timesteps {in_words(training.intervals)}: {at}")

    device = resolve_device(study.config.workers.device)
    return dict(train(training, work, device, save_every, lambda n: progress.extracted(n, n_images), trained))
