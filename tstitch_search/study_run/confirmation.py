"""The confirmation: the front again on images the search never saw, torch-fidelity's own values, and real times."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study
from tstitch_search.measurement import AllocationTime, Chunk, Publish
from tstitch_search.quality.metrics.metric import Metric
from tstitch_search.quality.reference import Reference
from tstitch_search.study_run.evaluation import Estimates, Evaluator
from tstitch_search.study_run.stages import confirm_chunks, search_chunks
from tstitch_search.study_run.times.front import Round, time_front, time_of
from tstitch_search.study_run.workbench import Workbench


@dataclass(frozen=True)
class Confirmed:
    """What was found about the selected allocations on held-out images: by metric, by allocation.

    `published`: torch-fidelity's own values. `quantiles`: of the values of single images, of metrics that have them.
    `times`: measured end to end.
    """

    quality: Estimates
    further: dict[str, Estimates]
    guard: Estimates
    published: dict[str, dict[Allocation, float]]
    quantiles: dict[str, dict[Allocation, dict[str, float]]]
    times: dict[Allocation, AllocationTime]


def confirm(bench: Workbench, study: Study, evaluator: Evaluator, selected: Sequence[Allocation]) -> Confirmed:
    """The selected allocations again, on images the search never saw, and their times end to end."""
    bench.progress.stage("confirm")
    chunks = confirm_chunks(study)
    bench.make([(allocation, chunks) for allocation in selected])
    quality = evaluator.estimates(bench, selected, chunks)
    entries = list(quality)
    bench.progress.stage("publish")
    return Confirmed(
        quality,
        further={metric.name: evaluator.estimates(bench, entries, chunks, metric) for metric in evaluator.further},
        guard=evaluator.guard_estimates(bench, entries, chunks, search_chunks(study)),
        published=publish(bench, evaluator, entries, chunks),
        quantiles=evaluator.quantiles(bench, entries, chunks),
        times=time_entries(bench, study, entries),
    )


def time_entries(bench: Workbench, study: Study, entries: Sequence[Allocation]) -> dict[Allocation, AllocationTime]:
    """Measured end-to-end times of the entries, interleaved so that drift hits them alike; each round is kept."""
    ledger = bench.ledger
    known = {Allocation.parse(e["allocation"]): time_of(e) for e in ledger.of("timing")}
    if missing := [a for a in entries if a not in known]:
        bench.progress.stage("time")
        earlier = [Round.of_event(e) for e in ledger.of("timing_round")]
        earlier = [r for r in earlier if not r.times.keys().isdisjoint(missing)]

        def keep(made: Round) -> None:
            ledger.append("timing_round", **made.fields)

        found = time_front(study, missing, bench.alone, bench.progress, earlier, keep)
        for allocation, time in found.items():
            ledger.append("timing", allocation=str(allocation), **asdict(time))
            bench.n_new += 1
        known |= found
    return {a: known[a] for a in entries}


def publish(
    bench: Workbench, evaluator: Evaluator, entries: Sequence[Allocation], chunks: Sequence[Chunk]
) -> dict[str, dict[Allocation, float]]:
    """torch-fidelity's own values of the study's metrics for every entry, computed once and kept in the ledger."""
    metrics = (evaluator.objective, *evaluator.further)
    return {metric.name: _published(bench, metric, evaluator.reference, entries, chunks) for metric in metrics}


def _published(
    bench: Workbench,
    metric: Metric,
    reference: Reference | None,
    entries: Sequence[Allocation],
    chunks: Sequence[Chunk],
) -> dict[Allocation, float]:
    n_images = chunks[-1].last
    events = [e for e in bench.ledger.of("published") if e["n_images"] == n_images and e["metric"] == metric.name]
    known = {e["allocation"]: e["value"] for e in events}
    for allocation in entries:
        if str(allocation) not in known:
            value = bench.alone(_publication(metric, bench.read(allocation, chunks, metric.array), reference))
            named = {"allocation": str(allocation), "metric": metric.name, "n_images": n_images}
            known[str(allocation)] = bench.ledger.append("published", **named, value=value)["value"]
    return {a: float(known[str(a)]) for a in entries}


def _publication(metric: Metric, array: np.ndarray, reference: Reference | None) -> Publish:
    """The job, with no more of the reference than the metric needs."""
    if reference is None or metric.needs == "nothing":
        return Publish(metric.name, array)
    if metric.needs == "statistics":
        return Publish(metric.name, array, reference.mu, reference.sigma)
    return Publish(metric.name, array, reference.mu, reference.sigma, reference.features)
