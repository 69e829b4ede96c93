"""The racing search: each chunk of images goes where it is expected to gain most per second.

An allocation gets its first chunk, and maybe more, up to `quality.n_images`; most are dropped long before. All are
compared at the level of the control images. Every decision follows from what was told, in the order in which it was
asked for with a fixed look-ahead: so it does not depend on which worker was faster, and after a crash the same
decisions are taken again from the ledger, without a new image.

Estimates are computed in threads beside the driver, as soon as their chunks are there: nearly all of it is linear
algebra, which leaves Python's lock to others. So workers do not wait for them, nor chunks behind a slow one.
"""

from collections import deque
from collections.abc import Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice

from threadpoolctl import threadpool_limits

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study
from tstitch_search.errors import MeasurementError
from tstitch_search.latency_model import LatencyModel
from tstitch_search.machine import count_cores
from tstitch_search.measurement import Chunk
from tstitch_search.search import AllocationStudy
from tstitch_search.search.racing import Measured, MoreImages, RaceRule, RaceState, Stop, next_actions
from tstitch_search.study_run.ask_and_tell import note_stop
from tstitch_search.study_run.proxy_quality import ProxyEstimate, ProxyQuality
from tstitch_search.study_run.workbench import Workbench

# With so many chunks under way it makes no difference to wait for two answers, and to decide twice by one model.
MANY = 32
# How long one look at the workers may take while an estimate is awaited.
GLANCE_S = 0.01


@dataclass
class Race:
    """What is known while racing: estimates and chunks per allocation, and the chunks under way, oldest first.

    `first_effects`: what each block of an allocation's first chunk contributes to its error. `begun`: the estimates
    that `threads` make, by allocation and number of chunks.
    """

    latency: LatencyModel
    proxy: ProxyQuality
    threads: Executor
    begun: dict[tuple[Allocation, int], Future[ProxyEstimate]] = field(default_factory=dict)
    found: dict[Allocation, ProxyEstimate] = field(default_factory=dict)
    n_chunks: dict[Allocation, int] = field(default_factory=dict)
    first_effects: dict[Allocation, tuple[float, ...]] = field(default_factory=dict)
    failed: list[Allocation] = field(default_factory=list)
    live: deque[tuple[Allocation, Chunk]] = field(default_factory=deque)
    seconds: float = 0.0

    @property
    def state(self) -> RaceState:
        """What the next decision rests on."""
        measured = [
            Measured(a, self.latency.latency_s(a), e.value, e.se, self.n_chunks[a], self.first_effects.get(a, ()))
            for a, e in self.found.items()
        ]
        return RaceState(tuple(measured), tuple(a for a, _ in self.live), tuple(self.failed))


def race(
    bench: Workbench, study: Study, trials: AllocationStudy, latency: LatencyModel, proxy: ProxyQuality
) -> Mapping[Allocation, int | None]:
    """The allocations that were measured, with their numbers of chunks.

    Asks for one chunk after the other until none is worth it or the budget is spent, then tells all trials.
    """
    bench.progress.stage("search")
    n_threads = max(1, count_cores() // 2)  # the other half is the workers', where they are on this machine
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(n_threads) as threads:
        running, reason = Race(latency, proxy, threads), None
        look_ahead = study.config.search.look_ahead
        at_once = max(1, look_ahead // MANY)
        _measure_controls(bench, running)
        while reason is None or running.live:
            if reason is None and len(running.live) <= look_ahead - at_once:
                reason = _ask_for_more(bench, study, trials, running)
            if running.live:
                _learn(bench, running)
    note_stop(bench, str(reason), len(running.found))
    _tell(bench, study, trials, running)
    return {allocation: running.n_chunks[allocation] for allocation in running.found}


def _measure_controls(bench: Workbench, running: Race) -> None:
    """The controls in full: they are the control variates of all others."""
    controls = running.proxy.controls
    bench.make([(a, running.proxy.chunks_of(a)) for a in controls])
    for control in controls:
        chunks = running.proxy.chunks_of(control)
        try:
            running.found[control] = running.proxy.measure(bench, control)
        except MeasurementError as error:
            bench.progress.note(error.message)
            running.failed.append(control)
        running.n_chunks[control] = len(chunks)
        running.seconds += sum(bench.seconds_of(control, chunk) for chunk in chunks)


def _ask_for_more(bench: Workbench, study: Study, trials: AllocationStudy, running: Race) -> str | None:
    """Ask for chunks until `look_ahead` are under way, or say why there are no more.

    Workers get each as soon as it is decided on; Optuna's record follows.
    """
    config, state = study.config.search, running.state
    if config.device_seconds is not None and running.seconds >= config.device_seconds:
        return f"budget used up: search.device_seconds = {config.device_seconds:g}"
    rule = RaceRule(len(running.proxy.proxy_chunks), config.stop_below or 0.0, config.n_trials)
    actions = next_actions(trials.candidates_given(state.measured), state, trials.scale, rule)
    chosen, reason = list[Allocation](), None
    for action in islice(actions, config.look_ahead - len(running.live)):
        if isinstance(action, Stop):
            reason = f"expected remaining gain {100 * action.expected_gain:.2g} % is below {100 * rule.tolerance:g} %"
            break
        done = running.n_chunks[action.allocation] if isinstance(action, MoreImages) else 0
        chunk = running.proxy.proxy_chunks[done]
        running.live.append((action.allocation, chunk))
        bench.request(action.allocation, [chunk])
        chosen.append(action.allocation)
    trials.open(chosen)
    return reason


def _learn(bench: Workbench, running: Race) -> None:
    """Wait for the oldest chunk under way and take it into its allocation's estimate."""
    allocation, chunk = running.live[0]
    _begin_estimates(bench, running)
    while not bench.is_ready(allocation, [chunk]):
        bench.collect()
        _begin_estimates(bench, running)
    running.live.popleft()
    n_chunks = running.n_chunks.get(allocation, 0) + 1
    try:
        if estimate := running.begun.pop((allocation, n_chunks), None):
            running.proxy.know(allocation, n_chunks, _result(bench, estimate))
        found = running.found[allocation] = running.proxy.measure(bench, allocation, n_chunks)
        running.first_effects.setdefault(allocation, found.effects)
        running.n_chunks[allocation] = n_chunks
        running.seconds += bench.seconds_of(allocation, chunk)
    except MeasurementError as error:
        bench.progress.note(error.message)
        running.found.pop(allocation, None)
        running.failed.append(allocation)


def _begin_estimates(bench: Workbench, running: Race) -> None:
    """Of every chunk that is there, and all before it of the same allocation."""
    n_chunks = dict(running.n_chunks)
    missing = set[Allocation]()
    for allocation, chunk in running.live:
        n_chunks[allocation] = n_chunks.get(allocation, 0) + 1
        if not bench.is_made(allocation, chunk):
            missing.add(allocation)
        key = (allocation, n_chunks[allocation])
        if allocation not in missing and key not in running.begun:
            with suppress(MeasurementError):  # the allocation was given up; whoever waits for it will hear so
                running.begun[key] = running.threads.submit(running.proxy.prepare(bench, *key))


def _result(bench: Workbench, estimate: Future[ProxyEstimate]) -> ProxyEstimate:
    """The estimate, once it is there; workers are looked after meanwhile."""
    while bench.is_busy and not estimate.done():
        bench.collect(GLANCE_S)
    return estimate.result()


def _tell(bench: Workbench, study: Study, trials: AllocationStudy, running: Race) -> None:
    """Answer every trial once: COMPLETE with its full number of images, PRUNED with less, FAIL without any."""
    known = {(e["allocation"], e["n_made"]) for e in bench.ledger.of("trial") if "n_made" in e}
    unanswered = {trial.allocation: trial for trial in trials.open([*running.found, *running.failed])}
    for allocation, found in running.found.items():
        whole = allocation in running.proxy.controls or found.n_made >= study.config.quality.n_images
        trial = unanswered.get(allocation)
        latency_s = running.latency.latency_s(allocation)
        if (str(allocation), found.n_made) not in known:
            bench.ledger.append(
                "trial",
                number=trial.number if trial else None,
                allocation=str(allocation),
                state="COMPLETE" if whole else "PRUNED",
                latency_s=latency_s,
                metric=study.config.quality.objective,
                quality=found.value,
                quality_se=found.se,
                n_images=found.n_images,
                n_made=found.n_made,
                effective_n=found.effective_n,
            )
        if trial and whole:
            trials.tell(trial, latency_s, found.value, found.se, found.n_images)
        elif trial:
            trials.prune(trial, found.value, found.se, found.n_images)
    for allocation in running.failed:
        if trial := unanswered.get(allocation):
            trials.fail(trial, "its images could not be made")
