"""A lookup table for another device: its qualities stay, its times are measured anew and the front follows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from math import sqrt
from pathlib import Path
from statistics import stdev
from typing import Any

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study
from tstitch_search.errors import ConfigError
from tstitch_search.latency_model import LatencyModel
from tstitch_search.lookup import Candidate, LookupEntry, LookupTable, OperatingPoint, PointTime, build_table
from tstitch_search.measurement import AllocationTime, Calibration
from tstitch_search.progress import Progress
from tstitch_search.report.headline import headline
from tstitch_search.study_run.table import MEDIAN_FACTOR
from tstitch_search.study_run.times.front import time_front
from tstitch_search.study_run.times.timing import time_denoisers
from tstitch_search.study_run.workbench import run_alone
from tstitch_search.tasks.tables.from_table import facts_like, study_from_table
from tstitch_search.workers.protocol import WorkerPool

# What may be another here: it decides neither the images nor what a step is.
MAY_DIFFER = ("latency.", "search.", "quality.", "proxy_set")


def recalibrate(
    path: Path,
    point_id: str,
    open_pool: Callable[[Study], WorkerPool],
    progress: Progress,
    study_path: Path | None = None,
    settings: Sequence[str] = (),
) -> LookupTable:
    """The table at `path` with the times of this device, under the operating point `point_id`.

    Qualities are kept. The times it had stay beside, under their own operating points. Raises ConfigError when the
    members or settings here are not the table's.
    """
    table = LookupTable.read(path)
    if point_id in (known := [point.id for point in table.operating_points]):
        raise ConfigError(f"the table has an operating point {point_id!r} already", hint=f"another --id than {known}")
    study = study_from_table(path, table, study_path, ["workers.n_workers=1", *settings])
    facts_like(path, table, study, MAY_DIFFER)
    confirmed = [*table.entries, *(c for c in table.candidates if c.confirmed)]
    calibration, times = _measure(study, [c.allocation for c in confirmed], open_pool, progress)
    latency = LatencyModel(calibration)
    point = OperatingPoint(point_id, calibration.device, calibration.batch_size)
    entries = [_timed_anew(c, table, times[c.allocation]) for c in confirmed]
    others = [_predicted_anew(c, latency) for c in table.candidates if not c.confirmed]
    provenance = {**table.provenance, **_retimed(table, calibration, times)}
    points = (point, *table.operating_points)
    made = build_table(table.study, points, entries, others, provenance, table.objective)
    if [e.allocation for e in made.entries] != [e.allocation for e in table.entries]:
        made = replace(made, entries=tuple(replace(e, group=None) for e in made.entries))
    return replace(made, provenance={**provenance, "headline": headline(made)})


def _measure(
    study: Study, confirmed: Sequence[Allocation], open_pool: Callable[[Study], WorkerPool], progress: Progress
) -> tuple[Calibration, dict[Allocation, AllocationTime]]:
    """Step times, and the end-to-end time of every confirmed allocation."""
    pool = open_pool(study)
    try:
        progress.stage("calibrate")
        pool.start()
        calibration = time_denoisers(study, lambda job: run_alone(pool, job, progress), progress)
        progress.stage("time")
        times = time_front(study, confirmed, lambda job: run_alone(pool, job, progress), progress)
    finally:
        pool.close()
    if warning := LatencyModel(calibration).noise_warning:
        progress.note(warning)
    return calibration, times


def _timed_anew(candidate: Candidate, table: LookupTable, time: AllocationTime) -> LookupEntry:
    """The confirmed allocation with its time here; the one it had stands beside, under its operating point."""
    assert candidate.latency_s is not None
    assert candidate.latency_s_se is not None
    before = PointTime(
        latency_s=candidate.latency_s, latency_s_se=candidate.latency_s_se, peak_memory_mb=candidate.peak_memory_mb
    )
    kept = {f.name: getattr(candidate, f.name) for f in fields(Candidate)}
    return LookupEntry(
        **{
            **kept,
            "latency_s": time.latency_s,
            "latency_s_se": MEDIAN_FACTOR * stdev(time.seconds) / sqrt(len(time.seconds)),
            "latency_s_predicted": time.latency_s_predicted,
            "peak_memory_mb": time.peak_memory_mb,
            "latency_by_point": {table.operating_points[0].id: before, **candidate.latency_by_point},
        }
    )


def _predicted_anew(candidate: Candidate, latency: LatencyModel) -> Candidate:
    """An allocation that was only searched, with its predicted time here."""
    return replace(
        candidate,
        latency_s_predicted=latency.latency_s(candidate.allocation),
        peak_memory_mb=latency.memory_mb(candidate.allocation),
    )


def _retimed(
    table: LookupTable, calibration: Calibration, times: Mapping[Allocation, AllocationTime]
) -> dict[str, Any]:
    """What is said of the new times, and of the device they replace."""
    anchor = times.get(table.anchor) if table.anchor else None
    before = {"device": table.provenance.get("device"), "point": table.operating_points[0].id}
    return {
        "device": calibration.device,
        "spread": calibration.spread,
        **({"first_batch_s": calibration.first_batch_s} if "first_batch_s" in table.provenance else {}),
        "largest_latency_s": anchor.latency_s if anchor else None,
        "retimed_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "retimed_from": [*table.provenance.get("retimed_from", []), before],
    }
