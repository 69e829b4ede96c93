"""The confirmation once more for each group of images (a category of prompts, a class), from what is kept of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study
from tstitch_search.lookup import Candidate, GroupValue, LookupTable, MetricValue
from tstitch_search.measurement import Chunk
from tstitch_search.quality.estimate import QualityEstimate, estimate
from tstitch_search.quality.groups import gains, measured_in_groups, surest
from tstitch_search.quality.jackknife import Jackknifed
from tstitch_search.quality.joint import shown_together
from tstitch_search.quality.metrics.metric import Metric
from tstitch_search.report.serving import one_table_for_all
from tstitch_search.sampling.conditions import ProxySet
from tstitch_search.study_run.evaluation import Evaluator, Reader
from tstitch_search.study_run.lossless import margin_in, margin_of
from tstitch_search.study_run.stages import confirm_chunks

# Of a metric, of a group, of an allocation.
Values = dict[str, dict[Allocation, Jackknifed]]


def by_groups(table: LookupTable, evaluator: Evaluator, reader: Reader, study: Study) -> LookupTable:
    """The table with the values of each group, and whether it serves them all; as it is where none are asked for.

    Nothing is made for it: the arrays kept of the confirmation's images are read again.
    """
    if study.config.proxy_set.groups is None:
        return table
    chunks = confirm_chunks(study)
    images = images_of_groups(study, chunks)
    n_images = table.entries[0].n_images
    beaten = [c for c in table.candidates if c.confirmed and c.n_images == n_images]
    measured: list[Candidate] = sorted([*table.entries, *beaten], key=lambda c: c.latency_s or 0.0)
    reader.progress.stage("groups")
    metrics = (evaluator.objective, *evaluator.further)
    values = {m.name: _values(evaluator, reader, m, [c.allocation for c in measured], chunks, images) for m in metrics}
    told = _told(evaluator, metrics, values, images, study)
    table = replace(
        table,
        entries=tuple(replace(e, by_group=told.get(e.allocation, {})) for e in table.entries),
        candidates=tuple(replace(c, by_group=told[c.allocation]) if c in beaten else c for c in table.candidates),
    )
    about = _compared(table, measured, values[evaluator.objective.name], images, study)
    about["answer"] = one_table_for_all(about, table.objective, _margin(table, evaluator, study))
    return replace(table, provenance={**table.provenance, "groups": about})


def images_of_groups(study: Study, chunks: Sequence[Chunk]) -> dict[str, np.ndarray]:
    """Of each group, by name, which of the chunks' images are its own."""
    proxy_set = ProxySet.of_study(study)
    names = np.array([name for chunk in chunks for name in proxy_set.groups_of(chunk)])
    return {str(name): np.flatnonzero(names == name) for name in sorted(set(names.tolist()), key=_in_order)}


def _in_order(name: str) -> tuple[int, str]:
    """Class labels by their number, words by their letters."""
    return (int(name), "") if name.isdecimal() else (-1, name)


def _values(
    evaluator: Evaluator,
    reader: Reader,
    metric: Metric,
    allocations: Sequence[Allocation],
    chunks: Sequence[Chunk],
    images: Mapping[str, np.ndarray],
) -> Values:
    values: Values = {name: {} for name in images}
    for allocation in allocations:
        array = reader.read(allocation, chunks, metric.array)
        found = measured_in_groups(metric, evaluator.statistics[metric.name], array, images)
        for name, value in found.items():
            values[name][allocation] = value
    return values


def _told(
    evaluator: Evaluator,
    metrics: Sequence[Metric],
    values: Mapping[str, Values],
    images: Mapping[str, np.ndarray],
    study: Study,
) -> dict[Allocation, dict[str, GroupValue]]:
    """The values of all groups, by allocation; the verdicts hold for all groups and allocations together."""
    estimates = {
        (m, name, a): estimate(own, of_group[evaluator.anchor], m)
        for m in metrics
        for name, of_group in values[m.name].items()
        for a, own in of_group.items()
    }
    objective = evaluator.objective
    losses = {
        (a, name): q.p_of_loss(margin_in(q, objective, study))
        for (m, name, a), q in estimates.items()
        if m == objective
    }
    shown = shown_together({k: p for k, p in losses.items() if k[0] != evaluator.anchor})
    allocations = dict.fromkeys(a for _, _, a in estimates)
    return {
        a: {
            name: GroupValue(
                n_images=len(own),
                metrics={m.name: _value(estimates[m, name, a]) for m in metrics if (m, name, a) in estimates},
                lossless=(a, name) in shown or (a == evaluator.anchor and (objective, name, a) in estimates),
            )
            for name, own in images.items()
        }
        for a in allocations
    }


def _value(found: QualityEstimate) -> MetricValue:
    return MetricValue(value=found.value, se=found.se, difference=found.difference, difference_se=found.difference_se)


def _compared(
    table: LookupTable,
    measured: Sequence[Candidate],
    values: Values,
    images: Mapping[str, np.ndarray],
    study: Study,
) -> dict[str, Any]:
    """For the provenance: the groups, and the gain of choosing by group within the time of each entry."""
    assert study.config.proxy_set.groups is not None
    front = [e.allocation for e in table.entries]
    order = [c.allocation for c in measured]
    choices = [(a, b) for a in front for b in order[: order.index(a)]]
    enough = {name: own for name, own in values.items() if own}
    found = gains(enough, choices, table.objective.higher_is_better)
    best = [{**asdict(g), "instead_of": str(g.instead_of), "better": str(g.better)} for g in surest(found)]
    return {
        "column": study.config.proxy_set.groups.column,
        "n_images": {name: len(own) for name, own in images.items()},
        "too_few": [name for name in images if name not in enough],
        "n_compared": len(found),
        "level": 0.95,
        "gains": best,
        "ruled_out": max((g.high for g in found), default=None),
    }


def _margin(table: LookupTable, evaluator: Evaluator, study: Study) -> float | None:
    """The loss that counts as none, in the objective's unit; None where that is not known."""
    own, anchor = margin_of(evaluator.objective, study), table.anchor_quality
    if own is not None:
        return own
    return study.config.confirm.lossless_margin * anchor if anchor and anchor > 0 else None
