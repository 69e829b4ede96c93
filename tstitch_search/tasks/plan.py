"""What a study would do and take, without doing it: everything is resolved and checked, nothing is sampled."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

from tstitch_search.config import Study, study_as_yaml
from tstitch_search.errors import EnvironmentProblem
from tstitch_search.latency_model import NOISY, LatencyModel
from tstitch_search.ledger import read_events
from tstitch_search.lookup import LookupTable, promising
from tstitch_search.machine import count_cores, count_gpus
from tstitch_search.measurement import Calibration
from tstitch_search.members.facts import weights_of
from tstitch_search.progress import Progress
from tstitch_search.quality.metrics import metric_named, needs_real_features
from tstitch_search.quality.metrics.metric import Metric
from tstitch_search.report.wording import duration
from tstitch_search.search_space import SearchSpace
from tstitch_search.study_run.folder import key_of_measurements, require_same_key
from tstitch_search.study_run.key import StudyFacts, resolve_facts
from tstitch_search.study_run.preparation.pool import count_workers
from tstitch_search.study_run.preparation.references import feature_dim, state_of_reference
from tstitch_search.study_run.stages import candidates_in_focus, require_budget
from tstitch_search.study_run.times.calibrations import given_calibration, measure_calibration, recall, remember
from tstitch_search.study_run.times.prices import price
from tstitch_search.study_run.times.prompt_price import PromptPrice, prompt_price
from tstitch_search.tasks.images_needed import ImagesNeeded, images_of
from tstitch_search.tasks.status import Status, status_of
from tstitch_search.workers.protocol import WorkerPool

# Arithmetic a device does per second, for prices before anything was measured: within a factor of ten.
FLOPS_PER_GPU, FLOPS_PER_CORE = 2e13, 5e10
NOT_SEEN = "known from the spread of the first ones: plan again when a run has made some"


@dataclass(frozen=True)
class Plan:
    """Counts, device seconds by stage, and how they are known.

    `made_seconds`: device seconds that went into what the folder already holds. `wall_seconds`: from now to the report,
    0 once the folder holds the finished run of this very study.
    """

    study: str
    folder: str
    n_allocations: int
    n_in_focus: int
    n_trials: int
    n_images: int
    stages_s: dict[str, float]
    device_seconds: float
    made_seconds: float
    wall_seconds: float
    n_workers: int
    is_finished: bool
    disk_mb: float
    basis: str
    reference: str
    denoisers: dict[str, int | None]
    weights_of: dict[str, str]
    prompts: PromptPrice | None = None
    question: str = ""
    images_needed: ImagesNeeded | None = None
    lossless: str = ""

    def usd(self, per_hour: float) -> float:
        """What the time until the report costs, if a worker's device costs `per_hour` dollars."""
        return self.wall_seconds / 3600 * self.n_workers * per_hour

    @property
    def time_left(self) -> str:
        """Until the report, for people."""
        if self.is_finished:
            return f"none: the run in {self.folder} is finished"
        workers = f" with {self.n_workers} workers" if self.n_workers > 1 else ""
        made = f"; {duration(self.made_seconds)} of device time are spent already" if self.made_seconds else ""
        return f"about {duration(self.wall_seconds)}{workers}{made}"

    def rows(self) -> list[tuple[str, str]]:
        """Label and value of every line of the plan, for people."""
        sizes = {name: f" {n / 1e6:.3g} M" if n else "" for name, n in self.denoisers.items()}
        sizes |= {name: f" of {other}" for name, other in self.weights_of.items()}
        members = ", ".join(f"{name}{size}" for name, size in sizes.items())
        stages = ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in self.stages_s.items())
        return [
            ("denoisers, noise end first", members),
            ("real images", self.reference),
            ("question", self.question),
            ("allocations in the space", f"{self.n_allocations} ({self.n_in_focus} in focus)"),
            ("allocations to be tried", f"at most {self.n_trials}"),
            ("images to be made", f"at most {self.n_images}"),
            ("device time", f"about {duration(self.device_seconds)} ({stages})"),
            ("known from", self.basis),
            ("time until the report", self.time_left),
            ("images for a verdict", str(self.images_needed or NOT_SEEN)),
            *([("a lossless entry", self.lossless)] if self.lossless else []),
            *([("prompts, encoded once", str(self.prompts))] if self.prompts else []),
            ("disk", f"about {self.disk_mb:.3g} MB in {self.folder}"),
        ]


def plan_study(study: Study, folder: Path, open_pool: Callable[[Study], WorkerPool] | None, progress: Progress) -> Plan:
    """The plan of `study` in `folder`; with `open_pool` step times are measured first.

    Raises what `run` would raise: ConfigError, EnvironmentProblem.
    """
    space = SearchSpace.of_study(study)
    facts = resolve_facts(study)
    _require_usable(folder, facts)
    calibration, basis = _calibration(study, facts, folder, open_pool, progress)
    latency = LatencyModel(calibration)
    candidates = candidates_in_focus(study, space, latency, facts.measurable(space))
    require_budget(study, candidates, latency)
    cost = price(study, space, candidates, latency)
    n_workers, held = count_workers(study), _held_by(folder)
    made_s, is_finished = held.device_seconds if held else 0.0, held is not None and _is_answer(held, study, folder)
    return Plan(
        study=study.config.name,
        folder=str(folder),
        n_allocations=len(space),
        n_in_focus=len(candidates),
        n_trials=cost.n_trials,
        n_images=cost.n_images,
        stages_s=cost.stages,
        device_seconds=cost.device_seconds,
        made_seconds=made_s,
        wall_seconds=0.0 if is_finished else _wall_seconds(cost.stages, made_s, n_workers),
        n_workers=n_workers,
        is_finished=is_finished,
        disk_mb=cost.disk_mb(feature_dim=feature_dim(study, facts)),
        basis=basis,
        reference=state_of_reference(study, facts, needs_real_features(study.config.quality.all_metrics)),
        denoisers={d: facts.members[d].n_parameters if d in facts.members else None for d in space.denoisers},
        weights_of=weights_of(facts.members),
        prompts=prompt_price(study, cost.n_images, _flops_per_s(study)),
        images_needed=images_of(folder) if held else None,
        lossless=lossless_of(LookupTable.read(Path(held.answer.table))) if held and held.answer else "",
        question=question_of(metric_named(study.config.quality.objective), str(space.anchor)),
    )


def question_of(objective: Metric, anchor: str) -> str:
    """What the study asks, which its objective decides."""
    if objective.kind == "pair":
        return f"the same pictures as {anchor}, faster: {objective.label} to its own, which no other can beat"
    return f"as good as {anchor}, faster: {objective.label}, whether the pictures are the same or not"


def lossless_of(table: LookupTable) -> str:
    """What a finished run's table says of lossless entries, and what showing one would cost."""
    shown = [e for e in table.entries if e.lossless and e.allocation != table.anchor]
    if shown:
        return f"{shown[0].allocation} is shown to be one"
    found = promising(table)
    return f"none is shown; {found}: run --until-lossless" if found else "none is shown, and none seems to be one"


def _require_usable(folder: Path, facts: StudyFacts) -> None:
    """The folder can be written, and holds nothing or this study."""
    existing = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    try:
        with TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot write into {existing}: {error.strerror}", hint="choose a writable folder with --output"
        ) from error
    if (folder / "ledger.jsonl").exists():
        bound_to = key_of_measurements(read_events(folder / "ledger.jsonl"))
        if bound_to is not None:
            require_same_key(folder, bound_to, facts.key)


def _held_by(folder: Path) -> Status | None:
    """What the run folder holds; None where nothing was begun."""
    return status_of(folder) if (folder / "ledger.jsonl").exists() else None


def _is_answer(held: Status, study: Study, folder: Path) -> bool:
    """Whether the folder holds the finished run of this very study."""
    resolved = folder / "study.resolved.yaml"
    is_same = resolved.exists() and resolved.read_text(encoding="utf-8") == study_as_yaml(study, folder)
    return is_same and held.answer is not None


def _wall_seconds(stages_s: Mapping[str, float], made_s: float, n_workers: int) -> float:
    """Images are made by all workers; one of them, alone, times."""
    images_s = stages_s["search"] + stages_s["confirm"]
    return stages_s["calibrate"] + max(images_s - made_s, 0.0) / n_workers + stages_s["time"]


def _calibration(
    study: Study, facts: StudyFacts, folder: Path, open_pool: Callable[[Study], WorkerPool] | None, progress: Progress
) -> tuple[Calibration, str]:
    """Step times and how they are known: from the file the study names, measured now or before, or guessed."""
    if facts.record:
        return facts.record.calibration, f"{facts.record.table.path}, recorded on {facts.record.calibration.device}"
    if given := given_calibration(study, facts.key):
        return given, f"{study.config.latency.from_file}, measured on {given.device}"
    if open_pool:
        calibration = measure_calibration(study, open_pool, progress)
        remember(study, facts.key, calibration)
        return calibration, f"measured now on {calibration.device}"
    if stored := recall(study, facts.key):
        rough = f", roughly: it was busy, and repeats of a step differed by {stored.spread:.0%}"
        return stored, f"measured before on {stored.device}{rough if stored.spread > NOISY else ''}"
    return rough_calibration(study, facts), "rough: from the number of parameters; --calibrate measures it"


def _flops_per_s(study: Study) -> float:
    gpu = study.config.workers.device != "cpu" and count_gpus() > 0
    return FLOPS_PER_GPU if gpu else FLOPS_PER_CORE * count_cores()


def rough_calibration(study: Study, facts: StudyFacts) -> Calibration:
    """Step times from FLOPs: two per parameter, image and latent patch of 2x2, twice with guidance."""
    batch_size, own = study.config.latency.batch_size, {d.name: d.guidance_scale for d in study.space.denoisers}

    def n_halves(own_scale: float | None) -> int:
        return 2 if (study.config.guidance_scale if own_scale is None else own_scale) > 1 else 1

    def n_patches(side: int | None) -> float:
        return (side or (facts.resolution or 0) / 8) ** 2 / 4  # of denoisers that do not say: 8 pixels per latent

    flops_per_s = _flops_per_s(study)
    step_s = {
        name: 2 * (m.n_parameters or 0) * n_patches(m.sample_size) * batch_size * n_halves(own[name]) / flops_per_s
        for name, m in facts.members.items()
    }
    nothing = dict.fromkeys(step_s, 0.0)
    return Calibration(
        step_s=step_s,
        step_se=nothing,
        switch_s=nothing,
        switch_se=nothing,
        fixed_s=max(step_s.values()),
        fixed_se=0.0,
        spread=0.0,
        peak_memory_mb=0.0,
        member_memory_mb=nothing,
        weights_mb=nothing,
        device="unknown",
        batch_size=batch_size,
        n_repeats=0,
    )
