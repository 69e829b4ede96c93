"""From what was measured to the lookup table, with everything needed to trust it later."""

from collections.abc import Mapping
from dataclasses import replace
from math import sqrt
from statistics import stdev
from typing import Any

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study
from tstitch_search.latency_model import LatencyModel
from tstitch_search.ledger import Ledger
from tstitch_search.lookup import Candidate, LookupEntry, LookupTable, OperatingPoint, build_table
from tstitch_search.measurement import AllocationTime
from tstitch_search.quality.estimate import QualityEstimate
from tstitch_search.run.folder import environment
from tstitch_search.run.headline import headline
from tstitch_search.run.key import StudyFacts
from tstitch_search.search_space import SearchSpace

# The standard error of a median is this times that of a mean, for normal noise.
MEDIAN_FACTOR = 1.2533


def make_table(
    study: Study,
    facts: StudyFacts,
    latency: LatencyModel,
    searched: Mapping[Allocation, QualityEstimate],
    confirmed: Mapping[Allocation, QualityEstimate],
    times: Mapping[Allocation, AllocationTime],
    published: Mapping[Allocation, float],
    ledger: Ledger,
) -> LookupTable:
    """The table: the front of the confirmed entries, and every other allocation that was measured."""
    space, margin = SearchSpace.from_config(study.space), study.config.confirm.lossless_margin
    calibration = latency.calibration
    point = OperatingPoint("default", calibration.device, calibration.batch_size)
    entries = [
        LookupEntry(
            **_quality_fields(quality),
            allocation=allocation,
            fid=published[allocation],
            latency_s=times[allocation].latency_s,
            latency_s_se=MEDIAN_FACTOR * stdev(times[allocation].seconds) / sqrt(len(times[allocation].seconds)),
            latency_s_predicted=times[allocation].latency_s_predicted,
            peak_memory_mb=times[allocation].peak_memory_mb,
            lossless=allocation == space.anchor or quality.is_lossless(margin),
        )
        for allocation, quality in confirmed.items()
    ]
    others = [
        Candidate(
            **_quality_fields(quality),
            allocation=allocation,
            fid=quality.fid,
            latency_s=None,
            latency_s_se=None,
            latency_s_predicted=latency.latency_s(allocation),
            peak_memory_mb=None,
        )
        for allocation, quality in searched.items()
        if allocation not in confirmed
    ]
    provenance = {
        **provenance_of(study, facts, latency, ledger),
        "largest_latency_s": times[space.anchor].latency_s,
    }
    table = build_table(study.config.name, point, entries, others, provenance)
    return replace(table, provenance={**provenance, "headline": headline(table)})


def _quality_fields(quality: QualityEstimate) -> dict[str, Any]:
    return {
        "fid_se": quality.fid_se,
        "n_images": quality.n_images,
        "fid_difference": quality.difference,
        "fid_difference_se": quality.difference_se,
    }


def provenance_of(study: Study, facts: StudyFacts, latency: LatencyModel, ledger: Ledger) -> dict[str, Any]:
    """Where every number of the table comes from, so that it can be trusted, or doubted, years later."""
    space, config = study.space, study.config
    measured = [e["at"] for kind in ("chunk", "timing", "published") for e in ledger.of(kind)]
    return {
        "created_at": max(measured),
        "space": space.name,
        "space_size": len(SearchSpace.from_config(space)),
        "denoisers": [
            {
                "name": d.name,
                "weights": d.weights,
                "subfolder": d.subfolder,
                "revision": d.revision,
                "sha256": facts.members[d.name].weights_sha256,
                "n_parameters": facts.members[d.name].n_parameters,
            }
            for d in space.denoisers
        ],
        "largest": space.names[-1],
        "pipeline": space.pipeline,
        "solver": facts.key["space.solver"],
        "n_steps": space.n_steps,
        "guidance_scale": config.guidance_scale,
        "dtype": config.workers.dtype,
        "resolution": facts.resolution,
        "device": latency.calibration.device,
        "extractor": config.quality.extractor,
        "reference": config.quality.reference,
        "n_images_search": config.quality.n_images,
        "n_images_confirm": config.confirm.n_images,
        "seed": config.proxy_set.seed,
        "lossless_margin": config.confirm.lossless_margin,
        "key": dict(facts.key),
        "environment": environment(),
    }
