"""The stages of a run, one function each, in the order `run_study` calls them. Each looks into the ledger first."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from statistics import fmean

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study
from tstitch_search.errors import ConfigError
from tstitch_search.latency_model import LatencyModel
from tstitch_search.measurement import Chunk, chunks_of
from tstitch_search.progress import Progress
from tstitch_search.quality.feature_store import FeatureStore
from tstitch_search.quality.metrics import arrays_for, metric_named, needs_real_features, of_kind
from tstitch_search.quality.metrics.metric import Metric
from tstitch_search.quality.reference import save_reference
from tstitch_search.search import AllocationStudy, Rule
from tstitch_search.search.embedding import Positions
from tstitch_search.search_space import SearchSpace
from tstitch_search.study_run.evaluation import Evaluator
from tstitch_search.study_run.folder import RunFolder
from tstitch_search.study_run.key import StudyFacts
from tstitch_search.study_run.preparation.member_positions import member_positions
from tstitch_search.study_run.preparation.references import prepare_reference
from tstitch_search.study_run.preparation.warm_start import warm_start
from tstitch_search.study_run.proxy_quality import ProxyQuality
from tstitch_search.study_run.times.calibrations import given_calibration, remember, warn
from tstitch_search.study_run.times.drift import times_decided_by
from tstitch_search.study_run.times.prices import seconds_of
from tstitch_search.study_run.times.timing import time_denoisers
from tstitch_search.study_run.workbench import Workbench
from tstitch_search.workers.protocol import WorkerPool


def open_bench(
    pool: WorkerPool,
    folder: RunFolder,
    study: Study,
    facts: StudyFacts,
    progress: Progress,
    is_stopping: Callable[[], bool],
) -> Workbench:
    """The bench that measures into the run folder whatever the study's metrics need of every image."""
    quality = study.config.quality
    store = FeatureStore(folder.features, facts.recipe, quality.features_dtype)
    anchor = anchor_of_pairs(study, quality.all_metrics)
    return Workbench(pool, folder.ledger, store, progress, arrays_for(quality.all_metrics), is_stopping, anchor)


def anchor_of_pairs(study: Study, metrics: Sequence[str]) -> Allocation | None:
    """The anchor, when one of the metrics compares with its images."""
    return SearchSpace.of_study(study).anchor if of_kind(metrics, "pair") else None


def prepare_evaluator(bench: Workbench, study: Study, facts: StudyFacts, folder: RunFolder) -> Evaluator:
    """The study's metrics, bound to its reference, which is kept in the run folder."""
    quality = study.config.quality
    reference = prepare_reference(bench, study, facts, needs_real_features(quality.all_metrics))
    if reference:
        save_reference(reference, folder.reference)
    return Evaluator.of_study(study, reference)


def calibrate(bench: Workbench, study: Study, key: Mapping[str, str]) -> LatencyModel:
    """The time of every allocation, from step times given in a file or measured once per run folder."""
    is_known, given = bench.ledger.last("calibration") is not None, given_calibration(study, key)
    if not is_known and given is not None:
        bench.ledger.append("calibration", **asdict(given))
    elif not is_known:
        bench.progress.stage("calibrate")
        bench.ledger.append("calibration", **asdict(time_denoisers(study, bench.alone, bench.progress)))
        bench.n_new += 1
    latency = times_decided_by(bench.ledger)
    if given not in (None, latency.calibration):
        raise ConfigError(
            f"this run folder was calibrated otherwise than {study.config.latency.from_file} says",
            hint="give the study another name or --output, or leave latency.from out",
        )
    warn(study, latency, bench.progress)
    remember(study, key, latency.calibration)
    return latency


def candidates_in_focus(
    study: Study, space: SearchSpace, latency: LatencyModel, measurable: tuple[Allocation, ...]
) -> tuple[Allocation, ...]:
    """The allocations the study asks about: all that can be measured, or those in the focus window and the baselines.

    Raises ConfigError when the window holds none.
    """
    window = study.config.focus.latency_s
    if not space.is_enumerated and study.config.search.sampler == "enumerate":
        raise _too_many_to_enumerate(study, space, latency)
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


def _too_many_to_enumerate(study: Study, space: SearchSpace, latency: LatencyModel) -> ConfigError:
    mean_s = fmean(latency.latency_s(a) for a in space.allocations)
    n_images = study.config.quality.n_images
    days = len(space) * n_images * mean_s / latency.calibration.batch_size / 86400
    return ConfigError(
        f"search.sampler: enumerate would measure all {len(space):,} allocations on {n_images:,} images each, about "
        f"{days:,.0f} days of device time",
        hint="search.sampler=known_latency, or a coarser grid",
    )


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


def search_chunks(study: Study) -> list[Chunk]:
    """The proxy set in chunks."""
    return chunks_of("search", study.config.quality.n_images, study.config.proxy_set.chunk_size)


def confirm_chunks(study: Study) -> list[Chunk]:
    """The confirmation set in chunks."""
    return chunks_of("confirm", study.config.confirm.n_images, study.config.proxy_set.chunk_size)


def rule_of(
    study: Study,
    objective: Metric,
    candidates: tuple[Allocation, ...],
    latency: LatencyModel,
    controls: tuple[Allocation, ...] = (),
    positions: Positions | None = None,
) -> Rule:
    """Who proposes allocations, as the study says; seconds are what runs out unless trials are the only limit."""
    search, space = study.config.search, SearchSpace.of_study(study)
    return Rule(
        sampler=search.sampler,
        seed=study.config.sampler_seed,
        candidates=candidates,
        controls=controls,
        positions=positions,
        earlier=warm_start(study),
        objective=objective.name,
        direction="maximize" if objective.higher_is_better else "minimize",
        latency_s=Seconds(latency, candidates),
        admits=None if space.is_enumerated else partial(_admits, space, latency, study.config.focus.latency_s),
        relative=objective.relative,
        per_second=search.n_trials is None or search.device_seconds is not None,
    )


class Seconds(dict[Allocation, float]):
    """The predicted time of every candidate, and of any other allocation that is asked for."""

    def __init__(self, latency: LatencyModel, candidates: Sequence[Allocation]):
        super().__init__((a, latency.latency_s(a)) for a in candidates)
        self._latency = latency

    def __missing__(self, allocation: Allocation) -> float:
        return self._latency.latency_s(allocation)


def _admits(
    space: SearchSpace, latency: LatencyModel, window: tuple[float, float] | None, allocation: Allocation
) -> bool:
    """Whether a study asks about the allocation: it is in the space and in the focus window."""
    return allocation in space and (window is None or window[0] <= latency.latency_s(allocation) <= window[1])


def open_trials(
    bench: Workbench,
    study: Study,
    folder: RunFolder,
    candidates: tuple[Allocation, ...],
    latency: LatencyModel,
    proxy: ProxyQuality,
) -> AllocationStudy:
    """The Optuna study of this run folder, begun or gone on with."""
    config, space = study.config, SearchSpace.of_study(study)
    positions = member_positions(bench, study, space)
    rule = rule_of(study, metric_named(config.quality.objective), candidates, latency, proxy.controls, positions)
    name = folder.record_name(config.name, proxy.n_level)
    return AllocationStudy(config.storage or folder.database, name, space, rule, folder.identity)


def tell(progress: Progress, text: str | None) -> None:
    """Say a sentence if there is one."""
    if text:
        progress.note(text)
