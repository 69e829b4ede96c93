"""The stages of a run, one function each, in the order `run_study` calls them. Each looks into the ledger first."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study
from tstitch_search.errors import ConfigError, MeasurementError
from tstitch_search.latency_model import LatencyModel
from tstitch_search.ledger import Event
from tstitch_search.measurement import (
    Calibration,
    Chunk,
    chunks_of,
)
from tstitch_search.quality.metrics.metric import Metric
from tstitch_search.search import AllocationStudy, Rule, Trial
from tstitch_search.search.embedding import Positions
from tstitch_search.search_space import SearchSpace
from tstitch_search.study_run.calibrations import calm_calibration, given_calibration, warn
from tstitch_search.study_run.prices import seconds_of
from tstitch_search.study_run.proxy_quality import ProxyQuality
from tstitch_search.study_run.workbench import Workbench


def calibrate(bench: Workbench, study: Study, key: Mapping[str, str]) -> LatencyModel:
    """The time of every allocation, from step times given in a file or measured once per run folder."""
    event, given = bench.ledger.last("calibration"), given_calibration(study, key)
    if event is None and given is not None:
        event = bench.ledger.append("calibration", **asdict(given))
    if event is None:
        bench.progress.stage("calibrate")
        event = bench.ledger.append("calibration", **asdict(calm_calibration(study, bench.alone)))
        bench.n_new += 1
    fields = {key: value for key, value in event.items() if key not in ("event", "at")}
    latency = LatencyModel(Calibration(**fields))
    if given not in (None, latency.calibration):
        raise ConfigError(
            f"this run folder was calibrated otherwise than {study.config.latency.from_file} says",
            hint="give the study another name or --output, or leave latency.from out",
        )
    warn(study, latency, bench.progress)
    return latency


def candidates_in_focus(
    study: Study, space: SearchSpace, latency: LatencyModel, measurable: tuple[Allocation, ...]
) -> tuple[Allocation, ...]:
    """The allocations the study asks about: all that can be measured, or those in the focus window and the baselines.

    Raises ConfigError when the window holds none.
    """
    window = study.config.focus.latency_s
    if window is None:
        return measurable
    inside = [a for a in measurable if window[0] <= latency.latency_s(a) <= window[1]]
    if not inside:
        times = [latency.latency_s(a) for a in measurable]
        raise ConfigError(
            f"focus.latency_s: no allocation takes {window[0]:g} to {window[1]:g} s for a batch of "
            f"{latency.calibration.batch_size}; they take {min(times):.3g} to {max(times):.3g} s",
            hint="widen the window or change latency.batch_size",
        )
    baselines = [a for a in space.baselines() if a in measurable]
    return tuple(dict.fromkeys([*baselines, *inside]))


def require_budget(study: Study, candidates: Sequence[Allocation], latency: LatencyModel) -> None:
    """Nothing, when the search's budget allows for a chunk of the cheapest candidate. Raises ConfigError otherwise.

    Times that were only guessed refuse nothing.
    """
    budget_s, chunk = study.config.search.device_seconds, search_chunks(study)[0]
    cheapest = min(candidates, key=latency.latency_s)
    needed_s = seconds_of(latency, cheapest, chunk.n_images)
    if budget_s is not None and latency.calibration.n_repeats > 0 and budget_s < needed_s:
        raise ConfigError(
            f"search.device_seconds: {budget_s:g} s are less than one chunk of {chunk.n_images} images takes, "
            f"{needed_s:.3g} s with {cheapest}, the fastest allocation",
            hint="give more seconds, or lower proxy_set.chunk_size or quality.n_images",
        )


def search(
    bench: Workbench, study: Study, trials: AllocationStudy, latency: LatencyModel, proxy: ProxyQuality
) -> Mapping[Allocation, int | None]:
    """The allocations that were measured, all chunks of each: ask, measure, tell until there is a reason to stop.

    Up to `look_ahead` trials are under way; they are told strictly in the order they were asked, so that what the
    sampler sees does not depend on which worker was faster.
    """
    bench.progress.stage("search")
    told = trials.allocations
    live: deque[Trial] = deque(trials.reopen())
    for allocation in [*told, *(trial.allocation for trial in live)]:
        bench.request(allocation, proxy.chunks_of(allocation))
    bench.wait_for([(allocation, proxy.chunks_of(allocation)) for allocation in told])
    spent_s = sum(_seconds_of(bench, proxy, allocation) for allocation in told)
    while True:
        reason = None
        while reason is None and len(live) < _look_ahead(study, trials):
            reason = stop_reason(study, trials, spent_s)
            if reason is None and (trial := trials.ask()):
                live.append(trial)
                bench.request(trial.allocation, proxy.chunks_of(trial.allocation))
        if not live:
            note_stop(bench, str(reason), trials.n_allocations)
            return dict.fromkeys(trials.allocations)
        bench.wait_for([(live[0].allocation, proxy.chunks_of(live[0].allocation))])
        spent_s += _seconds_of(bench, proxy, live[0].allocation)
        _answer(bench, trials, live.popleft(), latency, proxy, study.config.quality.objective)


def _look_ahead(study: Study, trials: AllocationStudy) -> int:
    """How many trials may be under way: all of an enumeration, so that workers may go through it chunk by chunk.

    No answer changes what it asks. Where seconds or a tolerance end it, it is as the study says.
    """
    config = study.config.search
    if config.sampler == "enumerate" and config.device_seconds is None and config.stop_below is None:
        return len(trials.candidates.allocations)
    return config.look_ahead


def _seconds_of(bench: Workbench, proxy: ProxyQuality, allocation: Allocation) -> float:
    return sum(bench.seconds_of(allocation, chunk) for chunk in proxy.chunks_of(allocation))


def search_chunks(study: Study) -> list[Chunk]:
    """The proxy set in chunks."""
    return chunks_of("search", study.config.quality.n_images, study.config.proxy_set.chunk_size)


def confirm_chunks(study: Study) -> list[Chunk]:
    """The confirmation set in chunks."""
    return chunks_of("confirm", study.config.confirm.n_images, study.config.proxy_set.chunk_size)


def stop_reason(study: Study, trials: AllocationStudy, spent_s: float) -> str | None:
    """Why no further allocation is asked for, or None, after `spent_s` device seconds for what was answered.

    What is under way does not count yet: how far it is depends on the workers, and decisions must not. No limit holds
    before each denoiser alone was asked for: without them nothing could be compared.
    """
    config = study.config.search
    if trials.is_exhausted:
        return "space exhausted: every candidate was asked for"
    if trials.n_allocations < len(study.space.denoisers):
        return None
    if config.n_trials is not None and trials.n_allocations >= config.n_trials:
        return f"trial limit: search.n_trials = {config.n_trials} allocations were asked for"
    if config.stop_below is not None and (gain := trials.expected_gain()) < config.stop_below:
        return f"expected remaining gain {100 * gain:.2g} % is below the tolerance, {100 * config.stop_below:g} %"
    if config.device_seconds is not None and spent_s >= config.device_seconds:
        return f"budget used up: search.device_seconds = {config.device_seconds:g}"
    return None


def note_stop(bench: Workbench, reason: str, n_allocations: int) -> None:
    """Say and record why the search ended."""
    bench.progress.note(f"search stopped: {reason}")
    before = bench.ledger.last("stopped")
    if before is None or (before["reason"], before["n_allocations"]) != (reason, n_allocations):
        bench.ledger.append("stopped", reason=reason, n_allocations=n_allocations)


def _answer(
    bench: Workbench,
    trials: AllocationStudy,
    trial: Trial,
    latency: LatencyModel,
    proxy: ProxyQuality,
    metric: str,
) -> None:
    """Tell a trial what was measured; the ledger first, so that the decision record never knows more."""
    try:
        quality = proxy.measure(bench, trial.allocation)
    except MeasurementError as error:
        lost = {"number": trial.number, "allocation": str(trial.allocation), "state": "FAIL"}
        if not _was_told(bench, lost):
            bench.ledger.append("trial", **lost)
        trials.fail(trial, error.message)
        bench.progress.note(error.message)
        return
    latency_s = latency.latency_s(trial.allocation)
    told = {
        "number": trial.number,
        "allocation": str(trial.allocation),
        "state": "COMPLETE",
        "latency_s": latency_s,
        "metric": metric,
        "quality": quality.value,
        "quality_se": quality.se,
        "n_images": quality.n_images,
        "n_made": quality.n_made,
        "effective_n": quality.effective_n,
    }
    if not _was_told(bench, told):
        bench.ledger.append("trial", **told)
    trials.tell(trial, latency_s, quality.value, quality.se, quality.n_images)


def _was_told(bench: Workbench, told: Event) -> bool:
    """Whether the ledger says so already: a crash came between its line and the decision record."""
    newest = bench.ledger.last("trial")
    return newest is not None and told.items() <= newest.items()


def rule_of(
    study: Study,
    objective: Metric,
    candidates: tuple[Allocation, ...],
    latency: LatencyModel,
    controls: tuple[Allocation, ...] = (),
    positions: Positions | None = None,
) -> Rule:
    """Who proposes allocations, as the study says; seconds are what runs out unless trials are the only limit."""
    search = study.config.search
    return Rule(
        sampler=search.sampler,
        seed=study.config.sampler_seed,
        candidates=candidates,
        controls=controls,
        positions=positions,
        objective=objective.name,
        direction="maximize" if objective.higher_is_better else "minimize",
        latency_s={a: latency.latency_s(a) for a in candidates},
        relative=objective.relative,
        per_second=search.n_trials is None or search.device_seconds is not None,
    )
