"""Measuring the step times of a study by themselves: for `calibrate`, and for a price before the run."""

from collections.abc import Callable
from pathlib import Path

from tstitch_search.config import Study
from tstitch_search.latency_model import LatencyModel
from tstitch_search.measurement import Calibrate, Calibration
from tstitch_search.run.calibrations import remember, write_calibration
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
