"""More images of exactly the entries that could be shown to lose nothing, where the confirmation shows none.

Entries are chosen by the confirmation's images and judged by further ones alone, so that having been chosen flatters
none. The confirmation has half of the error that a table may make, its further looks the other half: shared equally by
the entries that are pursued, each of which spends its own over looks planned in advance (`quality/sequential.py`).
The plan and every look stand in the ledger, and a run that was interrupted goes on with them.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import inf
from typing import Literal

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study
from tstitch_search.ledger import Event, Ledger
from tstitch_search.lookup import LookupEntry, LookupTable
from tstitch_search.measurement import Chunk
from tstitch_search.quality.estimate import QualityEstimate
from tstitch_search.quality.groups import FEWEST
from tstitch_search.quality.metrics.metric import Metric
from tstitch_search.quality.sequential import images_needed, planned_looks, thresholds
from tstitch_search.report.headline import headline
from tstitch_search.study_run.evaluation import LEVEL, Evaluator
from tstitch_search.study_run.lossless import margin_of
from tstitch_search.study_run.workbench import Workbench

# So many entries are pursued at most, and so many times the confirmation's images are made of one.
MOST_PURSUED, MOST_TIMES = 3, 8


@dataclass(frozen=True)
class Look:
    """What `n_images` further images say of an entry: its loss, and the p-value of one of the margin or more."""

    n_images: int
    loss: float
    se: float
    p: float


@dataclass(frozen=True)
class Pursued:
    """An entry that could be shown: its margin, at how many further images to look, and below which p it is shown."""

    allocation: Allocation
    margin: float
    looks: tuple[int, ...]
    thresholds: tuple[float, ...]
    seen: tuple[Look, ...] = ()
    outcome: Literal["shown", "loses", "not shown", "failed", "not tried"] = "not tried"

    @property
    def is_open(self) -> bool:
        """Whether there is a look to come."""
        return self.outcome == "not tried"

    def after(self, quality: QualityEstimate) -> "Pursued":
        """With one more look: the entry is shown, or shown to lose more than the margin, or it was the last look."""
        p = quality.p_of_loss(self.margin)
        seen = (*self.seen, Look(quality.n_images, quality.loss, quality.difference_se, p))
        if p < self.thresholds[len(self.seen)]:
            return replace(self, seen=seen, outcome="shown")
        if 1 - p < LEVEL:
            return replace(self, seen=seen, outcome="loses")
        return replace(self, seen=seen, outcome="not shown" if len(seen) == len(self.looks) else "not tried")


def as_planned(study: Study, ledger: Ledger) -> Study:
    """The study; one whose run folder holds a plan of further looks goes on with it, whether asked again or not."""
    confirm = study.config.confirm
    if not any(e["n_images"] == confirm.n_images for e in ledger.of("lossless_plan")):
        return study
    config = study.config.model_copy(update={"confirm": confirm.model_copy(update={"until_lossless": True})})
    return study.model_copy(update={"config": config})


def until_lossless(table: LookupTable, bench: Workbench, evaluator: Evaluator, study: Study) -> LookupTable:
    """The table with what further images showed; as it is where none are asked for, or one was shown without."""
    if not study.config.confirm.until_lossless or any(e.lossless for e in _faster(table)):
        return table
    bench.progress.stage("lossless")
    done: list[Pursued] = []
    for pursued in _plan(table, bench, evaluator.objective, study):
        is_shown = any(p.outcome == "shown" for p in done)
        done.append(pursued if is_shown else _followed(pursued, bench, evaluator, study))
    return _with(table, done, bench)


def planned(
    table: LookupTable, metric: Metric, margin: float | None, share: float, step: int, n_most: int
) -> list[Pursued]:
    """The fastest entries that up to `n_most` images could show, each with its looks at multiples of `step` images.

    `margin`: in the metric's own unit; None: the `share` of the anchor's value.
    """
    found = []
    for e in _faster(table):
        loss, se = metric.sign * (e.quality_difference or 0.0), e.quality_difference_se or 0.0
        own = share * (e.quality - (e.quality_difference or 0.0)) if margin is None else margin
        n_needed = images_needed(loss, se, e.n_images, own, LEVEL / 2 / MOST_PURSUED) if se else inf
        if n_needed <= n_most and (looks := planned_looks(n_needed, step, n_most)):
            found.append((e.allocation, own, looks))
    chosen = found[:MOST_PURSUED]
    return [
        Pursued(a, own, looks, thresholds(LEVEL / 2 / len(chosen), tuple(n / looks[-1] for n in looks)))
        for a, own, looks in chosen
    ]


def _faster(table: LookupTable) -> list[LookupEntry]:
    """The entries that are faster than the anchor and lose no guard metric, fastest first."""
    anchor_s = table.provenance["largest_latency_s"]
    others = [e for e in table.entries if e.allocation != table.anchor]
    return [e for e in others if e.latency_s < anchor_s and not e.guard_lost]


def _plan(table: LookupTable, bench: Workbench, metric: Metric, study: Study) -> list[Pursued]:
    """The plan of the ledger, made once for the confirmation's number of images."""
    config, n_images = study.config, table.entries[0].n_images
    for event in bench.ledger.of("lossless_plan"):
        if event["n_images"] == n_images:
            return [_of_event(entry) for entry in event["pursued"]]
    chunk, margin = config.proxy_set.chunk_size, margin_of(metric, study)
    step = -(-FEWEST[metric.kind] // chunk) * chunk
    pursued = planned(table, metric, margin, config.confirm.lossless_margin, step, _n_most(study, n_images))
    written = [
        {"allocation": str(p.allocation), "margin": p.margin, "looks": p.looks, "thresholds": p.thresholds}
        for p in pursued
    ]
    bench.ledger.append("lossless_plan", n_images=n_images, pursued=written)
    return pursued


def _of_event(entry: Event) -> Pursued:
    looks, levels = tuple(entry["looks"]), tuple(entry["thresholds"])
    return Pursued(Allocation.parse(entry["allocation"]), entry["margin"], looks, levels)


def _n_most(study: Study, n_images: int) -> int:
    """How many further images there can be: every prompt once, none of a folder of recorded features."""
    if study.config.measure.features is not None:
        return 0
    files = study.proxy_files
    left = inf if files.n_entries is None else files.n_entries - files.n_search - n_images
    return int(min(left, MOST_TIMES * n_images))


def _followed(pursued: Pursued, bench: Workbench, evaluator: Evaluator, study: Study) -> Pursued:
    """With all looks that it takes."""
    n_before, size = study.config.confirm.n_images, study.config.proxy_set.chunk_size
    for n_images in pursued.looks:
        chunks = Chunk("confirm", n_before, n_before + n_images).parts(size)
        bench.make([(allocation, chunks) for allocation in (evaluator.anchor, pursued.allocation)])
        found = evaluator.estimates(bench, [pursued.allocation], chunks)
        if pursued.allocation not in found:
            return replace(pursued, outcome="failed")
        pursued = pursued.after(found[pursued.allocation])
        _record(pursued, bench, n_before)
        if not pursued.is_open:
            break
    return pursued


def _record(pursued: Pursued, bench: Workbench, n_before: int) -> None:
    """Append the look just taken, unless an earlier run has."""
    look = {"allocation": str(pursued.allocation), "after": n_before, **asdict(pursued.seen[-1])}
    if not any(look.items() <= event.items() for event in bench.ledger.of("lossless_look")):
        bench.ledger.append("lossless_look", **look, outcome=pursued.outcome)


def _with(table: LookupTable, done: Sequence[Pursued], bench: Workbench) -> LookupTable:
    shown = {p.allocation for p in done if p.outcome == "shown"}
    entries = tuple(replace(e, lossless=e.lossless or e.allocation in shown) for e in table.entries)
    about = {"level": LEVEL, "candidates": [{**asdict(p), "allocation": str(p.allocation)} for p in done]}
    measured = [table.provenance["created_at"], *(e["at"] for e in bench.ledger.of("chunk"))]
    provenance = {**table.provenance, "created_at": max(measured), "until_lossless": about}
    made = replace(table, entries=entries, provenance=provenance)
    return replace(made, provenance={**provenance, "headline": headline(made)})
