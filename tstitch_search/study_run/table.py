"""From what was measured to the lookup table, with everything needed to trust it later."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from math import sqrt
from pathlib import Path
from statistics import stdev
from typing import Any

from tstitch_search.allocation import Allocation
from tstitch_search.baselines import ALONE
from tstitch_search.config import Study, study_document
from tstitch_search.config.models import DEFAULT_POINT, DenoiserConfig
from tstitch_search.latency_model import LatencyModel
from tstitch_search.ledger import Ledger
from tstitch_search.lookup import (
    Candidate,
    LookupEntry,
    LookupTable,
    MetricValue,
    Objective,
    OperatingPoint,
    PointTime,
    build_table,
)
from tstitch_search.measure.recorded.measurer import Record
from tstitch_search.quality.estimate import QualityEstimate
from tstitch_search.quality.joint import errors_together
from tstitch_search.quality.metrics import metric_named
from tstitch_search.report.headline import headline
from tstitch_search.search_space import SearchSpace
from tstitch_search.study_run.confirmation import Confirmed
from tstitch_search.study_run.evaluation import Estimates, Evaluator, Reader
from tstitch_search.study_run.folder import environment
from tstitch_search.study_run.key import StudyFacts
from tstitch_search.study_run.lossless import margin_of, shown_lossless
from tstitch_search.study_run.stages import confirm_chunks
from tstitch_search.study_run.times.drift import times_decided_by

# The standard error of a median is this times that of a mean, for normal noise.
MEDIAN_FACTOR = 1.2533


def make_table(
    study: Study,
    facts: StudyFacts,
    latency: LatencyModel,
    evaluator: Evaluator,
    searched: Estimates,
    confirmed: Confirmed,
    ledger: Ledger,
    at_points: Mapping[str, LatencyModel],
) -> LookupTable:
    """The table: the front of the confirmed entries, and every other allocation that was measured.

    `at_points`: the study's further operating points by id.
    """
    decided_by, timed = times_decided_by(ledger), {DEFAULT_POINT: latency, **at_points}
    points = [OperatingPoint(i, m.calibration.device, m.calibration.batch_size) for i, m in timed.items()]
    objective = Objective(evaluator.objective.name, evaluator.objective.label, evaluator.objective.higher_is_better)
    lossless = {evaluator.anchor} | shown_lossless(confirmed.quality, evaluator.objective, study)
    entries = [
        _entry(
            allocation,
            evaluator,
            confirmed,
            _known_times(allocation, latency, at_points, evaluator),
            decided_by.latency_s(allocation),
            allocation in lossless,
        )
        for allocation in confirmed.quality
    ]
    others = [
        Candidate(
            **_quality_fields(quality),
            **_known_times(allocation, latency, at_points, evaluator),
            allocation=allocation,
            quality=quality.value,
            latency_s=None,
            latency_s_se=None,
            latency_s_predicted=latency.latency_s(allocation),
            peak_memory_mb=latency.memory_mb(allocation),
        )
        for allocation, quality in searched.items()
        if allocation not in confirmed.quality
    ]
    provenance = {
        **provenance_of(study, facts, latency, ledger, ledger.path.parent),
        "intervals_95": _intervals(confirmed.quality),
        "largest_latency_s": confirmed.times[evaluator.anchor].latency_s,
    }
    table = build_table(study.config.name, points, entries, others, provenance, objective)
    return replace(table, provenance={**provenance, "headline": headline(table)})


def _intervals(confirmed: Estimates) -> dict[str, float]:
    """How many standard errors the 95 % intervals of all that was confirmed have, so that they hold together."""
    df = [min(q.df, q.own_df) for q in confirmed.values()]
    return {"together": len(df), "errors": errors_together(df)}


def _known_times(
    allocation: Allocation, latency: LatencyModel, at_points: Mapping[str, LatencyModel], evaluator: Evaluator
) -> dict[str, Any]:
    """What the calibrations say without a measurement of the allocation itself."""
    return {
        "extra_weights_mb": latency.extra_weights_mb(allocation, evaluator.anchor),
        "latency_by_point": {
            point: PointTime(
                latency_s=model.latency_s(allocation),
                latency_s_se=model.latency_se(allocation),
                peak_memory_mb=model.memory_mb(allocation),
            )
            for point, model in at_points.items()
        },
    }


def _entry(
    allocation: Allocation,
    evaluator: Evaluator,
    confirmed: Confirmed,
    known_times: Mapping[str, Any],
    predicted_s: float,
    lossless: bool,
) -> LookupEntry:
    """All that the confirmation found about one allocation; published values where they exist.

    `predicted_s`: the time that the search went by.
    """
    quality, time = confirmed.quality[allocation], confirmed.times[allocation]
    return LookupEntry(
        **_quality_fields(quality),
        **known_times,
        allocation=allocation,
        quality=confirmed.published[evaluator.objective.name][allocation],
        latency_s=time.latency_s,
        latency_s_se=MEDIAN_FACTOR * stdev(time.seconds) / sqrt(len(time.seconds)),
        latency_s_predicted=predicted_s,
        peak_memory_mb=time.peak_memory_mb or None,
        timesteps=time.timesteps,
        sigmas=time.sigmas,
        lossless=lossless,
        guard_lost=allocation in confirmed.guard and evaluator.is_guard_lost(confirmed.guard[allocation]),
        confirmed=True,
        metrics=_metrics(allocation, confirmed),
        quantiles=confirmed.quantiles.get(evaluator.objective.name, {}).get(allocation, {}),
    )


def _quality_fields(quality: QualityEstimate) -> dict[str, Any]:
    return {
        "quality_se": quality.se,
        "n_images": quality.n_images,
        "quality_difference": quality.difference,
        "quality_difference_se": quality.difference_se,
    }


def _metrics(allocation: Allocation, confirmed: Confirmed) -> dict[str, MetricValue]:
    """The further metrics, as published, with our errors; the guard under its own name."""
    found = {
        name: replace(
            _metric_value(estimates[allocation], confirmed.published[name][allocation]),
            quantiles=confirmed.quantiles.get(name, {}).get(allocation, {}),
        )
        for name, estimates in confirmed.further.items()
        if allocation in estimates
    }
    if allocation in confirmed.guard:
        guard = confirmed.guard[allocation]
        found["guard"] = _metric_value(guard, guard.value)
    return found


def _metric_value(quality: QualityEstimate, value: float) -> MetricValue:
    return MetricValue(value=value, se=quality.se, difference=quality.difference, difference_se=quality.difference_se)


def in_groups(table: LookupTable, evaluator: Evaluator, reader: Reader, study: Study) -> LookupTable:
    """The table with entries that cannot be told apart on the confirmation images under one number."""
    front = [e.allocation for e in table.entries]
    n_confirmed = len(front) + sum(c.confirmed for c in table.candidates)
    groups = evaluator.groups(reader, front, confirm_chunks(study), n_confirmed)
    return replace(table, entries=tuple(replace(e, group=groups[e.allocation]) for e in table.entries))


def provenance_of(
    study: Study, facts: StudyFacts, latency: LatencyModel, ledger: Ledger, folder: Path
) -> dict[str, Any]:
    """Where every number of the table comes from, so that it can be trusted, or doubted, years later."""
    space, config, searched = study.space, study.config, SearchSpace.of_study(study)
    stopped = ledger.last("stopped")
    margin = margin_of(metric_named(config.quality.objective), study)
    measured = [e["at"] for kind in ("chunk", "timing", "published") for e in ledger.of(kind)]
    return {
        "created_at": max(measured),
        "space": space.name,
        "space_size": len(searched),
        "denoisers": [denoiser_facts(d, facts) for d in space.denoisers],
        "largest": space.names[-1],
        "anchor": str(searched.anchor),
        "pipeline": space.pipeline,
        "pipeline_revision": space.pipeline_revision,
        "solver": facts.key["space.solver"],
        "n_steps": space.n_steps,
        "step_counts": list(searched.step_counts),
        "baselines": {str(a): name for a, name in searched.baseline_names.items() if not name.endswith(ALONE)},
        "guidance_scale": config.guidance_scale,
        "dtype": config.workers.dtype,
        "resolution": facts.resolution,
        "device": latency.calibration.device,
        "extractor": "the record's own extractor" if facts.record else config.quality.extractor,
        "reference": "the record's own reference" if facts.record else config.quality.reference,
        "recorded": _record(facts.record) if facts.record else None,
        "rivals": [asdict(rival) for rival in study.rivals],
        "n_images_search": config.quality.n_images,
        "n_images_confirm": config.confirm.n_images,
        "seed": config.proxy_set.seed,
        "search_stopped": stopped and stopped["reason"],
        "lossless_margin": config.confirm.lossless_margin,
        **({} if margin is None else {"margin": margin}),
        "guard": config.quality.guard.model_dump() if config.quality.guard else None,
        "spread": latency.calibration.spread,
        **({"first_batch_s": latency.calibration.first_batch_s} if config.execution.compile else {}),
        "key": dict(facts.key),
        "study": study_document(study, folder),
        "environment": environment(),
    }


def denoiser_facts(denoiser: DenoiserConfig, facts: StudyFacts) -> dict[str, Any]:
    """What the study says of a denoiser, and what its files turned out to be if there are any."""
    member = facts.members.get(denoiser.name)
    return {
        **denoiser.model_dump(mode="json"),
        **({"decides_by_batch": True} if denoiser.decides_by_batch else {}),
        "sha256": member.weights_sha256 if member else None,
        "n_parameters": member.n_parameters if member else None,
        "noise": asdict(member.own.noise) if member and member.own.noise else None,
    }


def _record(record: Record) -> dict[str, Any]:
    """Where recorded numbers come from, and what stands in for images."""
    measure = record.study.config.measure
    return {
        "table": measure.recorded,
        "sha256": record.table.sha256,
        "source": measure.source,
        "images": measure.features or f"simulated, {record.key['measure.noise']}",
    }
