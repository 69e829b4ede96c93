"""Measuring the step times of a study by themselves: for `calibrate`, for a price before the run, for other points."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from tstitch_search.config import Study
from tstitch_search.config.models import PointConfig
from tstitch_search.latency_model import LatencyModel
from tstitch_search.ledger import Ledger
from tstitch_search.measurement import Answer, Calibrate, Calibration
from tstitch_search.study_run.calibration_files import given_calibration, remember, write_calibration
from tstitch_search.study_run.folder import Key
from tstitch_search.study_run.key import resolve_facts
from tstitch_search.study_run.progress import Progress
from tstitch_search.study_run.workbench import run_alone
from tstitch_search.workers.protocol import WorkerPool

# So often step times are taken on a noisy machine before the calmest are used.
MAX_TRIES = 2


def calibrate_study(
    study: Study, output: Path, open_pool: Callable[[Study], WorkerPool], progress: Progress
) -> Calibration:
    """Step times of the study's denoisers, measured now and written to `output`, which `latency.from` reads."""
    facts = resolve_facts(study)
    calibration = measure_calibration(study, open_pool, progress)
    write_calibration(output, facts.key, calibration)
    remember(study, facts.key, calibration)
    return calibration


def calibrate_points(
    study: Study, key: Key, ledger: Ledger, open_pool: Callable[[Study], WorkerPool], progress: Progress
) -> dict[str, LatencyModel]:
    """The latency model of each further operating point by id, measured once per run folder or read from its file.

    Each has workers of its own, which are gone before the next one is measured.
    """
    known = {event["point"]: event["calibration"] for event in ledger.of("point")}
    models = {}
    for point in study.config.latency.points:
        at_point = _study_at(study, point)
        if point.id not in known:
            timed = {**key, "latency.batch_size": str(at_point.config.latency.batch_size)}
            given = given_calibration(at_point, timed)
            calibration = given or measure_calibration(at_point, open_pool, progress)
            known[point.id] = ledger.append("point", point=point.id, calibration=asdict(calibration))["calibration"]
        models[point.id] = LatencyModel(Calibration(**known[point.id]))
    return models


def _study_at(study: Study, point: PointConfig) -> Study:
    """The study as it would be at the operating point."""
    latency, workers = study.config.latency, study.config.workers
    at = {"batch_size": point.batch_size or latency.batch_size, "from_file": point.from_file, "points": ()}
    on = {"device": point.device or workers.device, "n_workers": 1}
    updates = {"latency": latency.model_copy(update=at), "workers": workers.model_copy(update=on)}
    return study.model_copy(update={"config": study.config.model_copy(update=updates)})


def measure_calibration(study: Study, open_pool: Callable[[Study], WorkerPool], progress: Progress) -> Calibration:
    """Step times measured by one worker, with what there is to say about them."""
    pool = open_pool(study)
    try:
        progress.stage("calibrate")
        pool.start()
        calibration = calm_calibration(study, lambda job: run_alone(pool, job, progress))
    finally:
        pool.close()
    warn(study, LatencyModel(calibration), progress)
    return calibration


def calm_calibration(study: Study, measure: Callable[[Calibrate], Answer]) -> Calibration:
    """The step times, measured again while the machine is noisier than the study allows: the calmest of MAX_TRIES."""
    job = Calibrate(study.space.names, study.space.n_steps, study.config.latency.n_repeats)
    max_spread, found = study.config.latency.max_spread, list[Calibration]()
    while len(found) < MAX_TRIES and not any(c.spread <= max_spread for c in found):
        calibration = measure(job)
        assert isinstance(calibration, Calibration)
        found.append(calibration)
    return min(found, key=lambda c: c.spread)


def warn(study: Study, latency: LatencyModel, progress: Progress) -> None:
    """Say what is odd about the step times: their order, or how much repeats differ."""
    for warning in (latency.order_warning(study.space.names), latency.noise_warning(study.config.latency.max_spread)):
        if warning:
            progress.note(warning)
