"""The search without a race: an allocation is asked for, measured on all its images, and its value told."""

from collections import deque
from collections.abc import Mapping

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study
from tstitch_search.errors import MeasurementError
from tstitch_search.latency_model import LatencyModel
from tstitch_search.ledger import Event
from tstitch_search.search import AllocationStudy, Trial
from tstitch_search.study_run.proxy_quality import ProxyQuality
from tstitch_search.study_run.workbench import Workbench


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


def stop_reason(study: Study, trials: AllocationStudy, spent_s: float) -> str | None:
    """Why no further allocation is asked for, or None, after `spent_s` device seconds for what was answered.

    What is under way does not count yet: how far it is depends on the workers, and decisions must not. No limit holds
    before each denoiser alone and the anchor were asked for: without them nothing could be compared.
    """
    config = study.config.search
    if trials.is_exhausted:
        return "space exhausted: every candidate was asked for"
    if trials.n_allocations < len(study.space.denoisers) or not trials.has_asked(trials.anchor):
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
