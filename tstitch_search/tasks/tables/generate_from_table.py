"""From a lookup table to images: the deployed allocation, tried from the shell."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study
from tstitch_search.errors import ConfigError
from tstitch_search.lookup import Candidate, LookupTable
from tstitch_search.members.changes.lora_files import loras_identity
from tstitch_search.members.facts import read_member_facts
from tstitch_search.members.pipeline_parts import shared_folders
from tstitch_search.progress import Progress
from tstitch_search.sampling.conditions import Condition
from tstitch_search.study_run.preparation.hashes import pipeline_sha256
from tstitch_search.tasks.tables.from_table import study_from_table


@dataclass(frozen=True)
class Wanted:
    """What to draw: an image for each label, or for each prompt; the noise of image i is that of
    `torch.Generator().manual_seed(seed + i)`.
    """

    labels: tuple[int, ...] = ()
    prompts: tuple[str, ...] = ()
    negative_prompt: str | None = None
    seed: int = 0

    def conditions(self, study: Study) -> list[Condition]:
        """One per image. Raises ConfigError for labels or prompts that the study's family does not take."""
        space = study.space
        who = f"the family {space.family!r}" if space.family else "the pipeline"
        by_prompt = "prompts" in space.traits.takes
        if by_prompt and (self.labels or not self.prompts):
            raise ConfigError(
                f"the family {space.family or 'of pipelines for prompts'!r} draws from prompts",
                hint="--prompt 'a lighthouse at night'",
            )
        if not by_prompt and (self.prompts or self.negative_prompt or not self.labels):
            raise ConfigError(f"{who} draws from class labels", hint="--labels 3,7")
        if wrong := [label for label in self.labels if not 0 <= label < space.n_classes]:
            raise ConfigError(f"got the label {wrong[0]}, expected 0 to {space.n_classes - 1}")
        if by_prompt:
            return [Condition(0, prompt, self.negative_prompt) for prompt in self.prompts]
        return [Condition(label) for label in self.labels]


def entry_for(
    path: Path, allocations: Sequence[str], budget_s: float | None, max_fid_loss: float | None, at: str | None
) -> Candidate:
    """The pick of the table at `path` within the limits, or the one measured allocation that is named.

    Raises ConfigError for an allocation that the table does not hold, QualityGateError when nothing is within limits.
    """
    table = LookupTable.read(path)
    if not allocations:
        return table.pick(budget_s, max_fid_loss=max_fid_loss, at=at)
    known = {str(c.allocation): c for c in (*table.candidates, *table.entries)}
    if len(allocations) > 1 or allocations[0] not in known:
        raise ConfigError(
            f"got {', '.join(allocations)}, expected one allocation that {path} holds",
            hint=f"for example {table.entries[-1].allocation}, or --budget to have one picked",
        )
    return known[allocations[0]]


def draw_from_table(
    path: Path,
    entry: Candidate,
    wanted: Wanted,
    progress: Progress,
    *,
    strict: bool,
    other_study: Path | None = None,
    settings: Sequence[str] = (),
) -> np.ndarray:
    """Images (n, h, w, 3), uint8, of `entry`, one of the table at `path`: one for each label or prompt.

    Files that are not those of the table are named; with `strict` they are refused. Raises ConfigError or
    EnvironmentProblem for what cannot be had.
    """
    table = LookupTable.read(path)
    study = study_from_table(path, table, other_study, settings)
    conditions = wanted.conditions(study)
    for problem in changed_files(table, study, entry):
        if strict:
            raise ConfigError(problem, hint="fetch the files of the table, or leave --strict out")
        progress.note(problem)
    from tstitch_search.measure.drawing import draw  # torch, which reading a table does without

    seeds = range(wanted.seed, wanted.seed + len(conditions))
    return draw(study, entry.allocation, conditions, seeds, _steps_shown(entry.allocation, progress))


def _steps_shown(allocation: Allocation, progress: Progress) -> Callable[[int], None]:
    """Shows every tenth of the way, after loading."""
    progress.stage(f"loading {', '.join(allocation.steps)}")

    def on_step(n_done: int) -> None:
        if n_done * 10 // allocation.n_steps > (n_done - 1) * 10 // allocation.n_steps:
            progress.stage(f"{allocation}: step {n_done} of {allocation.n_steps}")

    return on_step


def changed_files(table: LookupTable, study: Study, entry: Candidate) -> list[str]:
    """A sentence for each denoiser of the entry, and for what all share, that the table was not made with."""
    recorded = {d.get("name"): d.get("sha256") for d in table.provenance.get("denoisers", ())}
    problems = []
    for denoiser in study.space.denoisers:
        if denoiser.name not in entry.allocation.steps:
            continue
        here = read_member_facts(denoiser, study.space_path.parent, with_hash=True).weights_sha256
        if (expected := recorded.get(denoiser.name)) != here:
            problems.append(
                f"denoiser {denoiser.name!r}: its weights have the sha256 {here}, the table was made with {expected}"
            )
        loras = loras_identity(denoiser, study.study_path.parent)
        if loras != (made_with := table.provenance.get("key", {}).get(f"lora.{denoiser.name}")):
            problems.append(f"denoiser {denoiser.name!r}: its LoRAs are {loras}, the table was made with {made_with}")
    shared, expected = pipeline_sha256(study), table.provenance.get("key", {}).get("weights.pipeline")
    if shared != expected:
        parts = ", ".join(["vae", *(part.name for part in shared_folders(study.space, study.space_path.parent))])
        problems.append(
            f"the pipeline ({parts}): its files have the sha256 {shared}, the table was made with {expected}"
        )
    return problems
