"""The stages of a run, one function each, in the order `run_study` calls them. Each looks into the ledger first."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study
from tstitch_search.errors import ConfigError, MeasurementError
from tstitch_search.latency_model import LatencyModel
from tstitch_search.lookup import LookupTable
from tstitch_search.measurement import (
    AllocationTime,
    AllocationTimes,
    Calibrate,
    Calibration,
    Chunk,
    MakeImages,
    PublishFid,
    TimeAllocations,
    chunks_of,
)
from tstitch_search.quality.estimate import QualityEstimate, estimate_quality
from tstitch_search.quality.frechet import FrechetDistance
from tstitch_search.quality.jackknife import jackknife
from tstitch_search.run.calibrations import given_calibration
from tstitch_search.run.folder import RunFolder
from tstitch_search.run.images import save_strip
from tstitch_search.run.workbench import Workbench, require_anchor
from tstitch_search.search import AllocationStudy, Trial
from tstitch_search.search_space import SearchSpace

# Images per row of the report's sample grid.
N_SAMPLES = 10

Estimates = dict[Allocation, QualityEstimate]


def calibrate(bench: Workbench, study: Study, key: Mapping[str, str]) -> LatencyModel:
    """The time of every allocation, from step times given in a file or measured once per run folder."""
    event, given = bench.ledger.last("calibration"), given_calibration(study, key)
    if event is None and given is not None:
        event = bench.ledger.append("calibration", **asdict(given))
    if event is None:
        bench.progress.stage("calibrate")
        job = Calibrate(study.space.names, study.space.n_steps, study.config.latency.n_repeats)
        calibration = bench.alone(job)
        assert isinstance(calibration, Calibration)
        event = bench.ledger.append("calibration", **asdict(calibration))
        bench.n_new += 1
    fields = {key: value for key, value in event.items() if key not in ("event", "at")}
    latency = LatencyModel(Calibration(**fields))
    if given not in (None, latency.calibration):
        raise ConfigError(
            f"this run folder was calibrated otherwise than {study.config.latency.from_file} says",
            hint="give the study another name or --output, or leave latency.from out",
        )
    if warning := latency.noise_warning(study.config.latency.max_spread):
        bench.progress.note(warning)
    return latency


def candidates_in_focus(study: Study, space: SearchSpace, latency: LatencyModel) -> tuple[Allocation, ...]:
    """The allocations the study asks about: all, or those in the focus window and the baselines they are held against.

    Raises ConfigError when the window holds none.
    """
    window = study.config.focus.latency_s
    if window is None:
        return tuple(space)
    inside = [a for a in space if window[0] <= latency.latency_s(a) <= window[1]]
    if not inside:
        times = [latency.latency_s(a) for a in space]
        raise ConfigError(
            f"focus.latency_s: no allocation takes {window[0]:g} to {window[1]:g} s for a batch of "
            f"{latency.calibration.batch_size}; they take {min(times):.3g} to {max(times):.3g} s",
            hint="widen the window or change latency.batch_size",
        )
    return tuple(dict.fromkeys([*space.baselines(), *inside]))


def search(
    bench: Workbench, study: Study, trials: AllocationStudy, latency: LatencyModel, distance: FrechetDistance
) -> None:
    """Ask, measure, tell until the budget is used up or every candidate is known.

    Up to `look_ahead` trials are under way; they are told strictly in the order they were asked, so that what the
    sampler sees does not depend on which worker was faster.
    """
    bench.progress.stage("search")
    config = study.config.search
    chunks = search_chunks(study)
    told = trials.allocations
    live: deque[Trial] = deque(trials.reopen())
    for allocation in [*told, *(trial.allocation for trial in live)]:
        bench.request(allocation, chunks)
    while True:
        while len(live) < config.look_ahead and (trial := _next_trial(bench, study, trials)):
            live.append(trial)
            bench.request(trial.allocation, chunks)
        if not live:
            return bench.wait_for([(allocation, chunks) for allocation in told])
        if bench.is_ready(live[0].allocation, chunks):
            _answer(bench, trials, live.popleft(), chunks, latency, distance)
        else:
            bench.collect()


def search_chunks(study: Study) -> list[Chunk]:
    """The proxy set in chunks."""
    return chunks_of("search", study.config.quality.n_images, study.config.proxy_set.chunk_size)


def confirm_chunks(study: Study) -> list[Chunk]:
    """The confirmation set in chunks."""
    return chunks_of("confirm", study.config.confirm.n_images, study.config.proxy_set.chunk_size)


def _next_trial(bench: Workbench, study: Study, trials: AllocationStudy) -> Trial | None:
    config = study.config.search
    if config.n_trials is not None and trials.n_allocations >= config.n_trials:
        return None
    if config.device_seconds is not None and bench.device_seconds >= config.device_seconds:
        return None
    return trials.ask()


def _answer(
    bench: Workbench,
    trials: AllocationStudy,
    trial: Trial,
    chunks: Sequence[Chunk],
    latency: LatencyModel,
    distance: FrechetDistance,
) -> None:
    """Tell a trial what was measured; the ledger first, so that the decision record never knows more."""
    try:
        features = bench.features(trial.allocation, chunks)
    except MeasurementError as error:
        bench.ledger.append("trial", number=trial.number, allocation=str(trial.allocation), state="FAIL")
        trials.fail(trial, error.message)
        bench.progress.note(error.message)
        return
    fid, fid_se = jackknife(distance, features)
    latency_s, n_images = latency.latency_s(trial.allocation), len(features)
    bench.ledger.append(
        "trial",
        number=trial.number,
        allocation=str(trial.allocation),
        state="COMPLETE",
        latency_s=latency_s,
        fid=fid,
        fid_se=fid_se,
        n_images=n_images,
    )
    trials.tell(trial, latency_s, fid, fid_se, n_images)


def estimates_of(
    bench: Workbench,
    allocations: Sequence[Allocation],
    anchor: Allocation,
    chunks: Sequence[Chunk],
    distance: FrechetDistance,
) -> Estimates:
    """FID, error and paired difference to the anchor of every allocation whose chunks are all there."""
    anchor_features = require_anchor(bench, anchor, chunks)
    estimates = {}
    for allocation in allocations:
        try:
            estimates[allocation] = estimate_quality(distance, bench.features(allocation, chunks), anchor_features)
        except MeasurementError as error:
            bench.progress.note(error.message)
    return estimates


def time_entries(bench: Workbench, study: Study, entries: Sequence[Allocation]) -> dict[Allocation, AllocationTime]:
    """Measured end-to-end times of the entries, all taken in one interleaved job so that drift hits them alike."""
    known = {Allocation.parse(e["allocation"]): e for e in bench.ledger.of("timing")}
    if missing := [a for a in entries if a not in known]:
        bench.progress.stage("time")
        job = TimeAllocations(tuple(missing), study.config.latency.n_repeats)
        answer = bench.alone(job)
        assert isinstance(answer, AllocationTimes)
        for allocation, time in zip(missing, answer.times, strict=True):
            known[allocation] = bench.ledger.append("timing", allocation=str(allocation), **asdict(time))
            bench.n_new += 1
    return {a: _timing(known[a]) for a in entries}


def _timing(event: dict[str, Any]) -> AllocationTime:
    return AllocationTime(tuple(event["seconds"]), tuple(event["predicted_s"]), event["peak_memory_mb"])


def publish_fids(bench: Workbench, entries: Sequence[Allocation], chunks: Sequence[Chunk]) -> dict[Allocation, float]:
    """torch-fidelity's own FID of every entry on the confirmation set, computed once and kept in the ledger."""
    n_images = chunks[-1].last
    known = {e["allocation"]: e["fid"] for e in bench.ledger.of("published") if e["n_images"] == n_images}
    for allocation in entries:
        if str(allocation) not in known:
            features = bench.features(allocation, chunks).astype(np.float64)
            fid = bench.alone(PublishFid(allocation, features.mean(axis=0), np.cov(features, rowvar=False)))
            bench.ledger.append("published", allocation=str(allocation), fid=fid, n_images=n_images)
            known[str(allocation)] = fid
    return {a: float(known[str(a)]) for a in entries}


def make_strips(bench: Workbench, folder: RunFolder, table: LookupTable) -> None:
    """One strip of sample images per entry, the same seeds for all, for the report."""
    for entry in table.entries:
        path = folder.images / f"{entry.allocation.file_name}.png"
        if not path.exists():
            images = bench.alone(MakeImages(entry.allocation, Chunk("confirm", 0, N_SAMPLES)))
            save_strip(np.asarray(images), path)
