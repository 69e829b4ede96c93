"""One variant of a study, measured in a run folder of its own: allocations at few images, and probes."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tstitch_search.config import Study
from tstitch_search.errors import MeasurementError
from tstitch_search.latency_model import LatencyModel
from tstitch_search.measurement import Calibration, Chunk, chunks_of
from tstitch_search.progress import Progress
from tstitch_search.quality.estimate import estimate
from tstitch_search.quality.feature_store import FeatureStore
from tstitch_search.quality.metrics import arrays_for, needs_real_features
from tstitch_search.report.analysis_tables import Value
from tstitch_search.study_run.evaluation import Evaluator, label_cycle
from tstitch_search.study_run.folder import Key, RunFolder
from tstitch_search.study_run.key import StudyFacts
from tstitch_search.study_run.preparation.references import prepare_reference
from tstitch_search.study_run.stages import anchor_of_pairs, calibrate
from tstitch_search.study_run.times.calibrations import recall, remember
from tstitch_search.study_run.workbench import Workbench
from tstitch_search.tasks.analysis.probes import probe_rows
from tstitch_search.tasks.analysis.rows import row_of
from tstitch_search.tasks.analysis.variants import Group, Variant
from tstitch_search.workers.protocol import WorkerPool

Rows = dict[str, list[tuple[Value, ...]]]


@dataclass(frozen=True)
class Measured:
    """Rows by the name of their analysis, and the step times that they go by.

    `n_new`: chunks, calibrations and probes that were not there before; `n_failed`: allocations that gave none.
    """

    rows: Rows
    calibration: Calibration | None
    n_new: int
    n_failed: int


def measure(
    variant: Variant,
    facts: StudyFacts,
    path: Path,
    n_images: int,
    step_times: Calibration | None,
    open_pool: Callable[[Study], WorkerPool],
    progress: Progress,
    is_stopping: Callable[[], bool],
) -> Measured:
    """Everything that `variant`, of these facts, asks for, in the run folder `path`, or what is missing there.

    `step_times` of another variant, if given, are taken for this one's. An allocation that cannot be measured is told
    of and left out, and a group with its anchor.
    """
    study, quality = variant.study, variant.study.config.quality
    pool, folder = open_pool(study), RunFolder.open(path, study, facts.key)
    store = FeatureStore(folder.features, facts.recipe, quality.features_dtype)
    arrays, rows = arrays_for(quality.all_metrics), Rows()
    anchor = anchor_of_pairs(study, quality.all_metrics)
    with folder.ledger, Workbench(pool, folder.ledger, store, progress, arrays, is_stopping, anchor) as bench:
        for name in variant.probes:
            rows[name] = probe_rows(bench, study, name, n_images)
        if variant.groups:
            reference = prepare_reference(bench, study, facts, needs_real_features(quality.all_metrics))
            latency = _latency(bench, study, facts.key, step_times)
            step_times = latency.calibration
            evaluator = Evaluator(quality, variant.groups[0].allocations[0], reference, label_cycle(study))
            chunks = chunks_of("search", n_images, study.config.proxy_set.chunk_size)
            progress.stage(stage_of(variant))
            bench.make([(allocation, chunks) for allocation in variant.allocations])
            for group in variant.groups:
                rows.setdefault(group.analysis, []).extend(_rows(bench, evaluator, latency, group, chunks))
        return Measured(rows, step_times, bench.n_new, bench.n_failed)


def stage_of(variant: Variant) -> str:
    """What is said while the variant is measured."""
    return f"analyzing {variant.name.replace('_', ' ')}"


def _latency(bench: Workbench, study: Study, key: Key, given: Calibration | None) -> LatencyModel:
    """As given or measured before on this machine, for times are no result here; else measured."""
    known = given or (recall(study, key) if study.config.latency.from_file is None else None)
    if bench.ledger.last("calibration") is None and known is not None:
        bench.ledger.append("calibration", **asdict(known))
    latency = calibrate(bench, study, key)
    if given is None:
        remember(study, key, latency.calibration)
    return latency


def _rows(
    bench: Workbench, evaluator: Evaluator, latency: LatencyModel, group: Group, chunks: list[Chunk]
) -> Iterator[tuple[Value, ...]]:
    try:
        anchor = evaluator.measured(bench, group.allocations[0], chunks)
    except MeasurementError as error:
        bench.progress.note(f"{group.analysis} {group.setting} is left out: {error.message}")
        return
    for allocation in group.allocations:
        try:
            found = estimate(evaluator.measured(bench, allocation, chunks), anchor, evaluator.objective)
        except MeasurementError as error:
            bench.progress.note(error.message)
            continue
        largest = group.allocations[0].segments[-1].denoiser
        seconds = latency.latency_s(allocation)
        yield row_of(group.setting, allocation, largest, seconds, evaluator.objective.name, found)
