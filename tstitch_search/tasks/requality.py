"""Another metric for a study that has run: computed from the stored arrays, without a device."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tstitch_search.allocation import Allocation
from tstitch_search.errors import ConfigError
from tstitch_search.measurement import Chunk, SetName
from tstitch_search.progress import Progress
from tstitch_search.quality.estimate import QualityEstimate, estimate
from tstitch_search.quality.jackknife import N_GROUPS
from tstitch_search.quality.metrics import Metric, metric_named
from tstitch_search.quality.reference import Reference, load_reference
from tstitch_search.study_run.evaluation import Evaluator
from tstitch_search.tasks.stored import StoredRun


@dataclass(frozen=True)
class Requality:
    """One metric of every allocation of a run folder, by set of images; None where there are too few of them."""

    metric: Metric
    rows: list[tuple[SetName, Allocation, QualityEstimate]]


def requality(path: Path, metric: str, reference: str | None, progress: Progress) -> Requality:
    """The metric of all that was measured in the run folder at `path`, confirmed allocations first.

    `reference`: real images to compare with instead of the study's, an .npz or zoo:FAMILY. Raises ConfigError when the
    metric needs more than the reference or the stored arrays hold.
    """
    run, wanted = StoredRun.open(path), metric_named(metric)
    real = load_reference(reference, Path.cwd()) if reference else run.reference()
    kept = run.reference()
    if reference and kept and real and len(real.mu) != len(kept.mu):
        raise ConfigError(
            f"the stored features are {len(kept.mu)} long, those of the reference {reference} {len(real.mu)}",
            hint="make the reference with the study's extractor",
        )
    rows = list(_rows(run, wanted, real, progress))
    if not rows:
        raise ConfigError(f"{path} holds too few images yet", hint=f"{N_GROUPS} of an allocation are needed")
    return Requality(wanted, rows)


def _rows(
    run: StoredRun, metric: Metric, reference: Reference | None, progress: Progress
) -> Iterator[tuple[SetName, Allocation, QualityEstimate]]:
    evaluator = Evaluator.of_study(run.study, run.reference())
    statistic = metric.bind(reference)
    stored = list(_stored(run))
    progress.stage("requality")
    for n_done, (set_name, allocation, chunks) in enumerate(stored):
        progress.extracted(n_done, len(stored))
        own, anchor = (evaluator.measured(run, a, chunks, metric, statistic) for a in (allocation, run.space.anchor))
        yield set_name, allocation, estimate(own, anchor, metric)


def _stored(run: StoredRun) -> Iterator[tuple[SetName, Allocation, list[Chunk]]]:
    """Allocations with the chunks that they share with the anchor, where these are enough for an error."""
    sets: tuple[SetName, ...] = ("confirm", "search")
    for set_name in sets:
        for allocation in sorted(run.chunks, key=lambda a: [-a.steps.get(name, 0) for name in run.space.denoisers]):
            chunks = run.common([allocation, run.space.anchor], set_name) if run.space.anchor in run.chunks else []
            if sum(chunk.n_images for chunk in chunks) >= N_GROUPS:
                yield set_name, allocation, chunks
