"""What each analysis measures: allocations in groups, and the study with one setting changed that they belong to."""

from collections.abc import Iterator
from dataclasses import dataclass

from tstitch_search.allocation import Allocation
from tstitch_search.baselines import RULES
from tstitch_search.config import Study, overridden
from tstitch_search.errors import ConfigError
from tstitch_search.members.noise_process import NoiseProcess
from tstitch_search.members.pipeline_parts import pipeline_folder
from tstitch_search.members.weights import read_json
from tstitch_search.report.analysis_tables import COLUMNS, PROBES

# Solvers that the paper's figure 8 compares, for denoisers that predict noise or what follows from it.
SOLVERS = ("DDPMScheduler", "DDIMScheduler", "DPMSolverMultistepScheduler")
# Shares of the study's own number of steps, and of its guidance scale, which is 1 at least.
STEP_SHARES, GUIDANCE_SHARES = (0.25, 0.5, 1, 2), (0.5, 1, 1.5, 2)
MIN_IMAGES = 20


@dataclass(frozen=True)
class Wanted:
    """Which analyses, by `n_images` per allocation and `n_allocations` from small to large.

    `steps`, `solvers` and `guidance` are compared with the study's own; where empty, some that suit it.
    """

    names: tuple[str, ...] = tuple(COLUMNS)
    n_images: int = 200
    n_allocations: int = 6
    steps: tuple[int, ...] = ()
    solvers: tuple[str, ...] = ()
    guidance: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if unknown := [name for name in self.names or ("",) if name not in COLUMNS]:
            raise ConfigError(f"unknown analysis {unknown[0]!r:.60}, expected one or more of {', '.join(COLUMNS)}")
        if self.n_images < MIN_IMAGES:
            raise ConfigError(f"got {self.n_images} images, expected at least {MIN_IMAGES}: errors come from 20 groups")
        if self.n_allocations < 2:
            raise ConfigError(f"got {self.n_allocations} allocations, expected at least the two ends of the sweep")
        if wrong := [n for n in self.steps if not 1 <= n <= 1000]:
            raise ConfigError(f"got {wrong[0]} steps, expected 1 to 1000")
        if wrong_names := [name for name in self.solvers if not name.isidentifier()]:
            raise ConfigError(f"got the solver {wrong_names[0]!r:.60}, expected a diffusers class such as {SOLVERS[1]}")
        if low := [scale for scale in self.guidance if not 1 <= scale < float("inf")]:
            raise ConfigError(f"got the guidance scale {low[0]:g}, expected at least 1, which switches it off")


@dataclass(frozen=True)
class Group:
    """Allocations of one analysis at one `setting`; each is compared with the first, the largest denoiser alone."""

    analysis: str
    setting: str
    allocations: tuple[Allocation, ...]


@dataclass(frozen=True)
class Variant:
    """The study, or the study with one setting changed, as the run folder `name` holds it.

    `is_optional`: a setting that the study's models may not take, so that the rest goes on without.
    """

    name: str
    study: Study
    groups: tuple[Group, ...]
    probes: tuple[str, ...] = ()
    is_optional: bool = True

    @property
    def allocations(self) -> tuple[Allocation, ...]:
        """All that are to be measured, each once."""
        return tuple(dict.fromkeys(a for group in self.groups for a in group.allocations))

    @property
    def is_guided(self) -> bool:
        """Whether a step asks a denoiser twice; beside that no setting of ours changes what a step takes."""
        return self.study.config.guidance_scale > 1


def variants_of(study: Study, wanted: Wanted) -> list[Variant]:
    """Every run that is needed, the study as it is first; none where nothing has to be measured.

    Raises ConfigError for a study that has no members to draw with, or only one.
    """
    if study.config.measure.recorded is not None:
        raise ConfigError(
            "a study of recorded numbers has no members that could draw other images", hint="analyze one of models"
        )
    if len(study.space.denoisers) < 2:
        raise ConfigError("the search space has one denoiser, expected two or more to stitch")
    own, small, large = _own_solver(study), study.space.names[0], study.space.names[-1]
    along = sweep(small, large, study.space.n_steps, wanted.n_allocations)
    groups = [group for group in _as_it_is(study, wanted, own, along) if group.analysis in wanted.names]
    probes = tuple(name for name in PROBES if name in wanted.names)
    found = [Variant("as_it_is", _changed(study), tuple(groups), probes, is_optional=False)] if groups or probes else []
    for solver in _solvers(study, wanted, own) if "solvers" in wanted.names else ():
        changed = _changed(study, f"space.solver={solver}", "latency.from=null")
        found.append(Variant(f"solver_{solver}", changed, (Group("solvers", solver, along),)))
    for scale in _scales(study, wanted) if "guidance" in wanted.names else ():
        changed = _changed(study, f"guidance_scale={scale!r}", "latency.from=null")
        found.append(Variant(f"guidance_{scale:g}", changed, (Group("guidance", f"{scale:g}", along),)))
    return found


def sweep(small: str, large: str, n_steps: int, n_allocations: int) -> tuple[Allocation, ...]:
    """From `large` alone to `small` alone at equal shares, `small` at the noise end; fewer where steps are few."""
    parts = n_allocations - 1
    cuts = [(2 * i * n_steps + parts) // (2 * parts) for i in range(n_allocations)]
    return tuple(dict.fromkeys(Allocation.from_steps([small, large], [cut, n_steps - cut]) for cut in cuts))


def _as_it_is(study: Study, wanted: Wanted, own_solver: str, along: tuple[Allocation, ...]) -> Iterator[Group]:
    """What needs no other key: members, rules and numbers of steps, and the own setting of the other analyses."""
    names, n_steps = study.space.names, study.space.n_steps
    small, large = names[0], names[-1]
    alone = along[0]
    for name in names[:-1]:
        yield Group("members", name, sweep(name, large, n_steps, wanted.n_allocations))
    halves = {"small to large": Allocation.from_steps([small, large], [n_steps // 2, n_steps - n_steps // 2])}
    halves |= {name.replace("_", " "): rule(small, large, n_steps) for name, rule in RULES.items()}
    for name, allocation in halves.items():
        yield Group("baselines", name, (alone, allocation))
    for n in sorted(set(wanted.steps or _counts(n_steps))):
        yield Group("steps", str(n), sweep(small, large, n, wanted.n_allocations))
    yield Group("step-reduction", f"stitched with {small}", along)
    fewer = [Allocation.of([(large, a.steps[large])]) for a in along if large in a.steps]
    yield Group("step-reduction", f"{large} with fewer steps", tuple(fewer))
    yield Group("solvers", own_solver, along)
    yield Group("guidance", f"{study.config.guidance_scale:g}", along)


def _counts(n_steps: int) -> list[int]:
    return [min(1000, max(1, round(share * n_steps))) for share in STEP_SHARES]


def _scales(study: Study, wanted: Wanted) -> list[float]:
    """The guidance scales beside the study's own; none where denoisers have one of their own, whatever the study's."""
    if any(denoiser.guidance_scale is not None for denoiser in study.space.denoisers):
        return []
    own = study.config.guidance_scale
    asked = wanted.guidance or [max(1.0, share * own) for share in GUIDANCE_SHARES]
    return sorted(set(asked) - {own})


def _solvers(study: Study, wanted: Wanted, own: str) -> list[str]:
    """The solvers beside the study's own; none of our choice for flow matching, which needs its own kind."""
    is_flow = NoiseProcess.of(_scheduler_config(study)).prediction_type == "flow_prediction"
    return [solver for solver in dict.fromkeys(wanted.solvers or (() if is_flow else SOLVERS)) if solver != own]


def _own_solver(study: Study) -> str:
    return study.space.solver or str(_scheduler_config(study)["_class_name"])


def _scheduler_config(study: Study) -> dict[str, object]:
    folder = pipeline_folder(study.space, study.space_path.parent, with_weights=False)
    return read_json(folder / "scheduler" / "scheduler_config.json", "the pipeline's scheduler")


def _changed(study: Study, *settings: str) -> Study:
    """The study with further settings put in, and no metric but its objective."""
    return overridden(study, ["quality.metrics=[]", "quality.guard=null", *settings])
