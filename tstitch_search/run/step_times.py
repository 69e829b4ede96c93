"""Measuring the step times of a study by themselves: for `calibrate`, for a price before the run, for other points."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from tstitch_search.config import Study
from tstitch_search.config.models import PointConfig
from tstitch_search.latency_model import LatencyModel
from tstitch_search.ledger import Ledger
from tstitch_search.measurement import Calibrate, Calibration
from tstitch_search.run.calibrations import given_calibration, remember, write_calibration
from tstitch_search.run.folder import Key
from tstitch_search.run.key import resolve_facts
from tstitch_search.run.progress import Progress
from tstitch_search.run.workbench import run_alone
from tstitch_search.workers.protocol import WorkerPool


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
    job = Calibrate(study.space.names, study.space.n_steps, study.config.latency.n_repeats)
    pool = open_pool(study)
    try:
        progress.stage("calibrate")
        pool.start()
        calibration = run_alone(pool, job, progress)
    finally:
        pool.close()
    assert isinstance(calibration, Calibration)
    latency = LatencyModel(calibration)
    for warning in (latency.order_warning(study.space.names), latency.noise_warning(study.config.latency.max_spread)):
        if warning:
            progress.note(warning)
    return calibration
