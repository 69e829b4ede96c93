"""Do a study's members fit together, and what could stitching them gain? Asked before any device time is spent."""

from collections.abc import Mapping
from dataclasses import dataclass

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study
from tstitch_search.errors import ConfigError, TStitchError
from tstitch_search.latency_model import LatencyModel
from tstitch_search.measurement import Calibration, Similarity
from tstitch_search.members.compatibility import Finding, guidance_embedding, worst
from tstitch_search.members.facts import MemberFacts, vae_folder
from tstitch_search.members.noise_schedule import Verdict
from tstitch_search.sampling.space_check import SpaceFacts, n_classes_of, read_space_facts, require_pipeline
from tstitch_search.study_run.calibrations import given_calibration, recall
from tstitch_search.study_run.key import resolve_facts


@dataclass(frozen=True)
class Match:
    """What was held against what, and everything that was compared."""

    who: str
    other: str
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of its findings."""
        return worst(self.findings)

    @property
    def differing(self) -> list[Finding]:
        """The findings that are not `same`."""
        return [finding for finding in self.findings if finding.verdict != "same"]


@dataclass(frozen=True)
class Speed:
    """`relative[name]`: how many steps of it take as long as one of the slowest denoiser; `basis`: how that is known.

    `best`: the slowest denoiser alone over the fastest one alone, whole batches: no allocation can gain more.
    """

    relative: Mapping[str, float]
    best: float
    basis: str


@dataclass(frozen=True)
class Check:
    """The verdict on a study's members; `speed` is None while nothing says how fast they are.

    `beside`: what is wrong with the study beside its members, None when nothing is. `similarity`: of the members'
    predictions, None where they were not compared.
    """

    study: str
    convert: bool
    matches: tuple[Match, ...]
    speed: Speed | None
    beside: str | None = None
    similarity: Similarity | None = None

    @property
    def misfit(self) -> str | None:
        """The first reason why the members do not fit together, None when they do."""
        findings = [finding for match in self.matches for finding in match.differing]
        refused = [finding for finding in findings if finding.verdict == "refused"]
        unasked = [finding for finding in findings if finding.verdict == "convertible" and not self.convert]
        return next((str(finding) for finding in [*refused, *unasked]), None)

    @property
    def problem(self) -> str | None:
        """The first reason why the study cannot be run, None when it can."""
        return self.misfit or self.beside


def check_study(study: Study, beside: str | None = None) -> Check:
    """Every member of `study` held against the pipeline and every other member; nothing but configurations is fetched.

    Raises ConfigError for a study of recorded numbers, EnvironmentProblem when a file cannot be had.
    """
    if study.config.measure.recorded is not None:
        raise ConfigError("a study of recorded numbers has no members to check", hint="run it as it is")
    near = study.space_path.parent
    require_pipeline(study.space, near)
    facts = read_space_facts(study.space, near, vae_folder(study, with_weights=False), with_weights=False)
    return Check(
        study.config.name, study.space.convert, tuple(_matches(study, facts)), _speed(study, facts.members), beside
    )


def _matches(study: Study, facts: SpaceFacts) -> list[Match]:
    n_classes = n_classes_of(study.space)
    with_pipeline = [Match(name, "the pipeline", tuple(facts.with_pipeline(name, n_classes))) for name in facts.members]
    guidance = guidance_embedding(list(facts.members.values()))
    pairs = [
        Match(later, first, (*found, *(g for g in guidance if g.member == later)))
        for (first, later), found in facts.between().items()
    ]
    alone = [g for g in guidance if g.member == next(iter(facts.members))]
    return [*with_pipeline, *pairs, *([Match(alone[0].member, "the largest", tuple(alone))] if alone else [])]


def _speed(study: Study, members: Mapping[str, MemberFacts]) -> Speed | None:
    """From the calibration that the study names or this machine remembers, else from the numbers of parameters."""
    sizes = {name: member.n_parameters for name, member in members.items() if member.n_parameters}
    if len(sizes) < len(members):
        return None
    if calibration := _calibration(study):
        step_s, n_steps = calibration.step_s, study.space.n_steps
        alone = [LatencyModel(calibration).latency_s(Allocation.of([(name, n_steps)])) for name in step_s]
        slowest = max(step_s.values())
        relative = {name: slowest / seconds for name, seconds in step_s.items()}
        return Speed(relative, max(alone) / min(alone), f"seconds measured on {calibration.device}")
    relative = {name: max(sizes.values()) / n for name, n in sizes.items()}
    return Speed(relative, max(relative.values()), "numbers of parameters, roughly; `calibrate` measures it")


def _calibration(study: Study) -> Calibration | None:
    """What is known of the members' times without measuring; None too where the study cannot be resolved yet."""
    try:
        key = resolve_facts(study).key
    except TStitchError:
        return None
    return given_calibration(study, key) or recall(study, key)
