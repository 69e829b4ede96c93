"""Do a study's members fit together, and what could stitching them gain? Asked before any device time is spent."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import hypot

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study
from tstitch_search.config.models import DenoiserConfig
from tstitch_search.errors import ConfigError, EnvironmentProblem, TStitchError
from tstitch_search.latency_model import LatencyModel
from tstitch_search.measurement import Calibration, Similarity
from tstitch_search.members.compatibility import Finding, guidance_embedding, worst
from tstitch_search.members.facts import MemberFacts
from tstitch_search.members.noise_schedule import Verdict
from tstitch_search.members.pipeline_parts import vae_folder
from tstitch_search.sampling.space_check import (
    SpaceFacts,
    n_classes_of,
    read_space_facts,
    require_answers,
    require_pipeline,
    require_single_files,
    step_remarks,
)
from tstitch_search.search_space import SearchSpace
from tstitch_search.study_run.key import resolve_facts
from tstitch_search.study_run.preparation.networks import require_networks
from tstitch_search.study_run.times.calibrations import given_calibration, recall


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

    `best`: the slowest denoiser alone over the fastest allocation of the space, whole batches, and its standard error
    (0 where it is not measured). `at_most`: what no allocation gains more than, at 95 %.
    """

    relative: Mapping[str, float]
    best: float
    basis: str
    best_se: float = 0.0

    @property
    def at_most(self) -> float:
        """The upper end of the bound's 95 % interval."""
        return self.best + 1.96 * self.best_se


@dataclass(frozen=True)
class Check:
    """The verdict on a study's members; `speed` is None while nothing says how fast they are.

    `beside`: what is wrong with the study beside its members, None when nothing is. `similarity`: of the members'
    predictions, None where they were not compared. `remarks`: what is no misfit, but worth knowing. `missing`: what to
    say of a network that metrics look with and that cannot be had.
    """

    study: str
    convert: bool
    matches: tuple[Match, ...]
    speed: Speed | None
    beside: str | None = None
    similarity: Similarity | None = None
    remarks: tuple[str, ...] = ()
    missing: EnvironmentProblem | None = None

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
        return self.misfit or self.beside or (self.missing.message if self.missing else None)


def check_study(study: Study, beside: str | None = None) -> Check:
    """Every member of `study` held against the pipeline and every other member; nothing but configurations is fetched.

    Raises ConfigError for a study of recorded numbers, EnvironmentProblem when a file cannot be had.
    """
    if study.config.measure.recorded is not None:
        raise ConfigError("a study of recorded numbers has no members to check", hint="run it as it is")
    near = study.space_path.parent
    require_pipeline(study)
    facts = read_space_facts(study.space, near, vae_folder(study, with_weights=False), with_weights=False)
    require_answers(study, facts.members)
    require_single_files(facts.members)
    matches = tuple(_matches(study, facts))
    remarks = (*step_remarks(study.space, near, facts.members), *_member_remarks(study))
    speed = _speed(study, facts.members)
    missing = _missing_network(study)
    return Check(study.config.name, study.space.convert, matches, speed, beside, remarks=remarks, missing=missing)


def _member_remarks(study: Study) -> Iterator[str]:
    """Members that answer alike, and what is not looked at here."""
    before: list[tuple[DenoiserConfig, str]] = []
    for d in study.space.denoisers:
        guided = study.config.guidance_scale if d.guidance_scale is None else d.guidance_scale
        if d.lora:
            yield f"the LoRAs of {d.name} are not looked at here; `plan` finds them, and holds them against its weights"
        answers = d.model_copy(update={"name": "", "of": None, "guidance_scale": guided})
        if alike := next((name for earlier, name in before if earlier == answers), None):
            yield f"{d.name} answers as {alike} does (guidance {guided:g}): leave one of the two out"
        before.append((answers, d.name))


def _missing_network(study: Study) -> EnvironmentProblem | None:
    try:
        require_networks(study)
    except EnvironmentProblem as error:
        return error
    return None


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
        return _measured_speed(study, calibration)
    relative = {name: max(sizes.values()) / n for name, n in sizes.items()}
    fewest = min(scheme.n_steps for scheme in SearchSpace.from_config(study.space).schemes)
    best = max(relative.values()) * study.space.n_steps / fewest
    return Speed(relative, best, "numbers of parameters, roughly; `calibrate` measures it")


def _measured_speed(study: Study, calibration: Calibration) -> Speed:
    """From seconds: the fastest allocation has the fewest steps that are searched, or is a baseline with fewer."""
    latency, space = LatencyModel(calibration), study.space
    alone = [Allocation.of([(name, space.n_steps)]) for name in calibration.step_s]
    schemes = SearchSpace.from_config(space).schemes
    fewer = [Allocation.of([(name, s.n_steps)], s.profile) for s in schemes for name in s.denoisers]
    fewest = [Allocation.of([(space.names[-1], n)]) for n in space.fewer_whole_steps]
    slowest, fastest = max(alone, key=latency.latency_s), min([*alone, *fewer, *fewest], key=latency.latency_s)
    best = latency.latency_s(slowest) / latency.latency_s(fastest)
    error = (
        0.0
        if slowest == fastest
        else hypot(*(latency.latency_se(a) / latency.latency_s(a) for a in (slowest, fastest)))
    )
    step_s = calibration.step_s
    relative = {name: max(step_s.values()) / seconds for name, seconds in step_s.items()}
    return Speed(relative, best, f"seconds measured on {calibration.device}", best * error)


def _calibration(study: Study) -> Calibration | None:
    """What is known of the members' times without measuring; None too where the study cannot be resolved yet."""
    try:
        key = resolve_facts(study).key
    except TStitchError:
        return None
    return given_calibration(study, key) or recall(study, key)
