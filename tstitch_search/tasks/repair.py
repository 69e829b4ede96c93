"""The decision record made anew from the ledger, when a database was lost or damaged. Nothing is measured."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tstitch_search.allocation import Allocation
from tstitch_search.config import load_study
from tstitch_search.errors import ConfigError
from tstitch_search.latency_model import LatencyModel
from tstitch_search.ledger import Event, Ledger
from tstitch_search.quality.metrics import metric_named
from tstitch_search.search import AllocationStudy, Trial
from tstitch_search.search.storage import set_aside, shown
from tstitch_search.search_space import SearchSpace
from tstitch_search.study_run.folder import RunFolder
from tstitch_search.study_run.key import resolve_facts
from tstitch_search.study_run.proxy_quality import controls_of
from tstitch_search.study_run.stages import candidates_in_focus, rule_of
from tstitch_search.study_run.times.drift import times_decided_by


@dataclass(frozen=True)
class Repaired:
    """The Optuna study that was made anew, where it is and how many trials it holds."""

    database: str
    name: str
    n_trials: int


def repair(path: Path) -> Repaired:
    """Rebuild the Optuna study of the run folder at `path` from what its ledger says of trials.

    It holds the same allocations, values and states in the same order; proposals that were never asked are gone. A
    former file stays beside it as study.db.before-repair. Raises ConfigError when `path` is no run folder or nothing
    was calibrated yet, EnvironmentProblem while a run goes on in it.
    """
    if not (path / "ledger.jsonl").is_file():
        raise ConfigError(f"{path} holds no ledger.jsonl", hint="give the folder of a run, such as reports/quickstart")
    study = load_study(path / "study.resolved.yaml")
    space, config, facts = SearchSpace.of_study(study), study.config, resolve_facts(study)
    folder = RunFolder.open(path, study, facts.key)
    with folder.ledger as ledger:
        latency = _latency(path, ledger)
        candidates = candidates_in_focus(study, space, latency, facts.measurable(space))
        n_level = config.control_level or config.quality.n_images
        database, name = config.storage or folder.database, folder.record_name(config.name, n_level)
        set_aside(database, name)
        objective, controls = metric_named(config.quality.objective), controls_of(study, space, candidates)
        rule = rule_of(study, objective, candidates, latency, controls)
        trials = AllocationStudy(database, name, space, rule, folder.identity)
        events = newest_trials(ledger.read("trial"), n_level)
        known = [e for e in events if Allocation.parse(e["allocation"]) in set(candidates)]
        asked = trials.open([Allocation.parse(event["allocation"]) for event in known])
        for trial, event in zip(asked, known, strict=True):  # the record is new, and each allocation comes once
            _tell(trials, trial, event)
    return Repaired(shown(database), name, len(known))


def newest_trials(events: Iterable[Event], n_level: int) -> list[Event]:
    """The last word on each allocation at the level of `n_level` images, in the order of the trials' numbers."""
    at_level = {e["allocation"]: e for e in events if e.get("n_images", n_level) == n_level}
    return sorted(at_level.values(), key=lambda e: -1 if e["number"] is None else int(e["number"]))


def _latency(path: Path, ledger: Ledger) -> LatencyModel:
    if ledger.last("calibration") is None:
        raise ConfigError(f"{path}: nothing was calibrated yet, so nothing was asked", hint="run the study")
    return times_decided_by(ledger)


def _tell(trials: AllocationStudy, trial: Trial, event: Event) -> None:
    """Answer as the event says."""
    match event["state"]:
        case "COMPLETE":
            trials.tell(trial, event["latency_s"], event["quality"], event["quality_se"], event["n_images"])
        case "PRUNED":
            trials.prune(trial, event["quality"], event["quality_se"], event["n_images"])
        case _:
            trials.fail(trial, "its images could not be made")
